//! Losses of the task itself (the host names no method, not even the cross-entropy), and plain distances between features.

mod cosine;
mod cross_entropy;
mod l1;

pub use cosine::{Cosine, CosineConfig};
pub use cross_entropy::{CrossEntropy, CrossEntropyConfig};
pub use l1::{L1, L1Config};

stillhouse_plugin::export_plugin!();
