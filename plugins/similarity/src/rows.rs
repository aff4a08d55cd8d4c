//! Rows and their lengths.

use stillhouse_plugin::prelude::*;

/// Rows up to this length have no direction.
const NOTHING: f64 = 1e-12;

/// Rows of a matrix, each divided by its length plus `eps`. A row of zeros stays one, and passes no gradient.
pub(crate) fn unit_rows(matrix: &Tensor, eps: f64) -> Tensor {
    let squares = matrix.square().sum_keep(&[1]); // [N, 1]
    let lengths = squares.clamp_min(NOTHING * NOTHING).sqrt() + eps; // [N, 1]
    matrix / lengths * squares.gt_value(NOTHING * NOTHING) // [N, D]
}
