//! Softmax and log-softmax along one dim of `[outer, dim, inner]`, cross-entropy over rows.

use crate::float::{Float, simd};
use crate::parallel::pieces;
use crate::reduce::{dot, lane_sum, sum};

/// `e^x / sum e^x` along the dim, without overflow.
pub fn softmax_forward<T: Float>(x: &[T], dims: [usize; 3], out: &mut [T]) {
    slices(x, dims, out, softmax_slice::<T>);
}

/// `x - ln sum e^x` along the dim, without overflow.
pub fn log_softmax_forward<T: Float>(x: &[T], dims: [usize; 3], out: &mut [T]) {
    slices(x, dims, out, log_softmax_slice::<T>);
}

// The work on a slice stands in functions that are always inlined, so that it is compiled for wide vectors; a closure would
// not be.

#[inline(always)]
fn softmax_slice<T: Float>(x: &[T], inner: usize, out: &mut [T], scratch: &mut [T]) {
    let (top, total) = scratch.split_at_mut(inner);
    exponentials(x, top, total, out);
    total.iter_mut().for_each(|total| *total = T::ONE / *total);
    if let [total] = total {
        out.iter_mut().for_each(|out| *out *= *total);
        return;
    }
    for out in out.chunks_exact_mut(inner) {
        out.iter_mut().zip(&*total).for_each(|(out, total)| *out *= *total);
    }
}

#[inline(always)]
fn log_softmax_slice<T: Float>(x: &[T], inner: usize, out: &mut [T], scratch: &mut [T]) {
    let (top, total) = scratch.split_at_mut(inner);
    exponentials(x, top, total, out);
    total.iter_mut().for_each(|total| *total = total.ln());
    if let ([top], [total]) = (&*top, &*total) {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = (*x - *top) - *total);
        return;
    }
    for (out, x) in out.chunks_exact_mut(inner).zip(x.chunks_exact(inner)) {
        for ((out, x), (top, total)) in out.iter_mut().zip(x).zip(top.iter().zip(&*total)) {
            *out = (*x - *top) - *total;
        }
    }
}

/// Runs `task(x, inner, out, scratch of 2 inner)` on each slice of `outer`.
fn slices<T: Float>(
    x: &[T],
    [outer, dim, inner]: [usize; 3],
    out: &mut [T],
    task: impl Fn(&[T], usize, &mut [T], &mut [T]) + Sync,
) {
    assert!(x.len() == outer * dim * inner && out.len() == x.len(), "softmax: lengths");
    pieces(out, dim * inner, x.len() * 4, |slice, out| {
        let x = &x[slice * dim * inner..][..dim * inner];
        T::scratch(2 * inner, |scratch| simd(|| task(x, inner, out, scratch)));
    });
}

/// `out = e^(x - top)`, `top` the maximum and `total` the sum along the dim.
#[inline(always)]
fn exponentials<T: Float>(x: &[T], top: &mut [T], total: &mut [T], out: &mut [T]) {
    let inner = top.len();
    if inner == 1 {
        top[0] = maximum(x);
        out.iter_mut().zip(x).for_each(|(out, x)| *out = (*x - top[0]).exp());
        total[0] = lane_sum(out);
        return;
    }
    top.copy_from_slice(&x[..inner]);
    total.fill(T::ZERO);
    for x in x.chunks_exact(inner) {
        top.iter_mut().zip(x).for_each(|(top, x)| *top = if *x > *top { *x } else { *top });
    }
    for (out, x) in out.chunks_exact_mut(inner).zip(x.chunks_exact(inner)) {
        for (((out, x), top), total) in out.iter_mut().zip(x).zip(&*top).zip(total.iter_mut()) {
            *out = (*x - *top).exp();
            *total += *out;
        }
    }
}

#[inline(always)]
fn maximum<T: Float>(x: &[T]) -> T {
    let mut lanes = [x[0]; 16];
    let chunks = x.chunks_exact(16);
    for (lane, x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = if *x > *lane { *x } else { *lane };
    }
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane = if *x > *lane { *x } else { *lane });
    }
    lanes.into_iter().fold(x[0], |top, x| if x > top { x } else { top })
}

/// `y (g - sum g y)`, `y` the softmax.
pub fn softmax_backward<T: Float>([y, grad]: [&[T]; 2], dims: [usize; 3], grad_x: &mut [T]) {
    assert_eq!(y.len(), grad.len(), "softmax: lengths");
    slices_with(y, grad, dims, grad_x, softmax_backward_slice::<T>);
}

/// `g - e^y sum g`, `y` the log-softmax.
pub fn log_softmax_backward<T: Float>([y, grad]: [&[T]; 2], dims: [usize; 3], grad_x: &mut [T]) {
    assert_eq!(y.len(), grad.len(), "log_softmax: lengths");
    slices_with(y, grad, dims, grad_x, log_softmax_backward_slice::<T>);
}

