//! Batch norm of maps that lie channels last.

use super::super::node::{Call, Element, Grads, Node, View, apply, read};
use super::super::norm::BatchNorm;
use super::conv::single;
use super::{lying, standing};
use candle_core::{DType, Result, Tensor};
use stillhouse_kernels::nhwc::norm::{Coefficients, Statistics, apply as affine, channel_sums, form, product_sums};
use stillhouse_kernels::nhwc::{Activation, Load};

/// As the function of the crate, whose checks are done.
pub(crate) fn batch_norm_train(
    x: &Tensor,
    parameters: [Option<&Tensor>; 2],
    eps: f64,
    name: &'static str,
) -> Result<BatchNorm> {
    let channels = x.dims()[1];
    let x = lying(x)?;
    let rows = x.elem_count() / channels.max(1);
    let mut sums = vec![0.0; 2 * channels];
    read::<f32, _>(&x.detach(), |x| {
        channel_sums(x.data, channels, &mut sums);
        Ok(())
    })?;
    let mut batch = Statistics::new(channels);
    batch.finish(&sums, rows, None, None, eps);
    let unbias = rows as f64 / (rows as f64 - 1.0);
    let unbiased: Vec<f32> = batch.variance.iter().map(|v| (f64::from(*v) * unbias) as f32).collect();
    let mean = Tensor::from_slice(&batch.mean, channels, x.device())?;
    let var_unbiased = Tensor::from_vec(unbiased, channels, x.device())?;
    let of_batch = true;
    Ok(BatchNorm { y: run(Lying { name, sums, rows, eps, of_batch }, &x, parameters)?, mean, var_unbiased })
}

/// As the function of the crate, whose checks are done.
pub(crate) fn batch_norm_eval(
    x: &Tensor,
    [mean, variance]: [&Tensor; 2],
    parameters: [Option<&Tensor>; 2],
    eps: f64,
    name: &'static str,
) -> Result<Tensor> {
    let wide = |tensor: &Tensor| tensor.detach().to_dtype(DType::F64)?.to_vec1::<f64>();
    let sums = [wide(mean)?, wide(variance)?].concat();
    run(Lying { name, sums, rows: 0, eps, of_batch: false }, &lying(x)?, parameters)
}

fn run(node: Lying, x: &Tensor, [weight, bias]: [Option<&Tensor>; 2]) -> Result<Tensor> {
    let channels = x.dims()[3];
    let like = |value: f32| Tensor::full(value, channels, x.device());
    let weight = weight.cloned().map_or_else(|| like(1.0), Ok)?;
    let bias = bias.cloned().map_or_else(|| like(0.0), Ok)?;
    standing(&apply(node, &[x, &weight, &bias])?)
}

struct Lying {
    name: &'static str,
    /// Of the batch: sums of the channels and of their squares. Else means and variances.
    sums: Vec<f64>,
    rows: usize,
    eps: f64,
    of_batch: bool,
}

impl Lying {
    fn statistics(&self, [weight, bias]: [&[f32]; 2]) -> Statistics {
        let channels = weight.len();
        let mut statistics = Statistics::new(channels);
        if self.of_batch {
            statistics.finish(&self.sums, self.rows, Some(weight), Some(bias), self.eps);
        } else {
            let narrow: Vec<f32> = self.sums.iter().map(|value| *value as f32).collect();
            let (mean, variance) = narrow.split_at(channels);
            statistics.fixed([mean, variance], Some(weight), Some(bias), self.eps);
        }
        statistics
    }
}

impl Node for Lying {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let slice = |at: usize| single(self.name, ins[at].data);
        let statistics = self.statistics([slice(1)?, slice(2)?]);
        let mut out = vec![0.0; ins[0].data.len()];
        let load = Load { values: slice(0)?, affine: Some(statistics.affine()), activation: Activation::None };
        affine(load, None, Activation::None, ins[1].data.len(), &mut out);
        Ok((T::of_single(out), ins[0].dims.to_vec()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let slice = |at: usize| single(self.name, call.ins[at].data);
        let (x, grad, channels) = (slice(0)?, single(self.name, call.grad)?, call.ins[1].data.len());
        let statistics = self.statistics([slice(1)?, slice(2)?]);
        let mut sums = vec![0.0; 2 * channels];
        product_sums(grad, x, channels, &mut sums);
        let mut coefficients = Coefficients::new(channels);
        if self.of_batch {
            coefficients.finish(&sums, self.rows, &statistics);
        } else {
            coefficients.finish_fixed(&sums, &statistics);
        }
        let grad_x = call.wanted[0].then(|| {
            let mut out = vec![0.0; x.len()];
            form(coefficients.grad(grad, x), channels, &mut out, false);
            T::of_single(out)
        });
        let Coefficients { weight, bias, .. } = coefficients;
        Ok(vec![grad_x, Some(T::of_single(weight)), Some(T::of_single(bias))])
    }
}
