//! One input channel a group: sums of shifted planes.

use super::ConvShape;
use crate::float::{Float, simd};

/// What a pair of rows is combined for.
struct Rows {
    input: usize,
    output: usize,
    len: usize,
}

/// Calls `task` with the offsets of each pair of rows that element `tap` of the window joins.
#[inline(always)]
fn rows_of_tap(shape: &ConvShape, tap: [usize; 2], mut task: impl FnMut(Rows)) {
    let window = &shape.window;
    let (top, bottom) = window.inside(0, tap[0], shape.input[0], shape.output[0]);
    let (left, right) = window.inside(1, tap[1], shape.input[1], shape.output[1]);
    if left == right {
        return;
    }
    let ix = left * window.stride[1] + tap[1] * window.dilation[1] - window.padding[1];
    for oy in top..bottom {
        let iy = oy * window.stride[0] + tap[0] * window.dilation[0] - window.padding[0];
        task(Rows { input: iy * shape.input[1] + ix, output: oy * shape.output[1] + left, len: right - left });
    }
}

/// Calls `task` with each (input channel, output channel, tap, index of its weight).
#[inline(always)]
fn taps(shape: &ConvShape, mut task: impl FnMut(usize, usize, [usize; 2], usize)) {
    let [kernel_h, kernel_w] = shape.window.kernel;
    let mut weight = 0;
    for out in 0..shape.out_channels {
        for ky in 0..kernel_h {
            for kx in 0..kernel_w {
                task(out / shape.out_group(), out, [ky, kx], weight);
                weight += 1;
            }
        }
    }
}

/// Adds the convolution of one image onto `out`.
pub(crate) fn forward<T: Float>(shape: &ConvShape, x: &[T], weights: &[T], out: &mut [T]) {
    let (input, output, stride) = (shape.in_plane(), shape.out_plane(), shape.window.stride[1]);
    simd(|| {
        taps(shape, |from, to, tap, weight| {
            let (x, out) = (&x[from * input..][..input], &mut out[to * output..][..output]);
            let weight = weights[weight];
            rows_of_tap(shape, tap, |rows| {
                let out = &mut out[rows.output..][..rows.len];
                if stride == 1 {
                    let x = &x[rows.input..][..rows.len];
                    out.iter_mut().zip(x).for_each(|(out, x)| *out += weight * *x);
                } else {
                    let x = x[rows.input..].iter().step_by(stride);
                    out.iter_mut().zip(x).for_each(|(out, x)| *out += weight * *x);
                }
            });
        });
    });
}

/// Adds the gradient for one image onto `grad_x`.
pub(crate) fn backward_data<T: Float>(shape: &ConvShape, grad: &[T], weights: &[T], grad_x: &mut [T]) {
    let (input, output, stride) = (shape.in_plane(), shape.out_plane(), shape.window.stride[1]);
    simd(|| {
        taps(shape, |from, to, tap, weight| {
            let (grad_x, grad) = (&mut grad_x[from * input..][..input], &grad[to * output..][..output]);
            let weight = weights[weight];
            rows_of_tap(shape, tap, |rows| {
                let grad = &grad[rows.output..][..rows.len];
                if stride == 1 {
                    let grad_x = &mut grad_x[rows.input..][..rows.len];
                    grad_x.iter_mut().zip(grad).for_each(|(x, grad)| *x += weight * *grad);
                } else {
                    let grad_x = grad_x[rows.input..].iter_mut().step_by(stride);
                    grad_x.zip(grad).for_each(|(x, grad)| *x += weight * *grad);
                }
            });
        });
    });
}

/// Adds the weights' gradient of one image onto `grad_weights`.
pub(crate) fn backward_weights<T: Float>(shape: &ConvShape, x: &[T], grad: &[T], grad_weights: &mut [T]) {
    let (input, output, stride) = (shape.in_plane(), shape.out_plane(), shape.window.stride[1]);
    simd(|| {
        taps(shape, |from, to, tap, weight| {
            let (x, grad) = (&x[from * input..][..input], &grad[to * output..][..output]);
            let mut sum = T::ZERO;
            rows_of_tap(shape, tap, |rows| {
                let grad = &grad[rows.output..][..rows.len];
                let x = &x[rows.input..];
                if stride == 1 {
                    sum += crate::reduce::dot(&x[..rows.len], grad);
                } else {
                    sum += x.iter().step_by(stride).zip(grad).fold(T::ZERO, |sum, (x, grad)| sum + *x * *grad);
                }
            });
            grad_weights[weight] += sum;
        });
    });
}
