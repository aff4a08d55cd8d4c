//! Winograd's F(4x4, 3x3): sixteen outputs of a window from 36 products a channel instead of 144. Likewise F(2x2, 3x3), four from
//! 16 instead of 36, and F(2x2, 5x5), four from 36 instead of 100.
//!
//! Lavin & Gray 2016 (arXiv:1509.09308), Sec. 4.1:
//! ```text
//! Y = A^T [(G g G^T) * (B^T d B)] A      d 6x6 (4x4) of the source, g the weights, Y 4x4 (2x2)
//! ```
//! The products over channels are a matrix product for each place of `d`. Sums and differences before and after lose about
//! two bits (three with sixteen outputs), with the points of [`super::points`].

use super::lanes::{Job, Lanes};
use super::plan::Segment;
use super::points::Points;
use super::run::{From, Make, Piece};
use super::scratch::scratch;
use super::tile::{Finish, Line};
use crate::prefetch;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Tiles whose transforms lie in scratch memory: `[tile][place][channel]`, and likewise the products.
#[derive(Clone, Copy)]
struct Tiles<'a, P, const SIDE: usize, const OUTS: usize> {
    make: &'a Make<'a>,
    from: From,
    piece: Piece,
    /// Tiles of an image in both directions.
    across: [usize; 2],
    first: usize,
    count: usize,
    values: *mut f32,
    products: *mut f32,
    /// Steps between tiles, of both.
    steps: [usize; 2],
    /// Source channels whose transforms are held: the first of them, and how many.
    taken: [usize; 2],
    /// Destination channels whose products are held, padded to whole vectors.
    made: [usize; 2],
    points: PhantomData<P>,
}

/// Elements between tiles beyond their places, so that tiles do not meet in the same lines of the cache.
const APART: usize = 16;

/// Tiles that are held at once: their transforms and products should stay in the second-level cache, and weights that come from
/// beyond it be used more than once.
const HELD: usize = 28;

/// Channels of both that are held at least.
const CHANNELS: usize = 64;

