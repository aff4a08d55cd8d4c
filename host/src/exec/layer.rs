//! One layer on candle.

use super::pass::{PassSpec, StagedIn};
use super::tokens;
use crate::data::Rng;
use crate::graph::{LayerKind, parameter_name};
use crate::ops::{Moment, ParamKind, ParamSet, Staged, run_op};
use candle_core::{Result, Tensor};
use stillhouse_plugin::op::Op;

/// Where a layer stands.
pub(super) struct Env<'a> {
    pub(super) params: &'a ParamSet,
    pub(super) path: &'a str,
    pub(super) spec: &'a PassSpec,
    pub(super) moment: &'a Moment,
    /// Changes of this forward so far.
    pub(super) staged: &'a [StagedIn],
}

impl Env<'_> {
    fn name(&self, suffix: &str) -> String {
        parameter_name(self.path, suffix)
    }

    fn trained(&self, suffix: &str) -> bool {
        self.spec.track && !self.spec.frozen.contains(&self.name(suffix))
    }

    /// A parameter, with gradient where one is wanted; `None` when the layer has none of this name.
    fn param(&self, suffix: &str) -> Option<Tensor> {
        let entry = self.params.get(&self.name(suffix))?;
        let is_parameter = entry.kind == ParamKind::Parameter;
        Some(if is_parameter && self.trained(suffix) {
            entry.var.as_tensor().clone()
        } else {
            entry.var.as_detached_tensor()
        })
    }

    /// A running statistic, as earlier frames of this forward left it.
    fn moved(&self, suffix: &str) -> Result<Tensor> {
        let name = self.name(suffix);
        let value = |staged: &StagedIn| match &staged.change {
            Staged::Whole { name: known, value } if *known == name && std::ptr::eq(&*staged.params, self.params) => {
                Some(value.clone())
            }
            _ => None,
        };
        self.staged.iter().rev().find_map(value).map_or_else(|| self.needed(suffix), Ok)
    }

    pub(super) fn needed(&self, suffix: &str) -> Result<Tensor> {
        self.param(suffix).ok_or_else(|| candle_core::Error::Msg(format!("has no `{suffix}`")))
    }
}

/// Output of a layer, and the buffers that it wants changed.
pub(super) fn run_layer(kind: &LayerKind, inputs: &[Tensor], env: &Env<'_>) -> Result<(Tensor, Vec<Staged>)> {
    let Some(x) = inputs.first() else { candle_core::bail!("reads nothing") };
    if let Some(op) = kind.pure_op(x.rank()) {
        return Ok((one(&op, &[x])?, vec![]));
    }
    let output = match kind {
        LayerKind::BatchNorm { eps, momentum } => return batch_norm(x, *eps, *momentum, env),
        LayerKind::Conv { .. } | LayerKind::ConvTranspose { .. } | LayerKind::LayerNorm { .. } => {
            parametric(kind, x, env)?
        }
        LayerKind::Linear { .. } => affine_rows(x, &env.needed("weight")?, env.param("bias").as_ref())?,
        LayerKind::Flatten => x.reshape((x.dim(0)?, x.dims()[1..].iter().product::<usize>()))?,
        LayerKind::Reshape { shape } => {
            let whole: Vec<usize> = std::iter::once(x.dim(0)?).chain(shape.iter().copied()).collect();
            x.reshape(whole)?
        }
        LayerKind::Add => fold(inputs, &Op::Add)?,
        LayerKind::Mul => fold(inputs, &Op::Mul)?,
        LayerKind::Concat => one(&Op::Concat { dim: 1 }, &inputs.iter().collect::<Vec<_>>())?,
        LayerKind::HardSwish => tokens::hard_swish(x)?,
        LayerKind::ChannelShuffle { groups } => tokens::shuffle(x, *groups)?,
        LayerKind::Pad { top, bottom, left, right } => tokens::pad(x, [[*top, *bottom], [*left, *right]])?,
        LayerKind::Tokens => tokens::of_map(x)?,
        LayerKind::ClassToken => tokens::behind(x, &env.needed("")?)?,
        LayerKind::PositionEmbedding => one(&Op::Add, &[x, &env.needed("")?])?,
        LayerKind::SelfAttention { heads } => tokens::attention(x, *heads, env)?,
        LayerKind::SpaceToDepth { block } => tokens::to_depth(x, *block)?,
        LayerKind::DepthToSpace { block } => tokens::to_space(x, *block)?,
        kind if !kind.state().is_empty() => candle_core::bail!("has a state"),
        LayerKind::Dropout { p } if env.spec.training => dropout(x, *p, env)?,
        _ => x.clone(),
    };
    Ok((output, vec![]))
}

