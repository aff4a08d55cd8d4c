//! A layer that the tape has no kernel for: computed on candle, in the middle of the tape.

use super::backward::{Back, Backward, Slot};
use super::forward::{Made, Run};
use super::value::{Value, copy_in, to_rows};
use crate::exec::layer::{Env, run_layer};
use crate::exec::pass::StagedIn;
use crate::ops::{ParamKind, ParamSet, native};
use candle_core::{Device, Result, Tensor, Var};
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
    let (params, path) = (run.network.params.clone(), layer.path.as_str());
    let env = Env { params: &params, path, spec: run.spec, moment: run.moment, staged: &run.out.staged };
    let (output, staged) = run_layer(&layer.kind, &inputs, &env)?;
    run.out.staged.extend(staged.into_iter().map(|change| StagedIn { params: params.clone(), change }));
    let like = Value::from_tensor(&output.detach())?;
    let island = Island { output, leaves, like, params, prefix: format!("{path}.") };
    Ok((island.like.clone(), Some(Box::new(island))))
}

struct Island {
    /// On candle's tape.
    output: Tensor,
    leaves: Vec<(usize, Var)>,
    like: Value,
    params: Rc<ParamSet>,
    /// Of the names of the layer's parameters in `params`.
    prefix: String,
}

impl Back for Island {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let gradient = to_rows(&slot.formed(self.like.channels()), &self.like.shape);
        let gradient = Tensor::from_vec(gradient, &*self.like.shape, &Device::Cpu)?;
        let store = native::seeded(&self.output, &gradient)?.backward()?;
        for (below, leaf) in &self.leaves {
            if let Some(gradient) = store.get(leaf) {
                let (mut buffer, accumulate) = cx.target(*below, gradient.elem_count());
                copy_in(gradient, &mut buffer, accumulate)?;
                cx.put(*below, buffer);
            }
        }
        let names = self.params.names(ParamKind::Parameter);
        for name in names.into_iter().filter(|name| name.starts_with(&self.prefix)) {
            let entry = self.params.get(&name);
            if let Some(value) = entry.and_then(|entry| store.get(entry.var.as_tensor()).map(Tensor::detach)) {
                cx.found_apart(&self.params, name, value)?;
            }
        }
        Ok(())
    }
}
