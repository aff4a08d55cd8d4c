//! Softmax, its logarithm, cross-entropy.

use super::indexing::each_line;
use crate::testing::array::Array;

pub(super) fn log_softmax(x: &Array, dim: usize) -> Vec<f64> {
    let mut result = vec![0.0; x.values.len()];
    each_line(x.shape(), dim, |line| {
        let largest = line.iter().map(|at| x.values[*at]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = line.iter().map(|at| (x.values[*at] - largest).exp()).sum();
        line.iter().for_each(|at| result[*at] = x.values[*at] - largest - sum.ln());
    });
    result
}

pub(super) fn softmax(x: &Array, dim: usize) -> Vec<f64> {
    let mut result = vec![0.0; x.values.len()];
    each_line(x.shape(), dim, |line| {
        let largest = line.iter().map(|at| x.values[*at]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = line.iter().map(|at| (x.values[*at] - largest).exp()).sum();
        line.iter().for_each(|at| result[*at] = (x.values[*at] - largest).exp() / sum);
    });
    result
}

/// `g - softmax(x) sum g`.
pub(super) fn log_softmax_backward(output: &Array, dim: usize, grad: &[f64]) -> Vec<f64> {
    let mut result = vec![0.0; grad.len()];
    each_line(output.shape(), dim, |line| {
        let sum: f64 = line.iter().map(|at| grad[*at]).sum();
        line.iter().for_each(|at| result[*at] = grad[*at] - output.values[*at].exp() * sum);
    });
    result
}

/// `y (g - sum(g y))`.
pub(super) fn softmax_backward(output: &Array, dim: usize, grad: &[f64]) -> Vec<f64> {
    let mut result = vec![0.0; grad.len()];
    each_line(output.shape(), dim, |line| {
        let sum: f64 = line.iter().map(|at| grad[*at] * output.values[*at]).sum();
        line.iter().for_each(|at| result[*at] = output.values[*at] * (grad[*at] - sum));
    });
    result
}

pub(super) fn cross_entropy(smoothing: f64, inputs: &[&Array]) -> Result<Vec<f64>, String> {
    let logs = log_softmax(inputs[0], 1);
    let targets = targets(smoothing, inputs)?;
    let classes = inputs[0].shape()[1].max(1);
    let rows = logs.chunks(classes).zip(targets.chunks(classes));
    Ok(rows.map(|(logs, targets)| -logs.iter().zip(targets).map(|(log, target)| log * target).sum::<f64>()).collect())
}

/// `g (softmax(x) - target)`.
pub(super) fn cross_entropy_backward(smoothing: f64, inputs: &[&Array], grad: &[f64]) -> Result<Vec<f64>, String> {
    let classes = inputs[0].shape()[1].max(1);
    let pairs = softmax(inputs[0], 1).into_iter().zip(targets(smoothing, inputs)?);
    Ok(pairs.enumerate().map(|(at, (p, target))| grad[at / classes] * (p - target)).collect())
}

/// The distribution that a label stands for.
fn targets(smoothing: f64, inputs: &[&Array]) -> Result<Vec<f64>, String> {
    let classes = inputs[0].shape()[1];
    let mut targets = vec![smoothing / classes as f64; inputs[0].values.len()];
    for row in 0..inputs[1].values.len() {
        targets[row * classes + inputs[1].index(row, classes)?] += 1.0 - smoothing;
    }
    Ok(targets)
}
