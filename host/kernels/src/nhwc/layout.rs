//! Images between `[N, C, H, W]` and channels last: a transpose of each image.

use super::Level;
use super::apply::{Add, Put, Store};
use crate::leveled::leveled;
use crate::parallel::pieces;

/// Side of the blocks that are turned in registers and the first cache.
const BLOCK: usize = 16;

/// `[N, C, pixels]` to `[N, pixels, C]`; `dims` are `[N, C, pixels]`. Adds to `out` with `accumulate`.
pub fn nchw_to_nhwc(x: &[f32], dims: [usize; 3], out: &mut [f32], accumulate: bool) {
    transpose_images(x, dims, out, accumulate);
}

/// `[N, pixels, C]` to `[N, C, pixels]`; `dims` are `[N, C, pixels]`. Adds to `out` with `accumulate`.
pub fn nhwc_to_nchw(x: &[f32], [batch, channels, pixels]: [usize; 3], out: &mut [f32], accumulate: bool) {
    transpose_images(x, [batch, pixels, channels], out, accumulate);
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
            transpose::<Add>(level, Add, &x[from..], [height, width], out);
        } else {
            transpose::<Store>(level, Store, &x[from..], [height, width], out);
        }
    };
    if tasks == 1 {
        return pieces(out, image, len, task);
    }
    pieces(out, image, len, |index, out| {
        pieces(out, rows * height, len, |part, out| task(index * tasks + part, out));
    });
}

leveled! {
    /// Rows `out` `[rows, height]` from the first `rows` columns of `x` `[height, width]`.
    fn transpose[P: Put](put: P, x: &[f32], size: [usize; 2], out: &mut [f32]) {
        let [height, width] = size;
        match height {
            1 => return transpose_few::<1, P>(put, x, width, out),
            2 => return transpose_few::<2, P>(put, x, width, out),
            3 => return transpose_few::<3, P>(put, x, width, out),
            4 => return transpose_few::<4, P>(put, x, width, out),
            _ => {}
        }
        let rows = out.len() / height;
        let (whole_rows, whole_columns) = (rows - rows % BLOCK, height - height % BLOCK);
        for row in (0..whole_rows).step_by(BLOCK) {
            for column in (0..whole_columns).step_by(BLOCK) {
                transpose_block(put, &x[column * width + row..], width, &mut out[row * height + column..], height);
            }
        }
        for row in 0..rows {
            let from = if row < whole_rows { whole_columns } else { 0 };
            for column in from..height {
                let out = &mut out[row * height + column];
                *out = put.put(*out, x[column * width + row]);
            }
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

#[inline(always)]
fn transpose_block<P: Put>(put: P, x: &[f32], width: usize, out: &mut [f32], height: usize) {
    let mut block = [[0f32; BLOCK]; BLOCK];
    for (at, line) in block.iter_mut().enumerate() {
        line.copy_from_slice(&x[at * width..][..BLOCK]);
    }
    // Four exchanges of neighbours at distance 8, 4, 2, 1: shuffles of whole vectors.
    exchange::<8>(&mut block);
    exchange::<4>(&mut block);
    exchange::<2>(&mut block);
    exchange::<1>(&mut block);
    for (at, line) in block.iter().enumerate() {
        let out = &mut out[at * height..][..BLOCK];
        for (out, value) in out.iter_mut().zip(line) {
            *out = put.put(*out, *value);
        }
    }
}

/// Swaps the off-diagonal `D x D` squares of each `2 D x 2 D` square.
#[inline(always)]
fn exchange<const D: usize>(block: &mut [[f32; BLOCK]; BLOCK]) {
    for row in 0..BLOCK {
        if row & D != 0 {
            continue;
        }
        let (above, below) = (block[row], block[row + D]);
        for column in 0..BLOCK {
            if column & D == 0 {
                block[row][column + D] = below[column];
                block[row + D][column] = above[column + D];
            }
        }
    }
}