impl Make<'_> {
    /// [`Make::piece`] by Winograd's method.
    ///
    /// # Safety
    /// As [`Make::all`]; copies reach to the end of the last tile.
    #[inline(always)]
    pub(super) unsafe fn winograd<V, P, const SIDE: usize, const OUTS: usize>(&self, from: From, piece: Piece)
    where
        V: Lanes,
        P: Points<SIDE, OUTS>,
    {
        let plan = self.plan;
        let (taken, padded) = (plan.taken(), plan.made().next_multiple_of(V::N));
        let across = [piece.rows, plan.sizes()[1][1]].map(|size| size.div_ceil(OUTS));
        let all = piece.images * across[0] * across[1];
        // Transforms of all source channels serve every block of outputs; for one block, products are added up instead.
        let wide = padded.min(CHANNELS);
        let deep = if wide < padded { taken } else { taken.min(CHANNELS) };
        let together = all.div_ceil(all.div_ceil(HELD / V::ROWS[1] * V::ROWS[1]));
        let steps = [deep, wide].map(|channels| SIDE * SIDE * channels + APART);
        scratch(together * (steps[0] + steps[1]), |memory| {
            let values = memory.as_mut_ptr();
            let products = values.wrapping_add(together * steps[0]);
            for first in (0..all).step_by(together) {
                let count = together.min(all - first);
                for made in (0..padded).step_by(wide) {
                    let mut tiles = Tiles::<P, SIDE, OUTS> {
                        make: self,
                        from,
                        piece,
                        across,
                        first,
                        count,
                        values,
                        products,
                        steps,
                        taken: [0, deep],
                        made: [made, wide.min(padded - made)],
                        points: PhantomData,
                    };
                    for depth in (0..taken).step_by(deep) {
                        tiles.taken = [depth, deep.min(taken - depth)];
                        // SAFETY: the caller's contract; the memory holds the places of `together` tiles.
                        unsafe {
                            if made == 0 || deep < taken {
                                V::call(Transform(tiles));
                            }
                            tiles.multiply::<V>();
                        }
                    }
                    // SAFETY: as above.
                    unsafe { V::call(Restore(tiles)) };
                }
            }
        });
    }
}

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Tiles<'_, P, SIDE, OUTS> {
    /// Image of the piece, row and column of a tile.
    #[inline(always)]
    fn place(&self, tile: usize) -> [usize; 3] {
        let tile = self.first + tile;
        let plane = self.across[0] * self.across[1];
        [tile / plane, tile % plane / self.across[1], tile % self.across[1]]
    }

    /// Fetches the lines of the destination that [`Restore`] will write to.
    #[inline(always)]
    fn announce(&self, tile: usize) {
        let plan = self.make.plan;
        let [_, [height, width]] = plan.sizes();
        let (made, [first, held]) = (plan.made(), self.made);
        let held = held.min(made - first);
        let [image, y, x] = self.place(tile);
        let (row, column) = (self.piece.row + OUTS * y, OUTS * x);
        for row in row..(row + OUTS).min(height) {
            let pixel = ((self.piece.image + image) * height + row) * width + column;
            for x in 0..OUTS.min(width - column) {
                for at in (0..held).step_by(prefetch::LINE) {
                    prefetch::to_write(self.make.to.at((pixel + x) * made + first + at));
                }
            }
        }
    }

    /// The matrix products of the places; those of later source channels are added.
    #[inline(always)]
    unsafe fn multiply<V: Lanes>(&self) {
        let (all, [depth, taken], [made, count]) = (self.make.plan.taken(), self.taken, self.made);
        let segments = [Segment { offset: 0, depth: taken, block: 0, taps: Vec::new(), tap: 0 }];
        for place in 0..SIDE * SIDE {
            for block in (0..count).step_by(2 * V::N) {
                let width = (count - block).min(2 * V::N);
                let to = self.products.wrapping_add(place * count + block);
                let residual = if depth > 0 { to.cast_const() } else { std::ptr::null() };
                let weights = (SIDE * SIDE * (made + block) + place * width) * all + depth * width;
                let line = Line {
                    segments: &segments,
                    from: self.values.wrapping_add(place * taken),
                    from_step: self.steps[0],
                    weights: self.make.weights[weights..].as_ptr(),
                    to,
                    to_step: self.steps[1],
                    pixels: self.count,
                    vectors: width / V::N,
                    last: V::N,
                    finish: Finish { bias: std::ptr::null(), residual, bounds: [0.0; 2], bounded: false },
                    pairs: false,
                };
                // SAFETY: the caller's contract.
                unsafe { line.run::<V>() };
            }
        }
    }
}

