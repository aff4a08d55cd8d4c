//! Running graphs. A [`Network`] is a graph with its parameters and modules; [`Network::forward`] runs it on candle, on any
//! device, with our own operations where candle's gradients are wrong.

mod layer;
mod memory;
mod network;
mod next_frame;
mod pass;
mod recurrent;
pub(crate) mod tape;
mod threads;
mod tokens;

pub use memory::keep_freed_memory;
pub use network::{Executor, ModuleSlot, Network, NetworkError};
pub use next_frame::Sampling;
pub use pass::{Forward, PassSpec, StagedIn};
pub(crate) use tape::free_buffers;
pub use tape::{ParamGrad, Tape};
pub use threads::use_threads;

#[cfg(test)]
mod tests;
