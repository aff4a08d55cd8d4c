//! Every operation forward and backward, by plain loops.
//!
//! Most operations fall into one of four forms, and each form has one gradient: pointwise; *select* (each element of the
//! result is one element of the input); *mix* (each is a weighted sum of elements); *product* (each is a sum of products of
//! elements of two inputs).

mod indexing;
mod mix;
mod norm;
mod pointwise;
mod product;
mod select;
mod softmax;
#[cfg(test)]
mod tests;

use super::array::Array;
use crate::op::{DType, Meta, Op};

/// Results of `op`. The inputs were checked by [`Op::infer`], whose shapes and types `metas` are.
pub(super) fn forward(op: &Op, inputs: &[&Array], metas: &[Meta]) -> Result<Vec<Array>, String> {
    if let Op::BatchNormTrain { eps } = op {
        let results = norm::batch_norm_train(*eps, inputs);
        return Ok(metas.iter().cloned().zip(results).map(|(meta, values)| Array::new(meta, values)).collect());
    }
    let meta = &metas[0];
    let values = match op {
        Op::Full { value, .. } => vec![*value; meta.count()],
        Op::Eye { n, .. } => (0..n * n).map(|i| f64::from(i / n == i % n)).collect(),
        Op::Arange { n, .. } => (0..*n).map(|i| i as f64).collect(),
        Op::OneHot { classes, .. } => one_hot(inputs[0], *classes)?,
        Op::ArgMax { dim, .. } => select::positions(inputs[0], *dim),
        Op::Softmax { dim } => softmax::softmax(inputs[0], *dim),
        Op::LogSoftmax { dim } => softmax::log_softmax(inputs[0], *dim),
        Op::CrossEntropy { smoothing } => softmax::cross_entropy(*smoothing, inputs)?,
        Op::Normalize { eps, dims } => norm::normalize(*eps, dims, inputs[0]),
        Op::BatchNormEval { eps } => norm::batch_norm_eval(*eps, inputs),
        Op::LayerNorm { dims, eps } => norm::layer_norm(*dims, *eps, inputs),
        _ if pointwise::is_pointwise(op) => pointwise::forward(op, inputs, &meta.shape),
        _ if product::is_product(op) => product::forward(op, inputs, &meta.shape),
        _ if mix::is_mix(op) => mix::forward(op, inputs[0], &meta.shape),
        _ => select::forward(op, inputs, &meta.shape)?,
    };
    Ok(vec![Array::new(meta.clone(), values)])
}

/// Gradients of the inputs, from that of the first result; `None` where none passes.
pub(super) fn backward(
    op: &Op,
    inputs: &[&Array],
    output: &Array,
    grad: &[f64],
) -> Result<Vec<Option<Vec<f64>>>, String> {
    Ok(match op {
        Op::Detach | Op::Full { .. } | Op::Eye { .. } | Op::Arange { .. } => vec![None; inputs.len()],
        Op::OneHot { .. } | Op::ArgMax { .. } => vec![None],
        Op::ScaleGrad { factor } => vec![Some(grad.iter().map(|g| factor * g).collect())],
        Op::Softmax { dim } => vec![Some(softmax::softmax_backward(output, *dim, grad))],
        Op::LogSoftmax { dim } => vec![Some(softmax::log_softmax_backward(output, *dim, grad))],
        Op::CrossEntropy { smoothing } => vec![Some(softmax::cross_entropy_backward(*smoothing, inputs, grad)?), None],
        Op::Normalize { eps, dims } => vec![Some(norm::normalize_backward(*eps, dims, inputs[0], grad))],
        Op::BatchNormTrain { eps } => norm::batch_norm_train_backward(*eps, inputs, grad),
        Op::BatchNormEval { eps } => norm::batch_norm_eval_backward(*eps, inputs, grad),
        Op::LayerNorm { dims, eps } => norm::layer_norm_backward(*dims, *eps, inputs, grad),
        _ if pointwise::is_pointwise(op) => pointwise::backward(op, inputs, output.shape(), grad),
        _ if product::is_product(op) => product::backward(op, inputs, output.shape(), grad),
        _ if mix::is_mix(op) => vec![Some(mix::backward(op, inputs[0].shape(), output.shape(), grad))],
        _ => select::backward(op, inputs, output.shape(), grad)?,
    })
}

/// True when a gradient may pass through values of this type.
pub(super) fn carries(dtype: DType) -> bool {
    dtype.is_float()
}

fn one_hot(labels: &Array, classes: usize) -> Result<Vec<f64>, String> {
    let mut rows = vec![0.0; labels.values.len() * classes];
    for at in 0..labels.values.len() {
        rows[at * classes + labels.index(at, classes)?] = 1.0;
    }
    Ok(rows)
}
