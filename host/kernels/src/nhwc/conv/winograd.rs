//! Winograd's F(2x2, 3x3) and F(2x2, 5x5): four outputs of a window from 16 products a channel instead of 36, or 36 instead
//! of 100.
//!
//! Lavin & Gray 2016 (arXiv:1509.09308), Sec. 4.1:
//! ```text
//! Y = A^T [(G g G^T) * (B^T d B)] A      d 4x4 (6x6) of the source, g 3x3 (5x5) weights, Y 2x2
//! ```
//! The products over channels are a matrix product for each place of `d`. Sums and differences before and after lose about
//! two bits, with the points of [`super::points`].

use super::lanes::{Job, Lanes};
use super::plan::Segment;
use super::points::{Five, Points, Three};
use super::run::{From, Make, Piece};
use super::scratch::scratch;
use super::tile::{Finish, Line};
use std::marker::PhantomData;

/// Tiles whose transforms lie in scratch memory: `[place][tile][channel]`, and likewise the products.
#[derive(Clone, Copy)]
struct Tiles<'a, P, const SIDE: usize> {
    make: &'a Make<'a>,
    from: From,
    piece: Piece,
    /// Tiles of an image in both directions.
    across: [usize; 2],
    first: usize,
    count: usize,
    values: *mut f32,
    /// Steps between places.
    value_place: usize,
    products: *mut f32,
    product_place: usize,
    /// Source channels whose transforms are held: the first of them, and how many.
    taken: [usize; 2],
    /// Destination channels whose products are held, padded to whole vectors.
    made: [usize; 2],
    points: PhantomData<P>,
}

/// Elements between places beyond the tiles, so that places do not meet in the same lines of the cache.
const APART: usize = 16;

/// Floats of transforms and products that are held at once for 6x6 tiles.
const HELD: usize = 320 * 1024;

/// Channels of both that are held at least.
const CHANNELS: usize = 64;

