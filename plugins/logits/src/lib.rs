//! Further losses on logits: [`Dist`] (correlations in place of divergences) and [`Wsld`] (soft labels weighted sample by
//! sample). Soft targets and their decoupled form are in `stillhouse-kd`.
//!
//! Each loss is one file, with its settings; the [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/logits) has
//! manifest fragments.

mod checks;
mod dist;
mod wsld;

pub use dist::{Dist, DistConfig};
pub use wsld::{Wsld, WsldConfig};

stillhouse_plugin::export_plugin!();
