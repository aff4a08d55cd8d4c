//! Fully connected layers, and other shapes of a sample.

use super::backward::{Back, Backward, Slot};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::value::{Value, from_rows, to_rows};
use crate::graph::LayerKind;
use crate::ops::slices::read;
use candle_core::Result;
use std::rc::Rc;
use stillhouse_kernels::nhwc::linear::Linear;

pub(super) fn linear(run: &mut Run<'_>, index: usize, x: Value) -> Result<Made> {
    let x = x.store();
    let bias = run.vector(index, "bias")?;
    let inputs = x.shape.last().copied().unwrap_or(1);
    let multiply = |weights: &[f32]| {
        let linear = Linear { rows: x.raw.len() / inputs.max(1), inputs, outputs: weights.len() / inputs.max(1) };
        let mut out = Buffer::new(linear.rows * linear.outputs);
        linear.forward(&x.raw, weights, bias.as_deref(), &mut out);
        (linear, out)
    };
    let Some((linear, out)) = run.with(index, "weight", multiply)? else { candle_core::bail!("has no `weight`") };
    let mut shape = x.shape.to_vec();
    shape.iter_mut().skip(1).last().into_iter().for_each(|last| *last = linear.outputs);
    let value = Value::stored(&shape, out);
    let back = Dense {
        linear,
        x,
        below: run.below(index, 0),
        name: run.network.graph.layers[index].path.clone(),
        trained: ["weight", "bias"].map(|suffix| run.is_trained(index, suffix)),
    };
    Ok((value, Some(Box::new(back))))
}

struct Dense {
    linear: Linear,
    x: Value,
    below: Option<usize>,
    name: String,
    /// Weight and bias.
    trained: [bool; 2],
}

impl Back for Dense {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let Linear { inputs, outputs, .. } = self.linear;
        let grad = slot.formed(outputs);
        if let Some(below) = self.below {
            let weight = format!("{}.weight", self.name);
            let Some(entry) = cx.params.get(&weight) else { candle_core::bail!("has no `weight`") };
            let (mut buffer, accumulate) = cx.target(below, self.x.raw.len());
            read(entry.var.as_tensor(), |weights| {
                self.linear.backward_data(&grad, weights, &mut buffer, accumulate);
            })?;
            cx.put(below, buffer);
        }
        let (mut dw, mut db) = (vec![0.0; inputs * outputs], vec![0.0; outputs]);
        let wanted = (self.trained[0].then_some(&mut dw[..]), self.trained[1].then_some(&mut db[..]));
        self.linear.backward_weights(&self.x.raw, &grad, wanted.0, wanted.1, false);
        if self.trained[0] {
            cx.found(&format!("{}.weight", self.name), dw, &[outputs, inputs])?;
        }
        if self.trained[1] {
            cx.found(&format!("{}.bias", self.name), db, &[outputs])?;
        }
        Ok(())
    }
}

/// Another shape of the same values in the graph's order.
pub(super) fn reshape(run: &mut Run<'_>, index: usize, kind: &LayerKind, x: Value) -> Result<Made> {
    let x = x.store();
    let mut shape = vec![x.shape[0]];
    match kind {
        LayerKind::Reshape { shape: sample } => shape.extend(sample),
        _ => shape.push(x.shape.iter().skip(1).product()),
    }
    let mut out = Buffer::new(x.raw.len());
    from_rows(&to_rows(&x.raw, &x.shape), &shape, &mut out, false);
    let value = Value::stored(&shape, out);
    let back = Reshape { from: x.shape.clone(), to: value.shape.clone(), below: run.below(index, 0) };
    Ok((value, Some(Box::new(back))))
}

struct Reshape {
    from: Rc<[usize]>,
    to: Rc<[usize]>,
    below: Option<usize>,
}

impl Back for Reshape {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let Some(below) = self.below else { return Ok(()) };
        let channels = if matches!(self.to.len(), 2 | 4) { self.to[1] } else { 1 };
        let grad = slot.formed(channels);
        let (mut buffer, accumulate) = cx.target(below, grad.len());
        from_rows(&to_rows(&grad, &self.to), &self.from, &mut buffer, accumulate);
        cx.put(below, buffer);
        Ok(())
    }
}
