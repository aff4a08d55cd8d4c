//! The fast executor: an own tape over pooled buffers, channels last, on the CPU in `f32`.
//!
//! Layers run on `stillhouse-kernels`. A convolution takes the sums for the batch norm behind it while its output is in cache;
//! the batch norm and the activation are then ways to read that output ([`value`]), and are applied when the next layer
//! loads it. A sum that only an activation reads is computed with it. On the way back a gradient passes activation and batch
//! norm inside the convolution's kernel, the gradient of a raw output is formed when it is read ([`backward`]), and only what
//! leads to a trained parameter is computed.
//!
//! A network without gradients in evaluation has batch norm, sum and activation folded into its convolutions ([`fold`])
//! and runs over portions of the batch that stay in cache ([`portions`]).
//!
//! Over time each frame is a run of the graph; the state of recurrent layers goes on in buffers, its gradient back in them
//! ([`state`]). An LSTM keeps its gates: cells and outputs are made from them again on the way back.
//!
//! Tapped points leave as tensors, maps still channels last: parts run on them under a record, and the gradients that it finds
//! for them are where the walk back starts ([`Tape::backward`]). A module runs under a record of its own
//! ([`module`]); a layer without a kernel is an island on candle in the middle of the tape ([`island`]).

mod attention;
mod backward;
mod blocks;
mod buffer;
mod cells;
mod conv;
mod conv_lstm;
mod dense;
mod fold;
mod forward;
mod island;
mod join;
mod module;
mod moves;
mod next_frame;
mod norm;
mod pointwise;
mod pool;
mod portions;
mod record;
mod remade;
mod state;
mod support;
mod tokens;
mod value;

pub use backward::ParamGrad;
pub(crate) use conv::Packs;
pub(crate) use forward::free_buffers;
pub(crate) use portions::forward;
#[cfg(test)]
pub(crate) use portions::{Portions, portions};
pub use record::Tape;
pub(crate) use support::has_kernel;
