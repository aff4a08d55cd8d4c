//! Images between `[N, C, H, W]` and channels last: a transpose of each image.

use super::apply::{Add, Put, Store, loaded};
use super::turn::{BLOCK, turn_blocks};
use super::{Level, Load};
use crate::leveled::leveled;
use crate::parallel::pieces;

/// `[N, C, pixels]` to `[N, pixels, C]`; `dims` are `[N, C, pixels]`. Adds to `out` with `accumulate`.
pub fn nchw_to_nhwc(x: &[f32], dims: [usize; 3], out: &mut [f32], accumulate: bool) {
    transpose_images(x, dims, out, accumulate);
}

/// `[N, pixels, C]` to `[N, C, pixels]`; `dims` are `[N, C, pixels]`. Adds to `out` with `accumulate`.
pub fn nhwc_to_nchw(x: &[f32], [batch, channels, pixels]: [usize; 3], out: &mut [f32], accumulate: bool) {
    transpose_images(x, [batch, pixels, channels], out, accumulate);
}

/// [`nhwc_to_nchw`] of a value as it is read: an image is loaded into cache, then turned.
pub fn load_to_nchw(x: Load<'_>, [batch, channels, pixels]: [usize; 3], out: &mut [f32], accumulate: bool) {
    let image = channels * pixels;
    assert_eq!(out.len(), batch * image, "layout: length of the result");
    x.check(out.len(), channels);
    let (level, len) = (Level::current(), out.len());
    pieces(out, image, len, |index, out| {
        loaded(level, x, channels, index * image, image, |x| {
            level.with(|| nhwc_to_nchw(x, [1, channels, pixels], out, accumulate));
        });
    });
}

/// `[batch, height, width]` to `[batch, width, height]`.
fn transpose_images(x: &[f32], [batch, height, width]: [usize; 3], out: &mut [f32], accumulate: bool) {
    let image = height * width;
    assert!(x.len() == batch * image && out.len() == x.len(), "layout: lengths");
    if image == 0 {
        return;
    }
    let (level, len) = (Level::current(), out.len());
    // Some rows of the result: whole blocks, at least 32 kB.
    let rows = (8192usize.div_ceil(height)).next_multiple_of(BLOCK).min(width);
    let tasks = width.div_ceil(rows);
    let task = |index: usize, out: &mut [f32]| {
        let from = index % tasks * rows;
        let x = &x[index / tasks * image..][..image];
        if accumulate {
            transpose(level, Add, &x[from..], [height, width], out);
        } else {
            transpose(level, Store, &x[from..], [height, width], out);
        }
    };
    if tasks == 1 {
        return pieces(out, image, len, task);
    }
    pieces(out, image, len, |index, out| {
        pieces(out, rows * height, len, |part, out| task(index * tasks + part, out));
    });
}

/// Rows `out` `[rows, height]` from the first `rows` columns of `x` `[height, width]`.
fn transpose<P: Put>(level: Level, put: P, x: &[f32], [height, width]: [usize; 2], out: &mut [f32]) {
    if height <= 4 {
        return transpose_narrow(level, put, x, [height, width], out);
    }
    let rows = out.len() / height;
    let (whole_rows, whole_columns) = (rows - rows % BLOCK, height - height % BLOCK);
    turn_blocks(level, put, (x, width), (out, height), [whole_rows, whole_columns]);
    for row in 0..rows {
        let from = if row < whole_rows { whole_columns } else { 0 };
        for column in from..height {
            let out = &mut out[row * height + column];
            *out = put.put(*out, x[column * width + row]);
        }
    }
}

leveled! {
    fn transpose_narrow[P: Put](put: P, x: &[f32], size: [usize; 2], out: &mut [f32]) {
        match size[0] {
            1 => transpose_few::<1, P>(put, x, size[1], out),
            2 => transpose_few::<2, P>(put, x, size[1], out),
            3 => transpose_few::<3, P>(put, x, size[1], out),
            _ => transpose_few::<4, P>(put, x, size[1], out),
        }
    }
}

#[inline(always)]
fn transpose_few<const N: usize, P: Put>(put: P, x: &[f32], width: usize, out: &mut [f32]) {
    let rows = out.len() / N;
    let lines: [&[f32]; N] = std::array::from_fn(|line| &x[line * width..][..rows]);
    for (row, out) in out.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        for (out, line) in out.iter_mut().zip(&lines) {
            *out = put.put(*out, line[row]);
        }
    }
}