#[inline(always)]
fn softmax_backward_slice<T: Float>(y: &[T], grad: &[T], grad_x: &mut [T], along: &mut [T]) {
    let inner = along.len();
    if inner == 1 {
        let along = dot(y, grad);
        grad_x.iter_mut().zip(y).zip(grad).for_each(|((grad_x, y), grad)| *grad_x = *y * (*grad - along));
        return;
    }
    along.fill(T::ZERO);
    for (y, grad) in y.chunks_exact(inner).zip(grad.chunks_exact(inner)) {
        along.iter_mut().zip(y).zip(grad).for_each(|((along, y), grad)| *along += *y * *grad);
    }
    let lines = grad_x.chunks_exact_mut(inner).zip(y.chunks_exact(inner)).zip(grad.chunks_exact(inner));
    for ((grad_x, y), grad) in lines {
        for (((grad_x, y), grad), along) in grad_x.iter_mut().zip(y).zip(grad).zip(&*along) {
            *grad_x = *y * (*grad - *along);
        }
    }
}

#[inline(always)]
fn log_softmax_backward_slice<T: Float>(y: &[T], grad: &[T], grad_x: &mut [T], total: &mut [T]) {
    let inner = total.len();
    if inner == 1 {
        let total = lane_sum(grad);
        grad_x.iter_mut().zip(y).zip(grad).for_each(|((grad_x, y), grad)| *grad_x = *grad - y.exp() * total);
        return;
    }
    total.fill(T::ZERO);
    for grad in grad.chunks_exact(inner) {
        total.iter_mut().zip(grad).for_each(|(total, grad)| *total += *grad);
    }
    let lines = grad_x.chunks_exact_mut(inner).zip(y.chunks_exact(inner)).zip(grad.chunks_exact(inner));
    for ((grad_x, y), grad) in lines {
        for (((grad_x, y), grad), total) in grad_x.iter_mut().zip(y).zip(grad).zip(&*total) {
            *grad_x = *grad - y.exp() * *total;
        }
    }
}

fn slices_with<T: Float>(
    y: &[T],
    grad: &[T],
    [outer, dim, inner]: [usize; 3],
    grad_x: &mut [T],
    task: impl Fn(&[T], &[T], &mut [T], &mut [T]) + Sync,
) {
    assert!(y.len() == outer * dim * inner && grad_x.len() == y.len(), "softmax: lengths");
    pieces(grad_x, dim * inner, y.len() * 4, |slice, grad_x| {
        let at = slice * dim * inner;
        let (y, grad) = (&y[at..][..dim * inner], &grad[at..][..dim * inner]);
        T::scratch(inner, |scratch| simd(|| task(y, grad, grad_x, scratch)));
    });
}

/// Cross-entropy of each row of `logits` `[N, C]` against a class, `labels` `[N]` below `C`, in nats.
///
/// ```text
/// out_n = -(1 - smoothing) ln q_n[label_n] - smoothing / C * sum_c ln q_nc     q = softmax(logits)
/// ```
pub fn cross_entropy_forward<T: Float>(logits: &[T], labels: &[u32], smoothing: T, out: &mut [T]) {
    let classes = classes(logits, labels);
    assert_eq!(out.len(), labels.len(), "cross_entropy: length of the losses");
    pieces(out, 16, logits.len() * 4, |index, out| {
        for (offset, out) in out.iter_mut().enumerate() {
            let row = index * 16 + offset;
            let logits = &logits[row * classes..][..classes];
            *out = T::scratch(classes, |exponentials| {
                simd(|| {
                    let top = maximum(logits);
                    exponentials.iter_mut().zip(logits).for_each(|(e, x)| *e = (*x - top).exp());
                    let total = sum(exponentials).ln();
                    let at_label = total - (logits[labels[row] as usize] - top);
                    let mean = total - (sum(logits) / T::of(classes as f64) - top);
                    if smoothing == T::ZERO { at_label } else { (T::ONE - smoothing) * at_label + smoothing * mean }
                })
            });
        }
    });
}

/// `grad_logits = grad_n (q - (1 - smoothing) onehot - smoothing / C)`; `grad` `[N]`, or one element for all rows.
pub fn cross_entropy_backward<T: Float>(logits: &[T], labels: &[u32], smoothing: T, grad: &[T], grad_logits: &mut [T]) {
    let classes = classes(logits, labels);
    assert!(grad.len() == labels.len() || grad.len() == 1, "cross_entropy: length of the gradient");
    assert_eq!(logits.len(), grad_logits.len(), "cross_entropy: length of the logits' gradient");
    let even = smoothing / T::of(classes as f64);
    pieces(grad_logits, classes, logits.len() * 4, |row, out| {
        let logits = &logits[row * classes..][..classes];
        let grad = if grad.len() == 1 { grad[0] } else { grad[row] };
        simd(|| {
            let top = maximum(logits);
            out.iter_mut().zip(logits).for_each(|(out, x)| *out = (*x - top).exp());
            let scale = T::ONE / sum(out);
            out.iter_mut().for_each(|out| *out = (*out * scale - even) * grad);
            out[labels[row] as usize] -= (T::ONE - smoothing) * grad;
        });
    });
}

fn classes<T: Float>(logits: &[T], labels: &[u32]) -> usize {
    assert!(logits.len().is_multiple_of(labels.len().max(1)), "cross_entropy: length of the logits");
    let classes = logits.len() / labels.len().max(1);
    assert!(labels.iter().all(|label| (*label as usize) < classes), "cross_entropy: a label is not a class");
    classes
}
