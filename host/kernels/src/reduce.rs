//! Sums and extremes over one dim of `[outer, dim, inner]`.

use crate::float::{Float, simd};
use crate::parallel::pieces;

const LANES: usize = 16;

/// Elements summed in the type itself; the sums of longer runs are added in `f64`.
const RUN: usize = 2048;

/// Sum of `at(0..len)` in 16 interleaved lanes: the same order on each machine.
#[inline(always)]
fn lanes<T: Float>(len: usize, at: impl Fn(usize) -> T) -> T {
    if len <= RUN {
        return lanes_of_run(0, len, &at);
    }
    let runs = (0..len).step_by(RUN).map(|from| lanes_of_run(from, RUN.min(len - from), &at).wide());
    T::of(runs.sum())
}

#[inline(always)]
fn lanes_of_run<T: Float>(from: usize, len: usize, at: &impl Fn(usize) -> T) -> T {
    let mut partial = [T::ZERO; LANES];
    let whole = len / LANES * LANES;
    for start in (from..from + whole).step_by(LANES) {
        for (lane, partial) in partial.iter_mut().enumerate() {
            *partial += at(start + lane);
        }
    }
    for (lane, tail) in (from + whole..from + len).enumerate() {
        partial[lane] += at(tail);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            partial[lane] += partial[lane + width];
        }
        width /= 2;
    }
    partial[0]
}

/// Runs of one piece of work.
const RUNS: usize = 16;

/// As [`lanes`], to the bit, on all threads.
#[inline(always)]
fn lanes_on_threads<T: Float>(len: usize, at: impl Fn(usize) -> T + Sync) -> T {
    if len <= RUNS * RUN {
        return simd(|| lanes(len, at));
    }
    let mut runs = vec![0.0; len.div_ceil(RUN)];
    pieces(&mut runs, RUNS, len, |index, runs| {
        simd(|| {
            for (run, sum) in runs.iter_mut().enumerate() {
                let from = (index * RUNS + run) * RUN;
                *sum = lanes_of_run(from, RUN.min(len - from), &at).wide();
            }
        });
    });
    T::of(runs.iter().sum())
}

/// Sum of all elements.
pub fn sum<T: Float>(x: &[T]) -> T {
    lanes_on_threads(x.len(), |i| x[i])
}

/// `sum_i (a[i] - b[i])^2`, to the bit what [`sum`] makes of the squares.
pub fn squared_distance<T: Float>(a: &[T], b: &[T]) -> T {
    let b = &b[..a.len()];
    lanes_on_threads(a.len(), |i| (a[i] - b[i]) * (a[i] - b[i]))
}

/// [`sum`] for callers that are compiled for wide vectors already.
#[inline(always)]
pub(crate) fn lane_sum<T: Float>(x: &[T]) -> T {
    lanes(x.len(), |i| x[i])
}

/// `sum_i a[i] b[i]`.
#[inline(always)]
pub(crate) fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    let b = &b[..a.len()];
    lanes(a.len(), |i| a[i] * b[i])
}

/// `sum_i (x[i] - mean)^2`.
#[inline(always)]
pub(crate) fn squares<T: Float>(x: &[T], mean: T) -> T {
    lanes(x.len(), |i| (x[i] - mean) * (x[i] - mean))
}

/// `sum_i g[i] (x[i] - mean)`.
#[inline(always)]
pub(crate) fn dot_centred<T: Float>(g: &[T], x: &[T], mean: T) -> T {
    let x = &x[..g.len()];
    lanes(g.len(), |i| g[i] * (x[i] - mean))
}

