//! A predictor's frame: the true one, or what it predicted at the position before.

use super::backward::{Back, Backward, Slot};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::state;
use super::value::Value;
use crate::exec::next_frame::shares;
use crate::graph::{LayerKind, NEXT};
use candle_core::Result;

/// The mixture of the frame and the prediction.
pub(super) fn run(run: &mut Run<'_>, index: usize, given: usize, x: Value) -> Result<Made> {
    let batch = x.shape.first().copied().unwrap_or(1);
    let shares = shares(run.spec, given, run.moment.frame as usize, batch);
    let (Some(shares), Some(memory)) = (shares, run.memories.get(&index)) else { return Ok((x, None)) };
    let (x, predicted) = (x.store(), memory.hidden.clone());
    let mut out = Buffer::copy(&x.raw);
    each(&shares, &mut out, |at, share, values| {
        let other = &predicted[at..at + values.len()];
        values.iter_mut().zip(other).for_each(|(value, other)| *value = share * *value + (1.0 - share) * other);
    });
    let back = Mixed { shares, output: run.network.graph.output, channels: x.channels() };
    Ok((Value::stored(&x.shape, out), Some(Box::new(back))))
}

/// Whether a prediction that has a gradient is read.
pub(super) fn is_tracked(run: &Run<'_>, index: usize) -> bool {
    let LayerKind::NextFrame { given } = run.network.graph.layers[index].kind else { return false };
    run.moment.frame as usize >= given && run.memories.get(&index).is_some_and(|memory| memory.tracked)
}

/// Whether a recurrent layer of a predictor must keep its frames although nothing of it is trained: a later frame that reads a
/// prediction goes back over all of them.
pub(super) fn keeps(run: &Run<'_>, index: usize) -> bool {
    let (graph, layers) = (&run.network.graph, run.network.graph.layers.len());
    let kind = &graph.layers[index].kind;
    let is_recurrent = !kind.state().is_empty() && !matches!(kind, LayerKind::NextFrame { .. });
    is_recurrent && graph.given().is_some() && (0..layers).any(|layer| run.trains(layer))
}

/// Keeps the frame's prediction for the next one.
pub(super) fn leave(run: &mut Run<'_>) -> Result<()> {
    if run.network.graph.given().is_none() {
        return Ok(());
    }
    let output = run.network.graph.output;
    let Some(value) = &run.values[output] else { candle_core::bail!("gave no prediction") };
    let (frame, tracked) = (value.store().raw, run.wants[output]);
    state::predicted(run, 0, frame, tracked);
    Ok(())
}

/// Hands each sample's values to `task`, with their place and the sample's share.
fn each(shares: &[f32], values: &mut [f32], task: impl Fn(usize, f32, &mut [f32])) {
    let len = (values.len() / shares.len().max(1)).max(1);
    for (sample, (share, values)) in shares.iter().zip(values.chunks_mut(len)).enumerate() {
        task(sample * len, *share, values);
    }
}

struct Mixed {
    shares: Vec<f32>,
    output: usize,
    channels: usize,
}

impl Back for Mixed {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let mut gradient = Buffer::copy(&slot.formed(self.channels));
        each(&self.shares, &mut gradient, |_, share, values| {
            values.iter_mut().for_each(|value| *value *= 1.0 - share);
        });
        cx.hand_before(self.output, NEXT, gradient);
        Ok(())
    }
}
