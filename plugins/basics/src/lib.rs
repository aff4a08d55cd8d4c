//! Losses of the task itself (the host names no method, not even the cross-entropy), and plain distances between features.

mod cosine;
mod cross_entropy;
mod l1;
mod next_frame;

pub use cosine::{Cosine, CosineConfig};
pub use cross_entropy::{CrossEntropy, CrossEntropyConfig};
pub use l1::{L1, L1Config};
pub use next_frame::{NextFrame, NextFrameConfig};

stillhouse_plugin::export_plugin!();