pub(super) fn one(op: &Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut outputs = run_op(op, inputs, inputs[0].device())?;
    if outputs.is_empty() { candle_core::bail!("`{}` gave nothing", op.name()) } else { Ok(outputs.swap_remove(0)) }
}

fn fold(inputs: &[Tensor], op: &Op) -> Result<Tensor> {
    inputs[1..].iter().try_fold(inputs[0].clone(), |sum, next| one(op, &[&sum, next]))
}

fn parametric(kind: &LayerKind, x: &Tensor, env: &Env<'_>) -> Result<Tensor> {
    let Some(op) = kind.parametric_op(x.rank()) else { candle_core::bail!("is no operation") };
    let (weight, bias) = (env.needed("weight")?, env.param("bias"));
    match &bias {
        Some(bias) => one(&op, &[x, &weight, bias]),
        None => one(&op, &[x, &weight]),
    }
}

/// `x W^T + b` over the last dimension.
pub(super) fn affine_rows(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let features = x.dims().last().copied().unwrap_or(1);
    // One product: with a batch in front the weight's gradient would be made for each sample, then summed.
    let rows = if x.rank() > 2 { x.reshape((x.elem_count() / features.max(1), features))? } else { x.clone() };
    let mut y = one(&Op::Matmul, &[&rows, &weight.t()?])?;
    if let Some(bias) = bias {
        y = one(&Op::Add, &[&y, bias])?;
    }
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(y.dim(1)?);
    if x.rank() > 2 { y.reshape(shape) } else { Ok(y) }
}

/// By the batch in training, unless the layer is frozen; the running statistics then move after the update.
fn batch_norm(x: &Tensor, eps: f64, momentum: f64, env: &Env<'_>) -> Result<(Tensor, Vec<Staged>)> {
    let (weight, bias) = (env.needed("weight")?, env.needed("bias")?);
    let frozen = ["weight", "bias"].iter().all(|suffix| env.spec.frozen.contains(&env.name(suffix)));
    if !env.spec.training || frozen {
        let (mean, variance) = (env.needed("running_mean")?, env.needed("running_var")?);
        let y = one(&Op::BatchNormEval { eps }, &[x, &weight, &bias, &mean, &variance])?;
        return Ok((y, vec![]));
    }
    let outputs = run_op(&Op::BatchNormTrain { eps }, &[x, &weight, &bias], x.device())?;
    let [y, mean, variance] =
        <[Tensor; 3]>::try_from(outputs).map_err(|_| candle_core::Error::Msg("wants three results".into()))?;
    let moved = |new: &Tensor, suffix: &str| -> Result<Staged> {
        let value = (env.moved(suffix)?.affine(1.0 - momentum, 0.0)? + new.detach().affine(momentum, 0.0)?)?;
        Ok(Staged::Whole { name: env.name(suffix), value })
    };
    let staged = vec![moved(&mean, "running_mean")?, moved(&variance, "running_var")?];
    Ok((y, staged))
}

fn dropout(x: &Tensor, p: f64, env: &Env<'_>) -> Result<Tensor> {
    let mask = dropout_mask(p, x.elem_count(), env.params.owner(), env.path, env.moment);
    let mask = Tensor::from_vec(mask, x.dims(), x.device())?.to_dtype(x.dtype())?;
    one(&Op::Mul, &[x, &mask])
}

/// What dropout multiplies by, in row-major order: the same for every executor.
pub(super) fn dropout_mask(p: f64, len: usize, owner: &str, path: &str, moment: &Moment) -> Vec<f32> {
    let purpose = format!("dropout:{owner}:{}:{}:{path}", moment.stage, moment.phase);
    let mut rng = Rng::new(moment.seed, &purpose, (moment.step << 16) ^ moment.frame);
    let keep = (1.0 / (1.0 - p)) as f32;
    (0..len).map(|_| if rng.uniform_f64() < p { 0.0 } else { keep }).collect()
}
