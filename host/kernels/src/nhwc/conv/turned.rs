//! The gradient of the weights of a 5x5 window by Winograd's F(5x5, 2x2): 36 products a pair of channels instead of 100 for
//! four pixels of the output's gradient.
//!
//! ```text
//! dW = A^T [sum over tiles of (G dy G^T) * (B^T d B)] A      d 6x6 of the input, dy 2x2, dW 5x5
//! ```
//! The window and the outputs of [`super::winograd`] change sides. Sums over tiles are a matrix product for each place of `d`.

use super::ConvShape;
use super::lanes::{Job, Lanes};
use super::layout::{Fill, Layout, Source};
use super::patch::Patch;
use super::points::{Five, Points};
use super::run::Shared;
use super::scratch::scratch;
use crate::nhwc::Level;
use crate::simd;
use rayon::prelude::*;

const SIDE: usize = 6;
const PLACES: usize = SIDE * SIDE;

/// Tiles whose transforms are held at once, about: with the sums of a place they should stay in the second-level cache.
const HELD: usize = 64;

/// Units that are held at once, about, so that threads share them.
const UNITS: usize = 4;

/// Tiles that are summed before the sums go to memory: their transforms should stay in the first-level cache.
const TILES: usize = 128;

/// Output channels that are brought back together.
const LANES: usize = 16;

/// How tiles are cut into units: some rows of tiles of one image.
#[derive(Clone, Copy)]
struct Cut {
    /// Rows and columns of tiles of an image.
    across: [usize; 2],
    /// Rows of tiles of a unit.
    strip: usize,
    /// Units of an image.
    units: usize,
}

impl Cut {
    fn new(shape: &ConvShape) -> Cut {
        let across = shape.output.map(|size| size.div_ceil(2));
        let strip = (HELD / UNITS / across[1]).clamp(1, across[0]);
        Cut { across, strip, units: across[0].div_ceil(strip) }
    }

    /// Image, first row of tiles, rows of tiles.
    fn unit(&self, unit: usize) -> [usize; 3] {
        let row = unit % self.units * self.strip;
        [unit / self.units, row, self.strip.min(self.across[0] - row)]
    }

    /// Tiles before a unit.
    fn before(&self, unit: usize) -> usize {
        let [image, row] = [unit / self.units, unit % self.units * self.strip];
        (image * self.across[0] + row) * self.across[1]
    }
}

#[derive(Clone, Copy)]
struct Turned<'a> {
    shape: &'a ConvShape,
    cut: Cut,
    /// Input, gradient of the output.
    sources: [Source<'a>; 2],
    /// `[place][tile][channel]` of both.
    values: [Shared<f32>; 2],
    /// Input channels; output channels, padded to whole vectors.
    channels: [usize; 2],
    /// Tiles of a place.
    tiles: usize,
    /// `[place][input][output]`.
    total: Shared<f32>,
}

/// The gradient of the weights from the input and the gradient of the output, both checked.
pub(super) fn weights(shape: &ConvShape, sources: [Source; 2], dw: &mut [f32]) {
    let (level, cut) = (Level::current(), Cut::new(shape));
    let channels = [shape.in_channels, shape.out_channels.next_multiple_of(level.lanes())];
    let units = shape.batch * cut.units;
    let held = (HELD / (cut.strip * cut.across[1])).clamp(1, units.max(1));
    let tiles = held * cut.strip * cut.across[1];
    let [of_x, of_dy] = channels.map(|channels| PLACES * tiles * channels);
    scratch(PLACES * channels[0] * channels[1], |total| {
        total.fill(0.0);
        scratch(of_x + of_dy, |values| {
            let (x, dy) = values.split_at_mut(of_x);
            let values = [x, dy].map(|values| Shared(values.as_mut_ptr()));
            let turned = Turned { shape, cut, sources, values, channels, tiles, total: Shared(total.as_mut_ptr()) };
            for first in (0..units).step_by(held) {
                let end = (first + held).min(units);
                (first..end).into_par_iter().for_each(|unit| {
                    // SAFETY: the caller checked the sources; each unit writes tiles of its own.
                    unsafe { level.run(Spread { turned, first, unit }) };
                });
                let count = cut.before(end) - cut.before(first);
                (0..PLACES).into_par_iter().for_each(|place| {
                    // SAFETY: transforms of `count` tiles are there; each place has sums of its own.
                    unsafe { level.run(Sum { turned, place, count }) };
                });
            }
        });
        deliver(shape, channels, total, dw);
    });
}