/// `B^T d B` of each tile.
struct Transform<'a, P, const SIDE: usize, const OUTS: usize>(Tiles<'a, P, SIDE, OUTS>);

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Job for Transform<'_, P, SIDE, OUTS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let tiles = self.0;
        let layout = &tiles.make.plan.layout;
        let [first, taken] = tiles.taken;
        for tile in 0..tiles.count {
            if tiles.make.far {
                tiles.announce(tile);
            }
            let [image, y, x] = tiles.place(tile);
            let corner = image * tiles.from.image + OUTS * y * layout.line() + OUTS * x * layout.cell;
            for at in (0..taken).step_by(V::N) {
                let channel = first + at;
                let within = channel / layout.cell * layout.plane() + channel % layout.cell;
                let count = V::N.min(taken - at);
                // SAFETY: the contract of `Make::winograd`.
                unsafe {
                    let from = tiles.from.values.add(corner + within);
                    let to = tiles.values.add(tile * tiles.steps[0] + at);
                    let steps = [layout.line(), layout.cell];
                    if count == V::N {
                        transform::<V, P, SIDE, OUTS, true>(from, steps, to, taken, count);
                    } else {
                        transform::<V, P, SIDE, OUTS, false>(from, steps, to, taken, count);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn transform<V: Lanes, P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize, const FULL: bool>(
    from: *const f32,
    [line, cell]: [usize; 2],
    to: *mut f32,
    place: usize,
    count: usize,
) {
    // SAFETY: the contract of `Make::winograd`.
    unsafe {
        let mut half = MaybeUninit::<[[V; SIDE]; SIDE]>::uninit();
        let rows = half.as_mut_ptr().cast::<[V; SIDE]>();
        for column in 0..SIDE {
            let mut values = [V::splat(0.0); SIDE];
            for (row, value) in values.iter_mut().enumerate() {
                *value = super::layout::load::<V, FULL>(from.add(row * line + column * cell), count);
            }
            for (row, value) in P::differences(values).into_iter().enumerate() {
                rows.add(row).cast::<V>().add(column).write(value);
            }
        }
        for row in 0..SIDE {
            let line = P::differences(rows.add(row).read());
            for (column, value) in line.into_iter().enumerate() {
                let to = to.add((row * SIDE + column) * place);
                if FULL { value.store(to) } else { value.store_some(to, count) }
            }
        }
    }
}

/// `A^T m A` of each tile, and what is done before it is stored.
struct Restore<'a, P, const SIDE: usize, const OUTS: usize>(Tiles<'a, P, SIDE, OUTS>);

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Job for Restore<'_, P, SIDE, OUTS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let tiles = self.0;
        let plan = tiles.make.plan;
        let [_, [height, width]] = plan.sizes();
        let made = plan.made();
        let [first, held] = tiles.made;
        for tile in 0..tiles.count {
            let [image, y, x] = tiles.place(tile);
            let (row, column) = (tiles.piece.row + OUTS * y, OUTS * x);
            let pixel = (((tiles.piece.image + image) * height + row) * width + column) * made;
            let end = tiles.piece.row + tiles.piece.rows;
            let exists = [(end - row).min(OUTS), (width - column).min(OUTS)];
            for at in (0..held.min(made - first)).step_by(V::N) {
                let channel = first + at;
                let count = V::N.min(made - channel);
                // SAFETY: the contract of `Make::winograd`.
                unsafe {
                    let from = tiles.products.add(tile * tiles.steps[1] + at);
                    if count == V::N {
                        tiles.restore::<V, true>(from, pixel, channel, exists, count);
                    } else {
                        tiles.restore::<V, false>(from, pixel, channel, exists, count);
                    }
                }
            }
        }
    }
}

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Tiles<'_, P, SIDE, OUTS> {
    /// The pixels of a tile that exist.
    #[inline(always)]
    unsafe fn restore<V: Lanes, const FULL: bool>(
        &self,
        from: *const f32,
        pixel: usize,
        channel: usize,
        exists: [usize; 2],
        count: usize,
    ) {
        let plan = self.make.plan;
        let line = plan.sizes()[1][1] * plan.made();
        // SAFETY: the contract of `Make::winograd`.
        unsafe {
            let mut half = MaybeUninit::<[[V; SIDE]; OUTS]>::uninit();
            let rows = half.as_mut_ptr().cast::<[V; SIDE]>();
            for column in 0..SIDE {
                let mut values = [V::splat(0.0); SIDE];
                for (row, value) in values.iter_mut().enumerate() {
                    *value = V::load(from.add((row * SIDE + column) * self.made[1]));
                }
                for (row, value) in P::totals(values).into_iter().enumerate() {
                    rows.add(row).cast::<V>().add(column).write(value);
                }
            }
            for row in 0..exists[0] {
                let sums = P::totals(rows.add(row).read());
                self.finish::<V, FULL>(&sums[..exists[1]], pixel + row * line, channel, count);
            }
        }
    }

    /// Bias, residual, bounds; stores pixels that follow each other in a row.
    #[inline(always)]
    unsafe fn finish<V: Lanes, const FULL: bool>(&self, sums: &[V], pixel: usize, channel: usize, count: usize) {
        use super::layout::load;
        let made = self.make.plan.made();
        // SAFETY: the contract of `Make::winograd`.
        unsafe {
            for (x, sum) in sums.iter().enumerate() {
                let pixel = pixel + x * made;
                let (mut sum, finish) = (*sum, self.make.finish.at(pixel, channel));
                if !finish.bias.is_null() {
                    sum = sum.add(load::<V, FULL>(finish.bias, count));
                }
                if !finish.residual.is_null() {
                    sum = sum.add(load::<V, FULL>(finish.residual, count));
                }
                if finish.bounded {
                    let [low, high] = finish.bounds.map(|bound| V::splat(bound));
                    sum = high.min(low.max(sum));
                }
                let to = self.make.to.at(pixel + channel);
                if FULL { sum.store(to) } else { sum.store_some(to, count) }
            }
        }
    }
}
