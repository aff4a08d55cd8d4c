//! Activations, sums and products as passes of their own, for values that no other kernel reads lazily.

use super::apply::{Add, Put, Store};
use super::{Activation, Curve, Level, with_curve};
use crate::Float;
use crate::leveled::leveled;
use crate::parallel::{CHUNK, pieces};

/// `out = activation(x)`.
pub fn activation_forward(activation: Activation, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "activation: lengths");
    let (level, len) = (Level::current(), out.len());
    pieces(out, CHUNK, len, |index, out| {
        let x = &x[index * CHUNK..][..out.len()];
        with_curve!(activation, curve => forward_part(level, curve, x, out));
    });
}

/// `grad_x = grad activation'(x)`, added with `accumulate`; `x` is the value before the activation.
pub fn activation_backward(activation: Activation, x: &[f32], grad: &[f32], grad_x: &mut [f32], accumulate: bool) {
    assert!(x.len() == grad_x.len() && grad.len() == x.len(), "activation: lengths");
    let (level, len) = (Level::current(), grad_x.len());
    pieces(grad_x, CHUNK, len, |index, grad_x| {
        let at = index * CHUNK;
        let values = [&x[at..][..grad_x.len()], &grad[at..][..grad_x.len()]];
        if accumulate {
            with_curve!(activation, curve => backward_part(level, Add, curve, values, grad_x));
        } else {
            with_curve!(activation, curve => backward_part(level, Store, curve, values, grad_x));
        }
    });
}

leveled! {
    fn forward_part[C: Curve](curve: C, x: &[f32], out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = curve.value(*x);
        }
    }
}

leveled! {
    fn backward_part[P: Put, C: Curve](put: P, curve: C, values: [&[f32]; 2], grad_x: &mut [f32]) {
        for (grad_x, (x, grad)) in grad_x.iter_mut().zip(values[0].iter().zip(values[1])) {
            *grad_x = put.put(*grad_x, *grad * curve.slope(*x));
        }
    }
}

/// `out = factor x`, or `out += factor x` with `accumulate`: copies, moves and adds gradients.
pub fn scaled(x: &[f32], factor: f32, out: &mut [f32], accumulate: bool) {
    assert_eq!(x.len(), out.len(), "scaled: lengths");
    let (level, len) = (Level::current(), out.len());
    pieces(out, CHUNK, len, |index, out| {
        let x = &x[index * CHUNK..][..out.len()];
        if accumulate { scaled_part(level, Add, x, factor, out) } else { scaled_part(level, Store, x, factor, out) }
    });
}

leveled! {
    fn scaled_part[P: Put](put: P, x: &[f32], factor: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = put.put(*out, *x * factor);
        }
    }
}

/// `out = a b`, element by element, added with `accumulate`.
pub fn multiply(a: &[f32], b: &[f32], out: &mut [f32], accumulate: bool) {
    assert!(a.len() == out.len() && b.len() == out.len(), "multiply: lengths");
    let (level, len) = (Level::current(), out.len());
    pieces(out, CHUNK, len, |index, out| {
        let at = index * CHUNK;
        let values = [&a[at..][..out.len()], &b[at..][..out.len()]];
        if accumulate { multiply_part(level, Add, values, out) } else { multiply_part(level, Store, values, out) }
    });
}

leveled! {
    fn multiply_part[P: Put](put: P, values: [&[f32]; 2], out: &mut [f32]) {
        for (out, (a, b)) in out.iter_mut().zip(values[0].iter().zip(values[1])) {
            *out = put.put(*out, *a * *b);
        }
    }
}

/// `out = x gate`, a gate for each channel of each image (squeeze and excitation).
///
/// `x`, `out` `[N, pixels, C]`, `gate` `[N, C]`, `dims` `[N, pixels, C]`. Hu et al. 2018 (arXiv:1709.01507), Eq. 4.
pub fn gate_forward(x: &[f32], gate: &[f32], dims: [usize; 3], out: &mut [f32]) {
    scale_images(x, gate, dims, out, false);
}

/// Gradients of [`gate_forward`]: `grad_x = grad gate`, added with `accumulate`, and `grad_gate = sum over pixels of grad x`.
pub fn gate_backward(
    [x, grad]: [&[f32]; 2],
    gate: &[f32],
    dims: [usize; 3],
    grad_x: Option<(&mut [f32], bool)>,
    grad_gate: Option<&mut [f32]>,
) {
    let [batch, pixels, channels] = dims;
    let image = pixels * channels;
    assert!(x.len() == batch * image && grad.len() == x.len(), "gate: lengths");
    if let Some((grad_x, accumulate)) = grad_x {
        scale_images(grad, gate, dims, grad_x, accumulate);
    }
    if let Some(grad_gate) = grad_gate {
        assert_eq!(grad_gate.len(), batch * channels, "gate: length of the gate's gradient");
        let level = Level::current();
        pieces(grad_gate, channels, x.len(), |index, out| {
            let at = index * image;
            out.fill(0.0);
            product_pixels(level, &x[at..][..image], &grad[at..][..image], out);
        });
    }
}

fn scale_images(x: &[f32], gate: &[f32], [batch, pixels, channels]: [usize; 3], out: &mut [f32], accumulate: bool) {
    let (image, level, len) = (pixels * channels, Level::current(), out.len());
    assert!(x.len() == batch * image && len == x.len() && gate.len() == batch * channels, "gate: lengths");
    // A gate repeated to a width that suits vectors.
    let repeat = 256usize.div_ceil(channels.max(1)).min(pixels.max(1));
    pieces(out, image, len, |index, out| {
        let x = &x[index * image..][..image];
        f32::scratch(repeat * channels, |row| {
            row.chunks_exact_mut(channels).for_each(|row| row.copy_from_slice(&gate[index * channels..][..channels]));
            if accumulate { scale_rows(level, Add, x, row, out) } else { scale_rows(level, Store, x, row, out) }
        });
    });
}

leveled! {
    fn scale_rows[P: Put](put: P, x: &[f32], row: &[f32], out: &mut [f32]) {
        for (out, x) in out.chunks_mut(row.len()).zip(x.chunks(row.len())) {
            for (out, (x, factor)) in out.iter_mut().zip(x.iter().zip(row)) {
                *out = put.put(*out, *x * *factor);
            }
        }
    }
}

leveled! {
    fn product_pixels(a: &[f32], b: &[f32], out: &mut [f32]) {
        for (a, b) in a.chunks_exact(out.len()).zip(b.chunks_exact(out.len())) {
            for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
                *out += *a * *b;
            }
        }
    }
}
