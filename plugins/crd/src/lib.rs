//! Contrastive representation distillation: the loss [`Crd`], with memories of all samples.
//!
//! The [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/crd) has manifest fragments.

mod config;
mod crd;
mod negatives;

pub use config::CrdConfig;
pub use crd::Crd;

stillhouse_plugin::export_plugin!();
