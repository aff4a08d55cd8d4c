//! The gradient of the weights from copies of input and output's gradient.

use super::depthwise;
use super::lanes::Lanes;
use super::layout::{Fill, Layout, Source};
use super::patch::Patch;
use super::plan::Plan;
use super::run::{From, Piece};
use rayon::prelude::*;
use std::ops::Range;

/// Pixels that a tile sums before it adds to memory: their copies should stay in the first-level cache.
const PIXELS: usize = 128;

/// How the gradient of the weights is computed.
///
/// Sums lie as `[group][block of outputs][row][lane]`; rows are the elements of the window over a block of input channels,
/// `[block of inputs][ky][kx][channel of the block]`.
pub(super) struct Grain<'a> {
    /// Gives the copies of the output's gradient.
    pub(super) plan: &'a Plan,
    /// Copies of the input.
    pub(super) x: Layout,
    /// Output channels of a block, padded.
    lanes: usize,
    /// The columns of a window lie one after another.
    joined: bool,
}

impl<'a> Grain<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let (shape, vector) = (&plan.shape, plan.level.lanes());
        let w = &shape.window;
        let wide = shape.out_group() > vector;
        let lanes = if wide { 2 * vector } else { vector };
        let joined = w.kernel[1] > 1 && w.dilation[1] == 1;
        let most = match (joined, wide) {
            (false, _) => plan.level.rows()[usize::from(wide)],
            (true, false) => vector.max(8),
            (true, true) => 8,
        };
        let (mut groups, mut channels) = (shape.groups, shape.in_group());
        if plan.depthwise {
            (groups, channels) = (1, shape.groups);
        }
        let cell = if plan.depthwise { channels } else { channels.div_ceil(channels.div_ceil(most)) };
        // The last band takes the output rows beyond the phases of the input, too.
        let rows = plan.band + shape.output[0].saturating_sub(plan.rows());
        let reach = |axis: usize, count: usize| (count.max(1) - 1) * w.stride[axis] + w.span(axis);
        let size = [reach(0, rows.min(shape.output[0])), reach(1, shape.output[1])];
        let x = Layout { groups, channels, cell, size, before: w.padding };
        Self { plan, x, lanes, joined }
    }

    fn rows(&self) -> usize {
        let [rows, columns] = self.plan.shape.window.kernel;
        self.x.blocks() * rows * columns * self.x.cell
    }

    /// Blocks of outputs of a group.
    fn blocks(&self) -> usize {
        self.plan.shape.out_group().div_ceil(self.lanes)
    }

    /// Blocks of outputs of all groups.
    pub(super) fn all_blocks(&self) -> Range<usize> {
        0..self.plan.shape.groups * self.blocks()
    }

    /// Floats of the sums.
    pub(super) fn len(&self) -> usize {
        if self.plan.depthwise {
            return self.plan.shape.weights_len();
        }
        self.plan.shape.groups * self.blocks() * self.rows() * self.lanes
    }

    /// First output row of a piece and the number of its output rows.
    fn span(&self, piece: Piece) -> (usize, usize) {
        let all = self.plan.shape.output[0];
        let end = piece.row + piece.rows;
        let end = if end == self.plan.rows() { all } else { end.min(all) };
        (piece.row.min(all), end.saturating_sub(piece.row))
    }

    /// Copies the input of a piece.
    ///
    /// # Safety
    /// `to` holds the images, the source has them.
    #[inline(always)]
    pub(super) unsafe fn copy<V: Lanes>(&self, source: Source, piece: Piece, to: *mut f32) -> From {
        let w = &self.plan.shape.window;
        let (first, count) = self.span(piece);
        let image = self.x.image();
        for index in 0..piece.images {
            let fill = Fill {
                source,
                layout: &self.x,
                image: piece.image + index,
                size: self.plan.shape.input,
                first: first * w.stride[0],
                rows: if count == 0 { 0 } else { (count - 1) * w.stride[0] + w.span(0) },
                step: if w.kernel[0] == 1 { w.stride[0] } else { 1 },
                to: to.wrapping_add(index * image),
            };
            // SAFETY: the caller's contract.
            unsafe { V::call(fill) };
        }
        From { values: to, image }
    }

    /// Adds the sums of a piece for some blocks of outputs ([`Grain::all_blocks`]).
    ///
    /// # Safety
    /// `x` and `dy` are copies of the piece, `dw` holds the sums.
    #[inline(always)]
    pub(super) unsafe fn accumulate<V: Lanes>(
        &self,
        x: From,
        dy: From,
        piece: Piece,
        blocks: Range<usize>,
        dw: *mut f32,
    ) {
        let (plan, w) = (self.plan, &self.plan.shape.window);
        let (_, rows) = self.span(piece);
        let (line, cell) = (plan.layout.line(), plan.layout.cell);
        let [above, left] = plan.layout.before;
        let columns = plan.shape.output[1];
        let patch = Patch {
            x: x.values,
            x_steps: [x.image, w.stride[0] * self.x.line(), w.stride[1] * self.x.cell],
            dy: dy.values.wrapping_add(above * line + left * cell),
            dy_steps: [dy.image, line, cell],
            counts: [piece.images, rows, columns],
            dw,
            dw_step: self.lanes,
        };
        let strip = (PIXELS / columns).clamp(1, rows.max(1));
        let images = if strip < rows { 1 } else { (PIXELS / (rows * columns).max(1)).max(1) };
        for image in (0..piece.images).step_by(images) {
            for row in (0..rows).step_by(strip) {
                let counts = [images.min(piece.images - image), strip.min(rows - row), columns];
                let patch = Patch { counts, ..patch.moved([image, row]) };
                // SAFETY: the caller's contract.
                unsafe {
                    if plan.depthwise {
                        self.depthwise::<V>(patch);
                    } else {
                        self.blocks_of::<V>(patch, blocks.clone());
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn blocks_of<V: Lanes>(&self, patch: Patch, blocks: Range<usize>) {
        let (plan, rows) = (self.plan, self.rows());
        let (x_blocks, y_blocks) = (self.x.blocks(), self.blocks());
        for block in blocks {
            let (_, count) = plan.layout.block(block);
            for x_block in 0..x_blocks {
                let patch = Patch {
                    x: patch.x.wrapping_add((block / y_blocks * x_blocks + x_block) * self.x.plane()),
                    dy: patch.dy.wrapping_add(block * plan.layout.plane()),
                    dw: patch.dw.wrapping_add((block * rows + x_block * (rows / x_blocks)) * self.lanes),
                    ..patch
                };
                // SAFETY: the caller's contract.
                unsafe { self.window::<V>(patch, self.x.block(x_block).1, count.div_ceil(V::N)) };
            }
        }
    }

    /// All elements of the window over one block of inputs.
    #[inline(always)]
    unsafe fn window<V: Lanes>(&self, patch: Patch, channels: usize, vectors: usize) {
        let w = &self.plan.shape.window;
        let cell = self.x.cell;
        let joined = self.joined && channels == cell;
        let (runs, run) = if joined { (1, w.kernel[1] * cell) } else { (w.kernel[1], channels) };
        for y in 0..w.kernel[0] {
            for x in 0..runs {
                let patch = Patch {
                    x: patch.x.wrapping_add(y * w.dilation[0] * self.x.line() + x * w.dilation[1] * cell),
                    dw: patch.dw.wrapping_add((y * w.kernel[1] + x) * cell * self.lanes),
                    ..patch
                };
                // SAFETY: the caller's contract.
                unsafe { patch.run::<V>(run, vectors) };
            }
        }
    }

    #[inline(always)]
    unsafe fn depthwise<V: Lanes>(&self, patch: Patch) {
        let w = &self.plan.shape.window;
        let Patch { x, x_steps, dy, dy_steps, counts, dw, .. } = patch;
        let (channels, taps) = (self.x.channels, w.kernel);
        let tap_steps = [w.dilation[0] * self.x.line(), w.dilation[1] * self.x.cell];
        // SAFETY: the caller's contract.
        unsafe {
            V::call(depthwise::Weights { x, x_steps, dy, dy_steps, counts, taps, tap_steps, channels, dw });
        }
    }

    /// Adds the sums of the chunks in order and brings them to `[C_out, C_in / groups, kH, kW]`.
    pub(super) fn deliver(&self, partial: &[f32], dw: &mut [f32]) {
        let shape = &self.plan.shape;
        let (depth, len) = (shape.depth(), self.len());
        let vector = if self.plan.depthwise { 1 } else { self.lanes.min(16).min(shape.out_group()) };
        let per_group = shape.out_group().div_ceil(vector);
        let pieces: Vec<&mut [f32]> =
            dw.chunks_mut(shape.out_group() * depth).flat_map(|group| group.chunks_mut(vector * depth)).collect();
        let task = |(index, dw): (usize, &mut [f32])| {
            let (group, first) = (index / per_group, index % per_group * vector);
            self.deliver_piece(partial, len, [group, first], dw);
        };
        if partial.len() < 1 << 16 {
            pieces.into_iter().enumerate().for_each(task);
        } else {
            pieces.into_par_iter().enumerate().for_each(task);
        }
    }

    /// Some outputs of a group from `first` on.
    fn deliver_piece(&self, partial: &[f32], len: usize, [group, first]: [usize; 2], dw: &mut [f32]) {
        let shape = &self.plan.shape;
        let taps = shape.window.kernel[0] * shape.window.kernel[1];
        let (depth, count) = (shape.depth(), dw.len() / shape.depth());
        for channel in 0..shape.in_group() {
            for tap in 0..taps {
                let at = if self.plan.depthwise {
                    tap * shape.groups + group
                } else {
                    let block = group * self.blocks() + first / self.lanes;
                    let row = (channel / self.x.cell * taps + tap) * self.x.cell + channel % self.x.cell;
                    (block * self.rows() + row) * self.lanes + first % self.lanes
                };
                let mut sums = [0.0; 16];
                for partial in partial.chunks_exact(len) {
                    sums.iter_mut().zip(&partial[at..][..count]).for_each(|(sum, partial)| *sum += *partial);
                }
                let to = dw[channel * taps + tap..].iter_mut().step_by(depth);
                to.zip(sums).for_each(|(to, sum)| *to = sum);
            }
        }
    }
}
