//! Stride 1 in `f32` with AVX-512: no unfolded image.
//!
//! An image is copied once with its padding; in the padded plane, read as one line of positions, element `(ky, kx)` of each
//! window is a constant distance ahead. So an output line is a sum of shifted input lines, and the gradient of a weight is a
//! dot product of two lines. The positions at the end of each row, where a window wraps around, are computed and dropped
//! (forward) or multiplied by zero (weights).

use super::ConvShape;
use crate::float::Float;
use std::any::TypeId;

/// Filters and vectors of positions of one tile of the forward pass.
const FILTERS: usize = 8;
const VECTORS: usize = 3;
/// Filters and window elements of one tile of the weights' gradient.
const ROWS: usize = 4;
const TAPS: usize = 6;
const LANES: usize = 16;

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
    /// Elements to allocate for the planes of a group, so that tiles may read past the end.
    len: usize,
}

impl Padded {
    fn new(shape: &ConvShape, step: usize) -> Self {
        let [top, left] = shape.window.padding;
        let (height, width) = (shape.input[0] + 2 * top, shape.input[1] + 2 * left);
        let positions = (shape.output[0] - 1) * width + shape.output[1];
        let (plane, line) = (height * width, positions.next_multiple_of(step));
        Self { width, plane, line, len: shape.in_group() * plane + line - positions }
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
    f32::scratch(padded.len + FILTERS * padded.line, |scratch| {
        let (planes, made) = scratch.split_at_mut(padded.len);
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

/// Adds the weights' gradient of a run of images onto `out`.
pub(crate) fn backward_weights<T: Float>(shape: &ConvShape, x: &[T], grad: &[T], out: &mut [T]) {
    const KEPT: usize = 160 * 1024;
    let (x, grad, out) = (same(x), same(grad), same_mut(out));
    let padded = Padded::new(shape, LANES);
    let offsets = padded.offsets(shape);
    let (depth, filters) = (shape.depth(), shape.out_group());
    let lines = filters * padded.line;
    let x_image = shape.in_channels * shape.in_plane();
    let grad_image = shape.out_channels * shape.out_plane();
    let together = (KEPT / (padded.len + lines)).clamp(1, grad.len() / grad_image);
    f32::scratch(together * (padded.len + lines), |scratch| {
        let (planes, kept) = scratch.split_at_mut(together * padded.len);
        for (group, out) in out.chunks_exact_mut(filters * depth).enumerate() {
            let images = x.chunks(together * x_image).zip(grad.chunks(together * grad_image));
            for (x, grad) in images {
                let count = grad.len() / grad_image;
                for image in 0..count {
                    let x = &x[image * x_image + group * shape.in_group() * shape.in_plane()..];
                    padded.fill(shape, x, &mut planes[image * padded.len..][..padded.len]);
                    let grad = &grad[image * grad_image + group * filters * shape.out_plane()..];
                    spread(shape, &padded, grad, &mut kept[image * lines..][..lines]);
                }
                let (planes, kept) = (&planes[..count * padded.len], &kept[..count * lines]);
                dots(&padded, [planes, kept], &offsets, filters, out);
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

/// All dot products of output lines and shifted input lines, summed over images.
fn dots(padded: &Padded, [planes, lines]: [&[f32]; 2], offsets: &[usize], filters: usize, out: &mut [f32]) {
    let depth = offsets.len();
    for first in (0..filters).step_by(ROWS) {
        // The last tile repeats its last row or tap, and drops the repetition.
        let rows: [usize; ROWS] = std::array::from_fn(|row| (first + row).min(filters - 1) * padded.line);
        for tap in (0..depth).step_by(TAPS) {
            let taps: [usize; TAPS] = std::array::from_fn(|index| offsets[(tap + index).min(depth - 1)]);
            let mut sums = [[0.0; TAPS]; ROWS];
            dot_tile(padded, [planes, lines], filters, (rows, taps), &mut sums);
            for (filter, sums) in (first..filters).zip(&sums) {
                let out = &mut out[filter * depth..][tap..depth.min(tap + TAPS)];
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
    padded: &Padded,
    [planes, lines]: [&[f32]; 2],
    filters: usize,
    (rows, taps): ([usize; ROWS], [usize; TAPS]),
    sums: &mut [[f32; TAPS]; ROWS],
) {
    let reach = |offsets: &[usize]| offsets.iter().fold(0, |most, at| *at.max(&most)) + padded.line;
    assert!(reach(&taps) <= padded.len && reach(&rows) <= filters * padded.line, "direct convolution: lines");
    let images = planes.chunks_exact(padded.len).zip(lines.chunks_exact(filters * padded.line));
    // SAFETY: `serves` saw AVX-512 F and VL; each image's slices hold what the asserts say is read, in whole vectors.
    unsafe { avx512::dots(images, padded.line, rows, taps, sums) }
}

#[cfg(not(target_arch = "x86_64"))]
fn tile(_: &[f32], _: &[usize], _: &[f32], _: &mut [f32], _: usize) {
    unreachable!("`serves` is false on this architecture");
}

#[cfg(not(target_arch = "x86_64"))]
fn dot_tile(_: &Padded, _: [&[f32]; 2], _: usize, _: ([usize; ROWS], [usize; TAPS]), _: &mut [[f32; TAPS]; ROWS]) {
    unreachable!("`serves` is false on this architecture");
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{FILTERS, LANES, ROWS, TAPS, VECTORS};
    use std::arch::x86_64::{
        __m512, _mm512_add_ps, _mm512_cvtss_f32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_permute_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps,
    };

    /// `out[f][..48] = sum_t weights[t][f] * input[offsets[t]..][..48]`, output rows `line` apart.
    ///
    /// # Safety
    /// The processor has AVX-512 F and VL; `input` holds 48 elements from each offset, `weights` 8 for each, `out` 48 a row.
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) unsafe fn tile(
        input: *const f32,
        offsets: &[usize],
        mut weights: *const f32,
        out: *mut f32,
        line: usize,
    ) {
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; FILTERS];
        for offset in offsets {
            // SAFETY: the caller's contract.
            unsafe {
                let input = input.add(*offset);
                let x: [_; VECTORS] = std::array::from_fn(|v| _mm512_loadu_ps(input.add(v * LANES)));
                for (filter, sums) in sums.iter_mut().enumerate() {
                    let weight = _mm512_set1_ps(*weights.add(filter));
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum = _mm512_fmadd_ps(weight, x, *sum);
                    }
                }
                weights = weights.add(FILTERS);
            }
        }
        for (filter, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                // SAFETY: the caller's contract.
                unsafe { _mm512_storeu_ps(out.add(filter * line + v * LANES), sum) };
            }
        }
    }

    /// Sum of the lanes, by halves.
    #[target_feature(enable = "avx512f,avx512vl")]
    fn total(wide: __m512) -> f32 {
        let wide = _mm512_add_ps(wide, _mm512_shuffle_f32x4::<0x4e>(wide, wide));
        let wide = _mm512_add_ps(wide, _mm512_shuffle_f32x4::<0xb1>(wide, wide));
        let wide = _mm512_add_ps(wide, _mm512_permute_ps::<0x4e>(wide));
        _mm512_cvtss_f32(_mm512_add_ps(wide, _mm512_permute_ps::<0xb1>(wide)))
    }

    /// `sums[r][t] = sum over images and positions of lines[rows[r] + p] * planes[taps[t] + p]`.
    ///
    /// # Safety
    /// The processor has AVX-512 F and VL; `line`, a multiple of 16, elements are readable from each row and tap of each image.
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) unsafe fn dots<'a>(
        images: impl Iterator<Item = (&'a [f32], &'a [f32])>,
        line: usize,
        rows: [usize; ROWS],
        taps: [usize; TAPS],
        sums: &mut [[f32; TAPS]; ROWS],
    ) {
        let mut wide = [[_mm512_setzero_ps(); TAPS]; ROWS];
        for (planes, lines) in images {
            // SAFETY: the caller's contract.
            let (planes, lines) = unsafe {
                (taps.map(|tap| planes.as_ptr().add(tap)), rows.map(|row| lines.as_ptr().add(row)))
            };
            for at in (0..line).step_by(LANES) {
                // SAFETY: the caller's contract.
                unsafe {
                    let grads: [_; ROWS] = std::array::from_fn(|row| _mm512_loadu_ps(lines[row].add(at)));
                    for (tap, plane) in planes.iter().enumerate() {
                        let x = _mm512_loadu_ps(plane.add(at));
                        for (wide, grad) in wide.iter_mut().zip(grads) {
                            wide[tap] = _mm512_fmadd_ps(grad, x, wide[tap]);
                        }
                    }
                }
            }
        }
        for (sums, wide) in sums.iter_mut().zip(wide) {
            sums.iter_mut().zip(wide).for_each(|(sum, wide)| *sum = total(wide));
        }
    }
}
