//! Winograd's F(2x2, 3x3): four outputs of a 3x3 window from 16 products a channel instead of 36.
//!
//! Lavin & Gray 2016 (arXiv:1509.09308), Sec. 4.1:
//! ```text
//! Y = A^T [(G g G^T) * (B^T d B)] A      d 4x4 of the source, g 3x3 weights, Y 2x2
//! ```
//! The products over channels are 16 matrix products. Sums and differences before and after lose about two bits.

use super::lanes::{Job, Lanes};
use super::plan::Segment;
use super::run::{From, Make, Piece};
use super::scratch::scratch;
use super::tile::{Finish, Line};

/// Elements of a transformed tile.
pub(super) const PLACES: usize = 16;

/// Tiles whose transforms lie in scratch memory: `[place][tile][channel]`, and likewise the products.
#[derive(Clone, Copy)]
struct Tiles<'a> {
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
    padded: usize,
}

/// Elements between places beyond the tiles, so that places do not meet in the same lines of the cache.
const APART: usize = 16;

impl Make<'_> {
    /// [`Make::piece`] by Winograd's method.
    ///
    /// # Safety
    /// As [`Make::all`]; copies reach to the end of the last tile.
    #[inline(always)]
    pub(super) unsafe fn winograd<V: Lanes>(&self, from: From, piece: Piece) {
        let plan = self.plan;
        let (taken, padded) = (plan.taken(), plan.made().next_multiple_of(V::N));
        let across = [piece.rows.div_ceil(2), plan.sizes()[1][1].div_ceil(2)];
        let all = piece.images * across[0] * across[1];
        let rows = V::ROWS[1];
        let most = (6144 / taken.max(padded)).clamp(28, 64) / rows * rows;
        let together = all.div_ceil(all.div_ceil(most));
        let (value_place, product_place) = (together * taken + APART, together * padded + APART);
        scratch(PLACES * (value_place + product_place), |memory| {
            let values = memory.as_mut_ptr();
            let products = values.wrapping_add(PLACES * value_place);
            for first in (0..all).step_by(together) {
                let count = together.min(all - first);
                let tiles = Tiles {
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
                    padded,
                };
                // SAFETY: the caller's contract; the memory holds the places of `together` tiles.
                unsafe {
                    V::call(Transform(tiles));
                    tiles.multiply::<V>();
                    V::call(Restore(tiles));
                }
            }
        });
    }
}

impl Tiles<'_> {
    /// Image of the piece, row and column of a tile.
    #[inline(always)]
    fn place(&self, tile: usize) -> [usize; 3] {
        let tile = self.first + tile;
        let plane = self.across[0] * self.across[1];
        [tile / plane, tile % plane / self.across[1], tile % self.across[1]]
    }

    /// The matrix products of the places.
    #[inline(always)]
    unsafe fn multiply<V: Lanes>(&self) {
        let taken = self.make.plan.taken();
        let segments = [Segment { offset: 0, depth: taken, block: 0, taps: Vec::new(), tap: 0 }];
        let finish = Finish { bias: std::ptr::null(), residual: std::ptr::null(), bounds: [0.0; 2], bounded: false };
        for place in 0..PLACES {
            for block in (0..self.padded).step_by(2 * V::N) {
                let width = (self.padded - block).min(2 * V::N);
                let line = Line {
                    segments: &segments,
                    from: self.values.wrapping_add(place * self.value_place),
                    from_step: taken,
                    weights: self.make.weights[(PLACES * block + place * width) * taken..].as_ptr(),
                    to: self.products.wrapping_add(place * self.product_place + block),
                    to_step: self.padded,
                    pixels: self.count,
                    vectors: width / V::N,
                    last: V::N,
                    finish,
                    pairs: false,
                };
                // SAFETY: the caller's contract.
                unsafe { line.run::<V>() };
            }
        }
    }
}

/// `B^T d B` of each tile.
struct Transform<'a>(Tiles<'a>);

