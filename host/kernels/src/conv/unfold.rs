//! Images to columns and back.

use super::ConvShape;
use crate::float::Float;
use std::ops::Range;

/// Where a piece of an image goes in the matrix of columns: rows of the matrix are `width` apart.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) width: usize,
    pub(crate) offset: usize,
}

/// Writes the windows of output rows `rows` of one group of one image as columns:
/// `columns[(c, ky, kx)][oy, ox] = image[c][oy s + ky d - p][ox s + kx d - p]`, zero outside.
pub(crate) fn unfold<T: Float>(shape: &ConvShape, image: &[T], rows: Range<usize>, columns: &mut [T], place: Place) {
    let [kernel_h, kernel_w] = shape.window.kernel;
    let len = rows.len() * shape.output[1];
    let mut at = place.offset;
    for plane in image.chunks_exact(shape.in_plane()).take(shape.in_group()) {
        for ky in 0..kernel_h {
            for kx in 0..kernel_w {
                unfold_tap(shape, plane, [ky, kx], rows.clone(), &mut columns[at..at + len]);
                at += place.width;
            }
        }
    }
}

fn unfold_tap<T: Float>(shape: &ConvShape, plane: &[T], tap: [usize; 2], rows: Range<usize>, line: &mut [T]) {
    let (window, [height, width]) = (&shape.window, shape.input);
    let out_width = shape.output[1];
    let (top, bottom) = window.inside(0, tap[0], height, shape.output[0]);
    let (left, right) = window.inside(1, tap[1], width, out_width);
    let stride = window.stride[1];
    for (oy, line) in rows.zip(line.chunks_exact_mut(out_width)) {
        if oy < top || oy >= bottom || left == right {
            line.fill(T::ZERO);
            continue;
        }
        let iy = oy * window.stride[0] + tap[0] * window.dilation[0] - window.padding[0];
        let ix = left * stride + tap[1] * window.dilation[1] - window.padding[1];
        let source = &plane[iy * width + ix..(iy + 1) * width];
        line[..left].fill(T::ZERO);
        line[right..].fill(T::ZERO);
        let inner = &mut line[left..right];
        if stride == 1 {
            inner.copy_from_slice(&source[..right - left]);
        } else {
            inner.iter_mut().zip(source.iter().step_by(stride)).for_each(|(to, from)| *to = *from);
        }
    }
}

/// The adjoint of [`unfold`]: adds the columns of output rows `rows` onto one group of one image.
pub(crate) fn fold<T: Float>(shape: &ConvShape, columns: &[T], rows: Range<usize>, image: &mut [T]) {
    let [kernel_h, kernel_w] = shape.window.kernel;
    let len = rows.len() * shape.output[1];
    let mut lines = columns.chunks_exact(len.max(1));
    for plane in image.chunks_exact_mut(shape.in_plane()) {
        for ky in 0..kernel_h {
            for kx in 0..kernel_w {
                if let Some(line) = lines.next() {
                    fold_tap(shape, line, [ky, kx], rows.clone(), plane);
                }
            }
        }
    }
}

fn fold_tap<T: Float>(shape: &ConvShape, line: &[T], tap: [usize; 2], rows: Range<usize>, plane: &mut [T]) {
    let (window, [height, width]) = (&shape.window, shape.input);
    let out_width = shape.output[1];
    let (top, bottom) = window.inside(0, tap[0], height, shape.output[0]);
    let (left, right) = window.inside(1, tap[1], width, out_width);
    if left == right {
        return;
    }
    let stride = window.stride[1];
    for (oy, line) in rows.zip(line.chunks_exact(out_width)) {
        if oy < top || oy >= bottom {
            continue;
        }
        let iy = oy * window.stride[0] + tap[0] * window.dilation[0] - window.padding[0];
        let ix = left * stride + tap[1] * window.dilation[1] - window.padding[1];
        let target = &mut plane[iy * width + ix..(iy + 1) * width];
        let inner = &line[left..right];
        if stride == 1 {
            target.iter_mut().zip(inner).for_each(|(to, from)| *to += *from);
        } else {
            target.iter_mut().step_by(stride).zip(inner).for_each(|(to, from)| *to += *from);
        }
    }
}
