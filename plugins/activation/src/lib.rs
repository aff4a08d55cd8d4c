//! Activations before their ReLU: [`Ab`] (on which side of it a neuron lies) and [`Ofd`] (its value, where it matters).
//!
//! Each loss is one file, with its settings; the [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/activation)
//! has manifest fragments.

mod ab;
mod ofd;

pub use ab::{Ab, AbConfig};
pub use ofd::{Ofd, OfdConfig};

stillhouse_plugin::export_plugin!();

/// Factor of tap `at` of `taps`: 1 for the last, half as much for each one before it.
fn layer_weight(at: usize, taps: usize) -> f64 {
    0.5f64.powi((taps - 1 - at) as i32)
}
