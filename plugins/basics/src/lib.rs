//! Losses of the task itself: the host names no method, not even the cross-entropy.

mod cross_entropy;

pub use cross_entropy::{CrossEntropy, CrossEntropyConfig};

stillhouse_plugin::export_plugin!();
