//! Layer norm over rows `[rows, width]`.

use crate::float::{Float, simd};
use crate::parallel::pieces;
use crate::reduce::{dot_centred, squares, sum};

/// Mean and `1 / sqrt(var + eps)` (biased variance) of each row of `x` `[rows, width]`.
pub fn row_statistics<T: Float>(x: &[T], width: usize, eps: T) -> Vec<[T; 2]> {
    assert!(width > 0 && x.len().is_multiple_of(width), "layer norm: length of the input");
    let count = T::of(width as f64);
    let mut statistics = vec![[T::ZERO; 2]; x.len() / width];
    let block = (1usize << 14).div_ceil(width);
    pieces(&mut statistics, block, x.len(), |index, statistics| {
        for (row, x) in statistics.iter_mut().zip(x[index * block * width..].chunks_exact(width)) {
            let mean = sum(x) / count;
            let variance = simd(|| squares(x, mean)) / count;
            *row = [mean, T::ONE / (variance + eps).sqrt()];
        }
    });
    statistics
}

/// `out = (x - mean) rstd weight + bias`. `x`, `out` `[rows, width]`; `weight`, `bias` `[width]`.
pub fn layer_norm_forward<T: Float>(
    x: &[T],
    width: usize,
    statistics: &[[T; 2]],
    weight: Option<&[T]>,
    bias: Option<&[T]>,
    out: &mut [T],
) {
    assert!(x.len() == out.len() && x.len() == statistics.len() * width, "layer norm: lengths");
    assert!([weight, bias].iter().flatten().all(|p| p.len() == width), "layer norm: lengths of the parameters");
    pieces(out, width, x.len(), |row, out| {
        let (x, [mean, rstd]) = (&x[row * width..][..width], statistics[row]);
        simd(|| {
            out.iter_mut().zip(x).for_each(|(out, x)| *out = (*x - mean) * rstd);
            if let Some(weight) = weight {
                out.iter_mut().zip(weight).for_each(|(out, weight)| *out *= *weight);
            }
            if let Some(bias) = bias {
                out.iter_mut().zip(bias).for_each(|(out, bias)| *out += *bias);
            }
        });
    });
}

/// Gradients of layer norm for its parameters.
#[derive(Debug, Clone)]
pub struct LayerGrads<T> {
    /// `sum over rows of g xhat` `[width]`.
    pub weight: Vec<T>,
    /// `sum over rows of g` `[width]`.
    pub bias: Vec<T>,
}

/// Gradients of layer norm.
///
/// ```text
/// dL/dx = rstd (h - mean(h) - xhat mean(h xhat))     h = g w, means over the row
/// ```
/// `x`, `grad`, `grad_x` (when wanted) `[rows, width]`. The parameters' gradients are taken when `parameters` is set.
pub fn layer_norm_backward<T: Float>(
    [x, grad]: [&[T]; 2],
    width: usize,
    statistics: &[[T; 2]],
    weight: Option<&[T]>,
    grad_x: Option<&mut [T]>,
    parameters: bool,
) -> Option<LayerGrads<T>> {
    assert!(x.len() == grad.len() && x.len() == statistics.len() * width, "layer norm: lengths");
    if let Some(grad_x) = grad_x {
        assert_eq!(x.len(), grad_x.len(), "layer norm: length of the gradient");
        let work = x.len();
        pieces(grad_x, width, work, |row, out| {
            let (x, grad) = (&x[row * width..][..width], &grad[row * width..][..width]);
            simd(|| gradient_of_row([x, grad], statistics[row], weight, out));
        });
    }
    parameters.then(|| gradients_of_parameters([x, grad], width, statistics))
}

#[inline(always)]
fn gradient_of_row<T: Float>([x, grad]: [&[T]; 2], [mean, rstd]: [T; 2], weight: Option<&[T]>, out: &mut [T]) {
    let count = T::of(x.len() as f64);
    match weight {
        Some(weight) => out.iter_mut().zip(grad).zip(weight).for_each(|((out, grad), weight)| *out = *grad * *weight),
        None => out.copy_from_slice(grad),
    }
    let centre = sum(out) / count;
    let along = dot_centred(out, x, mean) * rstd * rstd / count;
    out.iter_mut().zip(x).for_each(|(out, x)| *out = (*out - centre - (*x - mean) * along) * rstd);
}

fn gradients_of_parameters<T: Float>([x, grad]: [&[T]; 2], width: usize, statistics: &[[T; 2]]) -> LayerGrads<T> {
    let rows = statistics.len();
    let block = rows.div_ceil(16).max(1);
    let runs = rows.div_ceil(block);
    let mut partial = vec![T::ZERO; runs * 2 * width];
    pieces(&mut partial, 2 * width, x.len(), |run, partial| {
        let (weight, bias) = partial.split_at_mut(width);
        simd(|| {
            for (row, [mean, rstd]) in statistics.iter().enumerate().skip(run * block).take(block) {
                let (x, grad) = (&x[row * width..][..width], &grad[row * width..][..width]);
                for (((weight, bias), x), grad) in weight.iter_mut().zip(bias.iter_mut()).zip(x).zip(grad) {
                    *weight += *grad * ((*x - *mean) * *rstd);
                    *bias += *grad;
                }
            }
        });
    });
    let mut total = vec![T::ZERO; 2 * width];
    for run in partial.chunks_exact(2 * width) {
        total.iter_mut().zip(run).for_each(|(total, run)| *total += *run);
    }
    let bias = total.split_off(width);
    LayerGrads { weight: total, bias }
}
