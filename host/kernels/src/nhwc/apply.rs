//! Lazy values and gradients made into plain ones.

use super::rows::{Rows, Vector};
use super::{Activation, Curve, Grad, Level, Load, with_curve};
use crate::Float;
use crate::leveled::leveled;
use crate::parallel::pieces;

/// `out = outer(a + residual)` in one pass; without a residual `outer(a)`. `out` `[pixels, C]`.
pub fn apply(a: Load<'_>, residual: Option<Load<'_>>, outer: Activation, channels: usize, out: &mut [f32]) {
    a.check(out.len(), channels);
    residual.iter().for_each(|residual| residual.check(out.len(), channels));
    let (rows, level, len) = (Rows::new(out.len(), channels), Level::current(), out.len());
    let ([scale, shift], [residual_scale, residual_shift]) = (a.vectors(), residual.unwrap_or(a).vectors());
    rows.repeated([scale, shift, residual_scale, residual_shift], |vectors| {
        pieces(out, rows.piece, len, |index, out| {
            apply_part(level, a, residual, outer, vectors, index * rows.piece, out);
        });
    });
}

/// [`apply`] to the elements from `at`, the first of a row, on; `vectors` are those of both values, repeated.
pub(super) fn apply_part(
    level: Level,
    a: Load<'_>,
    residual: Option<Load<'_>>,
    outer: Activation,
    [scale, shift, residual_scale, residual_shift]: [&[f32]; 4],
    at: usize,
    out: &mut [f32],
) {
    let (affine, residual_affine, width) = ([scale, shift], [residual_scale, residual_shift], scale.len());
    let x = a.part(at, out.len());
    let Some(residual) = residual else {
        let first = if a.activation == Activation::None { outer } else { a.activation };
        with_curve!(first, curve => load_rows(level, curve, x, affine, out));
        if a.activation != Activation::None && outer != Activation::None {
            with_curve!(outer, curve => curve_part(level, curve, out));
        }
        return;
    };
    let r = residual.part(at, out.len());
    if a.activation == Activation::None && residual.activation == Activation::None {
        return with_curve!(outer, curve => load_two(level, curve, [x, r], [affine, residual_affine], out));
    }
    // Steps over a row, which stays in the first cache between them.
    for ((out, x), r) in out.chunks_mut(width).zip(x.chunks(width)).zip(r.chunks(width)) {
        with_curve!(a.activation, curve => load_rows(level, curve, x, affine, out));
        with_curve!(residual.activation, curve => add_rows(level, curve, r, residual_affine, out));
        if outer != Activation::None {
            with_curve!(outer, curve => curve_part(level, curve, out));
        }
    }
}

/// Runs `task` on the loaded values of one image: in place where reading is copying.
pub(super) fn loaded<R>(
    level: Level,
    x: Load<'_>,
    channels: usize,
    at: usize,
    len: usize,
    task: impl FnOnce(&[f32]) -> R,
) -> R {
    if x.is_plain() {
        return task(x.part(at, len));
    }
    f32::scratch(len, |image| {
        let rows = Rows::new(len, channels);
        let ([scale, shift], none) = (x.vectors(), Vector::Constant(0.0));
        rows.repeated([scale, shift, none, none], |vectors| {
            apply_part(level, x, None, Activation::None, vectors, at, image);
        });
        task(image)
    })
}

leveled! {
    fn load_rows[C: Curve](curve: C, x: &[f32], affine: [&[f32]; 2], out: &mut [f32]) {
        let width = affine[0].len();
        for (out, x) in out.chunks_mut(width).zip(x.chunks(width)) {
            for ((out, x), (scale, shift)) in out.iter_mut().zip(x).zip(affine[0].iter().zip(affine[1])) {
                *out = curve.value(*x * *scale + *shift);
            }
        }
    }
}

leveled! {
    fn add_rows[C: Curve](curve: C, x: &[f32], affine: [&[f32]; 2], out: &mut [f32]) {
        let width = affine[0].len();
        for (out, x) in out.chunks_mut(width).zip(x.chunks(width)) {
            for ((out, x), (scale, shift)) in out.iter_mut().zip(x).zip(affine[0].iter().zip(affine[1])) {
                *out += curve.value(*x * *scale + *shift);
            }
        }
    }
}

leveled! {
    fn load_two[C: Curve](curve: C, values: [&[f32]; 2], affines: [[&[f32]; 2]; 2], out: &mut [f32]) {
        let [a, b] = affines;
        let width = a[0].len();
        for ((out, x), y) in out.chunks_mut(width).zip(values[0].chunks(width)).zip(values[1].chunks(width)) {
            let vectors = a[0].iter().zip(a[1]).zip(b[0].iter().zip(b[1]));
            for (((out, x), y), ((x_scale, x_shift), (y_scale, y_shift))) in out.iter_mut().zip(x).zip(y).zip(vectors) {
                *out = curve.value((*x * *x_scale + *x_shift) + (*y * *y_scale + *y_shift));
            }
        }
    }
}

leveled! {
    fn curve_part[C: Curve](curve: C, values: &mut [f32]) {
        for value in values.iter_mut() {
            *value = curve.value(*value);
        }
    }
}

/// The gradient as values: `out = grad`, or `out += grad`. `out` `[pixels, C]`.
pub fn form(grad: Grad<'_>, channels: usize, out: &mut [f32], accumulate: bool) {
    grad.check(out.len(), channels);
    let (rows, level, len) = (Rows::new(out.len(), channels), Level::current(), out.len());
    let (y, vectors) = grad.vectors();
    rows.repeated(vectors, |k| {
        pieces(out, rows.piece, len, |index, out| {
            let at = index * rows.piece;
            let (dz, y) = (&grad.dz[at..][..out.len()], &y[at..][..out.len()]);
            if accumulate {
                form_rows::<Add>(level, Add, [dz, y], k, out);
            } else {
                form_rows::<Store>(level, Store, [dz, y], k, out);
            }
        });
    });
}

/// What happens to the value that stands in the result.
pub(crate) trait Put: Copy {
    /// The value that is left in place of `old`.
    fn put(self, old: f32, new: f32) -> f32;
}

/// The new value.
#[derive(Clone, Copy)]
pub(crate) struct Store;

/// The sum.
#[derive(Clone, Copy)]
pub(crate) struct Add;

impl Put for Store {
    #[inline(always)]
    fn put(self, _old: f32, new: f32) -> f32 {
        new
    }
}

impl Put for Add {
    #[inline(always)]
    fn put(self, old: f32, new: f32) -> f32 {
        old + new
    }
}

leveled! {
    fn form_rows[P: Put](put: P, values: [&[f32]; 2], k: [&[f32]; 3], out: &mut [f32]) {
        let width = k[0].len();
        for ((out, dz), y) in out.chunks_mut(width).zip(values[0].chunks(width)).zip(values[1].chunks(width)) {
            let vectors = k[0].iter().zip(k[1]).zip(k[2]);
            for (((out, dz), y), ((k0, k1), k2)) in out.iter_mut().zip(dz).zip(y).zip(vectors) {
                *out = put.put(*out, *k0 * *dz + *k1 * *y + *k2);
            }
        }
    }
}
