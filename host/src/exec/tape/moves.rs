//! Channels and pixels at another place: slices, shuffles, zeros around a map.

use super::backward::{Back, Backward, Slot};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::value::Value;
use crate::graph::LayerKind;
use candle_core::Result;
use rayon::prelude::*;

/// Which block of values of the source each block of the result is; dimension 1 lies in blocks.
struct Moves {
    /// Blocks of a strip of the source.
    count: usize,
    /// Values of a block: 1 where the value lies channels last, all that follows dimension 1 else.
    block: usize,
    map: Vec<usize>,
    /// Neighbours that stay neighbours: place in the result, place in the source, length.
    runs: Vec<[usize; 3]>,
}

/// Values that a task moves, about.
const TASK: usize = 1 << 15;

impl Moves {
    fn new(x: &Value, map: Vec<usize>) -> Moves {
        let block = if x.has_channels() { 1 } else { x.pixels() };
        let mut runs: Vec<[usize; 3]> = vec![];
        for (to, from) in map.iter().enumerate() {
            match runs.last_mut() {
                Some([_, start, len]) if *start + *len == from * block => *len += block,
                _ => runs.push([to * block, from * block, block]),
            }
        }
        Moves { count: x.channels(), block, map, runs }
    }

    /// Lengths of a strip of the source and of the result.
    fn strips(&self) -> [usize; 2] {
        [self.count, self.map.len()].map(|count| (count * self.block).max(1))
    }

    fn is_scattered(&self) -> bool {
        self.block == 1 && self.runs.len() == self.map.len()
    }

    /// Strips for a task, of both sides.
    fn tasks(&self) -> [usize; 2] {
        let [from, to] = self.strips();
        let strips = (TASK / from).max(1);
        [strips * from, strips * to]
    }

    fn forward(&self, x: &[f32], out: &mut [f32]) {
        let [from, to] = self.strips();
        let [of_source, of_result] = self.tasks();
        out.par_chunks_mut(of_result).zip(x.par_chunks(of_source)).for_each(|(out, x)| {
            for (out, x) in out.chunks_exact_mut(to).zip(x.chunks_exact(from)) {
                if self.is_scattered() {
                    out.iter_mut().zip(&self.map).for_each(|(out, from)| *out = x[*from]);
                    continue;
                }
                for [to, from, len] in &self.runs {
                    out[*to..*to + *len].copy_from_slice(&x[*from..*from + *len]);
                }
            }
        });
    }

    /// Adds the gradient of the result to that of the source.
    fn backward(&self, grad: &[f32], out: &mut [f32]) {
        let [from, to] = self.strips();
        let [of_source, of_result] = self.tasks();
        out.par_chunks_mut(of_source).zip(grad.par_chunks(of_result)).for_each(|(out, grad)| {
            for (out, grad) in out.chunks_exact_mut(from).zip(grad.chunks_exact(to)) {
                if self.is_scattered() {
                    grad.iter().zip(&self.map).for_each(|(grad, from)| out[*from] += grad);
                    continue;
                }
                for [to, from, len] in &self.runs {
                    let grad = &grad[*to..*to + *len];
                    out[*from..*from + *len].iter_mut().zip(grad).for_each(|(out, grad)| *out += grad);
                }
            }
        });
    }
}

/// Some channels, or all of them in another order.
pub(super) fn pick(run: &mut Run<'_>, index: usize, kind: &LayerKind, x: Value) -> Result<Made> {
    let x = x.store();
    let count = x.channels();
    let map: Vec<usize> = match kind {
        LayerKind::Slice { start, len } => (*start..*start + *len).collect(),
        LayerKind::ChannelShuffle { groups } => {
            let each = count / groups;
            (0..count).map(|at| at % groups * each + at / groups).collect()
        }
        _ => candle_core::bail!("moves no channels"),
    };
    let mut shape = x.shape.to_vec();
    shape[1] = map.len();
    let moves = Moves::new(&x, map);
    let mut out = Buffer::new(shape.iter().product());
    moves.forward(&x.raw, &mut out);
    let back = Pick { moves, len: x.raw.len(), below: run.below(index, 0) };
    Ok((Value::stored(&shape, out), Some(Box::new(back))))
}

struct Pick {
    moves: Moves,
    /// Elements of the input.
    len: usize,
    below: Option<usize>,
}

impl Back for Pick {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let Some(below) = self.below else { return Ok(()) };
        let grad = slot.formed(if self.moves.block == 1 { self.moves.map.len() } else { 1 });
        let (mut buffer, accumulate) = cx.target(below, self.len);
        if !accumulate {
            buffer.fill(0.0);
        }
        self.moves.backward(&grad, &mut buffer);
        cx.put(below, buffer);
        Ok(())
    }
}

/// Zeros around a map.
pub(super) fn pad(run: &mut Run<'_>, index: usize, kind: &LayerKind, x: Value) -> Result<Made> {
    let LayerKind::Pad { top, bottom, left, right } = *kind else { candle_core::bail!("is no padding") };
    let x = x.store();
    let (channels, [height, width]) = (x.channels(), x.plane());
    let frame = Frame {
        channels,
        plane: [height, width],
        padded: [height + top + bottom, width + left + right],
        at: [top, left],
    };
    let shape = [x.shape[0], channels, frame.padded[0], frame.padded[1]];
    let mut out = Buffer::new(shape.iter().product());
    out.fill(0.0);
    frame.rows(&mut out, |out, from| out.copy_from_slice(&x.raw[from..from + out.len()]));
    let back = Padding { frame, len: x.raw.len(), below: run.below(index, 0) };
    Ok((Value::stored(&shape, out), Some(Box::new(back))))
}

/// A map within a larger one.
struct Frame {
    channels: usize,
    plane: [usize; 2],
    padded: [usize; 2],
    /// Where the map starts.
    at: [usize; 2],
}

impl Frame {
    /// Hands each row of the map within `padded` to `task`, with the place of the row in the map's own memory.
    fn rows(&self, padded: &mut [f32], mut task: impl FnMut(&mut [f32], usize)) {
        let ([height, width], [top, left]) = (self.plane, self.at);
        let (row, line) = (width * self.channels, self.padded[1] * self.channels);
        for (image, padded) in padded.chunks_exact_mut((self.padded[0] * line).max(1)).enumerate() {
            for y in 0..height {
                let start = (top + y) * line + left * self.channels;
                task(&mut padded[start..start + row], (image * height + y) * row);
            }
        }
    }
}

struct Padding {
    frame: Frame,
    /// Elements of the input.
    len: usize,
    below: Option<usize>,
}

impl Back for Padding {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let Some(below) = self.below else { return Ok(()) };
        let mut grad = super::backward::unique(slot.formed(self.frame.channels));
        let (mut buffer, accumulate) = cx.target(below, self.len);
        self.frame.rows(&mut grad, |grad, to| {
            let out = &mut buffer[to..to + grad.len()];
            if accumulate {
                out.iter_mut().zip(grad).for_each(|(out, grad)| *out += *grad);
            } else {
                out.copy_from_slice(grad);
            }
        });
        cx.put(below, buffer);
        Ok(())
    }
}
