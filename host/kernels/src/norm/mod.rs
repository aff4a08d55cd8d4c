//! Normalisation: batch norm over channels, layer norm over rows, L2 over a dim.

mod batch;
mod layer;
mod unit;

pub use batch::{BatchGrads, batch_norm_backward, batch_statistics, channel_affine};
pub use layer::{LayerGrads, layer_norm_backward, layer_norm_forward, row_statistics};
pub use unit::{l2_normalize_backward, l2_normalize_forward};
