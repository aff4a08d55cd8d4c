//! Resizing of channels-last images: an output pixel is a weighted pair of rows and columns, all channels at once.
//!
//! Geometry comes from [`Resize`]: bilinear with half-pixel centres (`align_corners = false`), or nearest.

use super::Level;
use crate::leveled::leveled;
use crate::parallel::pieces;
use crate::resize::{Resize, Tap};

/// `x` `[N, H, W, C]` to `out` `[N, H', W', C]`.
pub fn resize_forward(resize: &Resize, x: &[f32], channels: usize, out: &mut [f32]) {
    let [image, made] = sizes(resize, channels, x.len(), out.len());
    let (level, work, line) = (Level::current(), out.len(), resize.columns.len() * channels);
    let lines = resize.rows.len();
    pieces(out, made, work, |index, out| {
        let x = &x[index * image..][..image];
        pieces(out, line, lines * line, |row, out| forward_line(level, resize, &resize.rows[row], x, channels, out));
    });
}

fn sizes(resize: &Resize, channels: usize, x: usize, out: usize) -> [usize; 2] {
    let [image, made] = [resize.input, resize.output()].map(|[height, width]| height * width * channels);
    assert!(image > 0 && x.is_multiple_of(image) && x / image * made == out, "resize: lengths of input and output");
    [image, made]
}

leveled! {
    fn forward_line(resize: &Resize, row: &Tap, x: &[f32], channels: usize, out: &mut [f32]) {
        let width = resize.input[1];
        let (low, high) = (&x[row.low * width * channels..], &x[row.high * width * channels..]);
        let down = row.share as f32;
        for (column, out) in resize.columns.iter().zip(out.chunks_exact_mut(channels)) {
            let left = &low[column.low * channels..][..channels];
            if resize.nearest {
                out.copy_from_slice(left);
                continue;
            }
            let above = [left, &low[column.high * channels..][..channels]];
            let below = [&high[column.low * channels..][..channels], &high[column.high * channels..][..channels]];
            mix(above, below, [down, column.share as f32], out);
        }
    }
}

#[inline(always)]
fn mix(above: [&[f32]; 2], below: [&[f32]; 2], [down, right]: [f32; 2], out: &mut [f32]) {
    let (up, left) = (1.0 - down, 1.0 - right);
    let pairs = above[0].iter().zip(above[1]).zip(below[0].iter().zip(below[1]));
    for (out, ((a, b), (c, d))) in out.iter_mut().zip(pairs) {
        *out = up * (left * *a + right * *b) + down * (left * *c + right * *d);
    }
}

/// The adjoint: `grad` `[N, H', W', C]` to `grad_x` `[N, H, W, C]`, added to with `accumulate`.
pub fn resize_backward(resize: &Resize, grad: &[f32], channels: usize, grad_x: &mut [f32], accumulate: bool) {
    let [image, made] = sizes(resize, channels, grad_x.len(), grad.len());
    let level = Level::current();
    pieces(grad_x, image, grad.len(), |index, grad_x| {
        if !accumulate {
            grad_x.fill(0.0);
        }
        backward_image(level, resize, &grad[index * made..][..made], channels, grad_x);
    });
}

leveled! {
    fn backward_image(resize: &Resize, grad: &[f32], channels: usize, grad_x: &mut [f32]) {
        let width = resize.input[1];
        for (row, grad) in resize.rows.iter().zip(grad.chunks_exact(resize.columns.len() * channels)) {
            let down = row.share as f32;
            for (column, grad) in resize.columns.iter().zip(grad.chunks_exact(channels)) {
                let right = column.share as f32;
                let up_left = if resize.nearest { 1.0 } else { (1.0 - down) * (1.0 - right) };
                add_scaled(grad, up_left, &mut grad_x[(row.low * width + column.low) * channels..][..channels]);
                if resize.nearest {
                    continue;
                }
                let shares = [
                    ((1.0 - down) * right, row.low * width + column.high),
                    (down * (1.0 - right), row.high * width + column.low),
                    (down * right, row.high * width + column.high),
                ];
                for (share, at) in shares {
                    add_scaled(grad, share, &mut grad_x[at * channels..][..channels]);
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
