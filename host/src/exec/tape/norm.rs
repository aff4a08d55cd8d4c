//! Batch norm over what is read, layer norm over rows.

use super::backward::{Back, Backward, Slot, unique};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::value::Value;
use crate::ops::Staged;
use candle_core::{Device, Error, Result, Tensor};
use std::rc::Rc;
use stillhouse_kernels::nhwc::Activation;
use stillhouse_kernels::nhwc::layer_norm::{layer_norm_backward, layer_norm_forward};
use stillhouse_kernels::nhwc::norm::{Coefficients, Statistics, channel_sums, product_sums};

fn missing(suffix: &str) -> Error {
    Error::Msg(format!("has no `{suffix}`"))
}

/// By the batch in training, unless the layer is frozen; the running statistics then move after the update.
pub(super) fn batch(run: &mut Run<'_>, index: usize, x: Value, eps: f64, momentum: f64) -> Result<Made> {
    let x = x.store();
    let vector = |suffix: &str| run.vector(index, suffix)?.ok_or_else(|| missing(suffix));
    let (weight, bias) = (vector("weight")?, vector("bias")?);
    let moved = |suffix: &str| run.moved(index, suffix)?.ok_or_else(|| missing(suffix));
    let (mut mean, mut variance) = (moved("running_mean")?, moved("running_var")?);
    let fixed = run.is_fixed(index);
    let mut statistics = Statistics::new(x.channels());
    if fixed {
        statistics.fixed([&mean, &variance], Some(&weight), Some(&bias), eps);
    } else {
        if x.rows() < 2 {
            candle_core::bail!("batch normalisation wants two values a channel or more in training, got 1");
        }
        let before = run.network.graph.layers[index].inputs.first().and_then(crate::graph::Source::layer);
        let sums = before.and_then(|before| run.sums.get(&before).cloned()).unwrap_or_else(|| {
            let mut sums = vec![0.0; 2 * x.channels()];
            channel_sums(&x.raw, x.channels(), &mut sums);
            sums
        });
        statistics.finish(&sums, x.rows(), Some(&weight), Some(&bias), eps);
        statistics.update_running(x.rows(), momentum, &mut mean, &mut variance);
        for (suffix, values) in [("running_mean", mean), ("running_var", variance)] {
            let value = Tensor::from_vec(values, x.channels(), &Device::Cpu)?;
            run.stage(Staged::Whole { name: run.name(index, suffix), value });
        }
    }
    run.norm_of[index] = Some(index);
    let statistics = Rc::new(statistics);
    let value = Value { norm: Some(statistics.clone()), activation: Activation::None, ..x.clone() };
    let back = BatchNorm {
        raw: x,
        statistics,
        fixed,
        below: run.below(index, 0),
        names: ["weight", "bias"].map(|suffix| run.is_trained(index, suffix).then(|| run.name(index, suffix))),
    };
    Ok((value, Some(Box::new(back))))
}

struct BatchNorm {
    raw: Value,
    statistics: Rc<Statistics>,
    fixed: bool,
    below: Option<usize>,
    /// Names of weight and bias where they are trained.
    names: [Option<String>; 2],
}

impl Back for BatchNorm {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let channels = self.raw.channels();
        let Slot { dz, norm, sums } = slot;
        let (dz, sums) = match (norm, sums) {
            (None, Some(sums)) => (dz, sums),
            (norm, _) => {
                let dz = Slot { dz, norm, sums: None }.formed(channels);
                let mut sums = vec![0.0; 2 * channels];
                product_sums(&dz, &self.raw.raw, channels, &mut sums);
                (dz, sums)
            }
        };
        let mut coefficients = Coefficients::new(channels);
        if self.fixed {
            coefficients.finish_fixed(&sums, &self.statistics);
        } else {
            coefficients.finish(&sums, self.raw.rows(), &self.statistics);
        }
        let gradients = [std::mem::take(&mut coefficients.weight), std::mem::take(&mut coefficients.bias)];
        for (name, values) in self.names.iter().zip(gradients) {
            if let Some(name) = name {
                cx.found(name, values, &[channels])?;
            }
        }
        if let Some(below) = self.below {
            let norm = Some((self.raw.raw.clone(), Rc::new(coefficients)));
            cx.share(below, Slot { dz, norm, sums: None });
        }
        Ok(())
    }
}

/// Over rows: the last dimensions of values that lie as the graph has them.
pub(super) fn layer(run: &mut Run<'_>, index: usize, x: Value, dims: Option<usize>, eps: f64) -> Result<Made> {
    let x = x.store();
    let trailing = x.shape.len() - dims.unwrap_or(x.shape.len() - 1).min(x.shape.len());
    let width = x.shape[trailing..].iter().product::<usize>();
    let (weight, bias) = (run.vector(index, "weight")?, run.vector(index, "bias")?);
    let mut statistics = vec![[0.0; 2]; x.raw.len() / width.max(1)];
    let mut out = Buffer::new(x.raw.len());
    let parameters = [weight.as_deref(), bias.as_deref()];
    layer_norm_forward(&x.raw, width, parameters, eps as f32, &mut statistics, &mut out);
    let shape = x.shape.clone();
    let back = LayerNorm {
        row: shape[trailing..].to_vec(),
        x,
        statistics,
        weight,
        below: run.below(index, 0),
        names: ["weight", "bias"].map(|suffix| run.is_trained(index, suffix).then(|| run.name(index, suffix))),
    };
    Ok((Value::stored(&shape, out), Some(Box::new(back))))
}

struct LayerNorm {
    x: Value,
    /// Shape of what is normalised together.
    row: Vec<usize>,
    statistics: Vec<[f32; 2]>,
    weight: Option<Vec<f32>>,
    below: Option<usize>,
    names: [Option<String>; 2],
}

impl Back for LayerNorm {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let width = self.row.iter().product::<usize>();
        let grad = unique(slot.formed(width));
        let mut target = self.below.map(|below| (below, cx.target(below, self.x.raw.len())));
        let mut parameters = [vec![0.0; width], vec![0.0; width]];
        let [dw, db] = &mut parameters;
        let grad_x = target.as_mut().map(|(_, (buffer, accumulate))| (&mut buffer[..], *accumulate));
        let weight = self.weight.as_deref();
        layer_norm_backward([&self.x.raw, &grad], width, &self.statistics, weight, grad_x, Some([dw, db]));
        if let Some((below, (buffer, _))) = target {
            cx.put(below, buffer);
        }
        for (name, values) in self.names.iter().zip(parameters) {
            if let Some(name) = name {
                cx.found(name, values, &self.row)?;
            }
        }
        Ok(())
    }
}
