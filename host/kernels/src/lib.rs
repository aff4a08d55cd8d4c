//! CPU kernels of Stillhouse: plain slices in, plain slices out.
//!
//! Every kernel is generic over [`Float`] (`f32`, `f64`), takes contiguous row-major slices (images are `[N, C, H, W]`) and
//! writes into a slice that the caller owns. Nothing here knows tensors, graphs or gradients' bookkeeping: a backward kernel
//! is a function of the values that the caller kept.
//!
//! Three promises hold for all of them:
//! - **Same numbers on any thread count.** Work is cut by shape alone; a sum that crosses pieces is taken in their order.
//! - **Same numbers on any instruction set**, matrix products and convolutions aside: loops run as AVX-512, AVX2 or portable code
//!   ([`simd`]) and never contract a product and a sum.
//! - **A wrong slice length panics** before anything is written: lengths are the caller's contract, geometry that a user
//!   can get wrong is a [`ShapeError`].
//!
//! | module | kernels |
//! |---|---|
//! | [`conv`] | convolution and transposed convolution, all gradients |
//! | [`matmul`] | batched matrix product over strided operands |
//! | [`pool`], [`resize`] | max, average, adaptive pooling; bilinear and nearest resizing |
//! | [`nhwc`] | kernels over channels-last `f32`, fused for training |
//! | [`optim`] | optimizers in place |
//! | [`recurrent`], [`rng`] | pointwise parts of recurrent cells; random numbers by position |
//! | [`norm`] | batch norm, layer norm, L2 normalisation |
//! | [`softmax`] | softmax, log-softmax, cross-entropy |
//! | [`fusion`] | elementwise functions one after the other, without the values between |
//! | [`elementwise`], [`broadcast`], [`reduce`] | maps, NumPy broadcasting, sums and extremes over a dim |

pub mod broadcast;
pub mod conv;
pub mod elementwise;
pub mod float;
pub mod fusion;
pub mod matmul;
pub mod nhwc;
pub mod norm;
pub mod optim;
pub mod pool;
pub mod recurrent;
pub mod reduce;
pub mod resize;
pub mod rng;
pub mod softmax;

mod error;
mod leveled;
mod parallel;
mod prefetch;

pub use error::ShapeError;
pub use float::{Float, simd};
