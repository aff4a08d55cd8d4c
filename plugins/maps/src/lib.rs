//! Feature maps of any width: [`At`] (where a network looks), [`Nst`] (what its channels respond to), [`Fsp`] (how one layer
//! flows into another) and [`Vid`] (how well the teacher's map can be told from the student's).
//!
//! Each loss is one file, with its settings; the [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/maps) has
//! manifest fragments.

mod at;
mod fsp;
mod nst;
mod vid;

pub use at::{At, AtConfig};
pub use fsp::{Fsp, FspConfig};
pub use nst::{Nst, NstConfig};
pub use vid::{Vid, VidConfig};

stillhouse_plugin::export_plugin!();
