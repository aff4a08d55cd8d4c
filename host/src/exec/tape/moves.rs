//! Channels and pixels at another place: slices, shuffles, zeros around a map.

use super::backward::{Back, Backward, Slot};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::value::Value;
use crate::graph::LayerKind;
use candle_core::Result;

/// How dimension 1 lies in memory: `rows` times `count` blocks of `block` values.
#[derive(Clone, Copy)]
struct Strips {
    count: usize,
    block: usize,
}

impl Strips {
    /// Innermost where the value lies channels last, in front of the rest else.
    fn of(x: &Value) -> Strips {
        let block = if x.has_channels() { 1 } else { x.pixels() };
        Strips { count: x.channels(), block }
    }

    fn len(self) -> usize {
        self.count * self.block
    }
}

/// Some channels, or all of them in another order.
pub(super) fn pick(run: &mut Run<'_>, index: usize, kind: &LayerKind, x: Value) -> Result<Made> {
    let x = x.store();
    let from = Strips::of(&x);
    let map: Vec<usize> = match kind {
        LayerKind::Slice { start, len } => (*start..*start + *len).collect(),
        LayerKind::ChannelShuffle { groups } => {
            let each = from.count / groups;
            (0..from.count).map(|at| at % groups * each + at / groups).collect()
        }
        _ => candle_core::bail!("moves no channels"),
    };
    let to = Strips { count: map.len(), ..from };
    let mut shape = x.shape.to_vec();
    shape[1] = map.len();
    let mut out = Buffer::new(shape.iter().product());
    let blocks = runs(&map, from.block);
    for (out, x) in out.chunks_exact_mut(to.len().max(1)).zip(x.raw.chunks_exact(from.len().max(1))) {
        for [to, from, len] in &blocks {
            out[*to..*to + *len].copy_from_slice(&x[*from..*from + *len]);
        }
    }
    let back = Pick { blocks, from, to, len: x.raw.len(), below: run.below(index, 0) };
    Ok((Value::stored(&shape, out), Some(Box::new(back))))
}

/// Neighbours that stay neighbours: place in the result, place in the source, length.
fn runs(map: &[usize], block: usize) -> Vec<[usize; 3]> {
    let mut runs: Vec<[usize; 3]> = vec![];
    for (to, from) in map.iter().enumerate() {
        match runs.last_mut() {
            Some([_, start, len]) if *start + *len == from * block => *len += block,
            _ => runs.push([to * block, from * block, block]),
        }
    }
    runs
}

struct Pick {
    blocks: Vec<[usize; 3]>,
    from: Strips,
    to: Strips,
    /// Elements of the input.
    len: usize,
    below: Option<usize>,
}

impl Back for Pick {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let Some(below) = self.below else { return Ok(()) };
        let grad = slot.formed(if self.to.block == 1 { self.to.count } else { 1 });
        let (mut buffer, accumulate) = cx.target(below, self.len);
        if !accumulate && self.to.count < self.from.count {
            buffer.fill(0.0);
        }
        let strips = buffer.chunks_exact_mut(self.from.len().max(1)).zip(grad.chunks_exact(self.to.len().max(1)));
        for (out, grad) in strips {
            for [to, from, len] in &self.blocks {
                let (out, grad) = (&mut out[*from..*from + *len], &grad[*to..*to + *len]);
                if accumulate {
                    out.iter_mut().zip(grad).for_each(|(out, grad)| *out += grad);
                } else {
                    out.copy_from_slice(grad);
                }
            }
        }
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
