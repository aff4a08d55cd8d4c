//! Softmax over the last dim: rows `[rows, width]`.

use super::Level;
use super::across::{dot, exponentials, maximum};
use super::apply::{Add, Put, Store};
use crate::leveled::leveled;
use crate::parallel::pieces;

/// Elements of a task, in whole rows.
const TASK: usize = 1 << 12;

/// `e^x / sum e^x` of each row, without overflow. `x`, `out` `[rows, width]`.
pub fn softmax_forward(x: &[f32], width: usize, out: &mut [f32]) {
    assert!(width > 0 && x.len().is_multiple_of(width) && x.len() == out.len(), "softmax: lengths");
    let (level, task, len) = (Level::current(), TASK.div_ceil(width) * width, 4 * x.len());
    pieces(out, task, len, |index, out| softmax_rows(level, &x[index * task..][..out.len()], width, out));
}

leveled! {
    fn softmax_rows(x: &[f32], width: usize, out: &mut [f32]) {
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let scale = (1.0 / exponentials(x, maximum(x), 1.0, out)) as f32;
            for out in out.iter_mut() {
                *out *= scale;
            }
        }
    }
}

/// `grad_x = y (grad - sum grad y)`, added with `accumulate`; `y` the softmax. All `[rows, width]`.
pub fn softmax_backward([y, grad]: [&[f32]; 2], width: usize, grad_x: &mut [f32], accumulate: bool) {
    assert!(width > 0 && y.len().is_multiple_of(width), "softmax: length of the rows");
    assert!(y.len() == grad.len() && y.len() == grad_x.len(), "softmax: lengths");
    let (level, task, len) = (Level::current(), TASK.div_ceil(width) * width, 4 * y.len());
    pieces(grad_x, task, len, |index, out| {
        let at = index * task;
        let values = [&y[at..][..out.len()], &grad[at..][..out.len()]];
        if accumulate {
            backward_rows(level, Add, values, width, out)
        } else {
            backward_rows(level, Store, values, width, out)
        }
    });
}

leveled! {
    fn backward_rows[P: Put](put: P, values: [&[f32]; 2], width: usize, out: &mut [f32]) {
        let rows = values[0].chunks_exact(width).zip(values[1].chunks_exact(width));
        for (out, (y, grad)) in out.chunks_exact_mut(width).zip(rows) {
            let along = dot(y, grad) as f32;
            for (out, (y, grad)) in out.iter_mut().zip(y.iter().zip(grad)) {
                *out = put.put(*out, *y * (*grad - along));
            }
        }
    }
}