impl Make<'_> {
    /// [`Make::piece`] by Winograd's method.
    ///
    /// # Safety
    /// As [`Make::all`]; copies reach to the end of the last tile.
    #[inline(always)]
    pub(super) unsafe fn winograd<V: Lanes>(&self, from: From, piece: Piece) {
        // SAFETY: the caller's contract.
        unsafe {
            if self.plan.shape.window.kernel == [3, 3] {
                self.tiled::<V, Three, 4>(from, piece);
            } else {
                self.tiled::<V, Five, 6>(from, piece);
            }
        }
    }

    #[inline(always)]
    unsafe fn tiled<V: Lanes, P: Points<SIDE>, const SIDE: usize>(&self, from: From, piece: Piece) {
        let plan = self.plan;
        let (taken, padded) = (plan.taken(), plan.made().next_multiple_of(V::N));
        let across = [piece.rows.div_ceil(2), plan.sizes()[1][1].div_ceil(2)];
        let all = piece.images * across[0] * across[1];
        // Transforms of all source channels serve every block of outputs; for one block, products are added up instead.
        let (deep, wide, most) = if SIDE == 4 {
            (taken, padded, (6144 / taken.max(padded)).clamp(28, 64) / V::ROWS[1] * V::ROWS[1])
        } else {
            let wide = padded.min(CHANNELS);
            let deep = if wide < padded { taken } else { taken.min(CHANNELS) };
            (deep, wide, (HELD / (SIDE * SIDE * (deep + wide))).clamp(V::ROWS[1], 64))
        };
        let together = all.div_ceil(all.div_ceil(most));
        let (value_place, product_place) = (together * deep + APART, together * wide + APART);
        scratch(SIDE * SIDE * (value_place + product_place), |memory| {
            let values = memory.as_mut_ptr();
            let products = values.wrapping_add(SIDE * SIDE * value_place);
            for first in (0..all).step_by(together) {
                let count = together.min(all - first);
                for made in (0..padded).step_by(wide) {
                    let mut tiles = Tiles::<P, SIDE> {
                        make: self,
                        from,
                        piece,
                        across,
                        first,
                        count,
                        values,
                        value_place,
                        products,
                        product_place,
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

impl<P: Points<SIDE>, const SIDE: usize> Tiles<'_, P, SIDE> {
    /// Image of the piece, row and column of a tile.
    #[inline(always)]
    fn place(&self, tile: usize) -> [usize; 3] {
        let tile = self.first + tile;
        let plane = self.across[0] * self.across[1];
        [tile / plane, tile % plane / self.across[1], tile % self.across[1]]
    }

    /// The matrix products of the places; those of later source channels are added.
    #[inline(always)]
    unsafe fn multiply<V: Lanes>(&self) {
        let (all, [depth, taken], [made, count]) = (self.make.plan.taken(), self.taken, self.made);
        let segments = [Segment { offset: 0, depth: taken, block: 0, taps: Vec::new(), tap: 0 }];
        for place in 0..SIDE * SIDE {
            for block in (0..count).step_by(2 * V::N) {
                let width = (count - block).min(2 * V::N);
                let to = self.products.wrapping_add(place * self.product_place + block);
                let residual = if depth > 0 { to.cast_const() } else { std::ptr::null() };
                let weights = (SIDE * SIDE * (made + block) + place * width) * all + depth * width;
                let line = Line {
                    segments: &segments,
                    from: self.values.wrapping_add(place * self.value_place),
                    from_step: taken,
                    weights: self.make.weights[weights..].as_ptr(),
                    to,
                    to_step: count,
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
struct Transform<'a, P, const SIDE: usize>(Tiles<'a, P, SIDE>);

impl<P: Points<SIDE>, const SIDE: usize> Job for Transform<'_, P, SIDE> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let tiles = self.0;
        let layout = &tiles.make.plan.layout;
        let [first, taken] = tiles.taken;
        for tile in 0..tiles.count {
            let [image, y, x] = tiles.place(tile);
            let corner = image * tiles.from.image + 2 * y * layout.line() + 2 * x * layout.cell;
            for at in (0..taken).step_by(V::N) {
                let channel = first + at;
                let within = channel / layout.cell * layout.plane() + channel % layout.cell;
                let count = V::N.min(taken - at);
                // SAFETY: the contract of `Make::winograd`.
                unsafe {
                    let from = tiles.from.values.add(corner + within);
                    let to = tiles.values.add(tile * taken + at);
                    let steps = [layout.line(), layout.cell];
                    if count == V::N {
                        transform::<V, P, SIDE, true>(from, steps, to, tiles.value_place, count);
                    } else {
                        transform::<V, P, SIDE, false>(from, steps, to, tiles.value_place, count);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn transform<V: Lanes, P: Points<SIDE>, const SIDE: usize, const FULL: bool>(
    from: *const f32,
    [line, cell]: [usize; 2],
    to: *mut f32,
    place: usize,
    count: usize,
) {
    // SAFETY: the contract of `Make::winograd`.
    unsafe {
        let mut half = [[V::splat(0.0); SIDE]; SIDE];
        for (column, half) in half.iter_mut().enumerate() {
            let mut values = [V::splat(0.0); SIDE];
            for (row, value) in values.iter_mut().enumerate() {
                *value = super::layout::load::<V, FULL>(from.add(row * line + column * cell), count);
            }
            *half = P::differences(values);
        }
        for row in 0..SIDE {
            let line = P::differences(half.map(|column| column[row]));
            for (column, value) in line.into_iter().enumerate() {
                let to = to.add((row * SIDE + column) * place);
                if FULL { value.store(to) } else { value.store_some(to, count) }
            }
        }
    }
}

/// `A^T m A` of each tile, and what is done before it is stored.
struct Restore<'a, P, const SIDE: usize>(Tiles<'a, P, SIDE>);

impl<P: Points<SIDE>, const SIDE: usize> Job for Restore<'_, P, SIDE> {
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
            let (row, column) = (tiles.piece.row + 2 * y, 2 * x);
            let pixel = (((tiles.piece.image + image) * height + row) * width + column) * made;
            let end = tiles.piece.row + tiles.piece.rows;
            let exists = [(end - row).min(2), (width - column).min(2)];
            for at in (0..held.min(made - first)).step_by(V::N) {
                let channel = first + at;
                let count = V::N.min(made - channel);
                // SAFETY: the contract of `Make::winograd`.
                unsafe {
                    let from = tiles.products.add(tile * held + at);
                    let sums = restore::<V, P, SIDE>(from, tiles.product_place);
                    if count == V::N {
                        tiles.finish::<V, true>(sums, pixel, channel, exists, count);
                    } else {
                        tiles.finish::<V, false>(sums, pixel, channel, exists, count);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn restore<V: Lanes, P: Points<SIDE>, const SIDE: usize>(from: *const f32, place: usize) -> [[V; 2]; 2] {
    // SAFETY: the contract of `Make::winograd`.
    unsafe {
        let mut half = [[V::splat(0.0); 2]; SIDE];
        for (column, half) in half.iter_mut().enumerate() {
            let mut values = [V::splat(0.0); SIDE];
            for (row, value) in values.iter_mut().enumerate() {
                *value = V::load(from.add((row * SIDE + column) * place));
            }
            *half = P::totals(values);
        }
        [P::totals(half.map(|column| column[0])), P::totals(half.map(|column| column[1]))]
    }
}

impl<P: Points<SIDE>, const SIDE: usize> Tiles<'_, P, SIDE> {
    /// Bias, residual, bounds; stores the pixels of a tile that exist.
    #[inline(always)]
    unsafe fn finish<V: Lanes, const FULL: bool>(
        &self,
        sums: [[V; 2]; 2],
        pixel: usize,
        channel: usize,
        exists: [usize; 2],
        count: usize,
    ) {
        use super::layout::load;
        let plan = self.make.plan;
        let (width, made) = (plan.sizes()[1][1], plan.made());
        // SAFETY: the contract of `Make::winograd`.
        unsafe {
            for (y, sums) in sums.into_iter().enumerate().take(exists[0]) {
                for (x, mut sum) in sums.into_iter().enumerate().take(exists[1]) {
                    let pixel = pixel + (y * width + x) * made;
                    let finish = self.make.finish.at(pixel, channel);
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
}
