//! Tokens `[N, T, D]`: from a map, behind a learned one, with learned positions.

use super::backward::{Back, Backward, Slot};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::value::Value;
use candle_core::{Error, Result};
use std::rc::Rc;
use stillhouse_kernels::nhwc::activation::scaled;

/// A map lies in memory as its tokens do.
pub(super) fn of_map(run: &mut Run<'_>, index: usize, x: Value) -> Result<Made> {
    let x = x.store();
    let shape = [x.shape[0], x.pixels(), x.channels()];
    let value = Value { shape: shape.as_slice().into(), ..x };
    Ok((value, Some(Box::new(Same { below: run.below(index, 0) }))))
}

struct Same {
    below: Option<usize>,
}

impl Back for Same {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        if let Some(below) = self.below {
            cx.share(below, Slot::plain(slot.formed(1)));
        }
        Ok(())
    }
}

/// A learned token before those of each sample.
pub(super) fn behind(run: &mut Run<'_>, index: usize, x: Value) -> Result<Made> {
    let x = x.store();
    let token = learned(run, index)?;
    let (batch, sample, features) = (x.shape[0], x.raw.len() / x.shape[0].max(1), token.len());
    let shape = [batch, x.shape[1] + 1, x.shape[2]];
    let mut out = Buffer::new(shape.iter().product());
    for (out, x) in out.chunks_exact_mut(sample + features).zip(x.raw.chunks_exact(sample)) {
        out[..features].copy_from_slice(&token);
        out[features..].copy_from_slice(x);
    }
    let back = Behind { sample, learned: Learned::new(run, index, [1, 1, features]), below: run.below(index, 0) };
    Ok((Value::stored(&shape, out), Some(Box::new(back))))
}

struct Behind {
    /// Elements of a sample of the input.
    sample: usize,
    learned: Learned,
    below: Option<usize>,
}

impl Back for Behind {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let grad = slot.formed(1);
        let features = self.learned.len();
        let each = self.sample + features;
        self.learned.found(grad.chunks_exact(each).map(|grad| &grad[..features]), cx)?;
        if let Some(below) = self.below {
            let (mut buffer, accumulate) = cx.target(below, grad.len() / each * self.sample);
            for (out, grad) in buffer.chunks_exact_mut(self.sample).zip(grad.chunks_exact(each)) {
                scaled(&grad[features..], 1.0, out, accumulate);
            }
            cx.put(below, buffer);
        }
        Ok(())
    }
}

/// The sum with one learned vector for each position.
pub(super) fn positions(run: &mut Run<'_>, index: usize, x: Value) -> Result<Made> {
    let x = x.store();
    let learned_values = learned(run, index)?;
    let mut out = Buffer::copy(&x.raw);
    let samples = out.chunks_exact_mut(learned_values.len().max(1));
    samples.for_each(|out| out.iter_mut().zip(&learned_values).for_each(|(out, value)| *out += value));
    let shape = [1, x.shape[1], x.shape[2]];
    let back = Positions { learned: Learned::new(run, index, shape), below: run.below(index, 0) };
    Ok((Value::stored(&x.shape, out), Some(Box::new(back))))
}

struct Positions {
    learned: Learned,
    below: Option<usize>,
}

impl Back for Positions {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let grad = slot.formed(1);
        self.learned.found(grad.chunks_exact(self.learned.len().max(1)), cx)?;
        if let Some(below) = self.below {
            cx.share(below, Slot::plain(Rc::clone(&grad)));
        }
        Ok(())
    }
}

fn learned(run: &Run<'_>, index: usize) -> Result<Vec<f32>> {
    let path = &run.network.graph.layers[index].path;
    run.vector(index, "")?.ok_or_else(|| Error::Msg(format!("has no parameter `{path}`")))
}

/// A parameter that every sample reads.
struct Learned {
    name: String,
    shape: [usize; 3],
    trained: bool,
}

impl Learned {
    fn new(run: &Run<'_>, index: usize, shape: [usize; 3]) -> Learned {
        Learned { name: run.name(index, ""), shape, trained: run.is_trained(index, "") }
    }

    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its gradient is the sum over the samples'.
    fn found<'a>(&self, samples: impl Iterator<Item = &'a [f32]>, cx: &mut Backward<'_>) -> Result<()> {
        if !self.trained {
            return Ok(());
        }
        let mut sums = vec![0.0; self.len()];
        samples.for_each(|grad| sums.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad));
        cx.found(&self.name, sums, &self.shape)
    }
}
