//! The crate `stillhouse-plugin` as version 1.0 of the interface froze it, without what runs parts in process. Plugins built with
//! it stand for those that are out in the world: hosts have to take them for as long as the major version is 1.
//!
//! With the feature `next` it is what a minor 1.1 might be: a function behind the others of the host's table, and an operation with
//! a new code.

pub mod abi;
pub mod desc;
pub mod op;
pub mod report;
pub mod sdk;

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
    pub use serde::Deserialize;
}

// Names that the macros need in crates that do not depend on them.
#[doc(hidden)]
pub use {schemars, serde, serde_json};
