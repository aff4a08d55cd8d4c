//! Batch norm with the statistics of the batch, and layer norm.

use super::last;
use super::node::{Call, Element, Grads, Node, View, apply, by_dtype, elsewhere, read, tensor};
use candle_core::{Error, Result, Tensor};
use stillhouse_kernels::Float;
use stillhouse_kernels::norm::{
    batch_norm_backward, batch_statistics, channel_affine, layer_norm_backward, layer_norm_forward, row_statistics,
};

/// What batch norm makes in training.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// The normalised input, of its shape; carries gradient.
    pub y: Tensor,
    /// Mean of each channel `[C]`; constant.
    pub mean: Tensor,
    /// Unbiased variance of each channel `[C]`, for the running statistics; constant.
    pub var_unbiased: Tensor,
}

/// Batch norm in training: `y = (x - mean) / sqrt(var + eps) * w + b`, with the batch's mean and biased variance.
///
/// # Shapes
/// - `x` `[N, C, ...]`; `w`, `b` `[C]`, 1 and 0 if absent
/// - returns `y` of the shape of `x`, `mean` and unbiased variance `[C]`
///
/// # Errors
/// Fewer than two dims, a single value a channel, parameters of another shape or dtype, a device other than the CPU.
pub fn batch_norm_train(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, eps: f64) -> Result<BatchNorm> {
    let name = "batch_norm_train";
    let (dims, parameters) = checked(name, x, w, b)?;
    let count = dims[0] * dims[2];
    if count < 2 {
        return Err(Error::msg(format!("`{name}` got {:?}: a variance needs more than one value a channel", x.dims())));
    }
    if last::is_last_f32(x) {
        return last::batch_norm_train(x, [w, b], eps, name);
    }
    let (mean, variance) = by_dtype!(x.dtype(), name, T => read::<T, _>(x, |x| {
        let (mut mean, mut variance) = (vec![<T as Float>::ZERO; dims[1]], vec![<T as Float>::ZERO; dims[1]]);
        batch_statistics(x.data, dims, &mut mean, &mut variance);
        Ok((widened(&mean), widened(&variance)))
    }))?;
    let unbias = count as f64 / (count as f64 - 1.0);
    let unbiased: Vec<f64> = variance.iter().map(|v| v * unbias).collect();
    let node = Normalise {
        name,
        dims,
        parameters,
        rstd: variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect(),
        mean: mean.clone(),
        of_batch: true,
    };
    Ok(BatchNorm {
        y: call(node, x, w, b)?,
        mean: tensor(mean, &[dims[1]])?.to_dtype(x.dtype())?,
        var_unbiased: tensor(unbiased, &[dims[1]])?.to_dtype(x.dtype())?,
    })
}

/// Batch norm in evaluation: an affine map by channel with the given, constant statistics.
///
/// # Shapes
/// `x` `[N, C, ...]`; `mean`, `var`, `w`, `b` `[C]`; returns the shape of `x`.
///
/// # Errors
/// As [`batch_norm_train`], a single value a channel excepted.
pub fn batch_norm_eval(
    x: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    w: Option<&Tensor>,
    b: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let name = "batch_norm_eval";
    let (dims, parameters) = checked(name, x, w, b)?;
    check_parameter(name, mean, dims[1])?;
    check_parameter(name, var, dims[1])?;
    if last::is_last_f32(x) {
        return last::batch_norm_eval(x, [mean, var], [w, b], eps, name);
    }
    let wide = |t: &Tensor| t.detach().to_dtype(candle_core::DType::F64)?.to_vec1::<f64>();
    let (mean, var) = (wide(mean)?, wide(var)?);
    let rstd = var.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
    call(Normalise { name, dims, parameters, mean, rstd, of_batch: false }, x, w, b)
}

fn widened<T: Float>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| v.wide()).collect()
}

fn narrowed<T: Float>(values: &[f64]) -> Vec<T> {
    values.iter().map(|v| T::of(*v)).collect()
}

fn check_parameter(name: &str, parameter: &Tensor, channels: usize) -> Result<()> {
    if parameter.dims() == [channels] {
        return Ok(());
    }
    Err(Error::msg(format!("`{name}` got a parameter {:?}, expected [{channels}]", parameter.dims())))
}

/// `[N, C, plane]`, and which parameters are given.
fn checked(name: &str, x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>) -> Result<([usize; 3], [bool; 2])> {
    let [batch, channels, ..] = *x.dims() else {
        return Err(Error::msg(format!("`{name}` got {:?}, expected [N, C, ...]", x.dims())));
    };
    if !x.device().is_cpu() {
        return Err(elsewhere(name, x));
    }
    for parameter in [w, b].into_iter().flatten() {
        check_parameter(name, parameter, channels)?;
    }
    let plane = x.dims()[2..].iter().product();
    Ok(([batch, channels, plane], [w.is_some(), b.is_some()]))
}

fn call<N: Node>(node: N, x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>) -> Result<Tensor> {
    let ins: Vec<&Tensor> = [Some(x), w, b].into_iter().flatten().collect();
    apply(node, &ins)
}

/// Positions of weight and bias among the inputs.
fn positions([weight, bias]: [bool; 2]) -> [Option<usize>; 2] {
    [weight.then_some(1), bias.then_some(1 + usize::from(weight))]
}

struct Normalise {
    name: &'static str,
    dims: [usize; 3],
    parameters: [bool; 2],
    mean: Vec<f64>,
    rstd: Vec<f64>,
    /// Whether the statistics are functions of the input.
    of_batch: bool,
}

