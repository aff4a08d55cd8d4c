//! Blocks of pixels as channels, and back.

use super::backward::{Back, Backward, Slot};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::value::Value;
use candle_core::Result;

/// A map in its fine form, `[N, H, W, C]`; in the other one a pixel has a block's rows one after another.
#[derive(Clone, Copy)]
struct Blocks {
    rows: usize,
    width: usize,
    channels: usize,
    block: usize,
}

impl Blocks {
    /// Hands each row of each block to `task`: its place in the fine map, its place in the other, its length.
    fn each(self, mut task: impl FnMut(usize, usize, usize)) {
        let Blocks { rows, width, channels, block } = self;
        let (line, run) = (width * channels, block * channels);
        for row in 0..rows {
            let (first, inner) = (row / block * block * line, row % block * run);
            for at in 0..width / block {
                task(row * line + at * run, first + at * block * run + inner, run);
            }
        }
    }

    fn shift(self, to_depth: bool, x: &[f32], out: &mut [f32], accumulate: bool) {
        self.each(|fine, coarse, len| {
            let (from, to) = if to_depth { (fine, coarse) } else { (coarse, fine) };
            let (x, out) = (&x[from..from + len], &mut out[to..to + len]);
            if accumulate {
                out.iter_mut().zip(x).for_each(|(out, x)| *out += x);
            } else {
                out.copy_from_slice(x);
            }
        });
    }
}

pub(super) fn run(run: &mut Run<'_>, index: usize, block: usize, to_depth: bool, x: Value) -> Result<Made> {
    let x = x.store();
    let (batch, channels, [height, width], area) = (x.shape[0], x.channels(), x.plane(), block * block);
    let (blocks, shape) = if to_depth {
        let shape = [batch, channels * area, height / block, width / block];
        (Blocks { rows: batch * height, width, channels, block }, shape)
    } else {
        let shape = [batch, channels / area, height * block, width * block];
        (Blocks { rows: batch * shape[2], width: shape[3], channels: shape[1], block }, shape)
    };
    let mut out = Buffer::new(x.raw.len());
    blocks.shift(to_depth, &x.raw, &mut out, false);
    let back = Shift { blocks, to_depth, channels: shape[1], below: run.below(index, 0) };
    Ok((Value::stored(&shape, out), Some(Box::new(back))))
}

struct Shift {
    blocks: Blocks,
    to_depth: bool,
    /// Of the output.
    channels: usize,
    below: Option<usize>,
}

impl Back for Shift {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let Some(below) = self.below else { return Ok(()) };
        let grad = slot.formed(self.channels);
        let (mut buffer, accumulate) = cx.target(below, grad.len());
        self.blocks.shift(!self.to_depth, &grad, &mut buffer, accumulate);
        cx.put(below, buffer);
        Ok(())
    }
}
