//! Maps that lie in memory as `[N, H, W, C]`.
//!
//! Such a tensor has the shape `[N, C, H, W]` and the strides of a permuted one. While a record is open, functions that have a
//! form for them read them so, and give their results so; others make them row-major first. Elementwise functions and
//! reductions are the same on the permuted shape. In `f32` and `f64`; convolutions and norms in `f32`.

mod conv;
mod norm;
mod plane;

pub(crate) use conv::{conv_transpose2d, conv2d};
pub(crate) use norm::{batch_norm_eval, batch_norm_train};
pub(crate) use plane::{average, resized};

use super::record::is_open;
use super::shape::{permute, reshape};
use candle_core::{DType, Result, Tensor};

/// Whether a map lies channels last, on the CPU, and a record is open.
pub(crate) fn is_last(x: &Tensor) -> bool {
    has_last_strides(x) && is_open()
}

/// Whether a map lies channels last, on the CPU.
pub(crate) fn has_last_strides(x: &Tensor) -> bool {
    let [_, channels, height, width] = *x.dims() else { return false };
    let steps = x.stride();
    channels > 1
        && height * width > 1
        && steps == [channels * height * width, 1, width * channels, channels]
        && x.device().is_cpu()
}

/// Whether the layout matters to a kernel that is written for `f32`.
pub(crate) fn is_last_f32(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && is_last(x)
}

/// `[N, H, W, C]` of `[N, C, H, W]`; shapes of fewer dims have ones before them.
pub(crate) fn lying(x: &Tensor) -> Result<Tensor> {
    if let Some(missing @ 1..) = 4usize.checked_sub(x.rank()) {
        let dims: Vec<usize> = std::iter::repeat_n(1, missing).chain(x.dims().iter().copied()).collect();
        return permute(&reshape(x, &dims)?, &[0, 2, 3, 1]);
    }
    permute(x, &[0, 2, 3, 1])
}

/// `[N, C, H, W]` of `[N, H, W, C]`.
pub(crate) fn standing(x: &Tensor) -> Result<Tensor> {
    permute(x, &[0, 3, 1, 2])
}

/// A dim of `[N, C, H, W]` in `[N, H, W, C]`.
pub(crate) fn dim_lying(dim: usize) -> usize {
    [0, 3, 1, 2][dim]
}

/// Whether operands of an elementwise function are maps of which one lies channels last.
pub(crate) fn lies(operands: &[&Tensor]) -> bool {
    operands.iter().any(|x| is_last(x)) && operands.iter().all(|x| x.rank() <= 4)
}
