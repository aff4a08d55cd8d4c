//! Stride 1 in `f32` with AVX-512: no unfolded image.
//!
//! An image is copied once with its padding; in the padded plane, read as one line of positions, element `(ky, kx)` of each
//! window is a constant distance ahead. So an output line is a sum of shifted input lines, and the gradient of a weight is a
//! dot product of two lines. The positions at the end of each row, where a window wraps around, are computed and dropped
//! (forward) or multiplied by zero (weights).

use super::ConvShape;
#[cfg(target_arch = "x86_64")]
use super::avx512;
use crate::float::Float;
use std::any::TypeId;

/// Filters and vectors of positions of one tile of the forward pass.
pub(super) const FILTERS: usize = 8;
pub(super) const VECTORS: usize = 3;
/// Filters and window elements of one tile of the weights' gradient.
pub(super) const ROWS: usize = 4;
pub(super) const TAPS: usize = 6;
pub(super) const LANES: usize = 16;

/// Whether [`forward`] and [`backward_weights`] serve this convolution on this processor.
pub(crate) fn serves<T: Float>(shape: &ConvShape) -> bool {
    TypeId::of::<T>() == TypeId::of::<f32>() && shape.window.stride == [1, 1] && !shape.is_pointwise() && supported()
}

#[cfg(target_arch = "x86_64")]
fn supported() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
}

#[cfg(not(target_arch = "x86_64"))]
fn supported() -> bool {
    false
}

/// `values` as `f32`, which `T` is.
fn same<T: Float>(values: &[T]) -> &[f32] {
    assert_eq!(TypeId::of::<T>(), TypeId::of::<f32>(), "direct convolution is for f32");
    // SAFETY: `T` is `f32`: same layout, length and lifetime.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
}

