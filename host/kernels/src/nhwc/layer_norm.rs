//! Layer norm over the last dim and group norm over channels of an image.
//!
//! Both normalise a set of values by its own mean and biased variance: Ba et al. 2016 (arXiv:1607.06450), Eq. 3; Wu & He
//! 2018 (arXiv:1803.08494), Eq. 7.
//! ```text
//! y = xhat weight + bias     xhat = (x - mean) rstd
//! dx = rstd (h - mean(h) - xhat mean(h xhat))     h = dy weight, means over the set
//! ```

use super::Level;
use super::across::{centred_dot, squares, total};
use super::apply::{Add, Put, Store};
use crate::Float;
use crate::leveled::leveled;
use crate::parallel::{pieces, pieces2};

/// Elements of a task, in whole rows.
const TASK: usize = 1 << 13;
/// Partial sums of the parameters' gradients.
const PARTS: usize = 32;

/// Layer norm of rows. `x`, `out` `[rows, width]`; `weight`, `bias` `[width]`, 1 and 0 when None; `statistics` `[rows]` gets
/// `[mean, rstd]`.
pub fn layer_norm_forward(
    x: &[f32],
    width: usize,
    parameters: [Option<&[f32]>; 2],
    eps: f32,
    statistics: &mut [[f32; 2]],
    out: &mut [f32],
) {
    assert!(x.len() == out.len() && x.len() == statistics.len() * width, "layer norm: lengths");
    assert!(parameters.iter().flatten().all(|p| p.len() == width), "layer norm: lengths of the parameters");
    if width == 0 {
        return;
    }
    let (level, rows, len) = (Level::current(), TASK.div_ceil(width), x.len());
    pieces2((out, rows * width), (statistics, rows), len, |index, out, statistics| {
        let x = &x[index * rows * width..][..out.len()];
        layer_rows(level, x, width, parameters, eps, statistics, out);
    });
}

leveled! {
    fn layer_rows(
        x: &[f32],
        width: usize,
        parameters: [Option<&[f32]>; 2],
        eps: f32,
        statistics: &mut [[f32; 2]],
        out: &mut [f32],
    ) {
        let rows = x.chunks_exact(width).zip(statistics).zip(out.chunks_exact_mut(width));
        for ((x, statistics), out) in rows {
            let [mean, rstd] = moments(x, eps);
            *statistics = [mean, rstd];
            for (out, x) in out.iter_mut().zip(x) {
                *out = (*x - mean) * rstd;
            }
            if let Some(weight) = parameters[0] {
                for (out, weight) in out.iter_mut().zip(weight) {
                    *out *= *weight;
                }
            }
            if let Some(bias) = parameters[1] {
                for (out, bias) in out.iter_mut().zip(bias) {
                    *out += *bias;
                }
            }
        }
    }
}

/// Mean and `1 / sqrt(variance + eps)` of one row, the variance from centred values.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> [f32; 2] {
    let mean = total(x) / x.len() as f64;
    let centre = mean as f32;
    let squares = squares(x, centre);
    [centre, (1.0 / (squares / x.len() as f64 + f64::from(eps)).sqrt()) as f32]
}

/// Gradients of layer norm. `x`, `grad`, `grad_x` `[rows, width]`, `statistics` those of the forward pass; the gradient of the
/// input is added with its flag, `parameters` (`[width]` each: weight, bias) are overwritten.
pub fn layer_norm_backward(
    [x, grad]: [&[f32]; 2],
    width: usize,
    statistics: &[[f32; 2]],
    weight: Option<&[f32]>,
    grad_x: Option<(&mut [f32], bool)>,
    parameters: Option<[&mut [f32]; 2]>,
) {
    assert!(x.len() == grad.len() && x.len() == statistics.len() * width, "layer norm: lengths");
    assert!(weight.is_none_or(|weight| weight.len() == width), "layer norm: length of the weight");
    if width == 0 {
        return;
    }
    let level = Level::current();
    if let Some((grad_x, accumulate)) = grad_x {
        assert_eq!(x.len(), grad_x.len(), "layer norm: length of the gradient");
        let rows = TASK.div_ceil(width);
        pieces(grad_x, rows * width, x.len(), |index, out| {
            let at = index * rows * width;
            let values = [&x[at..][..out.len()], &grad[at..][..out.len()]];
            let statistics = &statistics[index * rows..];
            f32::scratch(width, |h| {
                if accumulate {
                    layer_gradients(level, Add, values, statistics, weight, h, out);
                } else {
                    layer_gradients(level, Store, values, statistics, weight, h, out);
                }
            });
        });
    }
    if let Some([grad_weight, grad_bias]) = parameters {
        assert!(grad_weight.len() == width && grad_bias.len() == width, "layer norm: lengths of the gradients");
        parameter_gradients(level, [x, grad], width, statistics, [grad_weight, grad_bias]);
    }
}

