//! Buffers that threads keep, aligned to cache lines.

use crate::prefetch::LINE;
use std::cell::RefCell;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// A growing buffer of `f32` that starts on a cache line.
#[derive(Debug, Default, Clone)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
}

impl Aligned {
    /// At least `len` elements of unspecified value.
    pub(crate) fn resize(&mut self, len: usize) -> &mut [f32] {
        if self.lines.len() * LINE < len {
            self.lines.resize(len.div_ceil(LINE), Line([0.0; LINE]));
        }
        // SAFETY: a line is 16 floats without padding, and there are enough of them.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }

    /// All elements.
    pub(crate) fn values(&self) -> &[f32] {
        // SAFETY: a line is 16 floats without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * LINE) }
    }
}

/// Runs `task` on `len` elements of unspecified value. Nested calls get buffers of their own, which are kept, too.
pub(crate) fn scratch<R>(len: usize, task: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static KEPT: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) });
    let mut buffer = KEPT.with(|kept| kept.borrow_mut().pop()).unwrap_or_default();
    let result = task(buffer.resize(len));
    KEPT.with(|kept| kept.borrow_mut().push(buffer));
    result
}

/// [`scratch`] of `f64`, zeroed.
pub(crate) fn zeroed_f64<R>(len: usize, task: impl FnOnce(&mut [f64]) -> R) -> R {
    scratch(2 * len, |buffer| {
        buffer.fill(0.0);
        // SAFETY: the buffer is aligned to 64 bytes, has twice `len` floats, and zero bits are 0 in both types.
        task(unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast(), len) })
    })
}

#[cfg(test)]
mod tests {
    use super::scratch;

    #[test]
    fn scratch_is_aligned_and_nested_calls_get_own_buffers() {
        scratch(5, |outer| {
            outer.fill(1.0);
            scratch(1000, |inner| inner.fill(2.0));
            assert_eq!(outer, [1.0; 5]);
            assert_eq!(outer.as_ptr() as usize % 64, 0);
        });
    }
}
