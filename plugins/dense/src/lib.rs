//! Feature maps of one shape, as in detection and segmentation: [`Cwd`] (channels as distributions over places), [`Pkd`]
//! (correlation of channels) and [`ReviewkdHcl`] (means at several levels).
//!
//! Each loss is one file, with its settings; the [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/dense) has
//! manifest fragments.

mod cwd;
mod pkd;
mod reviewkd_hcl;

pub use cwd::{Cwd, CwdConfig};
pub use pkd::{Pkd, PkdConfig};
pub use reviewkd_hcl::{ReviewkdHcl, ReviewkdHclConfig};

stillhouse_plugin::export_plugin!();
