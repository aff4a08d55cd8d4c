//! Convolutions of each channel on its own: vectors run over channels.

use super::lanes::{Job, Lanes};
use super::layout::load;
use super::plan::{Phase, Segment};
use super::run::{From, Make, Piece};

impl Make<'_> {
    /// [`Make::piece`] of a depthwise convolution.
    ///
    /// # Safety
    /// As [`Make::all`].
    #[inline(always)]
    pub(super) unsafe fn depthwise<V: Lanes>(&self, from: From, piece: Piece) {
        for image in 0..piece.images {
            let from = from.values.wrapping_add(image * from.image);
            for phase in &self.plan.phases {
                for row in piece.row..(piece.row + piece.rows).min(phase.size[0]) {
                    // SAFETY: the caller's contract.
                    unsafe { self.row::<V>(from, phase, [piece.image + image, row, row - piece.row]) };
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn row<V: Lanes>(&self, from: *const f32, phase: &Phase, [image, row, within]: [usize; 3]) {
        let plan = self.plan;
        let [[from_y, from_x], [to_y, to_x]] = plan.steps;
        let [_, [height, width]] = plan.sizes();
        let channels = plan.made();
        let y = phase.origin[0] + row * to_y;
        let row = Row {
            segments: &phase.segments,
            from: from.wrapping_add(within * from_y * plan.layout.line()),
            from_step: from_x * channels,
            weights: self.weights.as_ptr(),
            channels,
            pixel: ((image * height + y) * width + phase.origin[1]) * channels,
            to_step: to_x * channels,
            pixels: phase.size[1],
            make: self,
        };
        // SAFETY: the caller's contract.
        unsafe { V::call(row) };
    }
}

/// A row of pixels of one phase.
#[derive(Clone, Copy)]
struct Row<'a> {
    segments: &'a [Segment],
    from: *const f32,
    from_step: usize,
    weights: *const f32,
    channels: usize,
    pixel: usize,
    to_step: usize,
    pixels: usize,
    make: &'a Make<'a>,
}

impl Job for Row<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let whole = self.channels / V::N * V::N;
        // SAFETY: the contract of `Make::all`.
        unsafe {
            for channel in (0..whole).step_by(V::N) {
                self.column::<V, true>(channel, V::N);
            }
            if whole < self.channels {
                self.column::<V, false>(whole, self.channels - whole);
            }
        }
    }
}

impl Row<'_> {
    /// All pixels of `count` channels.
    #[inline(always)]
    unsafe fn column<V: Lanes, const FULL: bool>(&self, channel: usize, count: usize) {
        let mut at = 0;
        // SAFETY: the contract of `Make::all`.
        unsafe {
            while at + 8 <= self.pixels {
                self.tile::<V, FULL, 8>(at, channel, count);
                at += 8;
            }
            if at + 4 <= self.pixels {
                self.tile::<V, FULL, 4>(at, channel, count);
                at += 4;
            }
            for at in at..self.pixels {
                self.tile::<V, FULL, 1>(at, channel, count);
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Lanes, const FULL: bool, const ROWS: usize>(&self, at: usize, channel: usize, count: usize) {
        let finish = self.make.finish.at(self.pixel + at * self.to_step, channel);
        // SAFETY: the contract of `Make::all`.
        unsafe {
            let mut sums = [V::splat(0.0); ROWS];
            if !finish.bias.is_null() {
                sums = [load::<V, FULL>(finish.bias, count); ROWS];
            }
            let from = self.from.add(at * self.from_step + channel);
            for segment in self.segments {
                let weights = load::<V, FULL>(self.weights.add(segment.tap * self.channels + channel), count);
                for (row, sum) in sums.iter_mut().enumerate() {
                    let value = from.add(segment.offset + row * self.from_step);
                    *sum = load::<V, FULL>(value, count).fma(weights, *sum);
                }
            }
            let to = self.make.to.at(self.pixel + at * self.to_step + channel);
            let [low, high] = finish.bounds.map(|bound| V::splat(bound));
            for (row, mut sum) in sums.into_iter().enumerate() {
                if !finish.residual.is_null() {
                    sum = sum.add(load::<V, FULL>(finish.residual.add(row * self.to_step), count));
                }
                if finish.bounded {
                    sum = high.min(low.max(sum));
                }
                let to = to.add(row * self.to_step);
                if FULL { sum.store(to) } else { sum.store_some(to, count) }
            }
        }
    }
}

/// The gradient of the weights `[tap][channel]` from copies of some images.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    /// Input and gradient of the output: first pixels, steps between images, rows, columns.
    pub(super) x: *const f32,
    pub(super) x_steps: [usize; 3],
    pub(super) dy: *const f32,
    pub(super) dy_steps: [usize; 3],
    /// Images, rows, columns of the output.
    pub(super) counts: [usize; 3],
    /// Rows and columns of the window, and the steps between them in the input.
    pub(super) taps: [usize; 2],
    pub(super) tap_steps: [usize; 2],
    pub(super) channels: usize,
    /// Added to.
    pub(super) dw: *mut f32,
}

impl Job for Weights {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let whole = self.channels / V::N * V::N;
        // SAFETY: copies and `dw` are as described.
        unsafe {
            for channel in (0..whole).step_by(V::N) {
                self.column::<V, true>(channel, V::N);
            }
            if whole < self.channels {
                self.column::<V, false>(whole, self.channels - whole);
            }
        }
    }
}

impl Weights {
    #[inline(always)]
    unsafe fn column<V: Lanes, const FULL: bool>(&self, channel: usize, count: usize) {
        let taps = self.taps[0] * self.taps[1];
        let mut at = 0;
        // SAFETY: as `run`.
        unsafe {
            while at + 9 <= taps {
                self.some::<V, FULL, 9>(at, channel, count);
                at += 9;
            }
            while at + 4 <= taps {
                self.some::<V, FULL, 4>(at, channel, count);
                at += 4;
            }
            (at..taps).for_each(|at| self.some::<V, FULL, 1>(at, channel, count));
        }
    }

    #[inline(always)]
    unsafe fn some<V: Lanes, const FULL: bool, const TAPS: usize>(&self, first: usize, channel: usize, count: usize) {
        let mut offsets = [0; TAPS];
        for (tap, offset) in offsets.iter_mut().enumerate() {
            let (y, x) = ((first + tap) / self.taps[1], (first + tap) % self.taps[1]);
            *offset = y * self.tap_steps[0] + x * self.tap_steps[1] + channel;
        }
        // SAFETY: as `run`.
        unsafe {
            let mut sums = [V::splat(0.0); TAPS];
            for image in 0..self.counts[0] {
                for row in 0..self.counts[1] {
                    let x = self.x.add(image * self.x_steps[0] + row * self.x_steps[1]);
                    let dy = self.dy.add(image * self.dy_steps[0] + row * self.dy_steps[1] + channel);
                    for column in 0..self.counts[2] {
                        let dy = load::<V, FULL>(dy.add(column * self.dy_steps[2]), count);
                        let x = x.add(column * self.x_steps[2]);
                        for (sum, offset) in sums.iter_mut().zip(offsets) {
                            *sum = load::<V, FULL>(x.add(offset), count).fma(dy, *sum);
                        }
                    }
                }
            }
            for (tap, sum) in sums.into_iter().enumerate() {
                let to = self.dw.add((first + tap) * self.channels + channel);
                let sum = load::<V, FULL>(to, count).add(sum);
                if FULL { sum.store(to) } else { sum.store_some(to, count) }
            }
        }
    }
}
