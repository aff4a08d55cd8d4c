//! Connectors that need no method around them: [`Conv`] with normalisation and activation, [`Interpolate`], [`Normalize`],
//! [`Flatten`], [`Gram`] and [`AttentionMap`], alone or in a row.
//!
//! Each part is one file, with its settings; the
//! [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/connectors) has manifest fragments.

mod activation;
mod attention_map;
mod conv;
mod convolution;
mod features;
mod flatten;
mod gram;
mod interpolate;
mod norm;
mod normalize;
mod pair;

pub use activation::Activation;
pub use attention_map::{AttentionMap, AttentionMapConfig, Pooling};
pub use conv::{Conv, ConvConfig};
pub use flatten::{Flatten, FlattenConfig};
pub use gram::{Divisor, Gram, GramConfig};
pub use interpolate::{Filter, Interpolate, InterpolateConfig};
pub use norm::Norm;
pub use normalize::{Dims, Measure, Normalize, NormalizeConfig};
pub use pair::Pair;

stillhouse_plugin::export_plugin!();
