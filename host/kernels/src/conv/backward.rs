//! The gradients.

use super::unfold::{Place, fold, unfold};
use super::{ConvShape, Window, conv2d_forward, depthwise, direct};
use crate::float::{Float, simd};
use crate::matmul::{Matrix, product};
use crate::parallel::{CHUNK, pieces};
use crate::reduce::sum;

/// Gradient for the input: `grad_x` `[N, C_in, H, W]` from `grad` `[N, C_out, H', W']` and the weights.
pub fn conv2d_backward_data<T: Float>(shape: &ConvShape, grad: &[T], weights: &[T], grad_x: &mut [T]) {
    shape.check(grad_x, weights, grad);
    if let Some(flipped) = flipped(shape) {
        let weights = flip(shape, weights);
        return conv2d_forward(&flipped, grad, &weights, None, grad_x);
    }
    let image = shape.out_channels * shape.out_plane();
    pieces(grad_x, shape.in_channels * shape.in_plane(), shape.work(), |index, grad_x| {
        let grad = &grad[index * image..][..image];
        grad_x.fill(T::ZERO);
        if shape.is_depthwise() {
            depthwise::backward_data(shape, grad, weights, grad_x);
        } else {
            fold_image(shape, grad, weights, grad_x);
        }
    });
}

/// The convolution with stride 1 that is the gradient, if there is one.
fn flipped(shape: &ConvShape) -> Option<ConvShape> {
    let window = &shape.window;
    if window.stride != [1, 1] || shape.is_depthwise() || window.output(shape.input) != Ok(shape.output) {
        return None;
    }
    let mut padding = [0; 2];
    for (axis, padding) in padding.iter_mut().enumerate() {
        *padding = (window.span(axis) - 1).checked_sub(window.padding[axis])?;
    }
    Some(ConvShape {
        in_channels: shape.out_channels,
        out_channels: shape.in_channels,
        input: shape.output,
        output: shape.input,
        window: Window { padding, ..*window },
        ..*shape
    })
}

/// `[O, C / g, kH, kW]` to `[C, O / g, kH, kW]`, windows turned by half a turn.
fn flip<T: Float>(shape: &ConvShape, weights: &[T]) -> Vec<T> {
    let taps = shape.window.kernel[0] * shape.window.kernel[1];
    let (ins, outs) = (shape.in_group(), shape.out_group());
    let mut flipped = vec![T::ZERO; weights.len()];
    for (index, window) in weights.chunks_exact(taps).enumerate() {
        let (out, channel) = (index / ins, index % ins);
        let (group, out) = (out / outs, out % outs);
        let target = &mut flipped[((group * ins + channel) * outs + out) * taps..][..taps];
        target.iter_mut().zip(window.iter().rev()).for_each(|(to, from)| *to = *from);
    }
    flipped
}

fn fold_image<T: Float>(shape: &ConvShape, grad: &[T], weights: &[T], grad_x: &mut [T]) {
    let (plane, depth, filters) = (shape.out_plane(), shape.depth(), shape.out_group());
    let groups = grad_x.chunks_exact_mut(shape.in_group() * shape.in_plane());
    let groups = groups.zip(grad.chunks_exact(filters * plane)).zip(weights.chunks_exact(filters * depth));
    let tile = shape.tile_rows();
    T::scratch(depth * tile * shape.output[1], |columns| {
        for ((grad_x, grad), weights) in groups {
            for from in (0..shape.output[0]).step_by(tile) {
                let rows = from..(from + tile).min(shape.output[0]);
                let width = rows.len() * shape.output[1];
                let weights = Matrix::transposed(weights, depth);
                let grad = Matrix::by_rows(&grad[from * shape.output[1]..], plane);
                product([depth, width, filters], weights, grad, (columns, width), false);
                simd(|| fold(shape, &columns[..depth * width], rows, grad_x));
            }
        }
    });
}

/// Gradient for the weights: `grad_weights` `[C_out, C_in / groups, kH, kW]` from `x` and `grad`.
///
/// The batch is cut by shape alone, into at most 16 runs of at least 8 images; their sums are added in order.
pub fn conv2d_backward_weights<T: Float>(shape: &ConvShape, x: &[T], grad: &[T], grad_weights: &mut [T]) {
    shape.check(x, grad_weights, grad);
    let len = shape.weights_len();
    let runs = ((1 << 22) / len.max(1)).clamp(2, 16).min(shape.batch.max(1));
    let images = shape.batch.div_ceil(runs).max(8);
    let runs = shape.batch.div_ceil(images);
    let mut partial = vec![T::ZERO; runs * len];
    pieces(&mut partial, len, shape.work(), |run, partial| {
        let count = images.min(shape.batch - run * images);
        let x_image = shape.in_channels * shape.in_plane();
        let grad_image = shape.out_channels * shape.out_plane();
        let x = &x[run * images * x_image..][..count * x_image];
        let grad = &grad[run * images * grad_image..][..count * grad_image];
        run_of_images(shape, x, grad, partial);
    });
    pieces(grad_weights, CHUNK, runs * len, |index, out| {
        out.fill(T::ZERO);
        for partial in partial.chunks_exact(len) {
            let partial = &partial[index * CHUNK..][..out.len()];
            simd(|| out.iter_mut().zip(partial).for_each(|(out, partial)| *out += *partial));
        }
    });
}

