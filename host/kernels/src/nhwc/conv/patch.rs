//! The register tile of the weights' gradient: some input channels by one or two vectors of output channels, summed over
//! pixels.

use super::lanes::{Job, Lanes};

/// Pixels of input and gradient of the output, and the sums of their products.
#[derive(Clone, Copy)]
pub(super) struct Patch {
    pub(super) x: *const f32,
    /// Steps between images, rows, columns.
    pub(super) x_steps: [usize; 3],
    pub(super) dy: *const f32,
    pub(super) dy_steps: [usize; 3],
    pub(super) counts: [usize; 3],
    pub(super) dw: *mut f32,
    pub(super) dw_step: usize,
}

impl Patch {
    /// Begins at another image and row.
    pub(super) fn moved(self, at: [usize; 2]) -> Self {
        let offset = |steps: [usize; 3]| at[0] * steps[0] + at[1] * steps[1];
        let (x, dy) = (self.x.wrapping_add(offset(self.x_steps)), self.dy.wrapping_add(offset(self.dy_steps)));
        Self { x, dy, ..self }
    }

    /// `rows` elements of the input that lie one after another, cut evenly.
    #[inline(always)]
    pub(super) unsafe fn run<V: Lanes>(mut self, rows: usize, vectors: usize) {
        let mut left = rows;
        let mut pieces = rows.div_ceil(V::ROWS[vectors - 1]);
        while left > 0 {
            let rows = left.div_ceil(pieces);
            // SAFETY: the caller's contract.
            unsafe { self.tile::<V>(rows, vectors) };
            self.x = self.x.wrapping_add(rows);
            self.dw = self.dw.wrapping_add(rows * self.dw_step);
            left -= rows;
            pieces -= 1;
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Lanes>(&self, rows: usize, vectors: usize) {
        macro_rules! tiles {
            ($vectors:literal, $($rows:literal)+) => {
                match rows {
                    // SAFETY: the caller's contract.
                    $($rows => unsafe { V::call(Corner::<$rows, $vectors>(self)) },)+
                    _ => unreachable!("a tile of {rows} rows"),
                }
            };
        }
        if vectors == 1 {
            tiles!(1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
        } else {
            tiles!(2, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
        }
    }
}

struct Corner<'a, const ROWS: usize, const VECTORS: usize>(&'a Patch);

impl<const ROWS: usize, const VECTORS: usize> Job for Corner<'_, ROWS, VECTORS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        if ROWS > V::ROWS[VECTORS - 1] {
            return;
        }
        let Patch { x_steps, dy_steps, counts, .. } = *self.0;
        // SAFETY: the contract of `Grain::accumulate`.
        unsafe {
            let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
            for image in 0..counts[0] {
                for row in 0..counts[1] {
                    let mut x = self.0.x.add(image * x_steps[0] + row * x_steps[1]);
                    let mut dy = self.0.dy.add(image * dy_steps[0] + row * dy_steps[1]);
                    for _ in 0..counts[2] {
                        let mut held = [V::splat(0.0); VECTORS];
                        held.iter_mut().enumerate().for_each(|(v, held)| *held = V::load(dy.add(v * V::N)));
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let value = V::splat(*x.add(row));
                            for (sum, held) in sums.iter_mut().zip(held) {
                                *sum = value.fma(held, *sum);
                            }
                        }
                        x = x.wrapping_add(x_steps[2]);
                        dy = dy.wrapping_add(dy_steps[2]);
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    let to = self.0.dw.add(row * self.0.dw_step + v * V::N);
                    V::load(to).add(sum).store(to);
                }
            }
        }
    }
}
