//! Rows by the weights of a fully connected layer: a convolution over images of one pixel.

use super::super::Level;
use super::super::layout::nchw_to_nhwc;
use super::lanes::{Job, Lanes};
use super::plan::Segment;
use super::run::Shared;
use super::scratch::scratch;
use super::tile::{Finish, Line};
use rayon::prelude::*;

/// Products below which all rows stay on the calling thread.
const WORTH: usize = 1 << 20;

/// Floats of the rows that read a block of weights at once, and rows at least.
const CHUNK: [usize; 2] = [64 * 1024, 28];

/// `out = x W^T + bias`, plus what `out` held with `add`. `x` `[rows, inputs]`, `weights` `[outputs, inputs]`, `bias` `[outputs]`,
/// `out` `[rows, outputs]`; `sizes` are rows, inputs, outputs. A row gets the same bits whatever the others are.
pub(in super::super) fn rows_by_weights(
    sizes: [usize; 3],
    x: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
    add: bool,
) {
    let [rows, inputs, outputs] = sizes;
    assert!(x.len() == rows * inputs && weights.len() == outputs * inputs && out.len() == rows * outputs, "lengths");
    assert!(bias.is_none_or(|bias| bias.len() == outputs), "length of the bias");
    if out.is_empty() {
        return;
    }
    let level = Level::current();
    let (lanes, wide) = (level.lanes(), 2 * level.lanes());
    scratch(outputs.next_multiple_of(lanes) * inputs, |packed| {
        pack(weights, [outputs, inputs], [lanes, wide], packed);
        let chunk = (CHUNK[0] / inputs.max(1)).max(CHUNK[1]);
        let blocks = outputs.div_ceil(wide);
        let to = Shared(out.as_mut_ptr());
        let segments = [Segment { offset: 0, depth: inputs, block: 0, taps: Vec::new(), tap: 0 }];
        let finish = Finish {
            bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
            residual: if add { to.0.cast_const() } else { std::ptr::null() },
            bounds: [0.0; 2],
            bounded: false,
        };
        let all = All { x, packed, segments: &segments, to, finish, sizes, chunk, blocks };
        let tasks = rows.div_ceil(chunk) * blocks;
        if rows * inputs * outputs < WORTH {
            // SAFETY: lengths are as asserted, and tasks write apart from each other.
            (0..tasks).for_each(|task| unsafe { level.run(Part { all: &all, task }) });
        } else {
            // SAFETY: as above.
            (0..tasks).into_par_iter().for_each(|task| unsafe { level.run(Part { all: &all, task }) });
        }
    });
}

/// `[block][input][output of the block]`, the last block as wide as whole vectors, with zeros.
fn pack(weights: &[f32], [outputs, inputs]: [usize; 2], [lanes, wide]: [usize; 2], to: &mut [f32]) {
    let whole = outputs / wide * wide;
    let (weights, rest) = weights.split_at(whole * inputs);
    let (to, last) = to.split_at_mut(whole * inputs);
    nchw_to_nhwc(weights, [whole / wide, wide, inputs], to, false);
    let left = outputs - whole;
    for (input, to) in last.chunks_exact_mut(left.next_multiple_of(lanes).max(1)).enumerate() {
        let values = (0..left).map(|output| rest[output * inputs + input]).chain(std::iter::repeat(0.0));
        to.iter_mut().zip(values).for_each(|(to, value)| *to = value);
    }
}

/// What all parts share.
struct All<'a> {
    x: &'a [f32],
    packed: &'a [f32],
    segments: &'a [Segment],
    to: Shared<f32>,
    finish: Finish,
    sizes: [usize; 3],
    /// Rows of a part at most.
    chunk: usize,
    blocks: usize,
}

// SAFETY: parts write elements of their own, and read those alone of what they write.
unsafe impl Sync for All<'_> {}

/// Some rows of a block of outputs.
struct Part<'a> {
    all: &'a All<'a>,
    task: usize,
}

impl Job for Part<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let (all, [rows, inputs, outputs]) = (self.all, self.all.sizes);
        let (row, output) = (self.task / all.blocks * all.chunk, self.task % all.blocks * 2 * V::N);
        let width = (outputs - output).min(2 * V::N);
        let padded = width.next_multiple_of(V::N);
        let line = Line {
            segments: all.segments,
            from: all.x[row * inputs..].as_ptr(),
            from_step: inputs,
            weights: all.packed[output * inputs..].as_ptr(),
            to: all.to.at(row * outputs + output),
            to_step: outputs,
            pixels: all.chunk.min(rows - row),
            vectors: padded / V::N,
            last: width - (padded - V::N),
            finish: all.finish.at(row * outputs, output),
            pairs: false,
        };
        // SAFETY: the caller's contract.
        unsafe { line.run::<V>() };
    }
}
