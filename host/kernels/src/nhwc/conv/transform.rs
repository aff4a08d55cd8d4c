//! The weights of [`super::winograd`].

use super::ConvShape;
use super::plan::{Plan, Way};
use super::winograd::PLACES;
use crate::simd;
use rayon::prelude::*;

/// Fewer channels are faster by the definition.
const FEWEST: usize = 64;

/// Whether the method is known to be faster.
pub(super) fn pays(shape: &ConvShape) -> bool {
    let w = &shape.window;
    let small = w.kernel == [3, 3] && w.stride == [1, 1] && w.dilation == [1, 1] && w.padding.iter().all(|p| *p <= 2);
    let tiles = shape.output.iter().all(|size| *size >= 4) && shape.input.iter().all(|size| *size >= 4);
    small && tiles && shape.groups == 1 && shape.in_channels.min(shape.out_channels) >= FEWEST
}

/// `G g G^T` of each pair of channels as `[block][place][source channel][lane]`.
pub(super) fn pack(plan: &Plan, weights: &[f32], to: &mut [f32]) {
    let lanes = 2 * plan.level.lanes();
    let taken = plan.taken();
    to.par_chunks_mut(PLACES * taken * lanes).enumerate().for_each(|(block, to)| {
        let (first, width) = (block * lanes, to.len() / (PLACES * taken));
        for channel in 0..taken {
            let mut windows = [[0.0; MOST]; 9];
            for lane in 0..width.min(plan.made() - first) {
                gather(plan, weights, [first + lane, channel], lane, &mut windows);
            }
            let places = simd(|| transform_weights(&windows));
            for (place, values) in places.iter().enumerate() {
                to[(place * taken + channel) * width..][..width].copy_from_slice(&values[..width]);
            }
        }
    });
}

/// Lanes of a block at most.
const MOST: usize = 32;

/// The window of a pair of channels, in the order in which it lies over the source.
fn gather(plan: &Plan, weights: &[f32], [made, taken]: [usize; 2], lane: usize, windows: &mut [[f32; MOST]; 9]) {
    match plan.way {
        Way::Forward => {
            let window = &weights[(made * plan.taken() + taken) * 9..][..9];
            windows.iter_mut().zip(window).for_each(|(to, from)| to[lane] = *from);
        }
        Way::Back => {
            let window = &weights[(taken * plan.made() + made) * 9..][..9];
            windows.iter_mut().zip(window.iter().rev()).for_each(|(to, from)| to[lane] = *from);
        }
    }
}

#[inline(always)]
fn transform_weights(windows: &[[f32; MOST]; 9]) -> [[f32; MOST]; PLACES] {
    let mut places = [[0.0; MOST]; PLACES];
    for lane in 0..MOST {
        let at = |y: usize, x: usize| windows[y * 3 + x][lane];
        let columns: [[f32; 4]; 3] = [0, 1, 2].map(|x| transformed([at(0, x), at(1, x), at(2, x)]));
        for y in 0..4 {
            let line = transformed([columns[0][y], columns[1][y], columns[2][y]]);
            for x in 0..4 {
                places[y * 4 + x][lane] = line[x];
            }
        }
    }
    places
}

/// `G g`.
#[inline(always)]
fn transformed([a, b, c]: [f32; 3]) -> [f32; 4] {
    [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c]
}

impl Plan {
    /// Floats of [`pack`].
    pub(super) fn winograd_len(&self) -> usize {
        PLACES * self.taken() * self.made().next_multiple_of(self.level.lanes())
    }
}
