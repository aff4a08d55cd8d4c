//! Operations that a plugin computes itself, forward and backward, over raw contiguous memory.

use super::types::AbiResult;
use abi_stable::StableAbi;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, RSlice, RSliceMut, RVec};

/// Contiguous values, borrowed for the call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct View<'a> {
    pub data: *const u8,
    pub shape: RSlice<'a, usize>,
    /// Code of a [`DType`](crate::op::DType).
    pub dtype: u32,
    /// 0: memory of the host process.
    pub device: u32,
    pub reserved: [u64; 2],
}

/// Contiguous values to be written, borrowed for the call. A null `data` says that nobody wants them.
#[repr(C)]
#[derive(StableAbi)]
pub struct ViewMut<'a> {
    pub data: *mut u8,
    pub shape: RSlice<'a, usize>,
    pub dtype: u32,
    pub device: u32,
    pub reserved: [u64; 2],
}

impl<'a> View<'a> {
    /// A view of memory of this process.
    pub fn of(data: *const u8, shape: &'a [usize], dtype: u32) -> View<'a> {
        View { data, shape: RSlice::from_slice(shape), dtype, device: 0, reserved: [0; 2] }
    }
}

impl<'a> ViewMut<'a> {
    /// A view of memory of this process; null: nobody wants the values.
    pub fn of(data: *mut u8, shape: &'a [usize], dtype: u32) -> ViewMut<'a> {
        ViewMut { data, shape: RSlice::from_slice(shape), dtype, device: 0, reserved: [0; 2] }
    }
}

// SAFETY: a view is a borrowed slice in all but type; whoever makes one borrows the memory for the call.
unsafe impl Send for View<'_> {}
// SAFETY: as above, and reading through it is the only thing that can be done.
unsafe impl Sync for View<'_> {}
// SAFETY: as for `View`; there is one `ViewMut` for a piece of memory.
unsafe impl Send for ViewMut<'_> {}
// SAFETY: as above; a shared reference allows no write.
unsafe impl Sync for ViewMut<'_> {}

/// An operation with its own gradient. It may be called from any thread, many times for one forward.
#[sabi_trait]
pub trait Fused: Send + Sync + 'static {
    /// Shape of the result for these input shapes.
    fn infer(&self, shapes: RSlice<'_, RSlice<'_, usize>>) -> AbiResult<RVec<usize>>;
    /// Writes the result.
    fn forward(&self, inputs: RSlice<'_, View<'_>>, output: ViewMut<'_>) -> AbiResult<()>;
    /// Writes the gradient of every input that is wanted.
    #[sabi(last_prefix_field)]
    fn backward(
        &self,
        inputs: RSlice<'_, View<'_>>,
        output: View<'_>,
        output_grad: View<'_>,
        grads: RSliceMut<'_, ViewMut<'_>>,
    ) -> AbiResult<()>;
}

/// A fused operation as it crosses.
pub type FusedBox = Fused_TO<RBox<()>>;
