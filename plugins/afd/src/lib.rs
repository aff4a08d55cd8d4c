//! Attention-based feature distillation: the distiller [`Afd`], which finds out by itself which layer of the student learns from
//! which layer of the teacher.
//!
//! The [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/afd) has manifest fragments.

mod attention;
mod distiller;
mod values;

pub use distiller::{Afd, AfdConfig};

stillhouse_plugin::export_plugin!();