impl Job for Transform<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let tiles = self.0;
        let layout = &tiles.make.plan.layout;
        let taken = tiles.make.plan.taken();
        for tile in 0..tiles.count {
            let [image, y, x] = tiles.place(tile);
            let corner = image * tiles.from.image + 2 * y * layout.line() + 2 * x * layout.cell;
            for channel in (0..taken).step_by(V::N) {
                let within = channel / layout.cell * layout.plane() + channel % layout.cell;
                let count = V::N.min(taken - channel);
                // SAFETY: the contract of `Make::winograd`.
                unsafe {
                    let from = tiles.from.values.add(corner + within);
                    let to = tiles.values.add(tile * taken + channel);
                    if count == V::N {
                        transform::<V, true>(from, [layout.line(), layout.cell], to, tiles.value_place, count);
                    } else {
                        transform::<V, false>(from, [layout.line(), layout.cell], to, tiles.value_place, count);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn transform<V: Lanes, const FULL: bool>(
    from: *const f32,
    [line, cell]: [usize; 2],
    to: *mut f32,
    place: usize,
    count: usize,
) {
    // SAFETY: the contract of `Make::winograd`.
    unsafe {
        let mut half = [[V::splat(0.0); 4]; 4];
        for (column, half) in half.iter_mut().enumerate() {
            let at = |row: usize| super::layout::load::<V, FULL>(from.add(row * line + column * cell), count);
            *half = differences([at(0), at(1), at(2), at(3)]);
        }
        let [a, b, c, d] = half;
        for row in 0..4 {
            let line = differences([a[row], b[row], c[row], d[row]]);
            for (column, value) in line.into_iter().enumerate() {
                let to = to.add((row * 4 + column) * place);
                if FULL { value.store(to) } else { value.store_some(to, count) }
            }
        }
    }
}

/// `B^T d`.
#[inline(always)]
unsafe fn differences<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 4] {
    // SAFETY: the caller's contract.
    unsafe { [a.sub(c), b.add(c), c.sub(b), b.sub(d)] }
}

/// `A^T m A` of each tile, and what is done before it is stored.
struct Restore<'a>(Tiles<'a>);

impl Job for Restore<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let tiles = self.0;
        let plan = tiles.make.plan;
        let [_, [height, width]] = plan.sizes();
        let made = plan.made();
        for tile in 0..tiles.count {
            let [image, y, x] = tiles.place(tile);
            let (row, column) = (tiles.piece.row + 2 * y, 2 * x);
            let pixel = (((tiles.piece.image + image) * height + row) * width + column) * made;
            let end = tiles.piece.row + tiles.piece.rows;
            let exists = [(end - row).min(2), (width - column).min(2)];
            for channel in (0..made).step_by(V::N) {
                let count = V::N.min(made - channel);
                // SAFETY: the contract of `Make::winograd`.
                unsafe {
                    let from = tiles.products.add(tile * tiles.padded + channel);
                    let sums = restore::<V>(from, tiles.product_place);
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
unsafe fn restore<V: Lanes>(from: *const f32, place: usize) -> [[V; 2]; 2] {
    // SAFETY: the contract of `Make::winograd`.
    unsafe {
        let mut half = [[V::splat(0.0); 2]; 4];
        for (column, half) in half.iter_mut().enumerate() {
            let at = |row: usize| V::load(from.add((row * 4 + column) * place));
            *half = totals([at(0), at(1), at(2), at(3)]);
        }
        let [a, b, c, d] = half;
        [totals([a[0], b[0], c[0], d[0]]), totals([a[1], b[1], c[1], d[1]])]
    }
}

/// `A^T m`.
#[inline(always)]
unsafe fn totals<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 2] {
    // SAFETY: the caller's contract.
    unsafe { [a.add(b).add(c), b.sub(c).sub(d)] }
}

impl Tiles<'_> {
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
