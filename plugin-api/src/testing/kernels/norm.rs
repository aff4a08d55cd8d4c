//! Normalisations.

use super::indexing::{broadcast_places, groups};
use crate::testing::array::Array;

type Grads = Vec<Option<Vec<f64>>>;

pub(super) fn normalize(eps: f64, dims: &[usize], x: &Array) -> Vec<f64> {
    let mut result = vec![0.0; x.values.len()];
    for group in groups(x.shape(), dims) {
        let norm = group.iter().map(|at| x.values[*at] * x.values[*at]).sum::<f64>().sqrt();
        group.iter().for_each(|at| result[*at] = x.values[*at] / norm.max(eps));
    }
    result
}

/// `(g - y (g . y)) / |v|`, and `g / eps` where the norm is below `eps`.
pub(super) fn normalize_backward(eps: f64, dims: &[usize], x: &Array, grad: &[f64]) -> Vec<f64> {
    let mut result = vec![0.0; x.values.len()];
    for group in groups(x.shape(), dims) {
        let norm = group.iter().map(|at| x.values[*at] * x.values[*at]).sum::<f64>().sqrt();
        let along: f64 = group.iter().map(|at| grad[*at] * x.values[*at]).sum();
        for at in group {
            let straight = if norm < eps { 0.0 } else { x.values[at] * along / (norm * norm) };
            result[at] = (grad[at] - straight) / norm.max(eps);
        }
    }
    result
}

/// Mean and biased variance of each group.
fn statistics(x: &Array, groups: &[Vec<usize>]) -> Vec<(f64, f64)> {
    let of = |group: &Vec<usize>| {
        let count = group.len() as f64;
        let mean = group.iter().map(|at| x.values[*at]).sum::<f64>() / count;
        let variance = group.iter().map(|at| (x.values[*at] - mean).powi(2)).sum::<f64>() / count;
        (mean, variance)
    };
    groups.iter().map(of).collect()
}

/// Each group to mean 0 and variance 1, with `1 / sqrt(variance + eps)` by group.
fn standardised(x: &Array, groups: &[Vec<usize>], eps: f64) -> (Vec<f64>, Vec<f64>) {
    let mut result = vec![0.0; x.values.len()];
    let mut scales = vec![];
    for (group, (mean, variance)) in groups.iter().zip(statistics(x, groups)) {
        let scale = 1.0 / (variance + eps).sqrt();
        group.iter().for_each(|at| result[*at] = (x.values[*at] - mean) * scale);
        scales.push(scale);
    }
    (result, scales)
}

/// Gradient through [`standardised`]: `scale (g - mean(g) - y mean(g y))` in each group.
fn standardised_backward(y: &[f64], scales: &[f64], groups: &[Vec<usize>], grad: &[f64]) -> Vec<f64> {
    let mut result = vec![0.0; grad.len()];
    for (group, scale) in groups.iter().zip(scales) {
        let count = group.len() as f64;
        let mean = group.iter().map(|at| grad[*at]).sum::<f64>() / count;
        let along = group.iter().map(|at| grad[*at] * y[*at]).sum::<f64>() / count;
        group.iter().for_each(|at| result[*at] = scale * (grad[*at] - mean - y[*at] * along));
    }
    result
}

/// Dimensions other than that of the channels.
fn all_but_channels(x: &Array) -> Vec<usize> {
    (0..x.shape().len()).filter(|d| *d != 1).collect()
}

/// For every element its channel.
fn channels(x: &Array) -> Vec<usize> {
    let mut shape = vec![1; x.shape().len()];
    shape[1] = x.shape()[1];
    broadcast_places(&shape, x.shape())
}

/// `y scale + shift`, each at the place given for the element.
fn affine(y: &[f64], places: &[usize], scale: Option<&&Array>, shift: Option<&&Array>) -> Vec<f64> {
    let of = |array: Option<&&Array>, place: usize, default: f64| array.map_or(default, |array| array.values[place]);
    y.iter().zip(places).map(|(y, place)| y * of(scale, *place, 1.0) + of(shift, *place, 0.0)).collect()
}

