//! Average pooling of channels-last images.

use super::apply::{Add, Put, Store, loaded};
use super::{Level, Load};
use crate::Float;
use crate::leveled::leveled;
use crate::parallel::pieces;
use crate::pool::Average;

/// Means over windows: fixed, adaptive and global pooling are one thing ([`Average`]).
///
/// `x` `[N, H, W, C]`, `out` `[N, H', W', C]`; the planes of `average` are not used.
pub fn average_pool_forward(average: &Average, x: Load<'_>, channels: usize, out: &mut [f32]) {
    let [image, made] = average_sizes(average, channels, x.values.len(), out.len());
    x.check(x.values.len(), channels);
    let (level, work) = (Level::current(), x.values.len());
    pieces(out, made, work, |index, out| {
        loaded(level, x, channels, index * image, image, |x| average_image(level, average, x, channels, out));
    });
}

fn average_sizes(average: &Average, channels: usize, x: usize, out: usize) -> [usize; 2] {
    let [image, made] = [average.input, average.output()].map(|[height, width]| height * width * channels);
    assert!(image > 0 && x.is_multiple_of(image) && x / image * made == out, "pooling: lengths of input and output");
    [image, made]
}

leveled! {
    fn average_image(average: &Average, x: &[f32], channels: usize, out: &mut [f32]) {
        let (width, made) = (average.input[1], average.columns.len());
        for (oy, rows) in average.rows.iter().enumerate() {
            for (ox, columns) in average.columns.iter().enumerate() {
                let out = &mut out[(oy * made + ox) * channels..][..channels];
                out.fill(0.0);
                for row in rows.clone() {
                    let line = &x[(row * width + columns.start) * channels..][..columns.len() * channels];
                    for x in line.chunks_exact(channels) {
                        add(x, out);
                    }
                }
                let scale = average.scale::<f32>(rows, columns);
                for out in out.iter_mut() {
                    *out *= scale;
                }
            }
        }
    }
}

#[inline(always)]
fn add(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += *x;
    }
}

/// Spreads `grad` `[N, H', W', C]` evenly over the windows into `grad_x` `[N, H, W, C]`, added to with `accumulate`.
pub fn average_pool_backward(average: &Average, grad: &[f32], channels: usize, grad_x: &mut [f32], accumulate: bool) {
    let [image, made] = average_sizes(average, channels, grad_x.len(), grad.len());
    let (level, work) = (Level::current(), grad_x.len());
    pieces(grad_x, image, work, |index, grad_x| {
        if !accumulate {
            grad_x.fill(0.0);
        }
        average_image_backward(level, average, &grad[index * made..][..made], channels, grad_x);
    });
}

leveled! {
    fn average_image_backward(average: &Average, grad: &[f32], channels: usize, grad_x: &mut [f32]) {
        let (width, made) = (average.input[1], average.columns.len());
        for (oy, rows) in average.rows.iter().enumerate() {
            for (ox, columns) in average.columns.iter().enumerate() {
                let (grad, scale) = (&grad[(oy * made + ox) * channels..][..channels], average.scale::<f32>(rows, columns));
                for row in rows.clone() {
                    let line = &mut grad_x[(row * width + columns.start) * channels..][..columns.len() * channels];
                    for out in line.chunks_exact_mut(channels) {
                        add_scaled(grad, scale, out);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn add_scaled(x: &[f32], scale: f32, out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += *x * scale;
    }
}

/// Mean over all pixels of an image. `x` `[N, pixels, C]`, `out` `[N, C]`.
pub fn global_average_forward(x: Load<'_>, [batch, pixels, channels]: [usize; 3], out: &mut [f32]) {
    let average = Average::adaptive(batch * channels, [pixels, 1], [1, 1]).expect("an image with pixels");
    assert_eq!(out.len(), batch * channels, "pooling: length of the output");
    average_pool_forward(&average, x, channels, out);
}

/// `grad_x = grad / pixels` on each pixel. `grad` `[N, C]`, `grad_x` `[N, pixels, C]`, added to with `accumulate`.
pub fn global_average_backward(
    grad: &[f32],
    [batch, pixels, channels]: [usize; 3],
    grad_x: &mut [f32],
    accumulate: bool,
) {
    let lengths = [batch * channels, batch * pixels * channels];
    assert_eq!([grad.len(), grad_x.len()], lengths, "pooling: lengths of the gradients");
    let (level, work, share) = (Level::current(), grad_x.len(), 1.0 / pixels as f32);
    // Some pixels at a time, so that a row is wide.
    let repeat = 256usize.div_ceil(channels.max(1));
    pieces(grad_x, pixels * channels, work, |index, grad_x| {
        f32::scratch(repeat * channels, |row| {
            let grad = &grad[index * channels..][..channels];
            for row in row.chunks_exact_mut(channels) {
                row.iter_mut().zip(grad).for_each(|(row, grad)| *row = *grad * share);
            }
            if accumulate { put_rows(level, Add, row, grad_x) } else { put_rows(level, Store, row, grad_x) }
        });
    });
}

leveled! {
    fn put_rows[P: Put](put: P, row: &[f32], out: &mut [f32]) {
        for out in out.chunks_mut(row.len()) {
            for (out, value) in out.iter_mut().zip(row) {
                *out = put.put(*out, *value);
            }
        }
    }
}
