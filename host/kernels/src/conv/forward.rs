//! The forward pass.

use super::unfold::{Place, unfold};
use super::{ConvShape, depthwise, direct};
use crate::float::Float;
use crate::matmul::{Matrix, product};
use crate::parallel::pieces;

/// `out[n, o] = bias[o] + sum_c weights[o, c] * x[n, c]`.
///
/// `x` `[N, C_in, H, W]`, `weights` `[C_out, C_in / groups, kH, kW]`, `bias` `[C_out]`, `out` `[N, C_out, H', W']`.
pub fn conv2d_forward<T: Float>(shape: &ConvShape, x: &[T], weights: &[T], bias: Option<&[T]>, out: &mut [T]) {
    shape.check(x, weights, out);
    assert!(bias.is_none_or(|bias| bias.len() == shape.out_channels), "convolution: length of the bias");
    let image = shape.in_channels * shape.in_plane();
    let packed = (!shape.is_depthwise() && direct::serves::<T>(shape)).then(|| direct::pack(shape, weights));
    let alone = shape.is_depthwise() || packed.is_some();
    let together = if alone { 1 } else { shape.images_together() };
    let piece = together * shape.out_channels * shape.out_plane();
    pieces(out, piece, shape.work(), |index, out| {
        start(shape, bias, out);
        let images = out.len() / (shape.out_channels * shape.out_plane());
        let x = &x[index * together * image..][..images * image];
        if shape.is_depthwise() {
            depthwise::forward(shape, x, weights, out);
        } else if let Some(packed) = &packed {
            direct::forward(shape, x, packed, out);
        } else if images > 1 {
            several_images(shape, x, weights, out);
        } else {
            one_image(shape, x, weights, out);
        }
    });
}

fn start<T: Float>(shape: &ConvShape, bias: Option<&[T]>, out: &mut [T]) {
    match bias {
        None => out.fill(T::ZERO),
        Some(bias) => {
            let planes = out.chunks_exact_mut(shape.out_plane());
            planes.zip(bias.iter().cycle()).for_each(|(plane, bias)| plane.fill(*bias));
        }
    }
}

fn one_image<T: Float>(shape: &ConvShape, x: &[T], weights: &[T], out: &mut [T]) {
    let (plane, depth, filters) = (shape.out_plane(), shape.depth(), shape.out_group());
    let groups = out.chunks_exact_mut(filters * plane).zip(x.chunks_exact(shape.in_group() * shape.in_plane()));
    for ((out, x), weights) in groups.zip(weights.chunks_exact(filters * depth)) {
        let weights = Matrix::by_rows(weights, depth);
        if shape.is_pointwise() {
            product([filters, plane, depth], weights, Matrix::by_rows(x, plane), (out, plane), true);
            continue;
        }
        let tile = shape.tile_rows();
        T::scratch(depth * tile * shape.output[1], |columns| {
            for from in (0..shape.output[0]).step_by(tile) {
                let rows = from..(from + tile).min(shape.output[0]);
                let width = rows.len() * shape.output[1];
                unfold(shape, x, rows, columns, Place { width, offset: 0 });
                let out = &mut out[from * shape.output[1]..];
                let columns = Matrix::by_rows(columns, width);
                product([filters, width, depth], weights, columns, (out, plane), true);
            }
        });
    }
}

/// Small outputs: the columns of several images side by side, so that one product is worth its packing.
fn several_images<T: Float>(shape: &ConvShape, x: &[T], weights: &[T], out: &mut [T]) {
    let (plane, depth, filters) = (shape.out_plane(), shape.depth(), shape.out_group());
    let images = out.len() / (shape.out_channels * plane);
    let width = images * plane;
    T::scratch((depth + filters) * width, |scratch| {
        let (columns, made) = scratch.split_at_mut(depth * width);
        for group in 0..shape.groups {
            for image in 0..images {
                let from = (image * shape.groups + group) * shape.in_group() * shape.in_plane();
                let place = Place { width, offset: image * plane };
                unfold(shape, &x[from..], 0..shape.output[0], columns, place);
            }
            let weights = Matrix::by_rows(&weights[group * filters * depth..], depth);
            product([filters, width, depth], weights, Matrix::by_rows(columns, width), (made, width), false);
            for image in 0..images {
                let from = (image * shape.groups + group) * filters * plane;
                let planes = out[from..][..filters * plane].chunks_exact_mut(plane);
                for (out, made) in planes.zip(made.chunks_exact(width)) {
                    let made = &made[image * plane..][..plane];
                    out.iter_mut().zip(made).for_each(|(out, made)| *out += *made);
                }
            }
        }
    });
}
