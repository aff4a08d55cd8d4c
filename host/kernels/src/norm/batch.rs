//! Batch norm over `[N, C, plane]`: statistics of a channel run over images and positions.

use crate::float::{Float, simd};
use crate::parallel::pieces;
use crate::reduce::{dot_centred, squares, sum};

/// Planes below this size are read element by element.
const SHORT: usize = 8;

/// Sums `short(index of element)` or `long(range start)` over the planes of one channel, in the order of images.
fn over_channel(
    [batch, channels, plane]: [usize; 3],
    channel: usize,
    mut short: impl FnMut(usize) -> f64,
    mut long: impl FnMut(usize) -> f64,
) -> f64 {
    let mut total = 0.0;
    for image in 0..batch {
        let start = (image * channels + channel) * plane;
        if plane < SHORT {
            total = (start..start + plane).fold(total, |total, at| total + short(at));
        } else {
            total += long(start);
        }
    }
    total
}

/// Mean and biased variance of each channel. `x` `[N, C, plane]`, `mean` and `variance` `[C]`; the sums of planes are added
/// in `f64`.
pub fn batch_statistics<T: Float>(x: &[T], dims: [usize; 3], mean: &mut [T], variance: &mut [T]) {
    let [batch, channels, plane] = dims;
    assert!(x.len() == batch * channels * plane, "batch norm: length of the input");
    assert!(mean.len() == channels && variance.len() == channels, "batch norm: lengths of the statistics");
    let count = (batch * plane) as f64;
    let block = channels.div_ceil(16).max(1);
    crate::parallel::pieces2((mean, block), (variance, block), x.len(), |index, mean, variance| {
        for (offset, (mean, variance)) in mean.iter_mut().zip(variance).enumerate() {
            let channel = index * block + offset;
            let total = over_channel(dims, channel, |at| x[at].wide(), |from| sum(&x[from..][..plane]).wide());
            let centre = T::of(total / count);
            let short = |at: usize| (x[at] - centre).wide() * (x[at] - centre).wide();
            let long = |from: usize| simd(|| squares(&x[from..][..plane], centre)).wide();
            *mean = centre;
            *variance = T::of(over_channel(dims, channel, short, long) / count);
        }
    });
}

/// `out = (x - mean[c]) * scale[c] + shift[c]`: batch norm with given statistics, `scale = weight / sqrt(var + eps)`.
///
/// `x` and `out` `[N, C, plane]`, the rest `[C]`.
pub fn channel_affine<T: Float>(x: &[T], dims: [usize; 3], [mean, scale, shift]: [&[T]; 3], out: &mut [T]) {
    let [batch, channels, plane] = dims;
    assert!(x.len() == batch * channels * plane && out.len() == x.len(), "channel_affine: lengths");
    assert!([mean, scale, shift].iter().all(|c| c.len() == channels), "channel_affine: lengths of the factors");
    pieces(out, channels * plane, x.len(), |image, out| {
        let x = &x[image * channels * plane..][..out.len()];
        simd(|| {
            let planes = out.chunks_exact_mut(plane).zip(x.chunks_exact(plane));
            for (((out, x), mean), (scale, shift)) in planes.zip(mean).zip(scale.iter().zip(shift)) {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = (*x - *mean) * *scale + *shift;
                }
            }
        });
    });
}

/// The two sums that all gradients of batch norm are made of, by channel.
#[derive(Debug, Clone)]
pub struct BatchGrads<T> {
    /// `sum g (x - mean) / sqrt(var + eps)`: the gradient for the weight.
    pub weight: Vec<T>,
    /// `sum g`: the gradient for the bias.
    pub bias: Vec<T>,
}

/// Gradients of `(x - mean) rstd w + b` with the statistics of the batch itself.
///
/// ```text
/// dL/dx = w rstd (g - mean(g) - xhat mean(g xhat))     xhat = (x - mean) rstd
/// ```
/// `x`, `grad` and `grad_x` (when wanted) `[N, C, plane]`; `mean`, `rstd`, `weight` `[C]`.
pub fn batch_norm_backward<T: Float>(
    [x, grad]: [&[T]; 2],
    dims: [usize; 3],
    [mean, rstd]: [&[T]; 2],
    weight: Option<&[T]>,
    grad_x: Option<&mut [T]>,
) -> BatchGrads<T> {
    let [batch, channels, plane] = dims;
    assert!(x.len() == batch * channels * plane && grad.len() == x.len(), "batch norm: lengths");
    let mut sums = BatchGrads { weight: vec![T::ZERO; channels], bias: vec![T::ZERO; channels] };
    let block = channels.div_ceil(16).max(1);
    let (first, second) = ((&mut sums.weight[..], block), (&mut sums.bias[..], block));
    crate::parallel::pieces2(first, second, x.len(), |index, by_weight, by_bias| {
        for (offset, (by_weight, by_bias)) in by_weight.iter_mut().zip(by_bias).enumerate() {
            let channel = index * block + offset;
            let mean = mean[channel];
            let short = |at: usize| grad[at].wide() * (x[at] - mean).wide();
            let long = |from: usize| simd(|| dot_centred(&grad[from..][..plane], &x[from..][..plane], mean)).wide();
            *by_weight = T::of(over_channel(dims, channel, short, long) * rstd[channel].wide());
            let total = over_channel(dims, channel, |at| grad[at].wide(), |from| sum(&grad[from..][..plane]).wide());
            *by_bias = T::of(total);
        }
    });
    if let Some(grad_x) = grad_x {
        gradient_of_input([x, grad], dims, [mean, rstd], weight, &sums, grad_x);
    }
    sums
}

fn gradient_of_input<T: Float>(
    [x, grad]: [&[T]; 2],
    [batch, channels, plane]: [usize; 3],
    [mean, rstd]: [&[T]; 2],
    weight: Option<&[T]>,
    sums: &BatchGrads<T>,
    grad_x: &mut [T],
) {
    assert_eq!(x.len(), grad_x.len(), "batch norm: length of the gradient");
    let count = T::of((batch * plane) as f64);
    let factors: Vec<[T; 4]> = (0..channels)
        .map(|c| {
            let scale = weight.map_or(T::ONE, |weight| weight[c]) * rstd[c];
            [scale, mean[c], sums.bias[c] / count, sums.weight[c] * rstd[c] / count]
        })
        .collect();
    pieces(grad_x, channels * plane, x.len(), |image, grad_x| {
        let at = image * channels * plane;
        let (x, grad) = (&x[at..][..grad_x.len()], &grad[at..][..grad_x.len()]);
        simd(|| {
            let planes = grad_x.chunks_exact_mut(plane).zip(grad.chunks_exact(plane)).zip(x.chunks_exact(plane));
            for (((grad_x, grad), x), [scale, mean, by_bias, by_weight]) in planes.zip(&factors) {
                for ((grad_x, grad), x) in grad_x.iter_mut().zip(grad).zip(x) {
                    *grad_x = *scale * (*grad - *by_bias - (*x - *mean) * *by_weight);
                }
            }
        });
    });
}
