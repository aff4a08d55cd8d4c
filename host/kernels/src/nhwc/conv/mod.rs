//! Convolution over channels-last images, with every gradient.
//!
//! Weights come as parameters are stored, `[C_out, C_in / groups, kH, kW]`, and are packed once for a set of calls
//! ([`pack_forward`], [`pack_backward`]). A transposed convolution is the gradient of the convolution whose input is its
//! output ([`ConvShape::transposed`]): it uses the packing of the other direction.
//!
//! An image (a band of a large one, a few small ones) is copied with its padding to memory that stays in the second-level
//! cache; the copy applies what the value is read through. Register tiles of pixels by output channels then run along the
//! window, whose rows lie one after another in the copy. Both gradients read the same copy of the output's gradient.
//! 3x3 and 5x5 windows of stride 1 over 16 channels or more are faster by Winograd's method ([`pack_winograd`]), in all three
//! directions.
//!
//! Results depend on the shape and the [`Level`](super::Level), not on the number of threads.

mod after;
mod bias;
mod corner;
mod depthwise;
mod drive;
pub(crate) mod lanes;
mod layout;
mod method;
mod pack;
mod patch;
mod plan;
mod points;
mod rows;
mod run;
mod scratch;
mod spread;
mod tile;
mod transform;
mod turned;
mod weights;
mod wide;
mod winograd;

pub use drive::{backward, backward_transposed, forward, forward_transposed};
pub use pack::{
    Packed, bf16_is_fast, has_bf16, pack_backward, pack_bf16, pack_forward, pack_winograd, pack_winograd_backward,
};

pub(super) use rows::rows_by_weights;

pub use crate::conv::{ConvShape, Window};

use super::{Activation, Load};

/// What happens to an output before it is stored: `activation(conv + bias + residual)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[C]` of the output.
    pub bias: Option<&'a [f32]>,
    /// As long as the output.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

/// The layer below is a lazy value `activation(x * scale + shift)`: its gradient is taken back to the batch norm's output
/// and the sums that the batch norm's gradient needs are taken while `dx` is in cache.
#[derive(Debug)]
pub struct Below<'a> {
    /// The lazy value, as long as `dx`; `dx` is multiplied by `activation'(x * scale + shift)`.
    pub load: Load<'a>,
    /// What the sums are of in place of the raw `x`, as long as it: for a sum of two, the term that the batch norm makes.
    pub branch: Option<&'a [f32]>,
    /// `[2 * C]`: of each channel the sum of `dx`, then of each the sum of `dx * x`, `x` raw. Overwritten.
    pub sums: &'a mut [f64],
}

/// The gradient for the input, and where it goes.
#[derive(Debug)]
pub struct DataGrad<'a> {
    /// Weights packed for the other direction: [`pack_backward`], or [`pack_forward`] of a transposed convolution.
    pub packed: &'a Packed,
    /// The gradient.
    pub dx: &'a mut [f32],
    /// Adds to `dx` instead of overwriting it.
    pub accumulate: bool,
    /// Applied to the gradient, after the addition.
    pub below: Option<Below<'a>>,
}

/// The gradients that a backward pass computes: those that are given.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// For the input.
    pub data: Option<DataGrad<'a>>,
    /// For the weights, `[C_out, C_in / groups, kH, kW]`; overwritten.
    pub weights: Option<&'a mut [f32]>,
    /// For the bias: the sum of the output's gradient over each channel; overwritten.
    pub bias: Option<&'a mut [f32]>,
}
