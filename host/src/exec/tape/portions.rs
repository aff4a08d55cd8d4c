//! A batch in portions, where nothing is kept for a way back.
//!
//! A teacher's layers stream maps that are written by one and read by the next. Small portions stay in the processor's cache
//! all along the network, where those of a whole batch go to memory and back at each layer. Samples do not see each other
//! in evaluation, and kernels take a row's sums in one order, so each gets the bits that it gets in any other batch.

use super::forward::forward as whole;
use crate::exec::network::{Network, NetworkError};
use crate::exec::pass::{Forward, PassSpec};
use crate::graph::Source;
use crate::ops::Moment;
use candle_core::{Result, Tensor};

/// Bytes that the largest map of a portion is to take: with what it is made from and what is added to it, it fits the
/// last cache of a small processor.
const MAP: usize = 2 << 20;

/// Samples that a portion has at least: below, weights are read too often for too few products.
const LEAST: usize = 16;

/// Bytes of parameters beyond which a batch stays whole: each portion would bring them from memory anew.
const WEIGHTS: usize = 32 << 20;

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
    let Some(portion) = portion(network, spec).filter(|portion| *portion < samples) else {
        return whole(network, input, spec, moment);
    };
    let mut portions = vec![];
    for start in (0..samples).step_by(portion) {
        let part = input.narrow(0, start, portion.min(samples - start))?;
        portions.push(whole(network, &part, spec, moment)?);
    }
    let mut out = Forward::default();
    for point in &spec.want {
        let of = |portion: &Forward| portion.taps.get(point).and_then(|values| values.first()).cloned();
        let parts: Vec<Tensor> = portions.iter().filter_map(of).collect();
        if !parts.is_empty() {
            out.taps.insert(point.clone(), vec![joined(&parts)?]);
        }
    }
    Ok(out)
}

/// Samples of a portion; `None` where the batch has to be, or had better be, run as it is.
pub(crate) fn portion(network: &Network, spec: &PassSpec) -> Option<usize> {
    let is_apart = !spec.track && !spec.training && !network.over_time && network.modules.is_empty();
    let bytes = |floats: usize| floats * size_of::<f32>();
    if !is_apart || bytes(network.params.parameter_count()) > WEIGHTS {
        return None;
    }
    let needed = network.graph.needed(&spec.want);
    let floats = |point: &Source| network.shape(point).map_or(0, |shape| shape.iter().product());
    let largest = needed.into_iter().map(Source::Layer).chain([Source::Input]).map(|point| floats(&point)).max();
    largest.filter(|floats| *floats > 0).map(|floats| (MAP / bytes(floats)).max(LEAST))
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
