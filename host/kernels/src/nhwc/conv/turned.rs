//! The gradient of the weights by Winograd's method: F(3x3, 4x4) takes 36 products a pair of channels for sixteen pixels of the
//! output's gradient instead of 144. Likewise F(3x3, 2x2) and F(5x5, 2x2) take 16 instead of 36 and 36 instead of 100 for four.
//!
//! ```text
//! dW = A^T [sum over tiles of (G dy G^T) * (B^T d B)] A      d 6x6 (4x4) of the input, dy 4x4 (2x2), dW as the window
//! ```
//! The window and the outputs of [`super::winograd`] change sides. Sums over tiles are a matrix product for each place of `d`.

use super::ConvShape;
use super::lanes::{Job, Lanes};
use super::layout::Source;
use super::method::{Method, with_points};
use super::patch::Patch;
use super::points::Points;
use super::run::{Make, Shared, add_in_order};
use super::scratch::{scratch, zeroed_f64};
use super::spread::Spread;
use crate::nhwc::Level;
use crate::simd;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Tiles whose transforms a thread holds at once, about: with its sums they should stay in the second-level cache.
const HELD: usize = 32;

/// Units that are held at once, about, where threads share them.
const UNITS: usize = 4;

/// Floats of the sums above which threads share them instead of the batch.
const LEAST: usize = 1 << 18;

/// Tiles of a chunk at least, so that sums of chunks are little work beside those of tiles.
const EACH: usize = 64;

/// Floats of the sums of all chunks together.
const PARTIAL: usize = 2 << 20;

/// Tiles that are summed before the sums go to memory: their transforms should stay in the first-level cache.
const TILES: usize = 128;

/// Elements between places beyond their tiles, so that the places of a tile do not meet in the same lines of the cache.
const APART: usize = 16;

/// Floats of the maps of the images that both gradients are made of in turn, about: what one has read, the other should find in
/// cache.
const MAPS: usize = 1 << 18;

/// Output channels that are brought back together.
const LANES: usize = 16;

/// How tiles are cut into units, some rows of tiles of one image, and how many units are held at once.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// Rows and columns of tiles of an image.
    pub(super) across: [usize; 2],
    /// Rows of tiles of a unit.
    strip: usize,
    /// Units of an image.
    units: usize,
    /// Units that are held.
    held: usize,
}

impl Cut {
    /// About `tiles` are held, in `units`.
    fn new(shape: &ConvShape, outs: usize, tiles: usize, units: usize) -> Cut {
        let across = shape.output.map(|size| size.div_ceil(outs));
        let strip = (tiles / units / across[1]).clamp(1, across[0]);
        let held = (tiles / (strip * across[1])).clamp(1, (shape.batch * across[0].div_ceil(strip)).max(1));
        Cut { across, strip, units: across[0].div_ceil(strip), held }
    }

    /// Elements between the places of the tiles that are held.
    pub(super) fn place(&self, channels: usize) -> usize {
        self.held * self.strip * self.across[1] * channels + APART
    }

    /// Image, first row of tiles, rows of tiles.
    pub(super) fn unit(&self, unit: usize) -> [usize; 3] {
        let row = unit % self.units * self.strip;
        [unit / self.units, row, self.strip.min(self.across[0] - row)]
    }

    /// Tiles before a unit.
    pub(super) fn before(&self, unit: usize) -> usize {
        let [image, row] = [unit / self.units, unit % self.units * self.strip];
        (image * self.across[0] + row) * self.across[1]
    }
}

#[derive(Clone, Copy)]
pub(super) struct Turned<'a, P, const SIDE: usize, const OUTS: usize> {
    level: Level,
    pub(super) shape: &'a ConvShape,
    pub(super) cut: Cut,
    /// Input, gradient of the output.
    pub(super) sources: [Source<'a>; 2],
    /// Input channels; output channels, padded to whole vectors.
    pub(super) channels: [usize; 2],
    points: PhantomData<P>,
}

/// Where sums go to.
#[derive(Clone, Copy)]
pub(super) struct To {
    /// `[place][tile][channel]` of the transforms of both sides.
    pub(super) values: [Shared<f32>; 2],
    /// `[place][input][output]`.
    total: Shared<f32>,
}