/// Transforms of a unit.
struct Spread<'a> {
    turned: Turned<'a>,
    first: usize,
    unit: usize,
}

impl Job for Spread<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Turned { shape, cut, sources, channels, tiles, values, .. } = self.turned;
        let [image, row, rows] = cut.unit(self.unit);
        let at = cut.before(self.unit) - cut.before(self.first);
        let columns = 2 * cut.across[1];
        let side = |channels: usize, beyond: usize, before: [usize; 2]| Layout {
            groups: 1,
            channels,
            cell: channels,
            size: [2 * rows + beyond, columns + beyond],
            before,
        };
        let layouts = [side(channels[0], SIDE - 2, shape.window.padding), side(shape.out_channels, 0, [0; 2])];
        for (which, size) in [shape.input, shape.output].into_iter().enumerate() {
            let (layout, source) = (&layouts[which], sources[which]);
            scratch(layout.image(), |copy| {
                let to = copy.as_mut_ptr();
                let fill = Fill { source, layout, image, size, first: 2 * row, rows: layout.size[0], step: 1, to };
                // SAFETY: the copy holds the rows, the source has the image.
                unsafe { V::call(fill) };
                let tiles = Tiles {
                    from: copy.as_ptr(),
                    to: values[which].at(at * channels[which]),
                    steps: [layout.line(), layout.cell, tiles * channels[which]],
                    counts: [rows, cut.across[1]],
                    channels: layout.channels,
                    padded: channels[which],
                };
                // SAFETY: the tiles lie in the copy, their transforms in the memory of the unit.
                unsafe {
                    if which == 0 {
                        V::call(Transform::<SIDE>(tiles));
                    } else {
                        V::call(Transform::<2>(tiles));
                    }
                }
            });
        }
    }
}

/// The transform of one dimension of a tile of input (6), or of the output's gradient (2).
trait Along<const FROM: usize> {
    /// # Safety
    /// The processor has the instructions of `V`.
    unsafe fn along<V: Lanes>(values: [V; FROM]) -> [V; SIDE];
}

impl Along<SIDE> for Five {
    #[inline(always)]
    unsafe fn along<V: Lanes>(values: [V; SIDE]) -> [V; SIDE] {
        // SAFETY: the caller's contract.
        unsafe { Five::differences(values) }
    }
}

impl Along<2> for Five {
    #[inline(always)]
    unsafe fn along<V: Lanes>(values: [V; 2]) -> [V; SIDE] {
        // SAFETY: the caller's contract.
        unsafe { Five::spread(values) }
    }
}

/// The tiles of a unit before their transforms.
#[derive(Clone, Copy)]
struct Tiles {
    from: *const f32,
    to: *mut f32,
    /// Between rows, columns, places.
    steps: [usize; 3],
    /// Rows and columns of tiles.
    counts: [usize; 2],
    channels: usize,
    /// Channels that are written; those beyond are 0.
    padded: usize,
}

/// Transforms squares of this many pixels a side.
struct Transform<const FROM: usize>(Tiles);

impl<const FROM: usize> Job for Transform<FROM>
where
    Five: Along<FROM>,
{
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Tiles { from, to, steps: [line, cell, _], counts: [rows, columns], channels, padded } = self.0;
        for y in 0..rows {
            for x in 0..columns {
                for channel in (0..padded).step_by(V::N) {
                    // SAFETY: the contract of `Spread`.
                    unsafe {
                        let from = from.add(2 * y * line + 2 * x * cell + channel);
                        let to = to.add((y * columns + x) * padded + channel);
                        let [read, written] = [channels, padded].map(|all| V::N.min(all - channel.min(all)));
                        if read == V::N {
                            self.tile::<V, true>(from, read, to, written);
                        } else {
                            self.tile::<V, false>(from, read, to, written);
                        }
                    }
                }
            }
        }
    }
}

