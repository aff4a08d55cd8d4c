//! Differentiable functions of candle tensors that run on our own kernels.
//!
//! Each is one node of candle's tape (`f32` and `f64`, CPU), reads its operands in place where they are contiguous, and
//! computes only the gradients that lead to a variable. On another device a function falls back to candle's operations where
//! these mean the same, and says so with an error where they do not.
//!
//! What an operation means includes its gradient at kinks, and is frozen:
//!
//! | operation | gradient where it is not smooth |
//! |---|---|
//! | [`relu`] | 0 at 0 |
//! | [`abs`], [`sign`] | 0 at 0; `sign` has none |
//! | [`leaky_relu`] | `slope` at 0 |
//! | [`relu6`], [`hardtanh`] | 0 at the bounds and outside |
//! | [`clamp`] | 1 at the bounds, 0 outside |
//! | [`sqrt`], [`log`] | infinite at 0, as the formula |
//! | [`pow`] | `e x^(e - 1)`; 0 for `e = 0` |
//! | [`maximum`], [`minimum`] | half to each of equals |
//! | [`max`], [`min`] over a dim | all to the first of equals (no even split) |
//! | [`max_pool2d`] | all to the first maximum of the window, by rows |
//! | [`smooth_l1`] | `sign(d)` at `abs(d) = beta`, where both sides agree; 0 at 0 when `beta = 0` |
//! | [`l2_normalize`] | below `eps`: `g / eps`; at `eps` the full formula |
//! | [`affine`] with `mul = 0` | zero, not missing |
//! | [`floor`], [`round`], [`argmax`], comparisons, the mask of [`where_cond`] | none: the path ends here |
//! | [`scale_grad`], [`detach`] | gradient times the factor; none |
//!
//! The others ([`silu`], [`gelu`], [`sigmoid`], [`tanh`], [`softplus`], [`exp`], [`erf`], [`square`], [`recip`], [`neg`],
//! arithmetic, [`sum`], [`mean`], [`var`], [`squared_distance`], [`softmax`], [`log_softmax`], [`cross_entropy`], [`matmul`], [`conv2d`],
//! [`conv_transpose2d`], [`avg_pool2d`], [`adaptive_avg_pool2d`], [`resize_bilinear`], [`resize_nearest`],
//! [`batch_norm_train`], [`batch_norm_eval`], [`layer_norm`], [`gather`], [`index_select`]) are smooth where they are finite.
//!
//! # Safe as candle has them
//! `reshape`, `transpose`, `permute`, `narrow`, `cat`, `stack`, `squeeze`, `unsqueeze`, `broadcast_as`, `contiguous`,
//! `to_dtype` between floats, `sin`, `cos`, `flatten`: right gradients, no kinks. Not safe: its `relu`, `abs`, `conv2d`,
//! `max_pool2d`, `avg_pool2d` with `stride != kernel`, `upsample_*`, `gather` with an index smaller than its input,
//! `max` and `min` over a dim (all equals get the whole gradient), `gelu` (constants of six digits), `affine` and products with the constant 0 (the gradient is lost), `elu` at
//! its kink, and every fused operation of `candle-nn`.
//!
//! # Apart from candle's tape
//! Between [`Record::during`] and [`Record::gradients`] the functions note what they do on a tape of our own. candle's methods
//! are not noted there; [`reshape`], [`permute`], [`narrow`], [`concat`], [`broadcast_to`], [`cast`] and [`detach`] are.
//!
//! A [`Fusion`] is some elementwise functions as one call there. It keeps nothing but its inputs and results.
//!
//! # Depth
//! candle walks and drops its tape recursively: see `chain_of_many_nodes_fits_a_big_stack` for how deep a chain of these
//! nodes may be on a thread with 64 MB of stack.

mod binary;
mod conv;
mod distance;
mod fusion;
mod gradients;
mod index;
mod last;
mod linear;
mod many;
mod node;
mod norm;
mod packs;
mod pool;
mod record;
mod reduce;
mod seed;
mod shape;
mod softmax;
mod sum;
mod unary;

#[cfg(test)]
mod tests;

pub use binary::{add, div, eq, ge, gt, le, lt, maximum, minimum, mul, ne, smooth_l1, sub, where_cond};
pub use binary::{comparisons, functions as of_two};
pub use conv::{Conv2d, ConvTranspose2d, conv_transpose2d, conv2d};
pub use distance::squared_distance;
pub use fusion::{Fusion, Pointwise, Read};
pub use gradients::Gradients;
pub use index::{gather, index_select};
pub use linear::matmul;
pub use many::{Failure, GradSlots, ManyOp, Outcome, is_panic, packed_custom_op};
pub use norm::{BatchNorm, batch_norm_eval, batch_norm_train, layer_norm};
pub use packs::Packs;
pub use pool::{Pool2d, adaptive_avg_pool2d, avg_pool2d, max_pool2d, resize_bilinear, resize_nearest};
pub use record::Record;
pub use reduce::{argmax, l2_normalize, max, mean, min, sum, var};
pub use seed::seeded;
pub use shape::{broadcast_to, cast, concat, narrow, permute, reshape};
pub use softmax::{Reduction, cross_entropy, log_softmax, softmax};
pub use unary::functions as of_one;
pub use unary::{
    abs, affine, clamp, detach, erf, exp, floor, gelu, hardtanh, leaky_relu, log, neg, pow, recip, relu, relu6, round,
    scale_grad, sigmoid, sign, silu, softplus, sqrt, square, tanh,
};
