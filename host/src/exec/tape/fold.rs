//! A network that only runs: a convolution with the batch norm, the sum and the activation behind it is one kernel.

use super::buffer::Buffer;
use super::conv::Geometry;
use super::forward::{Run, activation_of};
use super::value::Value;
use crate::graph::{LayerKind, Source};
use candle_core::{Error, Result};
use stillhouse_kernels::nhwc::Activation;
use stillhouse_kernels::nhwc::conv::{Epilogue, Packed};
use stillhouse_kernels::nhwc::norm::Statistics;

/// What is folded into a convolution: layers that follow each other, each the only reader of the one before.
#[derive(Default)]
struct Chain {
    norm: Option<usize>,
    /// The other term of the sum.
    residual: Option<Source>,
    activation: Activation,
    /// Whose value it is, and the layers before that.
    last: usize,
    inner: Vec<usize>,
}

/// Weights with the batch norm folded in.
#[derive(Default)]
pub(super) struct Folded {
    packed: Packed,
    bias: Vec<f32>,
}

/// Runs a convolution with what can be folded into it; `true` when this was done.
pub(super) fn run(run: &mut Run<'_>, index: usize, kind: &LayerKind, x: &Value) -> Result<bool> {
    if run.spec.track || run.spec.training || !matches!(kind, LayerKind::Conv { .. }) {
        return Ok(false);
    }
    let chain = chain(run, index);
    let geometry = Geometry::new(kind, x)?;
    let packs = run.network.packs(index, 0);
    let mut packs = packs.borrow_mut();
    let of = Some((run.network.params.version(), chain.norm, run.spec.bf16));
    if packs.folded_of != of {
        fold(run, index, chain.norm, &geometry, &mut packs.folded)?;
        packs.folded_of = of;
    }
    let shape = geometry.output();
    let residual = chain.residual.as_ref().map(|source| Ok::<_, Error>(run.value(source)?.store())).transpose()?;
    let Folded { packed, bias } = &packs.folded;
    let epilogue = Epilogue {
        bias: Some(bias),
        residual: residual.as_ref().map(|value| &value.raw[..]),
        activation: chain.activation,
    };
    let mut out = Buffer::new(shape.iter().product());
    geometry.forward(x.load(), packed, epilogue, &mut out, None);
    run.values[chain.last] = Some(Value::stored(&shape, out));
    run.done.extend(chain.inner.iter().copied().chain([chain.last]));
    Ok(true)
}

fn chain(run: &Run<'_>, index: usize) -> Chain {
    let layers = &run.network.graph.layers;
    let mut chain = Chain { last: index, ..Chain::default() };
    while let Some(next) = run.only_reader(chain.last) {
        match &layers[next].kind {
            LayerKind::BatchNorm { .. } if chain.last == index => chain.norm = Some(next),
            LayerKind::Add if chain.residual.is_none() && layers[next].inputs.len() == 2 => {
                let is_other = |source: &&Source| source.layer() != Some(chain.last);
                let Some(other) = layers[next].inputs.iter().find(is_other) else { break };
                if run.value(other).is_err() {
                    break;
                }
                chain.residual = Some(other.clone());
            }
            kind => match activation_of(kind) {
                Some(activation) => {
                    chain.activation = activation;
                    chain.inner.push(chain.last);
                    chain.last = next;
                    break;
                }
                None => break,
            },
        }
        chain.inner.push(chain.last);
        chain.last = next;
    }
    chain
}

/// `weight scale` of each output channel, and `bias scale + shift`.
fn fold(run: &Run<'_>, index: usize, norm: Option<usize>, geometry: &Geometry, folded: &mut Folded) -> Result<()> {
    let channels = geometry.output()[1];
    let own = run.vector(index, "bias")?.unwrap_or_else(|| vec![0.0; channels]);
    let missing = || Error::Msg("has no `weight`".into());
    let mut weights = run.vector(index, "weight")?.ok_or_else(missing)?;
    folded.bias = own;
    if let Some(norm) = norm {
        let statistics = statistics(run, norm, channels)?;
        let [scale, shift] = statistics.affine();
        let of_each = weights.len() / channels.max(1);
        weights.chunks_mut(of_each.max(1)).zip(scale).for_each(|(weights, scale)| {
            weights.iter_mut().for_each(|weight| *weight *= scale);
        });
        folded.bias.iter_mut().zip(scale).zip(shift).for_each(|((bias, scale), shift)| *bias = *bias * scale + shift);
    }
    if run.spec.bf16 {
        geometry.pack_bf16(&weights, &mut folded.packed);
    } else {
        geometry.pack(&weights, &mut folded.packed, true);
    }
    Ok(())
}

fn statistics(run: &Run<'_>, norm: usize, channels: usize) -> Result<Statistics> {
    let LayerKind::BatchNorm { eps, .. } = run.network.graph.layers[norm].kind else {
        candle_core::bail!("is no batch normalisation");
    };
    let vector = |suffix: &str| {
        let missing = || Error::Msg(format!("has no `{suffix}`"));
        run.vector(norm, suffix)?.ok_or_else(missing)
    };
    let (mean, variance) = (vector("running_mean")?, vector("running_var")?);
    let (weight, bias) = (vector("weight")?, vector("bias")?);
    let mut statistics = Statistics::new(channels);
    statistics.fixed([&mean, &variance], Some(&weight), Some(&bias), eps);
    Ok(statistics)
}
