//! A part's graph as a function of its inputs, in which everything that passes no gradient is held: what a difference quotient must be
//! taken of, to be the gradient.

use super::{Make, Step, steps};
use crate::ops::params::ParamSet;
use crate::ops::part::{Given, PortIn, Traced};
use candle_core::{Result, Tensor};
use std::collections::HashMap;
use stillhouse_plugin::op::Op;

/// The graph with what is held of the values at which it was made.
pub struct Surface {
    steps: Vec<Step>,
    results: Vec<(u32, String, usize)>,
    held: HashMap<usize, Tensor>,
    nodes: usize,
}

impl Surface {
    /// The graph at these values; `None` when it has values that are drawn anew in each call, or an input is not bound.
    ///
    /// # Errors
    /// An operation that fails.
    pub fn at(traced: &Traced, ports: &[PortIn<'_>], params: &ParamSet) -> Result<Option<Surface>> {
        let Some(steps) = steps(&traced.trace, ports) else { return Ok(None) };
        let results = traced.results.iter().map(|(role, name, _, node)| (*role, name.clone(), *node)).collect();
        let mut surface = Surface { steps, results, held: HashMap::new(), nodes: traced.trace.nodes().len() };
        let values = surface.walk(ports, params)?;
        for step in &surface.steps {
            let kept: &[usize] = match &step.make {
                Make::Op(Op::Detach) => &step.outputs,
                Make::Op(Op::BatchNormTrain { .. }) => &step.outputs[1..],
                Make::Op(Op::ScaleGrad { .. }) => &step.inputs,
                _ => &[],
            };
            surface.held.extend(kept.iter().filter_map(|node| Some((*node, values[*node].clone()?))));
        }
        // An input of `scale_grad` is held for its slope only; its own value moves.
        Ok(Some(surface))
    }

    /// The results for other values.
    ///
    /// # Errors
    /// An operation that fails.
    pub fn value(&self, ports: &[PortIn<'_>], params: &ParamSet) -> Result<Given> {
        let values = self.walk(ports, params)?;
        let mut given = Given::default();
        for (role, name, node) in &self.results {
            let Some(value) = values[*node].clone() else { candle_core::bail!("no value") };
            given.take(*role, name.clone(), value);
        }
        Ok(given)
    }

    fn walk(&self, ports: &[PortIn<'_>], params: &ParamSet) -> Result<Vec<Option<Tensor>>> {
        let mut values: Vec<Option<Tensor>> = vec![None; self.nodes];
        for step in &self.steps {
            let made = match (&step.make, step.outputs.first().and_then(|node| self.held.get(node))) {
                (Make::Op(Op::Detach), Some(held)) => smallvec::smallvec![held.clone()],
                (Make::Op(Op::ScaleGrad { factor }), _) => match self.held.get(&step.inputs[0]) {
                    Some(base) => smallvec::smallvec![scaled(&values, step.inputs[0], base, *factor)?],
                    None => step.run(&values, ports, params)?,
                },
                _ => step.run(&values, ports, params)?,
            };
            for (at, (node, value)) in step.outputs.iter().zip(made).enumerate() {
                let is_statistic = at > 0 && matches!(step.make, Make::Op(Op::BatchNormTrain { .. }));
                let held = self.held.get(node).filter(|_| is_statistic);
                values[*node] = Some(held.cloned().unwrap_or(value));
            }
        }
        Ok(values)
    }
}

/// A value whose slope is `factor` at its base.
fn scaled(values: &[Option<Tensor>], input: usize, base: &Tensor, factor: f64) -> Result<Tensor> {
    let Some(value) = &values[input] else { candle_core::bail!("no value") };
    base + ((value - base)? * factor)?
}
