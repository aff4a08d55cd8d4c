//! A layer that the tape has no kernel for, or a module: computed on candle, in the middle of the tape.

use super::backward::{Back, Backward, ParamGrad, Slot, to_tensor};
use super::forward::{Made, Run};
use super::value::{Value, copy_in};
use crate::exec::layer::{Env, run_layer};
use crate::exec::network::NetworkError;
use crate::exec::pass::StagedIn;
use crate::graph::LayerKind;
use crate::ops::{ParamKind, ParamSet, native};
use candle_core::{Error, Result, Tensor, Var};
use std::rc::Rc;

pub(super) fn run(run: &mut Run<'_>, index: usize) -> Result<Made> {
    let layer = &run.network.graph.layers[index];
    let (mut inputs, mut leaves) = (vec![], vec![]);
    for at in 0..run.terms(index).len() {
        let mut tensor = run.read(index, at)?.to_tensor()?;
        if let Some(below) = run.below(index, at) {
            let leaf = Var::from_tensor(&tensor)?;
            tensor = leaf.as_tensor().clone();
            leaves.push((below, leaf));
        }
        inputs.push(tensor);
    }
    let mut island = if matches!(layer.kind, LayerKind::Module) {
        module(run, index, &inputs)?
    } else {
        let (params, path) = (run.network.params.clone(), layer.path.as_str());
        let env = Env { params: &params, path, spec: run.spec, moment: run.moment, staged: &run.out.staged };
        let (output, staged) = run_layer(&layer.kind, &inputs, &env)?;
        run.out.staged.extend(staged.into_iter().map(|change| StagedIn { params: params.clone(), change }));
        Island::new(index, output, params, format!("{path}."))?
    };
    // A tapped inner value of a module is on candle's tape: its gradient comes to these by itself.
    run.leaves.extend(leaves.iter().map(|(below, leaf): &(usize, Var)| (*below, leaf.as_tensor().clone())));
    island.leaves = leaves;
    Ok((island.like.clone(), Some(Box::new(island))))
}

/// A module's state from the frame before enters as variables; their gradients go on in the walk back over that frame.
fn module(run: &mut Run<'_>, index: usize, inputs: &[Tensor]) -> Result<Island> {
    let Some(slot) = run.network.modules.get(&index) else { candle_core::bail!("its module is missing") };
    let mut states_in = vec![];
    for (name, state) in run.states.get_mut(&index).into_iter().flatten() {
        let leaf = Var::from_tensor(&state.detach())?;
        *state = leaf.as_tensor().clone();
        states_in.push((name.clone(), leaf));
    }
    let given = run.network.module(index, inputs, run.spec, run.moment, &mut run.states, &mut run.out);
    let output = given.map_err(|error| Error::Msg(inner(error)))?;
    let states_out = run.states.get(&index).cloned().unwrap_or_default();
    Ok(Island { states_in, states_out, ..Island::new(index, output, slot.part.params().clone(), String::new())? })
}

/// The layer is named by the caller.
fn inner(error: NetworkError) -> String {
    match error {
        NetworkError::Layer { message, .. } => message,
        other => other.to_string(),
    }
}

struct Island {
    index: usize,
    /// On candle's tape.
    output: Tensor,
    leaves: Vec<(usize, Var)>,
    like: Value,
    states_in: Vec<(String, Var)>,
    states_out: Vec<(String, Tensor)>,
    params: Rc<ParamSet>,
    /// Of the names of the layer's parameters in `params`.
    prefix: String,
}

impl Island {
    fn new(index: usize, output: Tensor, params: Rc<ParamSet>, prefix: String) -> Result<Island> {
        let like = Value::from_tensor(&output.detach())?;
        let (leaves, states_in, states_out) = (vec![], vec![], vec![]);
        Ok(Island { index, output, leaves, like, states_in, states_out, params, prefix })
    }

    /// From everything of the layer that has a gradient, to its inputs, state and parameters.
    fn walk(&self, output: Option<Slot>, cx: &mut Backward<'_>) -> Result<()> {
        let mut starts = vec![];
        if let Some(slot) = output {
            starts.push(native::seeded(&self.output, &to_tensor(slot, &self.like)?)?);
        }
        for (name, state) in &self.states_out {
            if let Some(gradient) = cx.carried.get(&(self.index, name.clone())) {
                starts.push(native::seeded(state, gradient)?);
            }
        }
        for (name, leaf) in &self.states_in {
            cx.carry(self.index, name, cx.store.get(leaf))?;
        }
        let Some(start) = starts.into_iter().map(Ok).reduce(|a, b| a? + b?) else { return Ok(()) };
        let store = start?.backward()?;
        for (below, leaf) in &self.leaves {
            if let Some(gradient) = store.get(leaf) {
                let (mut buffer, accumulate) = cx.target(*below, gradient.elem_count());
                copy_in(gradient, &mut buffer, accumulate)?;
                cx.put(*below, buffer);
            }
        }
        for (name, leaf) in &self.states_in {
            cx.carry(self.index, name, store.get(leaf))?;
        }
        let names = self.params.names(ParamKind::Parameter);
        for name in names.into_iter().filter(|name| name.starts_with(&self.prefix)) {
            let entry = self.params.get(&name);
            if let Some(value) = entry.and_then(|entry| store.get(entry.var.as_tensor()).map(Tensor::detach)) {
                cx.found.push(ParamGrad { params: self.params.clone(), name, value });
            }
        }
        Ok(())
    }
}

impl Back for Island {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        self.walk(Some(slot), cx)
    }

    fn back_from_state(&self, cx: &mut Backward<'_>) -> Result<()> {
        self.walk(None, cx)
    }
}
