//! A layer that the tape has no kernel for, or a module: computed on candle, in the middle of the tape.

use super::backward::{Back, Backward, ParamGrad, Slot, to_tensor};
use super::forward::{Made, Run};
use super::value::{Value, copy_in};
use crate::exec::layer::{Env, run_layer};
use crate::exec::pass::StagedIn;
use crate::graph::LayerKind;
use crate::ops::{ParamKind, ParamSet, native};
use candle_core::{Error, Result, Tensor, Var};
use std::collections::BTreeMap;
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
    let (output, params) = if matches!(layer.kind, LayerKind::Module) {
        let mut states = BTreeMap::new();
        let given = run.network.module(index, &inputs, run.spec, run.moment, &mut states, &mut run.out);
        let params = run.network.modules.get(&index).map(|slot| slot.part.params().clone());
        (given.map_err(|error| Error::Msg(error.to_string()))?, params)
    } else {
        let (params, path) = (&run.network.params, layer.path.as_str());
        let env = Env { params, path, spec: run.spec, moment: run.moment, staged: &run.out.staged };
        let (output, staged) = run_layer(&layer.kind, &inputs, &env)?;
        let owner = params.clone();
        run.out.staged.extend(staged.into_iter().map(|change| StagedIn { params: owner.clone(), change }));
        (output, Some(run.network.params.clone()))
    };
    let prefix = if matches!(layer.kind, LayerKind::Module) { String::new() } else { format!("{}.", layer.path) };
    let value = Value::from_tensor(&output.detach())?;
    Ok((value.clone(), Some(Box::new(Island { output, leaves, like: value, params, prefix }))))
}

struct Island {
    /// On candle's tape.
    output: Tensor,
    leaves: Vec<(usize, Var)>,
    like: Value,
    params: Option<Rc<ParamSet>>,
    /// Of the names of the layer's parameters in `params`.
    prefix: String,
}

impl Back for Island {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let store = native::seeded(&self.output, &to_tensor(slot, &self.like)?)?.backward()?;
        for (below, leaf) in &self.leaves {
            if let Some(gradient) = store.get(leaf) {
                let (mut buffer, accumulate) = cx.target(*below, gradient.elem_count());
                copy_in(gradient, &mut buffer, accumulate)?;
                cx.put(*below, buffer);
            }
        }
        let Some(params) = &self.params else { return Ok(()) };
        for name in params.names(ParamKind::Parameter).into_iter().filter(|name| name.starts_with(&self.prefix)) {
            let entry = params.get(&name);
            if let Some(value) = entry.and_then(|entry| store.get(entry.var.as_tensor()).map(Tensor::detach)) {
                cx.found.push(ParamGrad { params: params.clone(), name, value });
            }
        }
        Ok(())
    }
}
