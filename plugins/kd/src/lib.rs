//! Distillation of logits: [`Kd`] (soft targets) and [`Dkd`] (soft targets, decoupled into the label and the rest).
//!
//! Each loss is one file, with its settings; the [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/kd) has
//! manifest fragments.

mod dkd;
mod kd;
mod logits;

pub use dkd::{Dkd, DkdConfig, DkdReduction};
pub use kd::{Kd, KdConfig, Reduction};

stillhouse_plugin::export_plugin!();
