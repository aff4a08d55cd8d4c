//! The fast executor: an own tape over pooled buffers, channels last, on the CPU in `f32`.
//!
//! Layers run on `stillhouse-kernels`. A convolution takes the sums for the batch norm behind it while its output is in cache;
//! the batch norm and the activation are then ways to read that output ([`value`]), and are applied when the next layer
//! loads it. A sum that only an activation reads is computed with it. On the way back a gradient passes activation and batch
//! norm inside the convolution's kernel, the gradient of a raw output is formed when it is read ([`backward`]), and only what
//! leads to a trained parameter is computed.
//!
//! A network without gradients in evaluation has batch norm, sum and activation folded into its convolutions ([`fold`]).
//!
//! Tapped points leave as tensors, maps still channels last: parts run on them under a record, and the gradients that it finds
//! for them are where the walk back starts ([`Tape::backward`]). A layer without a kernel, and a module, is an island on candle in the
//! middle of the tape ([`island`]).

mod attention;
mod backward;
mod buffer;
mod conv;
mod dense;
mod fold;
mod forward;
mod island;
mod join;
mod moves;
mod norm;
mod pointwise;
mod pool;
mod record;
mod support;
mod tokens;
mod value;

pub use backward::ParamGrad;
pub(crate) use conv::Packs;
pub(crate) use forward::{forward, free_buffers};
pub use record::Tape;
pub(crate) use support::has_kernel;
