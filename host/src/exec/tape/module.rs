//! A module in a layer's place: its part runs under a record of its own, frame by frame.

use super::backward::{Back, Backward, Slot};
use super::conv::Packs;
use super::forward::{Made, Run};
use super::value::{Value, copy_in, tensor_of};
use crate::exec::network::NetworkError;
use crate::graph::Source;
use crate::ops::native::Record;
use crate::ops::{ParamKind, ParamSet};
use candle_core::{Error, Result, Tensor};
use std::cell::RefCell;
use std::rc::Rc;

pub(super) fn run(run: &mut Run<'_>, index: usize) -> Result<Made> {
    let Some(slot) = run.network.modules.get(&index) else { candle_core::bail!("its module is missing") };
    let (input, below) = (run.read(index, 0)?.to_tap()?, run.below(index, 0));
    let states_in = run.states.get(&index).cloned().unwrap_or_default();
    let mut record = Record::default();
    if below.is_some() {
        record.watch(&input);
    }
    states_in.iter().for_each(|(_, state)| record.watch(state));
    let inputs = [input.clone()];
    let (packs, params) = (run.network.packs(index, 0), slot.part.params().clone());
    let mut call = || run.network.module(index, &inputs, run.spec, run.moment, &mut run.states, &mut run.out);
    let given = packs
        .borrow_mut()
        .module
        .during(params.version(), || if run.spec.track { record.during(call) } else { call() });
    let output = given.map_err(|error| match error {
        NetworkError::Part(said) => {
            let message = said.to_string();
            run.said = Some(said);
            Error::Msg(message)
        }
        other => Error::Msg(inner(other)),
    })?;
    let of_module = |point: &Source| matches!(point, Source::Value(of, _) if *of == index);
    let taps = run.out.taps.iter().filter(|(point, _)| of_module(point)).filter_map(|(_, frames)| frames.last());
    let module = Module {
        index,
        record,
        input: below.map(|below| (below, input)),
        like: Value::from_tensor(&output)?,
        output,
        values: taps.cloned().collect(),
        states_in,
        states_out: run.states.get(&index).cloned().unwrap_or_default(),
        params,
        packs,
    };
    Ok((module.like.clone(), Some(Box::new(module))))
}

/// The layer is named by the caller.
fn inner(error: NetworkError) -> String {
    match error {
        NetworkError::Layer { message, .. } => message,
        other => other.to_string(),
    }
}

struct Module {
    index: usize,
    record: Record,
    /// With the point that it is.
    input: Option<(usize, Tensor)>,
    output: Tensor,
    like: Value,
    /// Tapped inner values.
    values: Vec<Tensor>,
    states_in: Vec<(String, Tensor)>,
    states_out: Vec<(String, Tensor)>,
    params: Rc<ParamSet>,
    packs: Rc<RefCell<Packs>>,
}

impl Module {
    /// From everything of the module that has a gradient, to its input, state and parameters.
    fn walk(&self, output: Option<Slot>, cx: &mut Backward<'_>) -> Result<()> {
        let mut starts = vec![];
        if let Some(slot) = output {
            let gradient = slot.formed(self.like.channels());
            starts.push((self.output.clone(), tensor_of(gradient.to_vec(), &self.like.shape)?));
        }
        for (name, state) in &self.states_out {
            let carried = cx.carried.get(&(self.index, name.clone()));
            starts.extend(carried.map(|gradient| (state.clone(), gradient.clone())));
        }
        let tapped = self.values.iter().filter_map(|value| Some((value.clone(), cx.store.get(value)?.clone())));
        starts.extend(tapped);
        if starts.is_empty() {
            return Ok(());
        }
        let mut packs = self.packs.borrow_mut();
        let found = packs.module.during(self.params.version(), || self.record.gradients(&starts))?;
        if let Some((below, input)) = &self.input
            && let Some(gradient) = found.get(input)
        {
            let (mut buffer, accumulate) = cx.target(*below, gradient.elem_count());
            copy_in(gradient, &mut buffer, accumulate)?;
            cx.put(*below, buffer);
        }
        for (name, state) in &self.states_in {
            cx.carry(self.index, name, found.get(state))?;
        }
        for name in self.params.names(ParamKind::Parameter) {
            let entry = self.params.get(&name);
            if let Some(value) = entry.and_then(|entry| found.get(entry.var.as_tensor()).cloned()) {
                cx.found_apart(&self.params, name, value)?;
            }
        }
        Ok(())
    }
}

impl Back for Module {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        self.walk(Some(slot), cx)
    }

    fn back_from_state(&self, cx: &mut Backward<'_>) -> Result<()> {
        self.walk(None, cx)
    }
}
