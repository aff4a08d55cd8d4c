//! Softmax, log-softmax and cross-entropy.

use super::node::{Call, Element, Grads, Node, View, apply, elsewhere};
use super::reduce::around;
use candle_core::{DType, Error, Result, Tensor};
use stillhouse_kernels::Float;
use stillhouse_kernels::softmax::{
    cross_entropy_backward, cross_entropy_forward, log_softmax_backward, log_softmax_forward, softmax_backward,
    softmax_forward,
};

/// `e^x / sum e^x` along `dim`, without overflow. Keeps the shape.
///
/// # Errors
/// A dim out of range; a dtype other than `f32` and `f64`.
pub fn softmax(x: &Tensor, dim: usize) -> Result<Tensor> {
    let split = around("softmax", x.dims(), dim)?;
    if !x.device().is_cpu() {
        let e = x.broadcast_sub(&x.detach().max_keepdim(dim)?)?.exp()?;
        return e.broadcast_div(&e.sum_keepdim(dim)?);
    }
    apply(Softmax { split, log: false }, &[x])
}

/// `x - ln sum e^x` along `dim`, without overflow. Keeps the shape.
///
/// # Errors
/// As [`softmax`].
pub fn log_softmax(x: &Tensor, dim: usize) -> Result<Tensor> {
    let split = around("log_softmax", x.dims(), dim)?;
    if !x.device().is_cpu() {
        let shifted = x.broadcast_sub(&x.detach().max_keepdim(dim)?)?;
        return shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(dim)?.log()?);
    }
    apply(Softmax { split, log: true }, &[x])
}

struct Softmax {
    split: [usize; 3],
    log: bool,
}

impl Node for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let mut out = vec![<T as Float>::ZERO; ins[0].data.len()];
        match (out.is_empty(), self.log) {
            (true, _) => {}
            (_, true) => log_softmax_forward(ins[0].data, self.split, &mut out),
            (_, false) => softmax_forward(ins[0].data, self.split, &mut out),
        }
        Ok((out, ins[0].dims.to_vec()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let mut grad = vec![<T as Float>::ZERO; call.grad.len()];
        match (grad.is_empty(), self.log) {
            (true, _) => {}
            (_, true) => log_softmax_backward([call.out, call.grad], self.split, &mut grad),
            (_, false) => softmax_backward([call.out, call.grad], self.split, &mut grad),
        }
        Ok(vec![Some(grad)])
    }
}

/// What becomes of the losses of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// One loss a sample, `[N]`.
    None,
    /// Their mean, `[]`.
    Mean,
}

/// Cross-entropy of logits against classes, in nats, fused with the log-softmax.
///
/// ```text
/// l_n = -(1 - smoothing) ln q_n[label_n] - smoothing / C * sum_c ln q_nc     q = softmax(logits)
/// ```
///
/// # Shapes
/// - `logits` `[N, C]` float; carries gradient
/// - `labels` `[N]` of `u8`, `u32` or `i64`, below `C`
/// - returns `[N]`, or `[]` for the mean over N
///
/// # Errors
/// Other shapes or dtypes, a label that is not a class, `smoothing` outside 0 to 1, N = 0 for the mean, a device other than
/// the CPU.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64, reduction: Reduction) -> Result<Tensor> {
    let name = "cross_entropy";
    let (batch, classes) = logits.dims2()?;
    if labels.dims() != [batch] {
        return Err(Error::msg(format!("`{name}` got {:?} labels for logits {:?}", labels.dims(), logits.dims())));
    }
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(Error::msg(format!("`{name}` got label smoothing {smoothing}, expected 0 to 1")));
    }
    if reduction == Reduction::Mean && batch == 0 {
        return Err(Error::EmptyTensor { op: name }.bt());
    }
    if !logits.device().is_cpu() {
        return Err(elsewhere(name, logits));
    }
    let labels = classes_of(name, labels, classes)?;
    apply(CrossEntropy { labels, smoothing, mean: reduction == Reduction::Mean }, &[logits])
}

fn classes_of(name: &str, labels: &Tensor, classes: usize) -> Result<Vec<u32>> {
    if !matches!(labels.dtype(), DType::U8 | DType::U32 | DType::I64) {
        return Err(Error::msg(format!("`{name}` got labels of {:?}, expected u8, u32 or i64", labels.dtype())));
    }
    let labels: Vec<i64> = labels.to_dtype(DType::I64)?.to_vec1()?;
    let class = |(row, label): (usize, i64)| match u32::try_from(label) {
        Ok(label) if (label as usize) < classes => Ok(label),
        _ => {
            Err(Error::msg(format!("`{name}` got label {label} of sample {row}, expected 0 to {}", classes.max(1) - 1)))
        }
    };
    labels.into_iter().enumerate().map(class).collect()
}

struct CrossEntropy {
    labels: Vec<u32>,
    smoothing: f64,
    mean: bool,
}

impl Node for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let batch = self.labels.len();
        let mut losses = vec![<T as Float>::ZERO; batch];
        cross_entropy_forward(ins[0].data, &self.labels, <T as Float>::of(self.smoothing), &mut losses);
        if !self.mean {
            return Ok((losses, vec![batch]));
        }
        let total: f64 = losses.iter().map(|loss| loss.wide()).sum();
        Ok((vec![<T as Float>::of(total / batch as f64)], vec![]))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let mut grad = vec![<T as Float>::ZERO; call.ins[0].data.len()];
        let smoothing = <T as Float>::of(self.smoothing);
        let shared =
            [call.grad.first().copied().unwrap_or(<T as Float>::ZERO) / <T as Float>::of(self.labels.len() as f64)];
        let of_losses = if self.mean { &shared[..] } else { call.grad };
        if !grad.is_empty() {
            cross_entropy_backward(call.ins[0].data, &self.labels, smoothing, of_losses, &mut grad);
        }
        Ok(vec![Some(grad)])
    }
}
