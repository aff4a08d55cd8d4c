//! Write a distillation method for Stillhouse as a plugin.
//!
//! A plugin is a `cdylib` with any number of components: [losses](Loss), [connectors](Connector), [modules](Module) and
//! [distillers](Distiller). It computes only through the [`Tensor`] of this crate, whose operations the host records on its
//! own tape; so parts of different plugins compose, gradients flow through all of them, and a plugin stays small.
//!
//! # A whole loss
//! ```
//! use stillhouse_plugin::prelude::*;
//!
//! /// Settings of [`Scaled`].
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct ScaledConfig {
//!     /// Factor of the difference.
//!     #[serde(default = "one")]
//!     scale: f64,
//! }
//! fn one() -> f64 { 1.0 }
//!
//! /// Mean squared difference times a scale.
//! struct Scaled(ScaledConfig);
//!
//! impl Component for Scaled {
//!     type Config = ScaledConfig;
//!     const NAME: &'static str = "scaled";
//!     const DOC: &'static str = "Mean squared difference times a scale";
//!     fn new(config: ScaledConfig) -> Result<Self> {
//!         ensure!(config.scale > 0.0, "`scale` must be above 0, got {}", config.scale);
//!         Ok(Scaled(config))
//!     }
//!     fn ports() -> Vec<Port> {
//!         vec![Port::student().or("logits"), Port::teacher().or("logits")]
//!     }
//! }
//!
//! impl Loss for Scaled {
//!     fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
//!         let difference = x.one("student")? - x.one("teacher")?; // [N, C]
//!         Ok((difference * self.0.scale).square().mean_all())
//!     }
//! }
//!
//! register!(loss Scaled);
//!
//! # fn main() -> Result<()> {
//! // An author's unit test: the loss and its gradient, in process, in f64.
//! use stillhouse_plugin::testing::Bench;
//! let run = Bench::loss::<Scaled>(r#"{"scale": 2.0}"#)?
//!     .input("student", &[1, 2], &[3.0, 1.0])
//!     .input("teacher", &[1, 2], &[1.0, 1.0])
//!     .run()?;
//! assert_eq!(run.loss(), 8.0);
//! assert_eq!(run.grad("student"), [8.0, 0.0]);
//! # Ok(())
//! # }
//! ```
//! One line more, `export_plugin!();` at the root of a `cdylib` crate, and the file can be loaded.
//!
//! # The guide
//! `GUIDE.md` beside this crate leads from a PyTorch loss, line by line, to a finished method, and has every operation with its gradient.
//!
//! # Rooms
//! [`prelude`] has everything that a method needs. [`desc`] describes components and plans, [`op`] lists the operations with
//! their gradients, [`testing`] runs parts in process. [`abi`] is the boundary itself; authors never look in there.

pub mod abi;
pub mod desc;
#[cfg(test)]
mod frozen;
pub mod op;
pub mod report;
pub mod sdk;
pub mod testing;

/// The guide, whose code the tests compile and run.
#[cfg(doctest)]
#[doc = include_str!("../GUIDE.md")]
pub struct Guide;

pub use inventory;
pub use sdk::{
    BindCx, Component, Connector, Cx, Distiller, Error, Float, FusedOp, Init, Inputs, Loss, Module, Moment, Reduction,
    Result, Slice, State, Stepped, Tensor, parallel_for,
};

/// Everything that a method needs, in one `use`.
pub mod prelude {
    pub use crate::desc::{
        FieldSite, Group, Mode, ModelSite, Pass, Phase, Plan, Port, Site, Source, StagePlan, TermPlan, Unit, WeightPlan,
    };
    pub use crate::op::DType;
    pub use crate::sdk::nn::{BatchNorm, Conv2d, ConvTranspose2d, LayerNorm, Linear};
    pub use crate::sdk::{
        BindCx, Component, Connector, Cx, Distiller, Error, Float, FusedOp, Init, Inputs, Loss, Module, Moment,
        Reduction, Result, Slice, State, Stepped, Tensor, common_size, map_dims, parallel_for, same_shape,
        sum_of_layers,
    };
    pub use crate::{ensure, export_plugin, register};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}

// Names that the macros need in crates that do not depend on them.
#[doc(hidden)]
pub use {schemars, serde, serde_json};
