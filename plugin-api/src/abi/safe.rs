//! Safe doors to the raw parts of the boundary, for the SDK.

use super::fused::{View, ViewMut};
use super::host::{HostApi_Ref, ParallelFn};
use super::types::Ctx;
use crate::op::DType;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Element types that raw views come in.
pub trait Element: Copy + Send + Sync + 'static {
    /// The code that a view of this type carries.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for f64 {
    const DTYPE: DType = DType::F64;
}

/// The values of a view; `None` when they are of another type or on another device.
pub fn view_slice<'a, T: Element>(view: &View<'a>) -> Option<&'a [T]> {
    if view.dtype != T::DTYPE as u32 || view.device != 0 {
        return None;
    }
    let count = view.shape.iter().product();
    if count == 0 {
        return Some(&[]);
    }
    // SAFETY: the maker of a view promises `count` aligned values of the type named by `dtype`, borrowed for 'a.
    Some(unsafe { std::slice::from_raw_parts(view.data.cast(), count) })
}

/// The values of a view to be written; `None` when nobody wants them, or they are of another type or device.
pub fn view_slice_mut<'a, T: Element>(view: &'a mut ViewMut<'_>) -> Option<&'a mut [T]> {
    if view.data.is_null() || view.dtype != T::DTYPE as u32 || view.device != 0 {
        return None;
    }
    let count = view.shape.iter().product();
    if count == 0 {
        return Some(&mut []);
    }
    // SAFETY: as in `view_slice`; the memory is borrowed mutably, once, for the call.
    Some(unsafe { std::slice::from_raw_parts_mut(view.data.cast(), count) })
}

/// Runs `work(start, end)` over pieces of `0 .. n` on the host's threads. False when a piece gave false or panicked.
pub fn parallel_for<F: Fn(usize, usize) -> bool + Sync>(
    host: HostApi_Ref,
    cx: Ctx,
    n: usize,
    grain: usize,
    work: &F,
) -> bool {
    extern "C" fn call<F: Fn(usize, usize) -> bool + Sync>(data: *const (), start: usize, end: usize) -> u32 {
        // SAFETY: `data` is the `&F` given below, which outlives the host's call.
        let work = unsafe { &*data.cast::<F>() };
        match catch_unwind(AssertUnwindSafe(|| work(start, end))) {
            Ok(done) => u32::from(!done),
            Err(payload) => {
                // Its destructor may panic again, and nothing may leave this function.
                std::mem::forget(payload);
                1
            }
        }
    }
    let task = ParallelFn { data: std::ptr::from_ref(work).cast(), call: call::<F> };
    host.parallel_for()(cx, n, grain, task) == 0
}
