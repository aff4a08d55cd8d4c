//! Transferable memory: the module [`TmuCell`], a recurrent cell that says what the memories of trained networks hold, the
//! distiller [`Tmu`], which trains a network with it, and its distance [`TmuMemory`].
//!
//! Each part is one file; the [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/tmu) has manifest fragments.

mod cell;
mod config;
mod distiller;
mod memory;

pub use cell::{HiddenFrom, TmuCell, TmuCellConfig};
pub use config::{Bank, Sources, TmuConfig};
pub use distiller::Tmu;
pub use memory::{TmuMemory, TmuMemoryConfig};

stillhouse_plugin::export_plugin!();

/// Where the method is from.
const CITATION: &str = "Yao, Wang, Long & Wang, Unsupervised Transfer Learning for Spatiotemporal Predictive Networks, ICML 2020, \
                        arXiv:2009.11763";
