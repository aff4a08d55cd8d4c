//! Resolution-aware distillation: the losses [`CrkdRad`] (soft targets), [`CrkdPair`] (matched features) and [`CrkdMmd`]
//! (distributions of features), and the distiller [`Crkd`], which adds a discriminator.
//!
//! Each part is one file, with its settings; the [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/crkd) has
//! manifest fragments.

mod config;
mod discriminator;
mod distiller;
mod mmd;
mod pair;
mod rad;

pub use config::{Adversary, CrkdConfig};
pub use distiller::Crkd;
pub use mmd::{CrkdMmd, CrkdMmdConfig};
pub use pair::{CrkdPair, CrkdPairConfig};
pub use rad::{CrkdRad, CrkdRadConfig};

stillhouse_plugin::export_plugin!();

/// What the parts are after. The publication's code and formulas are not public; see the README.
const CITATION: &str = "Feng, Lai & Xie, Resolution-Aware Knowledge Distillation for Efficient Inference, IEEE Transactions on \
                        Image Processing, 2021";
