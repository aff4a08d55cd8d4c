//! Hints that memory will be needed: nothing but time changes.

/// `f32`s of a line.
pub(crate) const LINE: usize = 16;

/// `_MM_HINT_ET0` of the processor's instruction.
const WRITE: i32 = 7;

/// `_MM_HINT_T1`: to the second-level cache.
const READ: i32 = 2;

/// Fetches the line of an element that will be written.
#[inline(always)]
pub(crate) fn to_write(at: *const f32) {
    fetch::<WRITE>(at);
}

/// Fetches the line of an element that will be read.
#[inline(always)]
pub(crate) fn to_read(at: *const f32) {
    fetch::<READ>(at);
}

#[inline(always)]
fn fetch<const HINT: i32>(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the hint reads nothing; any address will do.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<HINT>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
