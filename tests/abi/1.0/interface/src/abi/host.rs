//! The host's table: everything that a part may ask for.

use super::fused::FusedBox;
use super::types::{AbiError, Ctx, Handle};
use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RSlice, RSliceMut, RStr, RString};

/// Shape, type and place of a tensor.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy, Default)]
pub struct TensorInfo {
    pub dims: [usize; 8],
    pub rank: u32,
    pub dtype: u32,
    /// 0: memory of the host process; fused operations run there.
    pub device: u32,
    /// 1 when nothing is computed: the call is a trace.
    pub symbolic: u32,
    pub reserved: [u64; 4],
}

/// Where in training a call stands.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy, Default)]
pub struct StepInfo {
    /// Epoch within the stage, from 0.
    pub epoch: u64,
    /// Updates done in the stage, from 0.
    pub step: u64,
    pub steps_per_epoch: u64,
    /// Frame of the sequence that a module works on, from 0.
    pub frame: u64,
    /// Samples of the training set.
    pub samples: u64,
    /// 1 in training, 0 in evaluation.
    pub training: u32,
    /// Reserved.
    pub flags: u32,
    pub reserved: [u64; 6],
}

/// A piece of work over index ranges, called from the host's threads.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ParallelFn {
    pub data: *const (),
    /// Works on `start .. end`; gives 0, or 1 when it failed. No panic may leave it.
    pub call: extern "C" fn(data: *const (), start: usize, end: usize) -> u32,
}

// SAFETY: `data` points to a `Sync` closure that outlives the call; see `super::safe::parallel_for`.
unsafe impl Send for ParallelFn {}
// SAFETY: as above.
unsafe impl Sync for ParallelFn {}

/// Distributions of [`HostApi::random`].
pub mod distribution {
    /// Uniform in `[a, b)`.
    pub const UNIFORM: u32 = 0;
    /// Normal of mean `a` and deviation `b`.
    pub const NORMAL: u32 = 1;
    /// 1 with probability `a`, else 0.
    pub const BERNOULLI: u32 = 2;
}

/// Keys of [`HostApi::text`].
pub mod text {
    pub const STAGE: u32 = 0;
    pub const PHASE: u32 = 1;
    pub const TERM: u32 = 2;
    /// Version of the host's program.
    pub const HOST_VERSION: u32 = 3;
    /// Version of the interface that the host speaks, `1.0`.
    pub const INTERFACE: u32 = 4;
}

/// Functions of the host. A tensor function never fails at once: it gives a poisoned handle, and the first error of the call
/// waits in [`take_error`](HostApi::take_error).
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostApi_Ref, prefix_fields = HostApi_Prefix)))]
pub struct HostApi {
    /// One operation of [`Op`](crate::op::Op): code, name, inputs, attributes, results.
    pub call:
        extern "C" fn(Ctx, u32, RStr<'_>, RSlice<'_, Handle>, RSlice<'_, i64>, RSlice<'_, f64>, RSliceMut<'_, Handle>),
    /// One more owner of the handle.
    pub retain: extern "C" fn(Ctx, Handle) -> Handle,
    /// One owner less.
    pub release: extern "C" fn(Ctx, Handle),
    /// Shape and type; false for a poisoned or stale handle.
    pub describe: extern "C" fn(Ctx, Handle, &mut TensorInfo) -> bool,
    /// A constant from row-major values of this dtype code.
    pub constant: extern "C" fn(Ctx, RSlice<'_, u8>, u32, RSlice<'_, usize>) -> Handle,
    /// Copies the values out, in the tensor's own type; only parts that are declared `dynamic` may.
    pub read: extern "C" fn(Ctx, Handle, RSliceMut<'_, u8>) -> bool,
    /// Runs a fused operation on the tape.
    pub fused: extern "C" fn(Ctx, RStr<'_>, RSlice<'_, Handle>, FusedBox) -> Handle,
    /// Makes a parameter (`bind` only): name, shape, initialisation as JSON.
    pub parameter: extern "C" fn(Ctx, RStr<'_>, RSlice<'_, usize>, RStr<'_>) -> Handle,
    /// Makes a buffer (`bind` only): name, dtype code, shape, initialisation as JSON.
    pub buffer: extern "C" fn(Ctx, RStr<'_>, u32, RSlice<'_, usize>, RStr<'_>) -> Handle,
    /// A parameter or buffer of this part by name.
    pub state: extern "C" fn(Ctx, RStr<'_>) -> Handle,
    /// Stages a new value of a buffer.
    pub set: extern "C" fn(Ctx, RStr<'_>, Handle),
    /// Stages new rows of a buffer: name, indices `i64` `[K]`, values `[K, ...]`.
    pub set_rows: extern "C" fn(Ctx, RStr<'_>, Handle, Handle),
    /// Random values by purpose: [`distribution`], dtype code, shape, a, b.
    pub random: extern "C" fn(Ctx, RStr<'_>, u32, u32, RSlice<'_, usize>, f64, f64) -> Handle,
    /// A seed by purpose, for a part's own generator: equal for equal manifest, seed, step and purpose.
    pub seed: extern "C" fn(Ctx, RStr<'_>) -> u64,
    /// Where training stands.
    pub step_info: extern "C" fn(Ctx, &mut StepInfo),
    /// Text by key, see [`text`]; empty for a key that the host does not know.
    pub text: extern "C" fn(Ctx, u32) -> RString,
    /// Hands a tensor to the run's log and report under a name.
    pub emit: extern "C" fn(Ctx, RStr<'_>, Handle),
    /// A line for the run's log: 1 error, 2 warning, 3 information, 4 detail.
    pub log: extern "C" fn(Ctx, u32, RStr<'_>),
    /// A poisoned handle with this error behind it: operation, message.
    pub poison: extern "C" fn(Ctx, RStr<'_>, RStr<'_>) -> Handle,
    /// The first error since the last call, taken.
    pub take_error: extern "C" fn(Ctx) -> ROption<AbiError>,
    /// Work on `0 .. n` in pieces `k grain .. (k + 1) grain`; 0, or 1 when a piece failed. It needs no call: own operations use
    /// it from whatever thread they are on, as [`NO_CALL`](super::NO_CALL).
    #[sabi(last_prefix_field)]
    pub parallel_for: extern "C" fn(Ctx, usize, usize, ParallelFn) -> u32,
    /// The values of all processes, one after the other.
    #[cfg(feature = "next")]
    pub all_gather: extern "C" fn(Ctx, Handle) -> Handle,
}
