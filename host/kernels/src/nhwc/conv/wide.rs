//! Gradients of many weights: sums of chunks would fill the caches, so threads share the weights instead of the batch.

use super::corner::Grain;
use super::lanes::{Job, Lanes};
use super::layout::Source;
use super::run::{Cut, From, Make, Piece, Shared, add_in_order};
use super::scratch::{scratch, zeroed_f64};
use rayon::prelude::*;

/// Weights above which this pays.
pub(super) const LEAST: usize = 1 << 18;

/// Floats of the copies that are held at once.
const HELD: usize = 1 << 20;

/// As `fused` of the weights: first copies and the input's gradient, in parallel over pieces, then the sums, in parallel
/// over blocks of outputs; once for each run of pieces whose copies are held together.
pub(super) fn run(
    grain: &Grain,
    batch: usize,
    sources: [Source; 2],
    make: Option<&Make>,
    sums: Option<&mut [f64]>,
    dw: &mut [f32],
) {
    let plan = grain.plan;
    let cut = Cut::new(plan, batch, usize::MAX);
    let floats = [grain.x.image() * cut.together, plan.layout.image() * cut.together];
    let held = (HELD / (floats[0] + floats[1])).clamp(1, cut.chunks.max(1));
    let size = if sums.is_some() { 2 * plan.made() } else { 0 };
    let len = grain.len();
    zeroed_f64(size * held, |partial| {
        scratch(floats[0] * held, |x| {
            scratch(floats[1] * held + 2 * plan.level.lanes(), |dy| {
                scratch(len, |total| {
                    total.fill(0.0);
                    let copies = [Shared(x.as_mut_ptr()), Shared(dy.as_mut_ptr())];
                    let pass = Pass { grain, make, sources, cut: &cut, copies, floats };
                    let shared = Shared(if size == 0 { std::ptr::null_mut() } else { partial.as_mut_ptr() });
                    for first in (0..cut.chunks).step_by(held) {
                        let pieces = held.min(cut.chunks - first);
                        pass.copy(first, pieces, shared, size);
                        pass.sum(first, pieces, Shared(total.as_mut_ptr()));
                    }
                    grain.deliver(total, dw);
                });
            });
        });
        if let Some(sums) = sums {
            add_in_order(partial, sums);
        }
    });
}

struct Pass<'a> {
    grain: &'a Grain<'a>,
    make: Option<&'a Make<'a>>,
    sources: [Source<'a>; 2],
    cut: &'a Cut,
    copies: [Shared<f32>; 2],
    /// Floats of a piece's copies.
    floats: [usize; 2],
}

impl Pass<'_> {
    /// Copies pieces and makes their gradient of the input.
    fn copy(&self, first: usize, pieces: usize, sums: Shared<f64>, size: usize) {
        let level = self.grain.plan.level;
        (0..pieces).into_par_iter().for_each(|slot| {
            let sums = sums.at(slot * size);
            for piece in self.cut.pieces(first + slot) {
                // SAFETY: lengths were checked at the entry; each slot has its own copies and sums.
                unsafe { level.run(Copy { pass: self, piece, slot, sums }) };
            }
        });
    }

    /// Adds the sums of pieces.
    fn sum(&self, first: usize, pieces: usize, to: Shared<f32>) {
        let level = self.grain.plan.level;
        self.grain.all_blocks().into_par_iter().for_each(|block| {
            for slot in 0..pieces {
                for piece in self.cut.pieces(first + slot) {
                    // SAFETY: the slot holds the piece's copies; blocks have sums of their own.
                    unsafe { level.run(Sum { pass: self, piece, slot, block, to: to.at(0) }) };
                }
            }
        });
    }

    fn slot(&self, slot: usize) -> [*mut f32; 2] {
        [0, 1].map(|side| self.copies[side].at(slot * self.floats[side]))
    }
}

struct Copy<'a> {
    pass: &'a Pass<'a>,
    piece: Piece,
    slot: usize,
    sums: *mut f64,
}

impl Job for Copy<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let (grain, [x, dy]) = (self.pass.grain, self.pass.sources);
        let [x_to, dy_to] = self.pass.slot(self.slot);
        // SAFETY: the slot holds the images of a piece.
        unsafe {
            let dy = grain.plan.copy::<V>(dy, self.piece, dy_to);
            if let Some(make) = self.pass.make {
                make.piece::<V>(dy, self.piece, self.sums);
            }
            grain.copy::<V>(x, self.piece, x_to);
        }
    }
}

struct Sum<'a> {
    pass: &'a Pass<'a>,
    piece: Piece,
    slot: usize,
    block: usize,
    to: *mut f32,
}

impl Job for Sum<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let grain = self.pass.grain;
        let [x, dy] = self.pass.slot(self.slot).map(|values| values.cast_const());
        let (x, dy) =
            (From { values: x, image: grain.x.image() }, From { values: dy, image: grain.plan.layout.image() });
        // SAFETY: the slot holds the copies of the piece, `to` all sums.
        unsafe { grain.accumulate::<V>(x, dy, self.piece, self.block..self.block + 1, self.to) };
    }
}
