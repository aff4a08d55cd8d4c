//! Gradients through activations, with the sums that batch norm needs taken in the same pass.

use super::apply::apply_part;
use super::rows::Rows;
use super::sums::{RUN, TOGETHER, partial_sums};
use super::{Activation, Curve, Level, Load, with_curve};
use crate::Float;
use crate::leveled::leveled;
use crate::parallel::{pieces, pieces2};

/// `dz *= activation'(x scale + shift)`, then `sum dz` and `sum dz x` of each channel.
///
/// `dz` `[pixels, C]` comes in as the gradient of the value that `below` reads; `x` are the raw values of `below`; `sums`
/// `[2 C]`, overwritten: input of [`Coefficients::finish`](super::norm::Coefficients::finish).
pub fn mask_and_sums(dz: &mut [f32], below: Load<'_>, channels: usize, sums: &mut [f64]) {
    below.check(dz.len(), channels);
    let rows = Rows::new(dz.len(), channels);
    let level = Level::current();
    rows.repeated(below.vectors(), |affine| {
        masked(&rows, dz, sums, |at, dz, lanes| {
            let x = below.part(at, dz.len());
            with_curve!(below.activation, curve => mask_rows(level, curve, dz, x, affine, lanes));
        });
    });
}

/// Runs `task(offset, dz, lanes)` on runs of `dz` and adds the lanes that it fills to `sums`.
fn masked(rows: &Rows, dz: &mut [f32], sums: &mut [f64], task: impl Fn(usize, &mut [f32], &mut [f32]) + Sync) {
    let len = dz.len();
    partial_sums(rows, len, sums, |partial| {
        pieces2((dz, rows.piece), (partial, 2 * rows.channels), len, |index, dz, sums| {
            f32::scratch(2 * rows.width, |lanes| {
                lanes.fill(0.0);
                let run = RUN * rows.width;
                for (offset, dz) in dz.chunks_mut(run).enumerate() {
                    task(index * rows.piece + offset * run, dz, lanes);
                    rows.flush(lanes, sums);
                }
            });
        });
    });
}

leveled! {
    fn mask_rows[C: Curve](curve: C, dz: &mut [f32], x: &[f32], affine: [&[f32]; 2], lanes: &mut [f32]) {
        let width = lanes.len() / 2;
        let (sums, products) = lanes.split_at_mut(width);
        let mut dz_blocks = dz.chunks_exact_mut(TOGETHER * width);
        let mut x_blocks = x.chunks_exact(TOGETHER * width);
        for (dz, x) in (&mut dz_blocks).zip(&mut x_blocks) {
            mask_block(curve, dz, x, affine, [sums, products]);
        }
        let rest = dz_blocks.into_remainder().chunks_mut(width).zip(x_blocks.remainder().chunks(width));
        for (dz, x) in rest {
            let vectors = affine[0].iter().zip(affine[1]).zip(sums.iter_mut().zip(products.iter_mut()));
            for ((dz, x), ((scale, shift), (sum, product))) in dz.iter_mut().zip(x).zip(vectors) {
                *dz *= curve.slope(*x * *scale + *shift);
                *sum += *dz;
                *product += *dz * *x;
            }
        }
    }
}

#[inline(always)]
fn mask_block<C: Curve>(
    curve: C,
    dz: &mut [f32],
    x: &[f32],
    [scale, shift]: [&[f32]; 2],
    [sums, products]: [&mut [f32]; 2],
) {
    let width = sums.len();
    let (products, scale, shift) = (&mut products[..width], &scale[..width], &shift[..width]);
    let (dz0, dz) = dz.split_at_mut(width);
    let (dz1, dz) = dz.split_at_mut(width);
    let (dz2, dz3) = dz.split_at_mut(width);
    let (x0, x) = x.split_at(width);
    let (x1, x) = x.split_at(width);
    let (x2, x3) = x.split_at(width);
    let (dz3, x3) = (&mut dz3[..width], &x3[..width]);
    for at in 0..width {
        dz0[at] *= curve.slope(x0[at] * scale[at] + shift[at]);
        dz1[at] *= curve.slope(x1[at] * scale[at] + shift[at]);
        dz2[at] *= curve.slope(x2[at] * scale[at] + shift[at]);
        dz3[at] *= curve.slope(x3[at] * scale[at] + shift[at]);
        sums[at] += (dz0[at] + dz1[at]) + (dz2[at] + dz3[at]);
        products[at] += (dz0[at] * x0[at] + dz1[at] * x1[at]) + (dz2[at] * x2[at] + dz3[at] * x3[at]);
    }
}

