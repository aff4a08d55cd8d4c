//! What authors write against. No type of the boundary shows here.

mod config;
mod context;
mod error;
pub(crate) mod export;
mod faces;
mod fused;
pub(crate) mod guard;
mod init;
mod inputs;
pub mod nn;
mod operators;
mod pairs;
mod place;
mod reader;
mod reduction;
mod site;
mod tensor;
mod threads;

pub use context::{BindCx, Cx, Moment, Rng};
pub use error::{Error, Result};
pub use export::{Entry, connector_entry, distiller_entry, loss_entry, module_entry};
pub use faces::{Component, Connector, Distiller, Loss, Module, State, Stepped};
pub use fused::{Float, FusedOp, Slice};
pub use init::Init;
pub use inputs::Inputs;
pub use pairs::{common_size, map_dims, same_shape, sum_of_layers};
pub use reduction::Reduction;
pub use tensor::Tensor;
pub use threads::parallel_for;
