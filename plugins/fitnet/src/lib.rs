//! FitNets: a student learns to predict what the teacher's middle layers say, then learns the task beside soft targets.
//!
//! The method in its two stages is the distiller [`Fitnet`]. Its parts stand alone, too, for the one-stage variants in use:
//! the connectors [`ConvRegressor`], [`Linear`] and [`PoolTo`], the losses [`Mse`], [`Hint`], [`HintDistance`] and
//! [`SoftCrossEntropy`]. The [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/fitnet) has manifest
//! fragments.

mod conv_regressor;
mod distiller;
mod features;
mod hint;
mod lambda;
mod linear;
mod mse;
mod pool_to;
mod regressor;
mod soft_cross_entropy;

pub use conv_regressor::{ConvRegressor, ConvRegressorConfig};
pub use distiller::{Fitnet, FitnetConfig, HintReduction, RegressorConfig, RegressorKind};
pub use hint::{Hint, HintConfig, HintDistance, HintDistanceConfig};
pub use lambda::Lambda;
pub use linear::{Linear, LinearConfig};
pub use mse::{Mse, MseConfig};
pub use pool_to::{PoolTo, PoolToConfig};
pub use soft_cross_entropy::{SoftCrossEntropy, SoftCrossEntropyConfig};

stillhouse_plugin::export_plugin!();
