//! Weights in the order in which kernels read them.

use super::super::Level;
use super::ConvShape;
use super::lanes::{has_pairs, pairs_are_fast};
use super::method::Method;
use super::plan::{Phase, Plan, Way};
use super::scratch::Aligned;
use super::transform;
use rayon::prelude::*;

/// Weights as kernels read them, and how; buffers are reused by the next packing.
///
/// A packing serves every batch of the images that it was made for.
#[derive(Debug, Default)]
pub struct Packed {
    pub(super) plan: Option<Plan>,
    pub(super) weights: Aligned,
}

/// Packs weights `[C_out, C_in / groups, kH, kW]` for [`super::forward`] and [`super::backward_transposed`].
pub fn pack_forward(shape: &ConvShape, weights: &[f32], packed: &mut Packed) {
    packed.fill(shape, weights, Way::Forward);
}

/// Packs weights `[C_out, C_in / groups, kH, kW]` for [`super::backward`] and [`super::forward_transposed`].
pub fn pack_backward(shape: &ConvShape, weights: &[f32], packed: &mut Packed) {
    packed.fill(shape, weights, Way::Back);
}

/// [`pack_forward`] for Winograd's method where it is known to be faster: 3x3 and 5x5 windows of stride 1 over 16 channels or
/// more.
///
/// Outputs differ from the definition's by rounding, three to four times as much as those of [`pack_forward`]. Packed weights
/// are four times (5x5: 1.44 times) as large.
pub fn pack_winograd(shape: &ConvShape, weights: &[f32], packed: &mut Packed) {
    packed.fill_winograd(shape, weights, Way::Forward);
}

/// [`pack_backward`] for Winograd's method, as [`pack_winograd`].
pub fn pack_winograd_backward(shape: &ConvShape, weights: &[f32], packed: &mut Packed) {
    packed.fill_winograd(shape, weights, Way::Back);
}

/// Weights in bf16 where the processor multiplies pairs of them (AVX512-BF16) and input channels are even: inputs and weights
/// are rounded to 8 bits of mantissa, sums stay `f32`. For frozen networks; others are packed as they are. So are those that
/// [`pack_winograd`] takes, whose `f32` is faster than plain sums of bf16.
///
/// The error of one layer is about 0.25 % of the output's norm. [`bf16_is_fast`] tells whether this gains time.
pub fn pack_bf16(shape: &ConvShape, weights: &[f32], packed: &mut Packed) {
    packed.fill_winograd(shape, weights, Way::Forward);
    if Method::of(shape).is_some() || shape.groups != 1 || shape.in_channels % 2 == 1 || !has_pairs(Level::current()) {
        return;
    }
    let plan = packed.plan.as_mut().expect("a plan");
    let blocks: Vec<_> = plan.blocks().collect();
    let to = packed.weights.resize(plan.weights_len());
    // Pairs take half of the memory, from the start on: what is written was read before.
    for block in blocks {
        for pair in 0..block.depth / 2 {
            let at = block.offset + 2 * pair * block.lanes;
            for lane in 0..block.lanes {
                let [first, second] = [to[at + lane], to[at + block.lanes + lane]].map(rounded);
                to[at / 2 + lane] = f32::from_bits(first | second << 16);
            }
        }
    }
    plan.pair();
}

/// Whether [`pack_bf16`] rounds on this processor.
pub fn has_bf16() -> bool {
    has_pairs(Level::current())
}

/// Whether [`pack_bf16`] is faster than [`pack_forward`] on this processor. On some the instructions exist but are slow.
pub fn bf16_is_fast() -> bool {
    pairs_are_fast()
}

/// The nearest bf16, halves to the even one.
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    if value.is_nan() { bits >> 16 | 0x40 } else { (bits + 0x7fff + (bits >> 16 & 1)) >> 16 }
}

impl Packed {
    /// The plan of the way.
    pub(super) fn plan(&self, shape: &ConvShape, way: Way) -> &Plan {
        let plan = self.plan.as_ref().expect("convolution: weights are packed");
        assert_eq!(plan.way, way, "convolution: weights are packed for the other direction");
        assert_eq!(plan.shape, ConvShape { batch: 1, ..*shape }, "convolution: weights are packed for another shape");
        plan
    }

    fn fill(&mut self, shape: &ConvShape, weights: &[f32], way: Way) {
        assert_eq!(weights.len(), shape.weights_len(), "convolution: length of the weights");
        let level = Level::current();
        let single = ConvShape { batch: 1, ..*shape };
        let planned = (level, way, single, None, false);
        if !self.plan.as_ref().is_some_and(|plan| plan.of() == planned) {
            self.plan = Some(Plan::new(level, shape, way));
        }
        let plan = self.plan.as_ref().expect("a plan");
        if plan.depthwise {
            return pack_depthwise(shape, weights, &mut self.weights);
        }
        let blocks: Vec<_> = plan.blocks().collect();
        let to = self.weights.resize(plan.weights_len());
        let mut pieces = Vec::with_capacity(blocks.len());
        let mut rest = to;
        for block in blocks {
            let (piece, after) = rest.split_at_mut(block.depth * block.lanes);
            pieces.push((block, piece));
            rest = after;
        }
        pieces.into_par_iter().for_each(|(block, piece)| pack_block(plan, &block, weights, piece));
    }
}

