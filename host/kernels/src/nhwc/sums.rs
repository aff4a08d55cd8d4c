//! Sums of channels over pixels.

use super::Level;
use super::rows::Rows;
use crate::Float;
use crate::leveled::leveled;
use crate::parallel::pieces;

/// Additions to one `f32` before it goes to an `f64`.
pub(super) const RUN: usize = 512;
/// Rows read together, so that sums stay in registers between them.
pub(super) const TOGETHER: usize = 4;

/// Sum and sum of squares of each channel. `values` `[pixels, C]`; `sums` `[2 C]`, overwritten: sums, then squares.
pub fn channel_sums(values: &[f32], channels: usize, sums: &mut [f64]) {
    product_sums(values, values, channels, sums);
}

/// `sum dz` and `sum dz x` of each channel. `dz`, `raw` `[pixels, C]`; `sums` `[2 C]`, overwritten.
///
/// For a gradient that is masked already, or that passes two batch norms which end in one sum.
pub fn product_sums(dz: &[f32], raw: &[f32], channels: usize, sums: &mut [f64]) {
    assert_eq!(dz.len(), raw.len(), "channel sums: lengths");
    let (rows, level) = (Rows::new(dz.len(), channels), Level::current());
    partial_sums(&rows, dz.len(), sums, |partial| {
        pieces(partial, 2 * channels, dz.len(), |index, sums| {
            let at = index * rows.piece;
            let len = rows.piece.min(dz.len() - at);
            let (dz, raw) = (&dz[at..][..len], &raw[at..][..len]);
            f32::scratch(2 * rows.width, |lanes| {
                lanes.fill(0.0);
                let runs = dz.chunks(RUN * rows.width).zip(raw.chunks(RUN * rows.width));
                for (dz, raw) in runs {
                    sum_rows(level, dz, raw, lanes);
                    rows.flush(lanes, sums);
                }
            });
        });
    });
}

/// Runs `task` on cleared sums of each task of a pass and adds them in order.
pub(super) fn partial_sums(rows: &Rows, len: usize, sums: &mut [f64], task: impl FnOnce(&mut [f64])) {
    let size = 2 * rows.channels;
    assert_eq!(sums.len(), size, "channel sums: length of the sums");
    f64::scratch(rows.tasks(len) * size, |partial| {
        partial.fill(0.0);
        task(partial);
        sums.fill(0.0);
        for partial in partial.chunks_exact(size) {
            sums.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += *partial);
        }
    });
}

leveled! {
    /// Adds `a` and `a b` of each row to the two halves of `lanes`.
    fn sum_rows(a: &[f32], b: &[f32], lanes: &mut [f32]) {
        let width = lanes.len() / 2;
        let (sums, products) = lanes.split_at_mut(width);
        let (mut a_blocks, mut b_blocks) = (a.chunks_exact(TOGETHER * width), b.chunks_exact(TOGETHER * width));
        for (a, b) in (&mut a_blocks).zip(&mut b_blocks) {
            sum_block(a, b, sums, products);
        }
        for (a, b) in a_blocks.remainder().chunks(width).zip(b_blocks.remainder().chunks(width)) {
            for ((sum, product), (a, b)) in sums.iter_mut().zip(products.iter_mut()).zip(a.iter().zip(b)) {
                *sum += *a;
                *product += *a * *b;
            }
        }
    }
}

#[inline(always)]
fn sum_block(a: &[f32], b: &[f32], sums: &mut [f32], products: &mut [f32]) {
    let width = sums.len();
    let products = &mut products[..width];
    let (a0, a) = a.split_at(width);
    let (a1, a) = a.split_at(width);
    let (a2, a3) = a.split_at(width);
    let (b0, b) = b.split_at(width);
    let (b1, b) = b.split_at(width);
    let (b2, b3) = b.split_at(width);
    let (a3, b3) = (&a3[..width], &b3[..width]);
    for at in 0..width {
        sums[at] += (a0[at] + a1[at]) + (a2[at] + a3[at]);
        products[at] += (a0[at] * b0[at] + a1[at] * b1[at]) + (a2[at] * b2[at] + a3[at] * b3[at]);
    }
}
