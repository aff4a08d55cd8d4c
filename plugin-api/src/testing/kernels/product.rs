//! Operations that sum products of elements of two inputs: matrix product and convolutions.

use super::indexing::{broadcast_places, split};
use crate::op::Op;
use crate::testing::array::Array;

/// Receives places of the result, the first and the second input.
type Each<'a> = &'a mut dyn FnMut(usize, usize, usize);

pub(super) fn is_product(op: &Op) -> bool {
    matches!(op, Op::Matmul | Op::Conv2d { .. } | Op::ConvTranspose2d { .. })
}

pub(super) fn forward(op: &Op, inputs: &[&Array], shape: &[usize]) -> Vec<f64> {
    let mut result = vec![0.0; shape.iter().product()];
    if let Some(bias) = inputs.get(2) {
        each_bias(shape, |out, channel| result[out] = bias.values[channel]);
    }
    let (a, b) = (&inputs[0].values, &inputs[1].values);
    each(op, inputs, shape, &mut |out, i, j| result[out] += a[i] * b[j]);
    result
}

pub(super) fn backward(op: &Op, inputs: &[&Array], shape: &[usize], grad: &[f64]) -> Vec<Option<Vec<f64>>> {
    let (a, b) = (&inputs[0].values, &inputs[1].values);
    let (mut to_a, mut to_b) = (vec![0.0; a.len()], vec![0.0; b.len()]);
    each(op, inputs, shape, &mut |out, i, j| {
        to_a[i] += grad[out] * b[j];
        to_b[j] += grad[out] * a[i];
    });
    let mut grads = vec![Some(to_a), Some(to_b)];
    if let Some(bias) = inputs.get(2) {
        let mut to_bias = vec![0.0; bias.values.len()];
        each_bias(shape, |out, channel| to_bias[channel] += grad[out]);
        grads.push(Some(to_bias));
    }
    grads
}

fn each_bias(shape: &[usize], mut each: impl FnMut(usize, usize)) {
    let (_, channels, inner) = split(shape, 1);
    (0..shape.iter().product()).for_each(|out| each(out, out / inner % channels));
}

fn each(op: &Op, inputs: &[&Array], shape: &[usize], each: Each<'_>) {
    let (a, b) = (inputs[0].shape(), inputs[1].shape());
    match op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            // The result is the small side of the convolution, `x` the large one.
            let geometry = Geometry { stride, padding, dilation, groups: *groups, small: shape, large: a, kernel: b };
            geometry.each(&mut |small, large, weight| each(small, large, weight));
        }
        Op::ConvTranspose2d { stride, padding, dilation, groups, .. } => {
            // The other way round: a transposed convolution is the gradient of a convolution.
            let geometry = Geometry { stride, padding, dilation, groups: *groups, small: a, large: shape, kernel: b };
            geometry.each(&mut |small, large, weight| each(large, small, weight));
        }
        _ => each_matmul(a, b, shape, each),
    }
}

fn each_matmul(a: &[usize], b: &[usize], shape: &[usize], each: Each<'_>) {
    let lead = shape.len() - 2;
    let (rows, columns, inner) = (shape[lead], shape[lead + 1], a[a.len() - 1]);
    let of_a = broadcast_places(&a[..a.len() - 2], &shape[..lead]);
    let of_b = broadcast_places(&b[..b.len() - 2], &shape[..lead]);
    for (batch, (at_a, at_b)) in of_a.into_iter().zip(of_b).enumerate() {
        for row in 0..rows {
            for column in 0..columns {
                for k in 0..inner {
                    let out = (batch * rows + row) * columns + column;
                    each(out, (at_a * rows + row) * inner + k, (at_b * inner + k) * columns + column);
                }
            }
        }
    }
}

/// A convolution from `large` `[N, C, H, W]` to `small` `[N, O, h, w]` with a kernel `[O, C / groups, kH, kW]`.
struct Geometry<'a> {
    stride: &'a [usize; 2],
    padding: &'a [usize; 2],
    dilation: &'a [usize; 2],
    groups: usize,
    small: &'a [usize],
    large: &'a [usize],
    kernel: &'a [usize],
}

impl Geometry<'_> {
    /// Calls `each` with the places of a small element, a large element and the kernel element that joins them.
    fn each(&self, each: Each<'_>) {
        let (small, large, kernel) = (self.small, self.large, self.kernel);
        let per_group = [small[1] / self.groups, large[1] / self.groups];
        for n in 0..small[0] {
            for o in 0..small[1] {
                for c in 0..per_group[1] {
                    let channel = o / per_group[0] * per_group[1] + c;
                    let planes = [n * small[1] + o, n * large[1] + channel, o * kernel[1] + c];
                    self.each_of_planes(planes, each);
                }
            }
        }
    }

    fn each_of_planes(&self, [small_plane, large_plane, kernel_plane]: [usize; 3], each: Each<'_>) {
        let (small, large, kernel) = (self.small, self.large, self.kernel);
        for (row, y, i) in self.meetings(0) {
            for (column, x, j) in self.meetings(1) {
                let at_small = (small_plane * small[2] + row) * small[3] + column;
                let at_large = (large_plane * large[2] + y) * large[3] + x;
                each(at_small, at_large, (kernel_plane * kernel[2] + i) * kernel[3] + j);
            }
        }
    }

    /// Where small, large and kernel meet along height (0) or width (1).
    fn meetings(&self, axis: usize) -> Vec<(usize, usize, usize)> {
        let mut meetings = vec![];
        for at in 0..self.small[2 + axis] {
            for k in 0..self.kernel[2 + axis] {
                let place = (at * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.padding[axis]);
                meetings.extend(place.filter(|place| *place < self.large[2 + axis]).map(|place| (at, place, k)));
            }
        }
        meetings
    }
}
