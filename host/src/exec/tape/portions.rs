//! A batch in portions, where nothing is kept for a way back.
//!
//! A teacher's layers stream maps that are written by one and read by the next. Small portions stay in the processor's cache
//! all along the network, where those of a whole batch go to memory and back at each layer. Samples do not see each other
//! in evaluation, and kernels take a row's sums in one order, so each gets the bits that it gets in any other batch.
//!
//! Each portion brings the weights from memory anew. Of a large network only the beginning runs in portions, where maps are large
//! and weights are few, up to a point behind which nothing else of it is read.

use super::forward::{behind, forward as whole};
use crate::exec::network::{Network, NetworkError};
use crate::exec::pass::{Forward, PassSpec};
use crate::graph::{LayerKind, Source};
use crate::ops::Moment;
use candle_core::{Result, Tensor};
use std::collections::BTreeSet;

/// Bytes that the largest map of a portion is to take: with what it is made from and what is added to it, it fits the
/// last cache of a small processor.
const MAP: usize = 4 << 20;

/// Samples that a portion has at least: below, weights are read too often for too few products.
const LEAST: usize = 4;

/// Bytes of parameters that portions read at most: of a larger network only a beginning runs in portions.
const WEIGHTS: usize = 8 << 20;

/// What of a network runs in portions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Portions {
    /// Samples of each.
    pub(crate) samples: usize,
    /// The last layer that does; none where all do.
    pub(crate) end: Option<usize>,
}

/// Runs the layers that the wanted points need.
///
/// # Errors
/// A layer or module fails; the message names it.
pub(crate) fn forward(
    network: &Network,
    input: &Tensor,
    spec: &PassSpec,
    moment: &Moment,
) -> std::result::Result<Forward, NetworkError> {
    let samples = input.dim(0)?;
    let Some(Portions { samples: portion, end }) = portions(network, spec).filter(|of| of.samples < samples) else {
        return whole(network, input, spec, moment);
    };
    let is_late = |point: &Source| end.is_some_and(|end| point.layer() > Some(end));
    let (late, mut early): (Vec<Source>, Vec<Source>) = spec.want.iter().cloned().partition(is_late);
    let end = end.map(Source::Layer);
    let inner = end.clone().filter(|end| !early.contains(end));
    early.extend(inner.clone());
    let spec = |want| PassSpec { want, ..spec.clone() };
    let (early, late) = (spec(early), spec(late));
    let mut portions = vec![];
    for start in (0..samples).step_by(portion) {
        let part = input.narrow(0, start, portion.min(samples - start))?;
        portions.push(whole(network, &part, &early, moment)?);
    }
    let mut out = Forward::default();
    for point in &early.want {
        let of = |portion: &mut Forward| portion.taps.remove(point).and_then(|values| values.into_iter().next());
        let parts: Vec<Tensor> = portions.iter_mut().filter_map(of).collect();
        if !parts.is_empty() {
            out.taps.insert(point.clone(), vec![joined(&parts)?]);
        }
    }
    if let Some(end) = end {
        let missing = || candle_core::Error::Msg("the beginning gave no value".into());
        let value = out.taps.get(&end).and_then(|values| values.first()).cloned().ok_or_else(missing)?;
        if let Some(inner) = inner {
            out.taps.remove(&inner);
        }
        out.taps.extend(behind(network, &end, value, &late, moment)?.taps);
    }
    Ok(out)
}

/// `None` where the batch has to be, or had better be, run as it is.
pub(crate) fn portions(network: &Network, spec: &PassSpec) -> Option<Portions> {
    let is_apart = !spec.track && !spec.training && !network.over_time && network.modules.is_empty();
    if !is_apart {
        return None;
    }
    let mut needed = network.graph.needed(&spec.want);
    let held = needed.iter().map(|index| network.sizes[*index]).sum();
    let end = if bytes(held) > WEIGHTS { Some(beginning(network, &needed, held)?) } else { None };
    needed.retain(|layer| end.is_none_or(|end| *layer <= end));
    let floats = |point: &Source| network.shape(point).map_or(0, |shape| shape.iter().product());
    let largest = needed.into_iter().map(Source::Layer).chain([Source::Input]).map(|point| floats(&point)).max();
    let largest = largest.filter(|floats| *floats > 0)?;
    Some(Portions { samples: (MAP / bytes(largest)).max(LEAST), end })
}

fn bytes(floats: usize) -> usize {
    floats * size_of::<f32>()
}

/// The last layer with few parameters up to it whose value is all that the layers behind it read. It pools, or two of them read it, so
/// that nothing is folded across it: samples get the bits of a network that runs whole.
fn beginning(network: &Network, needed: &BTreeSet<usize>, mut held: usize) -> Option<usize> {
    let layers = &network.graph.layers;
    // The first layer of those that layers behind it read; none where one reads the input.
    let mut first_read = Some(usize::MAX);
    for index in needed.iter().rev() {
        let reads = |other: &&usize| layers[**other].inputs.contains(&Source::Layer(*index));
        let pools = matches!(layers[*index].kind, LayerKind::MaxPool { .. } | LayerKind::AvgPool { .. });
        let is_apart = || pools || needed.range(index + 1..).filter(reads).count() > 1;
        if bytes(held) <= WEIGHTS && first_read == Some(*index) && is_apart() {
            return Some(*index);
        }
        held -= network.sizes[*index];
        let read = layers[*index].inputs.iter().map(Source::layer).min();
        first_read = first_read.min(read.unwrap_or(first_read));
    }
    None
}

/// One after the other; maps keep their place in memory.
fn joined(parts: &[Tensor]) -> Result<Tensor> {
    let lies_last = |part: &Tensor| part.rank() == 4 && !part.is_contiguous();
    if !parts.iter().all(lies_last) {
        return Tensor::cat(parts, 0);
    }
    let lying = parts.iter().map(|part| part.permute((0, 2, 3, 1))).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&lying, 0)?.permute((0, 3, 1, 2))
}