/// How the gradient of the input is made, and its sums `[2 * channels]`.
type Data<'a, 'b> = (&'a Make<'a>, Option<&'b mut [f64]>);

/// The gradient of the weights from the input and the gradient of the output, both checked, and that of the input if it is wanted.
pub(super) fn weights(method: Method, shape: &ConvShape, sources: [Source; 2], data: Option<Data>, dw: &mut [f32]) {
    with_points!(method, P, SIDE, OUTS => by::<P, SIDE, OUTS>(shape, sources, data, dw));
}

fn by<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize>(
    shape: &ConvShape,
    sources: [Source; 2],
    data: Option<Data>,
    dw: &mut [f32],
) {
    let level = Level::current();
    let channels = [shape.in_channels, shape.out_channels.next_multiple_of(level.lanes())];
    let len = SIDE * SIDE * channels[0] * channels[1];
    let of = |cut| Turned::<P, SIDE, OUTS> { level, shape, cut, sources, channels, points: PhantomData };
    let apart = |data: Option<Data>| {
        if let Some((make, sums)) = data {
            // SAFETY: the caller checked source and destination.
            unsafe { make.all(sources[1], shape.batch, sums) }
        }
    };
    if len > LEAST {
        apart(data);
        let turned = of(Cut::new(shape, OUTS, UNITS * HELD / 2, UNITS));
        return scratch(len, |total| {
            turned.by_places(total);
            turned.deliver(total, dw);
        });
    }
    let turned = of(Cut::new(shape, OUTS, HELD, 1));
    let (tiles, units) = (turned.cut.before(shape.batch * turned.cut.units), shape.batch * turned.cut.units);
    let chunks = (PARTIAL / len).min(tiles / EACH).clamp(4, 16).min(units.max(1));
    scratch(chunks * len, |partial| {
        match data {
            Some((make, sums)) if shape.batch >= chunks => turned.together(make, sums, chunks, partial),
            data => {
                apart(data);
                turned.by_chunks(chunks, partial);
            }
        }
        let (total, others) = partial.split_at_mut(len);
        for chunk in others.chunks_exact(len) {
            simd(|| total.iter_mut().zip(chunk).for_each(|(total, value)| *total += *value));
        }
        turned.deliver(total, dw);
    });
}

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Turned<'_, P, SIDE, OUTS> {
    /// Runs `task` on memory for the transforms of the units that are held.
    fn with_values(&self, task: impl FnOnce([Shared<f32>; 2])) {
        let [of_x, of_dy] = self.channels.map(|channels| SIDE * SIDE * self.cut.place(channels));
        scratch(of_x + of_dy, |values| {
            let (x, dy) = values.split_at_mut(of_x);
            task([x, dy].map(|values| Shared(values.as_mut_ptr())));
        });
    }

    /// Each chunk of the batch sums for itself.
    fn by_chunks(self, chunks: usize, partial: &mut [f32]) {
        let (units, len) = (self.shape.batch * self.cut.units, partial.len() / chunks);
        partial.par_chunks_mut(len).enumerate().for_each(|(chunk, total)| {
            total.fill(0.0);
            let [from, to] = [chunk, chunk + 1].map(|chunk| chunk * units / chunks);
            self.add(from..to, total);
        });
    }

    /// The same with the gradient of the input: a few images at a time, which both read while they are in cache.
    fn together(self, make: &Make, sums: Option<&mut [f64]>, chunks: usize, partial: &mut [f32]) {
        let (batch, len) = (self.shape.batch, partial.len() / chunks);
        let size = sums.as_ref().map_or(0, |sums| sums.len());
        let maps = 2 * (self.shape.input_len() + self.shape.output_len()) / batch;
        let few = (MAPS / maps.max(1)).max(1);
        zeroed_f64(chunks * size, |partial_sums| {
            let shared = Shared(partial_sums.as_mut_ptr());
            partial.par_chunks_mut(len).enumerate().for_each(|(chunk, total)| {
                total.fill(0.0);
                let sums = if size == 0 { std::ptr::null_mut() } else { shared.at(chunk * size) };
                let [from, to] = [chunk, chunk + 1].map(|chunk| chunk * batch / chunks);
                for first in (from..to).step_by(few) {
                    let end = (first + few).min(to);
                    // SAFETY: the caller checked source and destination; the sums are the chunk's own.
                    unsafe { make.some(self.sources[1], first..end, sums) };
                    self.add(first * self.cut.units..end * self.cut.units, total);
                }
            });
            if let Some(sums) = sums {
                add_in_order(partial_sums, sums);
            }
        });
    }

    /// Adds the sums of units.
    fn add(self, units: Range<usize>, total: &mut [f32]) {
        self.with_values(|values| {
            let target = To { values, total: Shared(total.as_mut_ptr()) };
            for first in units.clone().step_by(self.cut.held) {
                let end = (first + self.cut.held).min(units.end);
                // SAFETY: the caller checked the sources; the memory is this call's own.
                unsafe {
                    (first..end).for_each(|unit| self.spread(target, first, unit));
                    (0..SIDE * SIDE).for_each(|place| self.sum(target, first..end, place));
                }
            }
        });
    }

    /// Threads share the transforms, then the places.
    fn by_places(self, total: &mut [f32]) {
        let units = self.shape.batch * self.cut.units;
        total.fill(0.0);
        self.with_values(|values| {
            let target = To { values, total: Shared(total.as_mut_ptr()) };
            for first in (0..units).step_by(self.cut.held) {
                let end = (first + self.cut.held).min(units);
                // SAFETY: the caller checked the sources; each unit writes tiles of its own, each place has its own sums.
                (first..end).into_par_iter().for_each(|unit| unsafe { self.spread(target, first, unit) });
                // SAFETY: as above.
                (0..SIDE * SIDE).into_par_iter().for_each(|place| unsafe { self.sum(target, first..end, place) });
            }
        });
    }

    /// # Safety
    /// Lengths of the sources are those of the shape; `to` holds the unit's tiles.
    unsafe fn spread(self, to: To, first: usize, unit: usize) {
        // SAFETY: the caller's contract.
        unsafe { self.level.run(Spread { turned: self, to, first, unit }) }
    }

    /// # Safety
    /// `to` holds the transforms of the units, and the sums of the place.
    unsafe fn sum(self, to: To, units: Range<usize>, place: usize) {
        let count = self.cut.before(units.end) - self.cut.before(units.start);
        // SAFETY: the caller's contract.
        unsafe { self.level.run(Sum { turned: self, to, place, count }) }
    }
}

