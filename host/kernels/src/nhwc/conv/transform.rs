//! The weights of [`super::winograd`].

use super::ConvShape;
use super::plan::{Plan, Way};
use super::points::{Five, Points, Three};
use crate::simd;
use rayon::prelude::*;

/// Fewer channels are faster by the definition: for a window of 3, for one of 5.
const FEWEST: [usize; 2] = [64, 16];

/// Whether the method is known to be faster.
pub(super) fn pays(shape: &ConvShape) -> bool {
    let w = &shape.window;
    let fewest = match w.kernel {
        [3, 3] => FEWEST[0],
        [5, 5] => FEWEST[1],
        _ => return false,
    };
    let small = w.stride == [1, 1] && w.dilation == [1, 1] && w.padding.iter().all(|p| *p < w.kernel[0]);
    let tiles = shape.output.iter().all(|size| *size >= 4) && shape.input.iter().all(|size| *size >= 4);
    small && tiles && shape.groups == 1 && shape.in_channels.min(shape.out_channels) >= fewest
}

/// `G g G^T` of each pair of channels as `[block][place][source channel][lane]`.
pub(super) fn pack(plan: &Plan, weights: &[f32], to: &mut [f32]) {
    if plan.shape.window.kernel == [3, 3] {
        pack_by::<Three, 4>(plan, weights, to);
    } else {
        pack_by::<Five, 6>(plan, weights, to);
    }
}

fn pack_by<P: Points<SIDE>, const SIDE: usize>(plan: &Plan, weights: &[f32], to: &mut [f32]) {
    let (lanes, places) = (2 * plan.level.lanes(), SIDE * SIDE);
    let taken = plan.taken();
    to.par_chunks_mut(places * taken * lanes).enumerate().for_each(|(block, to)| {
        let (first, width) = (block * lanes, to.len() / (places * taken));
        for channel in 0..taken {
            let mut windows = [[0.0; MOST]; WINDOW];
            for lane in 0..width.min(plan.made() - first) {
                gather(plan, weights, [first + lane, channel], lane, &mut windows);
            }
            let places = simd(|| transform_weights::<P, SIDE>(&windows));
            for (place, values) in places.iter().flatten().enumerate() {
                to[(place * taken + channel) * width..][..width].copy_from_slice(&values[..width]);
            }
        }
    });
}

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

#[inline(always)]
fn transform_weights<P: Points<SIDE>, const SIDE: usize>(
    windows: &[[f32; MOST]; WINDOW],
) -> [[[f32; MOST]; SIDE]; SIDE] {
    let mut places = [[[0.0; MOST]; SIDE]; SIDE];
    for lane in 0..MOST {
        let mut columns = [[0.0; SIDE]; SIDE];
        for (x, column) in columns.iter_mut().enumerate().take(SIDE - 1) {
            let mut window = [0.0; SIDE];
            for (y, value) in window.iter_mut().enumerate().take(SIDE - 1) {
                *value = windows[y * (SIDE - 1) + x][lane];
            }
            *column = P::weights(window);
        }
        for y in 0..SIDE {
            let line = P::weights(columns.map(|column| column[y]));
            for x in 0..SIDE {
                places[y][x][lane] = line[x];
            }
        }
    }
    places
}

impl Plan {
    /// Floats of [`pack`].
    pub(super) fn winograd_len(&self) -> usize {
        let places: usize = self.shape.window.kernel.iter().map(|size| size + 1).product();
        places * self.taken() * self.made().next_multiple_of(self.level.lanes())
    }
}