/// `values` as `f32`, which `T` is.
fn same_mut<T: Float>(values: &mut [T]) -> &mut [f32] {
    assert_eq!(TypeId::of::<T>(), TypeId::of::<f32>(), "direct convolution is for f32");
    // SAFETY: `T` is `f32`: same layout, length and lifetime; the borrow stays unique.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

/// The padded planes of one group.
struct Padded {
    /// Positions of a padded row, and of a padded plane.
    width: usize,
    plane: usize,
    /// Positions of an output line, wrapped ones included, rounded up to whole tiles.
    line: usize,
    /// Elements that tiles may read past the last plane.
    tail: usize,
}

impl Padded {
    fn new(shape: &ConvShape, step: usize) -> Self {
        let [top, left] = shape.window.padding;
        let (height, width) = (shape.input[0] + 2 * top, shape.input[1] + 2 * left);
        let positions = (shape.output[0] - 1) * width + shape.output[1];
        let (plane, line) = (height * width, positions.next_multiple_of(step));
        Self { width, plane, line, tail: line - positions }
    }

    /// Elements to allocate for the planes of `channels` channels.
    fn len(&self, channels: usize) -> usize {
        channels * self.plane + self.tail
    }

    /// Distance of each window element, by channel, from the first position of its window.
    fn offsets(&self, shape: &ConvShape) -> Vec<usize> {
        let ([rows, columns], [down, right]) = (shape.window.kernel, shape.window.dilation);
        let mut offsets = Vec::with_capacity(shape.depth());
        for channel in 0..shape.in_group() {
            for ky in 0..rows {
                offsets.extend((0..columns).map(|kx| channel * self.plane + ky * down * self.width + kx * right));
            }
        }
        offsets
    }

    /// Copies the planes of one group of one image, with zeros around them.
    fn fill(&self, shape: &ConvShape, x: &[f32], padded: &mut [f32]) {
        let ([top, left], width) = (shape.window.padding, shape.input[1]);
        padded.fill(0.0);
        let planes = padded.chunks_exact_mut(self.plane).zip(x.chunks_exact(shape.in_plane()));
        for (padded, plane) in planes {
            let rows = padded.chunks_exact_mut(self.width).skip(top).zip(plane.chunks_exact(width));
            rows.for_each(|(padded, row)| padded[left..left + width].copy_from_slice(row));
        }
    }
}

/// Weights by blocks of [`FILTERS`]: `[group][block][tap][FILTERS]`, missing filters zero.
pub(crate) fn pack<T: Float>(shape: &ConvShape, weights: &[T]) -> Vec<f32> {
    let (depth, filters) = (shape.depth(), shape.out_group());
    let blocks = filters.div_ceil(FILTERS);
    let mut packed = vec![0.0; shape.groups * blocks * depth * FILTERS];
    for (index, taps) in same(weights).chunks_exact(depth).enumerate() {
        let (group, filter) = (index / filters, index % filters);
        let at = (group * blocks + filter / FILTERS) * depth * FILTERS + filter % FILTERS;
        taps.iter().enumerate().for_each(|(tap, weight)| packed[at + tap * FILTERS] = *weight);
    }
    packed
}

/// Adds the convolution of one image with [`pack`]ed weights onto `out`.
pub(crate) fn forward<T: Float>(shape: &ConvShape, x: &[T], packed: &[f32], out: &mut [T]) {
    let padded = Padded::new(shape, VECTORS * LANES);
    let offsets = padded.offsets(shape);
    let filters = shape.out_group();
    let block = shape.depth() * FILTERS;
    let groups = same_mut(out).chunks_exact_mut(filters * shape.out_plane());
    let groups = groups.zip(same(x).chunks_exact(shape.in_group() * shape.in_plane()));
    let len = padded.len(shape.in_group());
    f32::scratch(len + FILTERS * padded.line, |scratch| {
        let (planes, made) = scratch.split_at_mut(len);
        for ((out, x), packed) in groups.zip(packed.chunks_exact(filters.div_ceil(FILTERS) * block)) {
            padded.fill(shape, x, planes);
            let blocks = out.chunks_mut(FILTERS * shape.out_plane()).zip(packed.chunks_exact(block));
            for (out, weights) in blocks {
                for from in (0..padded.line).step_by(VECTORS * LANES) {
                    tile(&planes[from..], &offsets, weights, &mut made[from..], padded.line);
                }
                for (plane, made) in out.chunks_exact_mut(shape.out_plane()).zip(made.chunks_exact(padded.line)) {
                    let rows = plane.chunks_exact_mut(shape.output[1]).zip(made.chunks(padded.width));
                    for (row, made) in rows {
                        row.iter_mut().zip(made).for_each(|(out, made)| *out += *made);
                    }
                }
            }
        }
    });
}

/// What of a run of images is kept in cache at once: some images with all their filters, a block of their channels.
struct Kept {
    images: usize,
    channels: usize,
    /// Elements of one image's lines, and of one image's block of planes.
    lines: usize,
    planes: usize,
}

impl Kept {
    fn new(shape: &ConvShape, padded: &Padded, images: usize) -> Self {
        const LINES: usize = 128 * 1024;
        const PLANES: usize = 64 * 1024;
        let lines = shape.out_group() * padded.line;
        let images = evenly(images, LINES / lines);
        let channels = evenly(shape.in_group(), PLANES / (images * padded.plane));
        Self { images, channels, lines, planes: padded.len(channels) }
    }
}

/// The size of the parts when `all` is cut evenly into parts of at most `most`.
fn evenly(all: usize, most: usize) -> usize {
    all.div_ceil(all.div_ceil(most.max(1)).max(1)).max(1)
}

/// Adds the weights' gradient of a run of images onto `out`.
pub(crate) fn backward_weights<T: Float>(shape: &ConvShape, x: &[T], grad: &[T], out: &mut [T]) {
    let (x, grad, out) = (same(x), same(grad), same_mut(out));
    let padded = Padded::new(shape, LANES);
    let offsets = padded.offsets(shape);
    let x_image = shape.in_channels * shape.in_plane();
    let grad_image = shape.out_channels * shape.out_plane();
    let kept = Kept::new(shape, &padded, grad.len() / grad_image);
    f32::scratch(kept.images * (kept.planes + kept.lines), |scratch| {
        let (planes, lines) = scratch.split_at_mut(kept.images * kept.planes);
        for (group, out) in out.chunks_exact_mut(shape.weights_len() / shape.groups).enumerate() {
            let images = x.chunks(kept.images * x_image).zip(grad.chunks(kept.images * grad_image));
            for (x, grad) in images {
                let from = group * shape.out_group() * shape.out_plane();
                for (grad, lines) in grad.chunks_exact(grad_image).zip(lines.chunks_exact_mut(kept.lines)) {
                    spread(shape, &padded, &grad[from..], lines);
                }
                let lines = &lines[..grad.len() / grad_image * kept.lines];
                for channel in (0..shape.in_group()).step_by(kept.channels) {
                    let from = (group * shape.in_group() + channel) * shape.in_plane();
                    for (x, planes) in x.chunks_exact(x_image).zip(planes.chunks_exact_mut(kept.planes)) {
                        padded.fill(shape, &x[from..], planes);
                    }
                    dots(shape, &padded, [planes, lines], (channel, &kept, &offsets), out);
                }
            }
        }
    });
}

/// Lays the rows of an output's planes as far apart as padded rows, zeros between.
fn spread(shape: &ConvShape, padded: &Padded, grad: &[f32], lines: &mut [f32]) {
    lines.fill(0.0);
    for (line, plane) in lines.chunks_exact_mut(padded.line).zip(grad.chunks_exact(shape.out_plane())) {
        let rows = line.chunks_mut(padded.width).zip(plane.chunks_exact(shape.output[1]));
        rows.for_each(|(line, row)| line[..row.len()].copy_from_slice(row));
    }
}

/// All dot products of output lines and a block of shifted input lines, summed over images.
fn dots(
    shape: &ConvShape,
    padded: &Padded,
    parts: [&[f32]; 2],
    (channel, kept, offsets): (usize, &Kept, &[usize]),
    out: &mut [f32],
) {
    let (depth, filters) = (offsets.len(), shape.out_group());
    let taps_of_channel = depth / shape.in_group();
    let start = channel * taps_of_channel;
    let count = kept.channels.min(shape.in_group() - channel) * taps_of_channel;
    for first in (0..filters).step_by(ROWS) {
        // The last tile repeats its last row or tap, and drops the repetition.
        let rows: [usize; ROWS] = std::array::from_fn(|row| (first + row).min(filters - 1) * padded.line);
        for tap in (0..count).step_by(TAPS) {
            let taps: [usize; TAPS] = std::array::from_fn(|index| offsets[(tap + index).min(count - 1)]);
            let mut sums = [[0.0; TAPS]; ROWS];
            dot_tile(padded.line, parts, kept, (rows, taps), &mut sums);
            for (filter, sums) in (first..filters).zip(&sums) {
                let out = &mut out[filter * depth + start..][tap..count.min(tap + TAPS)];
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out += *sum);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn tile(input: &[f32], offsets: &[usize], weights: &[f32], out: &mut [f32], line: usize) {
    let reach = offsets.last().map_or(0, |last| last + VECTORS * LANES);
    assert!(input.len() >= reach && weights.len() >= offsets.len() * FILTERS, "direct convolution: input");
    assert!(out.len() >= (FILTERS - 1) * line + VECTORS * LANES, "direct convolution: output");
    // SAFETY: `serves` saw AVX-512 F and VL; offsets grow, so the asserts cover every element that is read or written.
    unsafe { avx512::tile(input.as_ptr(), offsets, weights.as_ptr(), out.as_mut_ptr(), line) }
}

#[cfg(target_arch = "x86_64")]
fn dot_tile(
    line: usize,
    [planes, lines]: [&[f32]; 2],
    kept: &Kept,
    (rows, taps): ([usize; ROWS], [usize; TAPS]),
    sums: &mut [[f32; TAPS]; ROWS],
) {
    let reach = |offsets: &[usize]| offsets.iter().fold(0, |most, at| *at.max(&most)) + line;
    assert!(reach(&taps) <= kept.planes && reach(&rows) <= kept.lines, "direct convolution: lines");
    let images = planes.chunks_exact(kept.planes).zip(lines.chunks_exact(kept.lines));
    // SAFETY: `serves` saw AVX-512 F and VL; each image's slices hold what the asserts say is read, in whole vectors.
    unsafe { avx512::dots(images, line, rows, taps, sums) }
}

#[cfg(not(target_arch = "x86_64"))]
fn tile(_: &[f32], _: &[usize], _: &[f32], _: &mut [f32], _: usize) {
    unreachable!("`serves` is false on this architecture");
}

#[cfg(not(target_arch = "x86_64"))]
fn dot_tile(_: usize, _: [&[f32]; 2], _: &Kept, _: ([usize; ROWS], [usize; TAPS]), _: &mut [[f32; TAPS]; ROWS]) {
    unreachable!("`serves` is false on this architecture");
}