/// `dz *= activation'` known from what the activation gave: the stored `output` of `activation(z + residual)`.
///
/// `dz`, `output` `[pixels, C]`. Afterwards `dz` is the gradient of both terms. With `branch`, the raw values `[pixels, C]` of
/// the term that a batch norm made, its sums `[2 C]` are taken as by [`mask_and_sums`].
///
/// # Panics
/// When the output does not tell the derivative: any activation but none, ReLU, ReLU6 and leaky ReLU with a slope above 0.
pub fn mask_by_output(
    dz: &mut [f32],
    output: &[f32],
    activation: Activation,
    channels: usize,
    branch: Option<(&[f32], &mut [f64])>,
) {
    assert_eq!(dz.len(), output.len(), "mask: lengths");
    assert!(activation.is_told_by_output(), "the output of {activation:?} does not tell its derivative");
    let (rows, level) = (Rows::new(dz.len(), channels), Level::current());
    let Some((raw, sums)) = branch else {
        let len = dz.len();
        return pieces(dz, rows.piece, len, |index, dz| {
            let output = &output[index * rows.piece..][..dz.len()];
            with_curve!(activation, curve => mask_part(level, curve, dz, output));
        });
    };
    assert_eq!(dz.len(), raw.len(), "mask: length of the raw values");
    masked(&rows, dz, sums, |at, dz, lanes| {
        let (output, raw) = (&output[at..][..dz.len()], &raw[at..][..dz.len()]);
        with_curve!(activation, curve => mask_rows_by(level, curve, dz, output, raw, lanes));
    });
}

/// `dz *= outer'(a + residual)`, for [`apply`](super::norm::apply) with any `outer`; the sums are those of `a`'s raw values.
///
/// Afterwards `dz` is the gradient of both terms: `a` must read without an activation of its own. `dz` `[pixels, C]`, `sums`
/// `[2 C]`, overwritten.
pub fn mask_by_sum(
    dz: &mut [f32],
    a: Load<'_>,
    residual: Load<'_>,
    outer: Activation,
    channels: usize,
    sums: &mut [f64],
) {
    a.check(dz.len(), channels);
    residual.check(dz.len(), channels);
    assert_eq!(a.activation, Activation::None, "mask: the first term has an activation of its own");
    let (rows, level) = (Rows::new(dz.len(), channels), Level::current());
    let ([scale, shift], [residual_scale, residual_shift]) = (a.vectors(), residual.vectors());
    rows.repeated([scale, shift, residual_scale, residual_shift], |vectors| {
        masked(&rows, dz, sums, |at, dz, lanes| {
            f32::scratch(rows.width, |sum| {
                for (offset, dz) in dz.chunks_mut(rows.width).enumerate() {
                    let (at, sum) = (at + offset * rows.width, &mut sum[..dz.len()]);
                    apply_part(level, a, Some(residual), Activation::None, vectors, at, sum);
                    with_curve!(outer, curve => mask_rows_by(level, curve, dz, sum, a.part(at, dz.len()), lanes));
                }
            });
        });
    });
}

leveled! {
    /// `dz *= slope(from)`.
    pub(super) fn mask_part[C: Curve](curve: C, dz: &mut [f32], from: &[f32]) {
        for (dz, from) in dz.iter_mut().zip(from) {
            *dz *= curve.slope(*from);
        }
    }
}

leveled! {
    fn mask_rows_by[C: Curve](curve: C, dz: &mut [f32], from: &[f32], raw: &[f32], lanes: &mut [f32]) {
        let width = lanes.len() / 2;
        let (sums, products) = lanes.split_at_mut(width);
        for ((dz, from), raw) in dz.chunks_mut(width).zip(from.chunks(width)).zip(raw.chunks(width)) {
            let vectors = from.iter().zip(raw).zip(sums.iter_mut().zip(products.iter_mut()));
            for (dz, ((from, raw), (sum, product))) in dz.iter_mut().zip(vectors) {
                *dz *= curve.slope(*from);
                *sum += *dz;
                *product += *dz * *raw;
            }
        }
    }
}