leveled! {
    fn layer_gradients[P: Put](
        put: P,
        values: [&[f32]; 2],
        statistics: &[[f32; 2]],
        weight: Option<&[f32]>,
        h: &mut [f32],
        out: &mut [f32],
    ) {
        let width = h.len();
        let rows = values[0].chunks_exact(width).zip(values[1].chunks_exact(width)).zip(statistics);
        for (out, ((x, grad), statistics)) in out.chunks_exact_mut(width).zip(rows) {
            match weight {
                Some(weight) => {
                    multiply(grad, weight, h);
                    layer_gradient(put, [x, h], *statistics, out);
                }
                None => layer_gradient(put, [x, grad], *statistics, out),
            }
        }
    }
}

#[inline(always)]
fn multiply(a: &[f32], b: &[f32], out: &mut [f32]) {
    for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
        *out = *a * *b;
    }
}

#[inline(always)]
fn layer_gradient<P: Put>(put: P, [x, h]: [&[f32]; 2], [mean, rstd]: [f32; 2], out: &mut [f32]) {
    let count = x.len() as f64;
    let along = centred_dot(x, mean, h);
    let centre = (total(h) / count) as f32;
    let along = (along / count) as f32 * rstd * rstd;
    for (out, (x, h)) in out.iter_mut().zip(x.iter().zip(h)) {
        *out = put.put(*out, (*h - centre - (*x - mean) * along) * rstd);
    }
}

fn parameter_gradients(
    level: Level,
    [x, grad]: [&[f32]; 2],
    width: usize,
    statistics: &[[f32; 2]],
    [grad_weight, grad_bias]: [&mut [f32]; 2],
) {
    let rows = statistics.len().div_ceil(PARTS).max(TASK.div_ceil(width));
    let parts = statistics.len().div_ceil(rows);
    f32::scratch(parts * 2 * width, |partial| {
        partial.fill(0.0);
        pieces(partial, 2 * width, x.len(), |part, partial| {
            let at = part * rows * width;
            let len = (rows * width).min(x.len() - at);
            let values = [&x[at..][..len], &grad[at..][..len]];
            parameter_rows(level, values, width, &statistics[part * rows..], partial);
        });
        grad_weight.fill(0.0);
        grad_bias.fill(0.0);
        for partial in partial.chunks_exact(2 * width) {
            let (weight, bias) = partial.split_at(width);
            grad_weight.iter_mut().zip(weight).for_each(|(total, part)| *total += *part);
            grad_bias.iter_mut().zip(bias).for_each(|(total, part)| *total += *part);
        }
    });
}

leveled! {
    fn parameter_rows(values: [&[f32]; 2], width: usize, statistics: &[[f32; 2]], partial: &mut [f32]) {
        let (weight, bias) = partial.split_at_mut(width);
        let rows = values[0].chunks_exact(width).zip(values[1].chunks_exact(width)).zip(statistics);
        for ((x, grad), [mean, rstd]) in rows {
            for ((weight, bias), (x, grad)) in weight.iter_mut().zip(bias.iter_mut()).zip(x.iter().zip(grad)) {
                *weight += *grad * ((*x - *mean) * *rstd);
                *bias += *grad;
            }
        }
    }
}