/// Sums over tiles of a place.
struct Sum<'a, P, const SIDE: usize, const OUTS: usize> {
    turned: Turned<'a, P, SIDE, OUTS>,
    to: To,
    place: usize,
    count: usize,
}

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Job for Sum<'_, P, SIDE, OUTS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Turned { channels: [ins, outs], cut, .. } = self.turned;
        let To { values, total } = self.to;
        let [x, dy] = [0, 1].map(|side| values[side].at(self.place * cut.place([ins, outs][side])).cast_const());
        for tile in (0..self.count).step_by(TILES) {
            let counts = [1, 1, TILES.min(self.count - tile)];
            for block in (0..outs).step_by(2 * V::N) {
                let patch = Patch {
                    x: x.wrapping_add(tile * ins),
                    x_steps: [0, 0, ins],
                    dy: dy.wrapping_add(tile * outs + block),
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

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Turned<'_, P, SIDE, OUTS> {
    /// `A^T m A` of each pair of channels, as `[C_out, C_in, kH, kW]`.
    fn deliver(&self, total: &[f32], dw: &mut [f32]) {
        let [ins, outs] = self.channels;
        let window = SIDE + 1 - OUTS;
        let taps = window * window;
        dw.par_chunks_mut(LANES * ins * taps).enumerate().for_each(|(block, dw)| {
            let (first, count) = (block * LANES, LANES.min(self.shape.out_channels - block * LANES));
            for channel in 0..ins {
                let mut places = [[[0.0; LANES]; SIDE]; SIDE];
                for (place, values) in places.iter_mut().flatten().enumerate() {
                    values[..count].copy_from_slice(&total[(place * ins + channel) * outs + first..][..count]);
                }
                // SAFETY: a vector has at most as many lanes as a place.
                unsafe { self.level.run(Windows::<P, SIDE, OUTS>(&mut places, PhantomData)) };
                for (lane, dw) in dw.chunks_exact_mut(ins * taps).enumerate() {
                    for (tap, to) in dw[channel * taps..][..taps].iter_mut().enumerate() {
                        *to = places[tap / window][tap % window][lane];
                    }
                }
            }
        });
    }
}

/// Makes windows of places, in their first rows and columns.
struct Windows<'a, P, const SIDE: usize, const OUTS: usize>(&'a mut [[[f32; LANES]; SIDE]; SIDE], PhantomData<P>);

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Job for Windows<'_, P, SIDE, OUTS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let places = self.0.as_mut_ptr().cast::<f32>();
        // SAFETY: rows, columns and lanes lie in the places.
        unsafe {
            let at = |y: usize, x: usize, lane: usize| places.add((y * SIDE + x) * LANES + lane);
            for lane in (0..LANES).step_by(V::N) {
                for y in 0..SIDE {
                    let row = P::window(std::array::from_fn(|x| V::load(at(y, x, lane))));
                    row.into_iter().enumerate().for_each(|(x, value)| value.store(at(y, x, lane)));
                }
                for x in 0..SIDE + 1 - OUTS {
                    let column = P::window(std::array::from_fn(|y| V::load(at(y, x, lane))));
                    column.into_iter().enumerate().for_each(|(y, value)| value.store(at(y, x, lane)));
                }
            }
        }
    }
}
