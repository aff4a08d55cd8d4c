//! Layers on candle that are several operations: what moves channels, pads, and works on tokens `[N, T, D]`.

use super::layer::{Env, affine_rows, one};
use candle_core::{Result, Tensor};
use stillhouse_plugin::op::Op;

/// `x relu6(x + 3) / 6` (Howard et al. 2019, arXiv:1905.02244, Sec. 5.2).
pub(super) fn hard_swish(x: &Tensor) -> Result<Tensor> {
    let gate = one(&Op::Relu6, &[&one(&Op::Affine { mul: 1.0, add: 3.0 }, &[x])?])?;
    one(&Op::Affine { mul: 1.0 / 6.0, add: 0.0 }, &[&one(&Op::Mul, &[x, &gate])?])
}

fn reshape(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    one(&Op::Reshape { shape: shape.to_vec() }, &[x])
}

fn permute(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    one(&Op::Permute { dims: dims.to_vec() }, &[x])?.contiguous()
}

/// Zhang et al. 2017 (arXiv:1707.01083), Sec. 3.1.
pub(super) fn shuffle(x: &Tensor, groups: usize) -> Result<Tensor> {
    let (batch, channels) = (x.dim(0)?, x.dim(1)?);
    let plane = x.dims()[2..].iter().product();
    let turned = permute(&reshape(x, &[batch, groups, channels / groups, plane])?, &[0, 2, 1, 3])?;
    reshape(&turned, x.dims())
}

/// Zeros before and behind, of rows and of columns.
pub(super) fn pad(x: &Tensor, sides: [[usize; 2]; 2]) -> Result<Tensor> {
    let mut padded = x.clone();
    for (dim, [before, behind]) in [2, 3].into_iter().zip(sides) {
        let zeros = |len: usize| {
            let mut shape = padded.dims().to_vec();
            shape[dim] = len;
            Tensor::zeros(shape, x.dtype(), x.device())
        };
        let mut parts = vec![padded.clone()];
        if before > 0 {
            parts.insert(0, zeros(before)?);
        }
        if behind > 0 {
            parts.push(zeros(behind)?);
        }
        padded = one(&Op::Concat { dim }, &parts.iter().collect::<Vec<_>>())?;
    }
    Ok(padded)
}

/// Blocks of pixels to channels: rows of a block, then its columns, then channels.
pub(super) fn to_depth(x: &Tensor, block: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let split = reshape(x, &[batch, channels, height / block, block, width / block, block])?;
    let turned = permute(&split, &[0, 3, 5, 1, 2, 4])?;
    reshape(&turned, &[batch, channels * block * block, height / block, width / block])
}

/// The way back of [`to_depth`].
pub(super) fn to_space(x: &Tensor, block: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let channels = channels / (block * block);
    let split = reshape(x, &[batch, block, block, channels, height, width])?;
    let turned = permute(&split, &[0, 3, 4, 1, 5, 2])?;
    reshape(&turned, &[batch, channels, height * block, width * block])
}

/// `[N, C, H, W]` to `[N, H W, C]`.
pub(super) fn of_map(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    permute(&reshape(x, &[batch, channels, height * width])?, &[0, 2, 1])
}

/// A token `[1, 1, D]` before those of each sample.
pub(super) fn behind(x: &Tensor, token: &Tensor) -> Result<Tensor> {
    let (batch, _, features) = x.dims3()?;
    let token = one(&Op::BroadcastTo { shape: vec![batch, 1, features] }, &[token])?.contiguous()?;
    one(&Op::Concat { dim: 1 }, &[&token, x])
}

/// Softmax of `q k^T / sqrt(D / heads)` over the tokens, times `v`, for each head; then the output projection.
pub(super) fn attention(x: &Tensor, heads: usize, env: &Env<'_>) -> Result<Tensor> {
    let (batch, tokens, features) = x.dims3()?;
    let width = features / heads;
    let projected = affine_rows(x, &env.needed("in_proj_weight")?, Some(&env.needed("in_proj_bias")?))?;
    let part = |at: usize, dims: &[usize]| {
        let part = one(&Op::Narrow { dim: 2, start: at * features, len: features }, &[&projected])?;
        permute(&reshape(&part.contiguous()?, &[batch, tokens, heads, width])?, dims)
    };
    let (query, key, value) = (part(0, &[0, 2, 1, 3])?, part(1, &[0, 2, 3, 1])?, part(2, &[0, 2, 1, 3])?);
    let scores = one(&Op::Matmul, &[&query, &key])?;
    let scores = one(&Op::Affine { mul: 1.0 / (width as f64).sqrt(), add: 0.0 }, &[&scores])?;
    let mixed = one(&Op::Matmul, &[&one(&Op::Softmax { dim: 3 }, &[&scores])?, &value])?;
    let mixed = reshape(&permute(&mixed, &[0, 2, 1, 3])?, &[batch, tokens, features])?;
    affine_rows(&mixed, &env.needed("out_proj.weight")?, Some(&env.needed("out_proj.bias")?))
}