/// Gradients of `y`, scale and shift through [`affine`].
fn affine_backward(y: &[f64], places: &[usize], inputs: &[&Array], grad: &[f64]) -> (Vec<f64>, Grads) {
    let mut to_y = grad.to_vec();
    let mut others: Vec<Vec<f64>> = inputs[1..].iter().map(|input| vec![0.0; input.values.len()]).collect();
    for (at, place) in places.iter().enumerate() {
        if let Some(scale) = inputs.get(1) {
            to_y[at] *= scale.values[*place];
            others[0][*place] += grad[at] * y[at];
        }
        if let Some(shift) = others.get_mut(1) {
            shift[*place] += grad[at];
        }
    }
    (to_y, others.into_iter().map(Some).collect())
}

/// Result, mean, unbiased variance.
pub(super) fn batch_norm_train(eps: f64, inputs: &[&Array]) -> [Vec<f64>; 3] {
    let x = inputs[0];
    let groups = groups(x.shape(), &all_but_channels(x));
    let (y, _) = standardised(x, &groups, eps);
    let count = x.values.len() as f64 / groups.len() as f64;
    let (means, variances): (Vec<f64>, Vec<f64>) = statistics(x, &groups).into_iter().unzip();
    let unbiased = variances.into_iter().map(|variance| variance * count / (count - 1.0)).collect();
    [affine(&y, &channels(x), inputs.get(1), inputs.get(2)), means, unbiased]
}

pub(super) fn batch_norm_train_backward(eps: f64, inputs: &[&Array], grad: &[f64]) -> Grads {
    let x = inputs[0];
    let groups = groups(x.shape(), &all_but_channels(x));
    through(inputs, &groups, &channels(x), eps, grad)
}

/// Gradients through standardisation and [`affine`] together.
fn through(inputs: &[&Array], groups: &[Vec<usize>], places: &[usize], eps: f64, grad: &[f64]) -> Grads {
    let (y, scales) = standardised(inputs[0], groups, eps);
    let (to_y, others) = affine_backward(&y, places, inputs, grad);
    let to_x = standardised_backward(&y, &scales, groups, &to_y);
    std::iter::once(Some(to_x)).chain(others).collect()
}

/// The input standardised by given statistics, and `1 / sqrt(variance + eps)` by channel.
fn by_statistics(eps: f64, inputs: &[&Array]) -> (Vec<f64>, Vec<f64>) {
    let scales: Vec<f64> = inputs[4].values.iter().map(|variance| 1.0 / (variance + eps).sqrt()).collect();
    let standard = |(x, channel): (&f64, usize)| (x - inputs[3].values[channel]) * scales[channel];
    (inputs[0].values.iter().zip(channels(inputs[0])).map(standard).collect(), scales)
}

pub(super) fn batch_norm_eval(eps: f64, inputs: &[&Array]) -> Vec<f64> {
    let (y, _) = by_statistics(eps, inputs);
    affine(&y, &channels(inputs[0]), inputs.get(1), inputs.get(2))
}

/// The statistics receive no gradient.
pub(super) fn batch_norm_eval_backward(eps: f64, inputs: &[&Array], grad: &[f64]) -> Grads {
    let (y, scales) = by_statistics(eps, inputs);
    let places = channels(inputs[0]);
    let (to_y, others) = affine_backward(&y, &places, &inputs[..3], grad);
    let to_x = to_y.iter().zip(&places).map(|(g, channel)| g * scales[*channel]).collect();
    std::iter::once(Some(to_x)).chain(others).chain([None, None]).collect()
}

/// Places of the trailing elements, and the groups that they make.
fn trailing(x: &Array, dims: usize) -> (Vec<usize>, Vec<Vec<usize>>) {
    let lead = x.shape().len() - dims;
    let normalised: Vec<usize> = (lead..x.shape().len()).collect();
    (broadcast_places(&x.shape()[lead..], x.shape()), groups(x.shape(), &normalised))
}

pub(super) fn layer_norm(dims: usize, eps: f64, inputs: &[&Array]) -> Vec<f64> {
    let (places, groups) = trailing(inputs[0], dims);
    let (y, _) = standardised(inputs[0], &groups, eps);
    affine(&y, &places, inputs.get(1), inputs.get(2))
}

pub(super) fn layer_norm_backward(dims: usize, eps: f64, inputs: &[&Array], grad: &[f64]) -> Grads {
    let (places, groups) = trailing(inputs[0], dims);
    through(inputs, &groups, &places, eps, grad)
}