/// `out[o, i] = sum_d x[o, d, i]`, in the order of `d`.
pub fn sum_dim<T: Float>(x: &[T], [outer, dim, inner]: [usize; 3], out: &mut [T]) {
    assert!(x.len() == outer * dim * inner && out.len() == outer * inner, "sum_dim: lengths");
    if inner == 1 {
        let rows = (1usize << 14).div_ceil(dim.max(1));
        pieces(out, rows, x.len(), |index, out| {
            for (row, out) in out.iter_mut().enumerate() {
                *out = sum(&x[(index * rows + row) * dim..][..dim]);
            }
        });
        return;
    }
    // One outer slice at a time would leave threads idle when there is one: pieces of `inner` are cut as well.
    let width = inner.min(4096);
    let blocks = inner.div_ceil(width);
    if inner.is_multiple_of(width) {
        pieces(out, width, x.len(), |index, out| {
            let (slice, from) = (index / blocks, index % blocks * width);
            add_lines(&x[slice * dim * inner + from..], dim, inner, out);
        });
    } else {
        pieces(out, inner, x.len(), |slice, out| add_lines(&x[slice * dim * inner..], dim, inner, out));
    }
}

fn add_lines<T: Float>(x: &[T], dim: usize, inner: usize, out: &mut [T]) {
    out.fill(T::ZERO);
    simd(|| {
        for d in 0..dim {
            let line = &x[d * inner..][..out.len()];
            out.iter_mut().zip(line).for_each(|(out, x)| *out += *x);
        }
    });
}

/// Index along the dim of the first element that no other exceeds under `better(candidate, kept)`; NaN wins.
///
/// `x` `[outer, dim, inner]`, `dim >= 1`; `out` `[outer, inner]`.
pub fn first_extreme<T: Float>(
    x: &[T],
    [outer, dim, inner]: [usize; 3],
    out: &mut [u32],
    better: impl Fn(T, T) -> bool + Sync,
) {
    assert!(x.len() == outer * dim * inner && out.len() == outer * inner, "first_extreme: lengths");
    assert!(dim > 0, "first_extreme: an empty dim");
    pieces(out, inner, x.len(), |slice, out| {
        let x = &x[slice * dim * inner..][..dim * inner];
        for (at, out) in out.iter_mut().enumerate() {
            let mut kept = x[at];
            *out = 0;
            for d in 1..dim {
                let candidate = x[d * inner + at];
                if better(candidate, kept) || (candidate.is_nan() && !kept.is_nan()) {
                    (kept, *out) = (candidate, d as u32);
                }
            }
        }
    });
}

/// `out[o, i] = x[o, index[o, i], i]`.
pub fn take<T: Float>(x: &[T], [outer, dim, inner]: [usize; 3], index: &[u32], out: &mut [T]) {
    assert!(
        x.len() == outer * dim * inner && index.len() == outer * inner && out.len() == index.len(),
        "take: lengths"
    );
    for (at, (out, index)) in out.iter_mut().zip(index).enumerate() {
        *out = x[(at / inner * dim + *index as usize) * inner + at % inner];
    }
}

/// The adjoint of [`take`]: `out[o, index[o, i], i] = grad[o, i]`, zero elsewhere.
pub fn put<T: Float>(grad: &[T], [outer, dim, inner]: [usize; 3], index: &[u32], out: &mut [T]) {
    assert!(
        out.len() == outer * dim * inner && index.len() == outer * inner && grad.len() == index.len(),
        "put: lengths"
    );
    out.fill(T::ZERO);
    for (at, (grad, index)) in grad.iter().zip(index).enumerate() {
        out[(at / inner * dim + *index as usize) * inner + at % inner] = *grad;
    }
}

/// Spreads `x` `[outer, inner]` over a dim: `out[o, d, i] = x[o, i] * scale`, the adjoint of a (scaled) sum.
pub fn spread<T: Float>(x: &[T], [outer, dim, inner]: [usize; 3], scale: T, out: &mut [T]) {
    assert!(out.len() == outer * dim * inner && x.len() == outer * inner, "spread: lengths");
    let work = out.len();
    pieces(out, dim * inner, work, |slice, out| {
        let x = &x[slice * inner..][..inner];
        if let [x] = x {
            return out.fill(*x * scale);
        }
        for line in out.chunks_exact_mut(inner) {
            line.iter_mut().zip(x).for_each(|(out, x)| *out = *x * scale);
        }
    });
}
