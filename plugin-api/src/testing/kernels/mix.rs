//! Operations whose results are weighted sums of the input's elements, with weights that do not depend on them.

use super::indexing::{broadcast_places, kept};
use crate::op::Op;
use crate::testing::array::Array;

/// Receives place of the result, place of the input, weight.
type Each<'a> = &'a mut dyn FnMut(usize, usize, f64);

pub(super) fn is_mix(op: &Op) -> bool {
    matches!(
        op,
        Op::Sum { .. }
            | Op::Mean { .. }
            | Op::AvgPool2d { .. }
            | Op::AdaptiveAvgPool2d { .. }
            | Op::ResizeBilinear { .. }
    )
}

pub(super) fn forward(op: &Op, x: &Array, shape: &[usize]) -> Vec<f64> {
    let mut result = vec![0.0; shape.iter().product()];
    each(op, x.shape(), shape, &mut |out, place, weight| result[out] += weight * x.values[place]);
    result
}

pub(super) fn backward(op: &Op, input: &[usize], shape: &[usize], grad: &[f64]) -> Vec<f64> {
    let mut result = vec![0.0; input.iter().product()];
    each(op, input, shape, &mut |out, place, weight| result[place] += weight * grad[out]);
    result
}

fn each(op: &Op, input: &[usize], shape: &[usize], each: Each<'_>) {
    match op {
        Op::Sum { dims, .. } => each_reduced(input, dims, 1.0, each),
        Op::Mean { dims, .. } => {
            let count = input.iter().product::<usize>() / shape.iter().product::<usize>().max(1);
            each_reduced(input, dims, 1.0 / count as f64, each);
        }
        Op::ResizeBilinear { size } => each_bilinear(input, *size, each),
        Op::AvgPool2d { kernel, count_padding: true, .. } => {
            let share = 1.0 / (kernel[0] * kernel[1]) as f64;
            each_window(op, input, shape, &mut |out, place, _| each(out, place, share));
        }
        _ => each_window(op, input, shape, &mut |out, place, count| each(out, place, 1.0 / count)),
    }
}

fn each_reduced(input: &[usize], dims: &[usize], weight: f64, each: Each<'_>) {
    for (place, out) in broadcast_places(&kept(input, dims), input).into_iter().enumerate() {
        each(out, place, weight);
    }
}

/// Calls `each` for every element of every window of a pooling, with the number of elements of its window inside the map.
pub(super) fn each_window(op: &Op, input: &[usize], shape: &[usize], each: Each<'_>) {
    for plane in 0..input[0] * input[1] {
        for row in 0..shape[2] {
            for column in 0..shape[3] {
                let (rows, columns) = (span(op, 0, row, input[2]), span(op, 1, column, input[3]));
                let count = (rows.len() * columns.len()) as f64;
                let out = (plane * shape[2] + row) * shape[3] + column;
                for y in rows {
                    for x in columns.clone() {
                        each(out, (plane * input[2] + y) * input[3] + x, count);
                    }
                }
            }
        }
    }
}

/// The part of a window that lies inside, along height (0) or width (1).
fn span(op: &Op, axis: usize, at: usize, len: usize) -> std::ops::Range<usize> {
    match op {
        Op::MaxPool2d { kernel, stride, padding } | Op::AvgPool2d { kernel, stride, padding, .. } => {
            let start = at * stride[axis];
            let end = (start + kernel[axis]).saturating_sub(padding[axis]).min(len);
            start.saturating_sub(padding[axis])..end
        }
        Op::AdaptiveAvgPool2d { size } => at * len / size[axis]..((at + 1) * len).div_ceil(size[axis]),
        _ => 0..0,
    }
}

fn each_bilinear(input: &[usize], size: [usize; 2], each: Each<'_>) {
    for plane in 0..input[0] * input[1] {
        for row in 0..size[0] {
            for column in 0..size[1] {
                let out = (plane * size[0] + row) * size[1] + column;
                for (y, by_row) in neighbours(row, input[2], size[0]) {
                    for (x, by_column) in neighbours(column, input[3], size[1]) {
                        each(out, (plane * input[2] + y) * input[3] + x, by_row * by_column);
                    }
                }
            }
        }
    }
}

/// The two places between which a half-pixel centre lies, with their weights.
fn neighbours(at: usize, from: usize, to: usize) -> [(usize, f64); 2] {
    let centre = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
    let low = (centre.floor() as usize).min(from - 1);
    let share = centre - low as f64;
    [(low, 1.0 - share), ((low + 1).min(from - 1), share)]
}