impl Normalise {
    fn scale<T: Float>(&self, weight: Option<&[T]>) -> Vec<T> {
        let mut scale: Vec<T> = narrowed(&self.rstd);
        if let Some(weight) = weight {
            scale.iter_mut().zip(weight).for_each(|(scale, weight)| *scale *= *weight);
        }
        scale
    }
}

impl Node for Normalise {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let [weight, bias] = positions(self.parameters).map(|at| at.map(|at| ins[at].data));
        let zeros = vec![<T as Float>::ZERO; self.dims[1]];
        let (mean, scale) = (narrowed(&self.mean), self.scale(weight));
        let mut out = vec![<T as Float>::ZERO; ins[0].data.len()];
        if self.dims[2] > 0 {
            channel_affine(ins[0].data, self.dims, [&mean, &scale, bias.unwrap_or(&zeros)], &mut out);
        }
        Ok((out, ins[0].dims.to_vec()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let places = positions(self.parameters);
        let weight = places[0].map(|at| call.ins[at].data);
        let mut grad_x = call.wanted[0].then(|| vec![<T as Float>::ZERO; call.grad.len()]);
        let mut grads: Grads<T> = vec![None; call.ins.len()];
        if self.dims[2] == 0 {
            return Ok(grads);
        }
        if let (false, Some(grad_x)) = (self.of_batch, &mut grad_x) {
            let zeros = vec![<T as Float>::ZERO; self.dims[1]];
            channel_affine(call.grad, self.dims, [&zeros, &self.scale(weight), &zeros], grad_x);
        }
        if self.of_batch || places.iter().flatten().any(|at| call.wanted[*at]) {
            let (mean, rstd): (Vec<T>, Vec<T>) = (narrowed(&self.mean), narrowed(&self.rstd));
            let through_batch = if self.of_batch { grad_x.as_deref_mut() } else { None };
            let both = [call.ins[0].data, call.grad];
            let sums = batch_norm_backward(both, self.dims, [&mean, &rstd], weight, through_batch);
            for (place, sums) in places.into_iter().zip([sums.weight, sums.bias]) {
                if let Some(at) = place {
                    grads[at] = Some(sums);
                }
            }
        }
        grads[0] = grad_x;
        Ok(grads)
    }
}

/// Layer norm over the last `normalized_dims` dims: `y = (x - mean) / sqrt(var + eps) * w + b`, biased variance.
///
/// # Shapes
/// - `x` `[..., D]`, `D` the last `normalized_dims` dims together; `w`, `b` of the shape of `D`
/// - returns the shape of `x`
///
/// # Errors
/// No or too many dims, an empty `D`, parameters of another shape or dtype, a device other than the CPU.
pub fn layer_norm(
    x: &Tensor,
    normalized_dims: usize,
    w: Option<&Tensor>,
    b: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let name = "layer_norm";
    let width = layer_width(name, x, normalized_dims, [w, b])?;
    let statistics = by_dtype!(x.dtype(), name, T => read::<T, _>(x, |x| {
        let rows = row_statistics(x.data, width, <T as Float>::of(eps));
        Ok(rows.iter().map(|row| row.map(Float::wide)).collect::<Vec<[f64; 2]>>())
    }))?;
    call(Layer { width, statistics, parameters: [w.is_some(), b.is_some()] }, x, w, b)
}

/// Elements of one row, once the shapes are known to fit.
fn layer_width(
    name: &'static str,
    x: &Tensor,
    normalized_dims: usize,
    parameters: [Option<&Tensor>; 2],
) -> Result<usize> {
    if normalized_dims == 0 || normalized_dims > x.rank() {
        return Err(Error::msg(format!("`{name}` over {normalized_dims} dims of {:?}", x.dims())));
    }
    if !x.device().is_cpu() {
        return Err(elsewhere(name, x));
    }
    let trailing = &x.dims()[x.rank() - normalized_dims..];
    let width: usize = trailing.iter().product();
    if width == 0 {
        return Err(Error::EmptyTensor { op: name }.bt());
    }
    for parameter in parameters.into_iter().flatten() {
        if parameter.dims() != trailing {
            let got = parameter.dims();
            return Err(Error::msg(format!("`{name}` got a parameter {got:?}, expected {trailing:?}")));
        }
    }
    Ok(width)
}

struct Layer {
    width: usize,
    /// Mean and reciprocal deviation by row.
    statistics: Vec<[f64; 2]>,
    parameters: [bool; 2],
}

impl Layer {
    fn rows<T: Float>(&self) -> Vec<[T; 2]> {
        self.statistics.iter().map(|row| row.map(T::of)).collect()
    }
}

impl Node for Layer {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let [weight, bias] = positions(self.parameters).map(|at| at.map(|at| ins[at].data));
        let mut out = vec![<T as Float>::ZERO; ins[0].data.len()];
        layer_norm_forward(ins[0].data, self.width, &self.rows(), weight, bias, &mut out);
        Ok((out, ins[0].dims.to_vec()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let places = positions(self.parameters);
        let weight = places[0].map(|at| call.ins[at].data);
        let mut grad_x = call.wanted[0].then(|| vec![<T as Float>::ZERO; call.grad.len()]);
        let wanted = places.iter().flatten().any(|at| call.wanted[*at]);
        let both = [call.ins[0].data, call.grad];
        let sums = layer_norm_backward(both, self.width, &self.rows(), weight, grad_x.as_deref_mut(), wanted);
        let mut grads: Grads<T> = vec![None; call.ins.len()];
        grads[0] = grad_x;
        if let Some(sums) = sums {
            for (place, sums) in places.into_iter().zip([sums.weight, sums.bias]) {
                if let Some(at) = place {
                    grads[at] = Some(sums);
                }
            }
        }
        Ok(grads)
    }
}