impl<const FROM: usize> Transform<FROM>
where
    Five: Along<FROM>,
{
    #[inline(always)]
    unsafe fn tile<V: Lanes, const FULL: bool>(&self, from: *const f32, read: usize, to: *mut f32, written: usize) {
        let [line, cell, place] = self.0.steps;
        // SAFETY: the contract of `Spread`.
        unsafe {
            let mut half = [[V::splat(0.0); SIDE]; FROM];
            for (column, half) in half.iter_mut().enumerate() {
                let mut values = [V::splat(0.0); FROM];
                for (row, value) in values.iter_mut().enumerate() {
                    *value = super::layout::load::<V, FULL>(from.add(row * line + column * cell), read);
                }
                *half = Five::along(values);
            }
            for row in 0..SIDE {
                for (column, value) in Five::along(half.map(|column| column[row])).into_iter().enumerate() {
                    let to = to.add((row * SIDE + column) * place);
                    if FULL { value.store(to) } else { value.store_some(to, written) }
                }
            }
        }
    }
}

/// Sums over tiles of a place.
struct Sum<'a> {
    turned: Turned<'a>,
    place: usize,
    count: usize,
}

impl Job for Sum<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Turned { values, channels: [ins, outs], tiles, total, .. } = self.turned;
        for tile in (0..self.count).step_by(TILES) {
            let counts = [1, 1, TILES.min(self.count - tile)];
            for block in (0..outs).step_by(2 * V::N) {
                let at = self.place * tiles + tile;
                let patch = Patch {
                    x: values[0].at(at * ins).cast_const(),
                    x_steps: [0, 0, ins],
                    dy: values[1].at(at * outs + block).cast_const(),
                    dy_steps: [0, 0, outs],
                    counts,
                    dw: total.at(self.place * ins * outs + block),
                    dw_step: outs,
                };
                // SAFETY: the transforms of the tiles are there, and the sums of the place.
                unsafe { patch.run::<V>(ins, (outs - block).min(2 * V::N) / V::N) };
            }
        }
    }
}

/// `A^T m A` of each pair of channels, as `[C_out, C_in, 5, 5]`.
fn deliver(shape: &ConvShape, [ins, outs]: [usize; 2], total: &[f32], dw: &mut [f32]) {
    let taps = (SIDE - 1) * (SIDE - 1);
    dw.par_chunks_mut(LANES * ins * taps).enumerate().for_each(|(block, dw)| {
        let (first, count) = (block * LANES, LANES.min(shape.out_channels - block * LANES));
        for channel in 0..ins {
            let mut places = [[0.0; LANES]; PLACES];
            for (place, values) in places.iter_mut().enumerate() {
                values[..count].copy_from_slice(&total[(place * ins + channel) * outs + first..][..count]);
            }
            let windows = simd(|| windows(&places));
            for (lane, dw) in dw.chunks_exact_mut(ins * taps).enumerate() {
                let to = dw[channel * taps..][..taps].iter_mut();
                to.zip(&windows).for_each(|(to, window)| *to = window[lane]);
            }
        }
    });
}

#[inline(always)]
fn windows(places: &[[f32; LANES]; PLACES]) -> [[f32; LANES]; 25] {
    let mut out = [[0.0; LANES]; 25];
    for lane in 0..LANES {
        let mut rows = [[0.0; SIDE - 1]; SIDE];
        for (y, row) in rows.iter_mut().enumerate() {
            let mut line = [0.0; SIDE];
            line.iter_mut().enumerate().for_each(|(x, value)| *value = places[y * SIDE + x][lane]);
            *row = Five::window(line);
        }
        for x in 0..SIDE - 1 {
            let column = Five::window(rows.map(|row| row[x]));
            column.into_iter().enumerate().for_each(|(y, value)| out[y * (SIDE - 1) + x][lane] = value);
        }
    }
    out
}
