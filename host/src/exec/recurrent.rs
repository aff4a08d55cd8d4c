//! Recurrent layers on candle: one frame from the state that the frame before left.

use super::layer::{Env, affine_rows, one};
use crate::graph::{CELL, HIDDEN, LayerKind};
use candle_core::{Result, Tensor};
use stillhouse_plugin::op::Op;

/// States by name, in the order of [`LayerKind::state`].
pub(super) type Named = Vec<(String, Tensor)>;

/// The state behind this frame; the first is the output.
pub(super) fn step(kind: &LayerKind, x: &Tensor, env: &Env<'_>, before: Option<&Named>) -> Result<Named> {
    let width = match kind {
        LayerKind::Lstm { hidden } | LayerKind::Gru { hidden } | LayerKind::ConvLstm { hidden, .. } => *hidden,
        _ => candle_core::bail!("has no state"),
    };
    let mut shape = x.dims().to_vec();
    shape[1] = width;
    let state = |name: &str| match before.into_iter().flatten().find(|(known, _)| known == name) {
        Some((_, value)) => Ok(value.clone()),
        None => Tensor::zeros(shape.as_slice(), x.dtype(), x.device()),
    };
    let named = |name: &str, value: Tensor| (name.to_owned(), value);
    let hidden = state(HIDDEN)?;
    if let LayerKind::Gru { .. } = kind {
        return Ok(vec![named(HIDDEN, gru(x, &hidden, env)?)]);
    }
    let [i, f, g, o] = match kind {
        LayerKind::ConvLstm { kernel, forget_bias, .. } => {
            let [i, f, o, g] = parts(&convolved(x, &hidden, kernel.0, env)?)?;
            [i, one(&Op::Affine { mul: 1.0, add: *forget_bias }, &[&f])?, g, o]
        }
        _ => parts(&sum(&[&rows(x, "ih", env)?, &rows(&hidden, "hh", env)?])?)?,
    };
    let [i, f, o] = [i, f, o].map(|gate| one(&Op::Sigmoid, &[&gate]));
    let kept = product(&f?, &state(CELL)?)?;
    let cell = sum(&[&kept, &product(&i?, &one(&Op::Tanh, &[&g])?)?])?;
    let hidden = product(&o?, &one(&Op::Tanh, &[&cell])?)?;
    Ok(vec![named(HIDDEN, hidden), named(CELL, cell)])
}

fn gru(x: &Tensor, hidden: &Tensor, env: &Env<'_>) -> Result<Tensor> {
    let [by_x, by_h] = [parts::<3>(&rows(x, "ih", env)?)?, parts::<3>(&rows(hidden, "hh", env)?)?];
    let gate = |at: usize| one(&Op::Sigmoid, &[&sum(&[&by_x[at], &by_h[at]])?]);
    let (reset, update) = (gate(0)?, gate(1)?);
    let new = one(&Op::Tanh, &[&sum(&[&by_x[2], &product(&reset, &by_h[2])?])?])?;
    let left = one(&Op::Affine { mul: -1.0, add: 1.0 }, &[&update])?;
    sum(&[&product(&left, &new)?, &product(&update, hidden)?])
}

fn rows(x: &Tensor, of: &str, env: &Env<'_>) -> Result<Tensor> {
    affine_rows(x, &env.needed(&format!("weight_{of}"))?, Some(&env.needed(&format!("bias_{of}"))?))
}

fn convolved(x: &Tensor, hidden: &Tensor, kernel: [usize; 2], env: &Env<'_>) -> Result<Tensor> {
    let both = one(&Op::Concat { dim: 1 }, &[x, hidden])?;
    let op = Op::Conv2d { stride: [1; 2], padding: kernel.map(|size| size / 2), dilation: [1; 2], groups: 1 };
    one(&op, &[&both, &env.needed("weight")?, &env.needed("bias")?])
}

/// Equal parts of the channels.
fn parts<const N: usize>(gates: &Tensor) -> Result<[Tensor; N]> {
    let len = gates.dim(1)? / N;
    let part = |at: usize| one(&Op::Narrow { dim: 1, start: at * len, len }, &[gates]);
    let parts = (0..N).map(part).collect::<Result<Vec<_>>>()?;
    <[Tensor; N]>::try_from(parts).map_err(|_| candle_core::Error::Msg("has other gates".into()))
}

fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    one(&Op::Mul, &[a, b])
}

fn sum(terms: &[&Tensor; 2]) -> Result<Tensor> {
    one(&Op::Add, terms)
}
