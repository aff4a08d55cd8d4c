//! The host's side of the operation table: what happens when a part asks for something.
//!
//! A call into a part opens a [`Session`]. Its handles are symbolic (a [`Trace`] grows: shapes and types, nothing computed)
//! or concrete (candle tensors on candle's tape). [`BoundPart`] is a part with its parameters, ready for both.

mod eager;
mod error;
mod failed;
mod fused;
mod init;
pub use stillhouse_native as native;
mod params;
mod part;
mod pointwise;
mod replay;
mod session;
pub mod slices;
mod table;
mod trace;

#[cfg(test)]
pub(crate) mod tests;

pub use eager::{from_meta_dtype, meta_of, run as run_op, to_candle_dtype};
pub use error::OpError;
pub use failed::{Circumstances, Origin, keep_inputs};
pub use init::initialise;
pub use params::{Entry, ParamKind, ParamSet};
pub use part::{BoundPart, Call, Given, PortIn, TracePort, Traced};
pub use replay::Surface;
pub use session::{Emitted, Manner, Moment, Staged};
pub use table::host_api;
pub use trace::{Leaf, Node, Trace};
