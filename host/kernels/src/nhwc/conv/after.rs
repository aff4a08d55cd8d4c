//! What follows a convolution while its output is in cache: activations, masks, sums of channels.

use super::super::{Activation, Curve, Load, with_curve};
use super::lanes::{Job, Lanes};
use super::layout::load;

/// Additions to one `f32` before it goes to an `f64`.
const RUN: usize = 512;

/// What is done to the pixels of a destination.
#[derive(Clone, Copy)]
pub(super) enum After<'a> {
    /// Applies the activation.
    Activate(Activation),
    /// Multiplies by the derivative of the lazy value; sums are of `value` and `value * other`.
    Mask(Load<'a>, &'a [f32]),
}

/// Runs over pixels from `first` on.
pub(super) struct Pass<'a> {
    pub(super) values: *mut f32,
    pub(super) first: usize,
    pub(super) pixels: usize,
    pub(super) channels: usize,
    pub(super) after: After<'a>,
    /// `[2 * channels]`, added to; null for none.
    pub(super) sums: *mut f64,
}

impl Job for Pass<'_> {
    type Output = ();

    /// # Safety
    /// All pixels exist in the values and in both arrays of a mask; `sums` is as described or null.
    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        // SAFETY: the caller's contract.
        unsafe {
            match self.after {
                After::Activate(activation) => with_curve!(activation, curve => self.activate::<V, _>(curve)),
                After::Mask(load, other) => {
                    with_curve!(load.activation, curve => self.mask::<V, _>(load, other, curve))
                }
            }
        }
    }
}

impl Pass<'_> {
    /// Pieces of pixels that stay in the first-level cache; `f32` sums go to `f64` after each.
    #[inline(always)]
    unsafe fn pieces<V: Lanes>(&self, piece: impl PixelPass<V>) {
        let run = (8192 / self.channels).clamp(8, RUN);
        for from in (0..self.pixels).step_by(run) {
            let pixels = run.min(self.pixels - from);
            let whole = self.channels / V::N * V::N;
            let at = (self.first + from) * self.channels;
            for channel in (0..whole).step_by(V::N) {
                // SAFETY: the caller's contract.
                unsafe {
                    let sums = piece.column::<true>(self, at + channel, channel, pixels, V::N);
                    self.flush(channel, V::N, sums);
                }
            }
            if whole < self.channels {
                let rest = self.channels - whole;
                // SAFETY: the caller's contract.
                unsafe {
                    let sums = piece.column::<false>(self, at + whole, whole, pixels, rest);
                    self.flush(whole, rest, sums);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn flush<V: Lanes>(&self, channel: usize, count: usize, sums: [V; 2]) {
        if self.sums.is_null() {
            return;
        }
        let mut lanes = [0f32; 16];
        for (half, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's contract; a vector has at most 16 lanes.
            unsafe {
                sum.store(lanes.as_mut_ptr());
                let to = self.sums.add(half * self.channels + channel);
                lanes.iter().take(count).enumerate().for_each(|(lane, sum)| *to.add(lane) += f64::from(*sum));
            }
        }
    }

    #[inline(always)]
    unsafe fn activate<V: Lanes, C: Curve>(&self, curve: C) {
        // SAFETY: the caller's contract.
        unsafe { self.pieces::<V>(Activate(curve)) }
    }

    #[inline(always)]
    unsafe fn mask<V: Lanes, C: Curve>(&self, load: Load, other: &[f32], curve: C) {
        let [scale, shift] = load.affine.map_or([std::ptr::null(); 2], |affine| affine.map(<[f32]>::as_ptr));
        // SAFETY: the caller's contract.
        unsafe { self.pieces::<V>(Mask { raw: load.values.as_ptr(), other: other.as_ptr(), scale, shift, curve }) }
    }
}

/// Sums are taken over this many pixels at a time, so that additions need not wait for each other.
const TOGETHER: usize = 4;

/// Work on some pixels of the channels of one vector.
trait PixelPass<V: Lanes>: Copy {
    /// Returns the two sums.
    ///
    /// # Safety
    /// As [`Pass::run`]; `at` is the first element, `count` the lanes that exist.
    unsafe fn column<const FULL: bool>(
        self,
        pass: &Pass,
        at: usize,
        channel: usize,
        pixels: usize,
        count: usize,
    ) -> [V; 2];
}

#[inline(always)]
unsafe fn store<V: Lanes, const FULL: bool>(value: V, to: *mut f32, count: usize) {
    // SAFETY: the caller's contract.
    unsafe { if FULL { value.store(to) } else { value.store_some(to, count) } }
}

#[derive(Clone, Copy)]
struct Activate<C>(C);

impl<V: Lanes, C: Curve> PixelPass<V> for Activate<C> {
    #[inline(always)]
    unsafe fn column<const FULL: bool>(self, pass: &Pass, at: usize, _: usize, pixels: usize, count: usize) -> [V; 2] {
        // SAFETY: the caller's contract.
        unsafe {
            let mut sums = [[V::splat(0.0); 2]; TOGETHER];
            for from in (0..pixels).step_by(TOGETHER) {
                for (pixel, sums) in (from..pixels).zip(&mut sums) {
                    let value = pass.values.add(at + pixel * pass.channels);
                    let made = self.0.vector(load::<V, FULL>(value, count));
                    if !C::IDENTITY {
                        store::<V, FULL>(made, value, count);
                    }
                    *sums = [made.add(sums[0]), made.fma(made, sums[1])];
                }
            }
            total(sums)
        }
    }
}

#[derive(Clone, Copy)]
struct Mask<C> {
    raw: *const f32,
    other: *const f32,
    scale: *const f32,
    shift: *const f32,
    curve: C,
}

impl<V: Lanes, C: Curve> PixelPass<V> for Mask<C> {
    #[inline(always)]
    unsafe fn column<const FULL: bool>(
        self,
        pass: &Pass,
        at: usize,
        channel: usize,
        pixels: usize,
        count: usize,
    ) -> [V; 2] {
        // SAFETY: the caller's contract.
        unsafe {
            let (mut scale, mut shift) = (V::splat(1.0), V::splat(0.0));
            if !self.scale.is_null() {
                scale = load::<V, FULL>(self.scale.add(channel), count);
                shift = load::<V, FULL>(self.shift.add(channel), count);
            }
            let mut sums = [[V::splat(0.0); 2]; TOGETHER];
            for from in (0..pixels).step_by(TOGETHER) {
                for (pixel, sums) in (from..pixels).zip(&mut sums) {
                    let at = at + pixel * pass.channels;
                    let raw = load::<V, FULL>(self.raw.add(at), count);
                    let gradient = load::<V, FULL>(pass.values.add(at), count);
                    let made = self.curve.backward(gradient, raw.mul(scale).add(shift));
                    if !C::IDENTITY {
                        store::<V, FULL>(made, pass.values.add(at), count);
                    }
                    let other = load::<V, FULL>(self.other.add(at), count);
                    *sums = [made.add(sums[0]), made.fma(other, sums[1])];
                }
            }
            total(sums)
        }
    }
}

#[inline(always)]
unsafe fn total<V: Lanes>([a, b, c, d]: [[V; 2]; TOGETHER]) -> [V; 2] {
    // SAFETY: the caller's contract.
    unsafe { [a[0].add(b[0]).add(c[0].add(d[0])), a[1].add(b[1]).add(c[1].add(d[1]))] }
}
