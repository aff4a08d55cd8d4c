//! Buffers that go round: a step allocates what the step before gave back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

thread_local! {
    static KEPT: RefCell<HashMap<usize, Vec<Vec<f32>>>> = RefCell::default();
}

/// Values of a point of the graph; back to the pool when dropped.
#[derive(Debug)]
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    /// A buffer of unspecified values.
    pub(super) fn new(len: usize) -> Buffer {
        let kept = KEPT.with_borrow_mut(|kept| kept.get_mut(&len).and_then(Vec::pop));
        Buffer(kept.unwrap_or_else(|| vec![0.0; len]))
    }

    pub(super) fn copy(values: &[f32]) -> Buffer {
        let mut buffer = Buffer::new(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// Frees what the pool holds: other sizes come next.
    pub(super) fn clear_pool() {
        KEPT.with_borrow_mut(HashMap::clear);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.0);
        // Without a pool when the thread ends.
        let _ = KEPT.try_with(|kept| kept.borrow_mut().entry(values.len()).or_default().push(values));
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}
