//! The weights of [`super::winograd`].

use super::lanes::{Job, Lanes};
use super::method::with_points;
use super::plan::{Plan, Way};
use super::points::Points;
use rayon::prelude::*;
use std::marker::PhantomData;

/// `G g G^T` of each pair of channels as `[block][place][source channel][lane]`.
pub(super) fn pack(plan: &Plan, weights: &[f32], to: &mut [f32]) {
    let Some(method) = plan.winograd else { return };
    with_points!(method, P, SIDE, OUTS => pack_by::<P, SIDE, OUTS>(plan, weights, to));
}

fn pack_by<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize>(plan: &Plan, weights: &[f32], to: &mut [f32]) {
    let len = SIDE * SIDE * plan.taken() * 2 * plan.level.lanes();
    to.par_chunks_mut(len).enumerate().for_each(|(block, to)| {
        let points = PhantomData::<P>;
        // SAFETY: the level is the processor's; the block holds whole vectors.
        unsafe { plan.level.run(Block::<P, SIDE, OUTS> { plan, weights, block, to, points }) }
    });
}

/// The destination channels of two vectors, maybe of one in the end.
struct Block<'a, P, const SIDE: usize, const OUTS: usize> {
    plan: &'a Plan,
    weights: &'a [f32],
    block: usize,
    to: &'a mut [f32],
    points: PhantomData<P>,
}

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Job for Block<'_, P, SIDE, OUTS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let (plan, window) = (self.plan, SIDE + 1 - OUTS);
        let (taken, first) = (plan.taken(), 2 * V::N * self.block);
        let width = self.to.len() / (SIDE * SIDE * taken);
        let mut windows = [[0.0; MOST]; WINDOW];
        let mut kept = [[[[0.0; MOST]; TOGETHER]; SIDE]; SIDE];
        // SAFETY: the processor has the level.
        let mut half = [[unsafe { V::splat(0.0) }; SIDE]; SIDE];
        for from in (0..taken).step_by(TOGETHER) {
            let count = TOGETHER.min(taken - from);
            for channel in 0..count {
                for lane in 0..width.min(plan.made() - first) {
                    gather(plan, self.weights, [first + lane, from + channel], lane, &mut windows);
                }
                for lane in (0..width).step_by(V::N) {
                    // SAFETY: windows and places have `MOST` lanes.
                    unsafe {
                        for x in 0..window {
                            let mut column = [V::splat(0.0); SIDE];
                            for (y, value) in column.iter_mut().enumerate().take(window) {
                                *value = V::load(windows[y * window + x][lane..].as_ptr());
                            }
                            half.iter_mut().zip(P::weights(column)).for_each(|(row, value)| row[x] = value);
                        }
                        for (row, kept) in half.iter().zip(&mut kept) {
                            for (value, kept) in P::weights(*row).into_iter().zip(kept) {
                                value.store(kept[channel][lane..].as_mut_ptr());
                            }
                        }
                    }
                }
            }
            for (place, kept) in kept.iter().flatten().enumerate() {
                let to = self.to[(place * taken + from) * width..].chunks_exact_mut(width);
                to.zip(&kept[..count]).for_each(|(to, kept)| to.copy_from_slice(&kept[..width]));
            }
        }
    }
}

/// Source channels whose places are written together, since places lie far apart.
const TOGETHER: usize = 4;

/// Lanes of a block at most.
const MOST: usize = 32;

/// Elements of a window at most.
const WINDOW: usize = 25;

/// The window of a pair of channels, in the order in which it lies over the source.
fn gather(plan: &Plan, weights: &[f32], [made, taken]: [usize; 2], lane: usize, windows: &mut [[f32; MOST]; WINDOW]) {
    let len = plan.shape.window.kernel.iter().product();
    match plan.way {
        Way::Forward => {
            let window = &weights[(made * plan.taken() + taken) * len..][..len];
            windows.iter_mut().zip(window).for_each(|(to, from)| to[lane] = *from);
        }
        Way::Back => {
            let window = &weights[(taken * plan.made() + made) * len..][..len];
            windows.iter_mut().zip(window.iter().rev()).for_each(|(to, from)| to[lane] = *from);
        }
    }
}

impl Plan {
    /// Floats of [`pack`].
    pub(super) fn winograd_len(&self) -> usize {
        let places = self.winograd.map_or(0, |method| method.side() * method.side());
        places * self.taken() * self.made().next_multiple_of(self.level.lanes())
    }
}
