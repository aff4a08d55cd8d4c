//! How passes over `[pixels, C]` walk: in rows of whole pixels that are long enough for wide vectors at any `C`.

use super::{Grad, Load};
use crate::Float;

/// Elements that a row has at least.
const ROW: usize = 256;
/// Elements that a task has at least.
const TASK: usize = 1 << 13;
/// Tasks that a pass has at most: each may keep sums of its own.
const TASKS: usize = 64;

/// Rows of whole pixels, and tasks of whole rows. A vector `[C]` is repeated to the width of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    /// Channels of a pixel.
    pub(crate) channels: usize,
    /// Elements of a row.
    pub(crate) width: usize,
    /// Elements of a task.
    pub(crate) piece: usize,
}

/// A vector over channels.
#[derive(Clone, Copy)]
pub(crate) enum Vector<'a> {
    /// By channel.
    Of(&'a [f32]),
    /// The same for each channel.
    Constant(f32),
}

impl Rows {
    /// Rows of `len` elements of pixels with `channels`.
    pub(crate) fn new(len: usize, channels: usize) -> Self {
        assert!(channels > 0 && len.is_multiple_of(channels), "{len} elements are no pixels of {channels} channels");
        // Narrow pixels: rows of whole vectors of 16.
        let repeat = if channels < 64 { 16 >> channels.trailing_zeros().min(4) } else { 1 };
        let unit = channels * repeat;
        let width = unit * ROW.div_ceil(unit);
        let rows = len.div_ceil(width).div_ceil(TASKS).max(TASK.div_ceil(width));
        Self { channels, width, piece: rows * width }
    }

    /// Tasks of `len` elements.
    pub(crate) fn tasks(&self, len: usize) -> usize {
        len.div_ceil(self.piece)
    }

    /// Runs `task` with the vectors repeated to the width of a row.
    pub(crate) fn repeated<const N: usize, R>(
        &self,
        vectors: [Vector<'_>; N],
        task: impl FnOnce([&[f32]; N]) -> R,
    ) -> R {
        f32::scratch(N * self.width, |table| {
            for (row, vector) in table.chunks_exact_mut(self.width).zip(vectors) {
                match vector {
                    Vector::Of(vector) => {
                        row.chunks_exact_mut(self.channels).for_each(|row| row.copy_from_slice(vector))
                    }
                    Vector::Constant(value) => row.fill(value),
                }
            }
            let table = &*table;
            task(std::array::from_fn(|index| &table[index * self.width..][..self.width]))
        })
    }

    /// Adds the lanes of a row to the sums of their channels and clears them.
    pub(crate) fn flush(&self, lanes: &mut [f32], sums: &mut [f64]) {
        for (lanes, sums) in lanes.chunks_exact_mut(self.width).zip(sums.chunks_exact_mut(self.channels)) {
            for lanes in lanes.chunks_exact_mut(self.channels) {
                for (sum, lane) in sums.iter_mut().zip(lanes) {
                    *sum += f64::from(*lane);
                    *lane = 0.0;
                }
            }
        }
    }
}

impl<'a> Load<'a> {
    pub(crate) fn vectors(&self) -> [Vector<'a>; 2] {
        self.affine.map_or([Vector::Constant(1.0), Vector::Constant(0.0)], |vectors| vectors.map(Vector::Of))
    }

    pub(crate) fn part(&self, at: usize, len: usize) -> &'a [f32] {
        &self.values[at..][..len]
    }
}

impl<'a> Grad<'a> {
    /// The raw output and the coefficients; without a norm the output's coefficient is 0, its value that of `dz`.
    pub(crate) fn vectors(&self) -> (&'a [f32], [Vector<'a>; 3]) {
        self.norm.map_or((self.dz, [1.0, 0.0, 0.0].map(Vector::Constant)), |(y, k)| (y, k.map(Vector::Of)))
    }
}