impl Packed {
    fn fill_winograd(&mut self, shape: &ConvShape, weights: &[f32], way: Way) {
        let Some(method) = Method::of(shape) else { return self.fill(shape, weights, way) };
        assert_eq!(weights.len(), shape.weights_len(), "convolution: length of the weights");
        let planned = (Level::current(), way, ConvShape { batch: 1, ..*shape }, Some(method), false);
        if !self.plan.as_ref().is_some_and(|plan| plan.of() == planned) {
            self.plan = Some(Plan::winograd(Level::current(), shape, way, method));
        }
        let plan = self.plan.as_ref().expect("a plan");
        transform::pack(plan, weights, self.weights.resize(plan.winograd_len()));
    }
}

impl Plan {
    /// What tells plans apart.
    fn of(&self) -> (Level, Way, ConvShape, Option<Method>, bool) {
        (self.level, self.way, self.shape, self.winograd, self.pairs)
    }
}

/// Tap after tap the weights of all channels.
fn pack_depthwise(shape: &ConvShape, weights: &[f32], packed: &mut Aligned) {
    let (channels, taps) = (shape.out_channels, shape.depth());
    let to = packed.resize(channels * taps);
    for (tap, to) in to.chunks_exact_mut(channels).enumerate() {
        to.iter_mut().enumerate().for_each(|(channel, to)| *to = weights[channel * taps + tap]);
    }
}

/// Weights of some channels of the destination, in one or two vectors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) group: usize,
    pub(super) phase: usize,
    /// First channel within the group.
    pub(super) channel: usize,
    pub(super) channels: usize,
    /// Elements of the vectors.
    pub(super) lanes: usize,
    pub(super) depth: usize,
    /// Where the weights begin.
    pub(super) offset: usize,
}

impl Plan {
    /// Destination channels of a group.
    pub(super) fn made_group(&self) -> usize {
        self.made() / self.shape.groups
    }

    /// Elements of the vectors that hold the channels of a group.
    fn lanes(&self) -> usize {
        self.made_group().next_multiple_of(self.level.lanes())
    }

    fn group_len(&self) -> usize {
        self.phases.iter().map(|phase| phase.depth * self.lanes()).sum()
    }

    pub(super) fn weights_len(&self) -> usize {
        self.shape.groups * self.group_len()
    }

    /// The blocks in the order of memory: group, phase, channels.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let mut offset = 0;
        let phases = move |group| self.phases.iter().enumerate().map(move |(index, phase)| (group, index, phase));
        let all = (0..self.shape.groups).flat_map(phases);
        all.flat_map(move |(group, phase, Phase { depth, .. })| self.in_phase(group, phase, *depth)).map(move |block| {
            let at = offset;
            offset += block.depth * block.lanes;
            Block { offset: at, ..block }
        })
    }

    fn in_phase(&self, group: usize, phase: usize, depth: usize) -> impl Iterator<Item = Block> + use<> {
        let (all, lanes, vector) = (self.made_group(), self.lanes(), self.level.lanes());
        (0..all).step_by(2 * vector).map(move |channel| {
            let lanes = (lanes - channel).min(2 * vector);
            let channels = (all - channel).min(lanes);
            Block { group, phase, channel, channels, lanes, depth, offset: 0 }
        })
    }
}

/// Source channels whose weights are moved together, so that what is written stays in the first-level cache.
const TOGETHER: usize = 8;

/// Element after element that is read, the weights of the block's channels.
fn pack_block(plan: &Plan, block: &Block, weights: &[f32], to: &mut [f32]) {
    if block.channels < block.lanes {
        to.fill(0.0);
    }
    let segments = &plan.phases[block.phase].segments;
    let mut base = 0;
    for source in 0..segments.last().map_or(0, |segment| segment.block + 1) {
        let (mut taps, mut channels) = (Vec::new(), 0);
        for segment in segments.iter().filter(|segment| segment.block == source) {
            channels = segment.depth / segment.taps.len();
            for [y, x] in &segment.taps {
                taps.push((base, y * plan.shape.window.kernel[1] + x));
                base += channels;
            }
        }
        move_weights(plan, block, source * plan.layout.cell, channels, &taps, weights, to);
    }
}

/// Moves the weights of `channels` source channels from `first` on; a tap is the first row that it fills, and its index.
fn move_weights(
    plan: &Plan,
    block: &Block,
    first: usize,
    channels: usize,
    taps: &[(usize, usize)],
    weights: &[f32],
    to: &mut [f32],
) {
    let shape = &plan.shape;
    let window = shape.window.kernel[0] * shape.window.kernel[1];
    let (ins, outs) = (shape.in_group(), shape.out_group());
    let mut one = |channel: usize, made: usize| {
        let (out, input) = match plan.way {
            Way::Forward => (block.channel + made, channel),
            Way::Back => (first + channel, block.channel + made),
        };
        let from = &weights[((block.group * outs + out) * ins + input) * window..][..window];
        for (row, tap) in taps {
            to[(row + channel) * block.lanes + made] = from[*tap];
        }
    };
    for from in (0..channels).step_by(TOGETHER) {
        let together = from..(from + TOGETHER).min(channels);
        match plan.way {
            Way::Forward => (0..block.channels).for_each(|made| together.clone().for_each(|c| one(c, made))),
            Way::Back => together.for_each(|c| (0..block.channels).for_each(|made| one(c, made))),
        }
    }
}
