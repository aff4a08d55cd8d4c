//! Pooling of channels-last images: windows of pixels, all channels at once.
//!
//! Geometry comes from [`crate::pool`]; its `planes` are images times channels.

pub use super::average::{
    average_pool_backward, average_pool_forward, global_average_backward, global_average_forward,
};

use super::apply::loaded;
use super::{Level, Load};
use crate::leveled::leveled;
use crate::parallel::{pieces, pieces2};
use crate::pool::PoolShape;

/// Largest element of each window; padding never wins, NaN does.
///
/// `x` `[N, H, W, C]`, `out` `[N, H', W', C]`. `taps`, as long as `out` when wanted, gets which element of the window it was
/// (row times columns plus column, the first of equals): what [`max_pool_backward`] needs.
pub fn max_pool_forward(shape: &PoolShape, x: Load<'_>, channels: usize, out: &mut [f32], taps: Option<&mut [u16]>) {
    let [image, made] = sizes(shape, channels, x.values.len(), out.len());
    x.check(x.values.len(), channels);
    assert!(shape.window.kernel.iter().product::<usize>() <= 1 << 16, "pooling: more than 65536 elements in a window");
    let (level, work) = (Level::current(), x.values.len());
    let Some(taps) = taps else {
        return pieces(out, made, work, |index, out| {
            loaded(level, x, channels, index * image, image, |x| max_image(level, shape, x, channels, out));
        });
    };
    assert_eq!(out.len(), taps.len(), "pooling: length of the taps");
    pieces2((out, made), (taps, made), work, |index, out, taps| {
        loaded(level, x, channels, index * image, image, |x| max_image_taps(level, shape, x, channels, out, taps));
    });
}

/// Elements of an input and of an output image.
fn sizes(shape: &PoolShape, channels: usize, x: usize, out: usize) -> [usize; 2] {
    assert!(channels > 0 && shape.planes.is_multiple_of(channels), "pooling: planes are no images of the channels");
    let [image, made] = [shape.input, shape.output].map(|[height, width]| height * width * channels);
    let images = shape.planes / channels;
    assert_eq!([x, out], [images * image, images * made], "pooling: lengths of input and output");
    [image, made]
}

leveled! {
    fn max_image(shape: &PoolShape, x: &[f32], channels: usize, out: &mut [f32]) {
        let ([height, width], [step_y, step_x]) = (shape.output, shape.window.dilation);
        for oy in 0..height {
            let (top, rows) = shape.taps(0, oy);
            for ox in 0..width {
                let (left, columns) = shape.taps(1, ox);
                let out = &mut out[(oy * width + ox) * channels..][..channels];
                if rows * columns == 0 {
                    // A dilated window whose elements are all padding.
                    out.fill(f32::NEG_INFINITY);
                    continue;
                }
                let first = (top * shape.input[1] + left) * channels;
                out.copy_from_slice(&x[first..][..channels]);
                for row in 0..rows {
                    for column in 0..columns {
                        let at = (top + row * step_y) * shape.input[1] + left + column * step_x;
                        maximum(&x[at * channels..][..channels], out);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn maximum(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = if wins(*x, *out) { *x } else { *out };
    }
}

/// Larger, or the first NaN.
#[inline(always)]
fn wins(x: f32, best: f32) -> bool {
    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "true for NaN")]
    let not_below = !(x <= best);
    not_below & !best.is_nan()
}

leveled! {
    fn max_image_taps(shape: &PoolShape, x: &[f32], channels: usize, out: &mut [f32], taps: &mut [u16]) {
        let ([height, width], window) = (shape.output, &shape.window);
        for oy in 0..height {
            let (top, rows) = shape.taps(0, oy);
            for ox in 0..width {
                let (left, columns) = shape.taps(1, ox);
                let at = (oy * width + ox) * channels;
                let (out, taps) = (&mut out[at..][..channels], &mut taps[at..][..channels]);
                if rows * columns == 0 {
                    out.fill(f32::NEG_INFINITY);
                    taps.fill(0);
                    continue;
                }
                let first = (top * shape.input[1] + left) * channels;
                out.copy_from_slice(&x[first..][..channels]);
                let skipped = [(0, oy, top), (1, ox, left)].map(|(axis, at, first)| first_tap(shape, axis, at, first));
                taps.fill((skipped[0] * window.kernel[1] + skipped[1]) as u16);
                for row in 0..rows {
                    for column in 0..columns {
                        let at = (top + row * window.dilation[0]) * shape.input[1] + left + column * window.dilation[1];
                        let tap = (skipped[0] + row) * window.kernel[1] + skipped[1] + column;
                        maximum_tap(&x[at * channels..][..channels], tap as u16, out, taps);
                    }
                }
            }
        }
    }
}

/// Element of window `at` that lies on `first`, the first one inside the input.
#[inline(always)]
fn first_tap(shape: &PoolShape, axis: usize, at: usize, first: usize) -> usize {
    let window = &shape.window;
    (first + window.padding[axis] - at * window.stride[axis]) / window.dilation[axis]
}

#[inline(always)]
fn maximum_tap(x: &[f32], tap: u16, out: &mut [f32], taps: &mut [u16]) {
    for ((out, taken), x) in out.iter_mut().zip(taps).zip(x) {
        let better = wins(*x, *out);
        *out = if better { *x } else { *out };
        *taken = if better { tap } else { *taken };
    }
}

/// The element that won a window takes all of the window's gradient. `grad`, `taps` `[N, H', W', C]`, `grad_x` `[N, H, W, C]`,
/// added to with `accumulate`.
pub fn max_pool_backward(
    shape: &PoolShape,
    grad: &[f32],
    taps: &[u16],
    channels: usize,
    grad_x: &mut [f32],
    accumulate: bool,
) {
    let [image, made] = sizes(shape, channels, grad_x.len(), grad.len());
    assert_eq!(grad.len(), taps.len(), "pooling: length of the taps");
    let (level, work) = (Level::current(), grad_x.len());
    pieces(grad_x, image, work, |index, grad_x| {
        if !accumulate {
            grad_x.fill(0.0);
        }
        let (grad, taps) = (&grad[index * made..][..made], &taps[index * made..][..made]);
        max_image_backward(level, shape, grad, taps, channels, grad_x);
    });
}

leveled! {
    fn max_image_backward(shape: &PoolShape, grad: &[f32], taps: &[u16], channels: usize, grad_x: &mut [f32]) {
        let ([height, width], window) = (shape.output, &shape.window);
        for oy in 0..height {
            let (top, rows) = shape.taps(0, oy);
            for ox in 0..width {
                let (left, columns) = shape.taps(1, ox);
                let at = (oy * width + ox) * channels;
                let (grad, taps) = (&grad[at..][..channels], &taps[at..][..channels]);
                let skipped = [first_tap(shape, 0, oy, top), first_tap(shape, 1, ox, left)];
                for row in 0..rows {
                    for column in 0..columns {
                        let at = (top + row * window.dilation[0]) * shape.input[1] + left + column * window.dilation[1];
                        let tap = (skipped[0] + row) * window.kernel[1] + skipped[1] + column;
                        add_where(grad, taps, tap as u16, &mut grad_x[at * channels..][..channels]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn add_where(grad: &[f32], taps: &[u16], tap: u16, out: &mut [f32]) {
    for (out, (grad, taken)) in out.iter_mut().zip(grad.iter().zip(taps)) {
        *out += if *taken == tap { *grad } else { 0.0 };
    }
}
