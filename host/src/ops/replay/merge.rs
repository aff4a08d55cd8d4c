//! Operations of a graph that one function computes, to the bit, without the values between.

use super::{Make, Output, Step, readers};
use std::collections::HashMap;
use stillhouse_plugin::op::{Meta, Op};

/// Merges `mean((a - b)^2)` and `sum((a - b)^2)` over everything, where nothing else reads the values between.
pub(super) fn distances(steps: &mut Vec<Step>, outputs: &[Output], metas: &[Meta]) {
    let readers = readers(steps, outputs);
    let made_by: HashMap<usize, usize> =
        steps.iter().enumerate().filter_map(|(at, step)| Some((*step.outputs.first()?, at))).collect();
    let mut gone = vec![];
    for at in 0..steps.len() {
        let Some(factor) = factor(&steps[at], metas) else { continue };
        // What a step reads first, when no other step reads it.
        let below = |at: usize| {
            let node = steps[at].inputs.first()?;
            (readers.get(node) == Some(&1)).then(|| made_by.get(node).copied()).flatten()
        };
        let Some(square) = below(at).filter(|at| matches!(steps[*at].make, Make::Op(Op::Square))) else { continue };
        let Some(sub) = below(square).filter(|at| is_plain_sub(&steps[*at], metas)) else { continue };
        let inputs = steps[sub].inputs.clone();
        steps[at].make = Make::SquaredDistance(factor);
        steps[at].inputs = inputs;
        gone.extend([square, sub]);
    }
    let mut at = 0;
    steps.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
}

/// Of a sum or mean over everything to a scalar: what it multiplies by.
fn factor(step: &Step, metas: &[Meta]) -> Option<f64> {
    let meta = metas.get(*step.inputs.first()?)?;
    let (dims, keep, factor) = match &step.make {
        Make::Op(Op::Sum { dims, keep }) => (dims, keep, 1.0),
        Make::Op(Op::Mean { dims, keep }) => (dims, keep, 1.0 / meta.count() as f64),
        _ => return None,
    };
    let all = dims.is_empty() || dims.len() == meta.shape.len();
    (all && !keep && meta.dtype.is_float() && !meta.shape.is_empty()).then_some(factor)
}

/// Without broadcasting.
fn is_plain_sub(step: &Step, metas: &[Meta]) -> bool {
    let [a, b] = step.inputs[..] else { return false };
    matches!(step.make, Make::Op(Op::Sub)) && metas[a].shape == metas[b].shape && metas[a].dtype == metas[b].dtype
}
