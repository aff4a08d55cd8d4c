//! The gradient of the bias.

use super::super::{Activation, Level};
use super::after::{After, Pass};
use super::lanes::{Job, Lanes};
use super::layout::{Fill, Layout, Source};
use super::run::{Shared, add_in_order};
use super::scratch::{scratch, zeroed_f64};
use rayon::prelude::*;
use std::ops::Range;

/// Floats of a copy whose sums are taken.
const STRIP: usize = 16 * 1024;

/// The sums of the channels of `grad` `[N, H, W, C]`.
pub(super) fn gradient(grad: Source, [batch, height, width, channels]: [usize; 4], bias: &mut [f32]) {
    assert_eq!(bias.len(), channels, "convolution: length of the bias' gradient");
    let (rows, level) = (batch * height, Level::current());
    let strip = (STRIP / (width * channels)).clamp(1, rows.max(1));
    let strips = rows.div_ceil(strip);
    let chunks = strips.min(64);
    let layout = Layout { groups: 1, channels, cell: channels, size: [strip, width], before: [0, 0] };
    let size = 2 * channels;
    zeroed_f64(size * (chunks + 1), |partial| {
        let (total, partial) = partial.split_at_mut(size);
        let shared = Shared(partial.as_mut_ptr());
        let task = |chunk: usize| {
            let strips = chunk * strips / chunks..(chunk + 1) * strips / chunks;
            let sums = shared.at(chunk * size);
            // SAFETY: the caller checked the source; each chunk has its own sums.
            unsafe { level.run(Strips { grad, rows, strips, layout: &layout, sums }) };
        };
        if rows * width * channels < 1 << 15 {
            (0..chunks).for_each(task);
        } else {
            (0..chunks).into_par_iter().for_each(task);
        }
        add_in_order(partial, total);
        bias.iter_mut().zip(total).for_each(|(bias, total)| *bias = *total as f32);
    });
}

struct Strips<'a> {
    grad: Source<'a>,
    rows: usize,
    strips: Range<usize>,
    layout: &'a Layout,
    sums: *mut f64,
}

impl Job for Strips<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let [strip, width] = self.layout.size;
        scratch(self.layout.image(), |copy| {
            for index in self.strips {
                let rows = strip.min(self.rows - index * strip);
                let values = copy.as_mut_ptr();
                let fill = Fill {
                    source: self.grad,
                    layout: self.layout,
                    image: 0,
                    size: [self.rows, width],
                    first: index * strip,
                    rows,
                    step: 1,
                    to: values,
                };
                let (channels, after) = (self.layout.channels, After::Activate(Activation::None));
                // SAFETY: the copy holds the rows of a strip, the source has them.
                unsafe {
                    V::call(fill);
                    V::call(Pass { values, first: 0, pixels: rows * width, channels, after, sums: self.sums });
                }
            }
        });
    }
}
