//! The register tile of a convolution: some pixels times one or two vectors of channels.

use super::lanes::{Job, Lanes};
use super::plan::Segment;

/// What a tile adds to its sums and where it bounds them.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    /// Of the first channel; null for none.
    pub(super) bias: *const f32,
    /// Of the first pixel and channel, in steps of the output; null for none.
    pub(super) residual: *const f32,
    /// Least and greatest value; only looked at if `bounded`.
    pub(super) bounds: [f32; 2],
    pub(super) bounded: bool,
}

impl Finish {
    /// Moves to another pixel and channel.
    #[inline(always)]
    pub(super) fn at(mut self, pixel: usize, channel: usize) -> Self {
        if !self.bias.is_null() {
            self.bias = self.bias.wrapping_add(channel);
        }
        if !self.residual.is_null() {
            self.residual = self.residual.wrapping_add(pixel + channel);
        }
        self
    }
}

/// Pixels at equal steps in source and destination, by the channels of a block.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) segments: &'a [Segment],
    pub(super) from: *const f32,
    pub(super) from_step: usize,
    pub(super) weights: *const f32,
    pub(super) to: *mut f32,
    pub(super) to_step: usize,
    pub(super) pixels: usize,
    /// Vectors of the block and channels in its last one.
    pub(super) vectors: usize,
    pub(super) last: usize,
    pub(super) finish: Finish,
    /// Elements are pairs of bf16.
    pub(super) pairs: bool,
}

impl Line<'_> {
    /// # Safety
    /// Source, destination and weights hold what the pixels, segments and channels name.
    #[inline(always)]
    pub(super) unsafe fn run<V: Lanes>(mut self) {
        let mut left = self.pixels;
        let mut pieces = left.div_ceil(V::ROWS[self.vectors - 1]);
        while left > 0 {
            let rows = left.div_ceil(pieces);
            // SAFETY: the caller's contract; the tile takes the next `rows` pixels.
            unsafe { self.tile::<V>(rows) };
            self.from = self.from.wrapping_add(rows * self.from_step);
            self.to = self.to.wrapping_add(rows * self.to_step);
            self.finish = self.finish.at(rows * self.to_step, 0);
            left -= rows;
            pieces -= 1;
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Lanes>(&self, rows: usize) {
        macro_rules! tiles {
            ($call:ident, $pairs:literal, $vectors:literal, $($rows:literal)+) => {
                match rows {
                    // SAFETY: the caller's contract.
                    $($rows => unsafe { V::$call(Tile::<$rows, $vectors, $pairs>(self)) },)+
                    _ => unreachable!("a tile of {rows} rows"),
                }
            };
        }
        match (self.pairs, self.vectors) {
            (false, 1) => tiles!(call, false, 1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
            (false, _) => tiles!(call, false, 2, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (true, 1) => tiles!(call_pairs, true, 1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
            (true, _) => tiles!(call_pairs, true, 2, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        }
    }
}

struct Tile<'a, const ROWS: usize, const VECTORS: usize, const PAIRS: bool>(&'a Line<'a>);

impl<const ROWS: usize, const VECTORS: usize, const PAIRS: bool> Job for Tile<'_, ROWS, VECTORS, PAIRS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        if ROWS > V::ROWS[VECTORS - 1] {
            return;
        }
        // SAFETY: the contract of `Line::run`.
        unsafe {
            let line = self.0;
            let start: [V; VECTORS] = self.bias::<V>();
            let mut sums = [start; ROWS];
            let mut weights = line.weights;
            for segment in line.segments {
                let from = line.from.add(segment.offset);
                for depth in 0..segment.depth {
                    let mut held = [V::splat(0.0); VECTORS];
                    for (v, held) in held.iter_mut().enumerate() {
                        *held = V::load(weights.add(v * V::N));
                    }
                    weights = weights.add(VECTORS * V::N);
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let value = V::splat(*from.add(row * line.from_step + depth));
                        for (sum, held) in sums.iter_mut().zip(held) {
                            *sum = if PAIRS { value.pairs(held, *sum) } else { value.fma(held, *sum) };
                        }
                    }
                }
            }
            self.store(sums);
        }
    }
}

impl<const ROWS: usize, const VECTORS: usize, const PAIRS: bool> Tile<'_, ROWS, VECTORS, PAIRS> {
    #[inline(always)]
    unsafe fn bias<V: Lanes>(&self) -> [V; VECTORS] {
        // SAFETY: the contract of `Line::run`.
        unsafe {
            let mut bias = [V::splat(0.0); VECTORS];
            if !self.0.finish.bias.is_null() {
                for (v, bias) in bias.iter_mut().enumerate() {
                    let from = self.0.finish.bias.add(v * V::N);
                    *bias = if v + 1 == VECTORS { V::load_some(from, self.0.last) } else { V::load(from) };
                }
            }
            bias
        }
    }

    #[inline(always)]
    unsafe fn store<V: Lanes>(&self, mut sums: [[V; VECTORS]; ROWS]) {
        let Line { to, to_step, last, finish, .. } = *self.0;
        // SAFETY: the contract of `Line::run`.
        unsafe {
            if !finish.residual.is_null() {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        let from = finish.residual.add(row * to_step + v * V::N);
                        let residual = if v + 1 == VECTORS { V::load_some(from, last) } else { V::load(from) };
                        *sum = sum.add(residual);
                    }
                }
            }
            if finish.bounded {
                let [low, high] = finish.bounds.map(|bound| V::splat(bound));
                sums.iter_mut().flatten().for_each(|sum| *sum = high.min(low.max(*sum)));
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    let to = to.add(row * to_step + v * V::N);
                    if v + 1 == VECTORS { sum.store_some(to, last) } else { sum.store(to) }
                }
            }
        }
    }
}