fn run_of_images<T: Float>(shape: &ConvShape, x: &[T], grad: &[T], out: &mut [T]) {
    let x_image = shape.in_channels * shape.in_plane();
    let grad_image = shape.out_channels * shape.out_plane();
    if shape.is_depthwise() {
        for (x, grad) in x.chunks_exact(x_image).zip(grad.chunks_exact(grad_image)) {
            depthwise::backward_weights(shape, x, grad, out);
        }
        return;
    }
    if direct::serves::<T>(shape) {
        return direct::backward_weights(shape, x, grad, out);
    }
    let together = shape.images_together();
    for (x, grad) in x.chunks(together * x_image).zip(grad.chunks(together * grad_image)) {
        if together > 1 {
            weights_of_several(shape, x, grad, out);
        } else {
            weights_of_one(shape, x, grad, out);
        }
    }
}

fn weights_of_one<T: Float>(shape: &ConvShape, x: &[T], grad: &[T], out: &mut [T]) {
    let (plane, depth, filters) = (shape.out_plane(), shape.depth(), shape.out_group());
    let groups = x.chunks_exact(shape.in_group() * shape.in_plane()).zip(grad.chunks_exact(filters * plane));
    for ((x, grad), out) in groups.zip(out.chunks_exact_mut(filters * depth)) {
        if shape.is_pointwise() {
            let (grad, x) = (Matrix::by_rows(grad, plane), Matrix::transposed(x, plane));
            product([filters, depth, plane], grad, x, (out, depth), true);
            continue;
        }
        let tile = shape.tile_rows();
        T::scratch(depth * tile * shape.output[1], |columns| {
            for from in (0..shape.output[0]).step_by(tile) {
                let rows = from..(from + tile).min(shape.output[0]);
                let width = rows.len() * shape.output[1];
                unfold(shape, x, rows, columns, Place { width, offset: 0 });
                let grad = Matrix::by_rows(&grad[from * shape.output[1]..], plane);
                let columns = Matrix::transposed(columns, width);
                product([filters, depth, width], grad, columns, (out, depth), true);
            }
        });
    }
}

fn weights_of_several<T: Float>(shape: &ConvShape, x: &[T], grad: &[T], out: &mut [T]) {
    let (plane, depth, filters) = (shape.out_plane(), shape.depth(), shape.out_group());
    let images = grad.len() / (shape.out_channels * plane);
    let width = images * plane;
    T::scratch((depth + filters) * width, |scratch| {
        let (columns, lines) = scratch.split_at_mut(depth * width);
        for (group, out) in out.chunks_exact_mut(filters * depth).enumerate() {
            for image in 0..images {
                let at = image * shape.groups + group;
                let x = &x[at * shape.in_group() * shape.in_plane()..];
                unfold(shape, x, 0..shape.output[0], columns, Place { width, offset: image * plane });
                let planes = grad[at * filters * plane..].chunks_exact(plane);
                for (line, plane_of_grad) in lines.chunks_exact_mut(width).zip(planes) {
                    line[image * plane..][..plane].copy_from_slice(plane_of_grad);
                }
            }
            let (lines, columns) = (Matrix::by_rows(lines, width), Matrix::transposed(columns, width));
            product([filters, depth, width], lines, columns, (out, depth), true);
        }
    });
}

/// Gradient for a bias: `out[c]` is the sum of `grad` `[N, C, plane]` over images and positions.
pub fn channel_sums<T: Float>(grad: &[T], plane: usize, out: &mut [T]) {
    let channels = out.len();
    assert!(grad.len().is_multiple_of((channels * plane).max(1)), "channel_sums: length of the gradient");
    pieces(out, channels.div_ceil(16), grad.len(), |index, out| {
        let first = index * channels.div_ceil(16);
        for (offset, out) in out.iter_mut().enumerate() {
            let planes = grad.chunks_exact(plane.max(1)).skip(first + offset).step_by(channels);
            *out = T::of(planes.map(|plane| sum(plane).wide()).sum());
        }
    });
}
