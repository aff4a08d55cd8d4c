//! Inputs and parameters from a file, and what comes out of parts that run on them.

use super::error::EvalError;
use super::node::Node;
use super::tensors::{Tensors, fitted};
use crate::exec::StagedIn;
use crate::ops::{Given, ParamKind, ParamSet, PortIn};
use crate::plugin::Registry;
use candle_core::{DType, Tensor, Var};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

/// Prefixes of what fills a parameter, and whether its gradient is wanted.
const PARAMETERS: [(&str, bool); 2] = [("param.", true), ("frozen.", false)];
const BUFFER: &str = "buffer.";

/// Says which names of the file, without their prefix, may stand for a parameter or buffer of a part.
pub(super) type Alias<'a> = &'a dyn Fn(&str) -> Vec<String>;

/// One evaluation.
pub(super) struct Engine<'a> {
    pub(super) registry: &'a Registry,
    pub(super) file: &'a Tensors,
    pub(super) float: DType,
    /// Float inputs that were read where a gradient is wanted.
    inputs: BTreeMap<String, Var>,
    claimed: BTreeSet<String>,
    trained: Vec<Stored>,
    buffers: Vec<Stored>,
    staged: Vec<StagedIn>,
}

/// A parameter or buffer and its name in the file.
struct Stored {
    leaf: String,
    set: Rc<ParamSet>,
    name: String,
    dims: Vec<usize>,
}

impl<'a> Engine<'a> {
    pub(super) fn new(registry: &'a Registry, file: &'a Tensors, float: DType) -> Engine<'a> {
        let (inputs, claimed) = (BTreeMap::new(), BTreeSet::new());
        Engine { registry, file, float, inputs, claimed, trained: vec![], buffers: vec![], staged: vec![] }
    }

    /// A tensor of the file as a part reads it: floats in the type of the evaluation; a variable on a student's side.
    pub(super) fn input(&mut self, name: &str, student: bool) -> Result<Option<Tensor>, EvalError> {
        let Some(tensor) = self.file.get(name) else { return Ok(None) };
        self.claimed.insert(name.into());
        if !tensor.dtype().is_float() {
            return Ok(Some(tensor.clone()));
        }
        if let (true, Some(var)) = (student, self.inputs.get(name)) {
            return Ok(Some(var.as_tensor().clone()));
        }
        let tensor = tensor.to_dtype(self.float)?;
        if !student {
            return Ok(Some(tensor));
        }
        let var = Var::from_tensor(&tensor)?;
        self.inputs.insert(name.into(), var.clone());
        Ok(Some(var.as_tensor().clone()))
    }

    /// Binds a part, gives it the file's parameters and buffers, and runs it. With `all`, every one of them must be there.
    pub(super) fn run(
        &mut self,
        node: &Node,
        ports: &[PortIn<'_>],
        alias: Alias<'_>,
        all: bool,
    ) -> Result<Given, EvalError> {
        node.bind(ports)?;
        let set = node.part.params();
        self.fill_set(node.part.label(), "", set, alias, all)?;
        let given = node.run(ports)?;
        let staged = given.staged.iter().cloned();
        self.staged.extend(staged.map(|change| StagedIn { params: set.clone(), change }));
        Ok(given)
    }

    /// Gives a set the file's parameters and buffers; `prefix` stands before the names that the file knows them by.
    pub(super) fn fill_set(
        &mut self,
        label: &str,
        prefix: &str,
        set: &Rc<ParamSet>,
        alias: Alias<'_>,
        all: bool,
    ) -> Result<(), EvalError> {
        for (name, entry) in set.entries() {
            self.fill((label, set), &name, entry.kind, &alias(&format!("{prefix}{name}")), all)?;
        }
        Ok(())
    }

    fn fill(
        &mut self,
        (label, set): (&str, &Rc<ParamSet>),
        name: &str,
        kind: ParamKind,
        names: &[String],
        all: bool,
    ) -> Result<(), EvalError> {
        let is_parameter = kind == ParamKind::Parameter;
        let prefixes: Vec<(&str, bool)> = if is_parameter { PARAMETERS.to_vec() } else { vec![(BUFFER, false)] };
        let candidates = names
            .iter()
            .flat_map(|name| prefixes.iter().map(move |(prefix, wanted)| (format!("{prefix}{name}"), *wanted)));
        let found = candidates.into_iter().find_map(|(leaf, wanted)| Some((self.file.get(&leaf)?, leaf, wanted)));
        let own = set.get(name).map(|entry| entry.var.dims().to_vec()).unwrap_or_default();
        let (leaf, dims, wanted) = match found {
            Some((tensor, leaf, wanted)) => {
                set.assign(name, &fitted(&leaf, tensor, &own)?)?;
                (leaf, tensor.dims().to_vec(), wanted)
            }
            None if all => {
                let (prefix, reader) = (prefixes[0].0, format!("`{name}` of `{label}`"));
                return Err(self
                    .file
                    .missing(&format!("{prefix}{}", names.first().map_or(name, String::as_str)), &reader));
            }
            None => (format!("{}{}", prefixes[0].0, names.first().map_or(name, String::as_str)), own, true),
        };
        self.claimed.insert(leaf.clone());
        let stored = Stored { leaf, set: set.clone(), name: name.into(), dims };
        match (is_parameter, wanted) {
            (true, true) => self.trained.push(stored),
            (true, false) => {}
            (false, _) => self.buffers.push(stored),
        }
        Ok(())
    }

    /// Parts of the scalar that the file gives by weights of an output; `None` when it has none of this name.
    pub(super) fn cotangent(&mut self, name: &str, output: &Tensor) -> Result<Option<Tensor>, EvalError> {
        let leaf = format!("cotangent.{name}");
        let Some(weights) = self.file.get(&leaf) else { return Ok(None) };
        let weights = fitted(&leaf, &weights.to_dtype(self.float)?, output.dims())?;
        self.claimed.insert(leaf);
        Ok(Some((output * weights)?.sum_all()?))
    }

    /// The first tensor with one of these prefixes that nothing took.
    pub(super) fn unclaimed(&self, prefixes: &[&str]) -> Option<&str> {
        let of = |name: &&str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        self.file.names().filter(of).find(|name| !self.claimed.contains(*name))
    }

    /// Gradients of the scalar and buffers after the step, beside the outputs.
    pub(super) fn finish(
        self,
        total: &Tensor,
        outputs: Vec<(String, Tensor)>,
        path: &Path,
    ) -> Result<Tensors, EvalError> {
        let mut all: BTreeMap<String, Tensor> = BTreeMap::new();
        all.insert("out.loss".into(), total.detach());
        all.extend(outputs.into_iter().map(|(name, tensor)| (format!("out.{name}"), tensor.detach())));
        let gradients = total.backward()?;
        let inputs =
            self.inputs.iter().filter_map(|(name, var)| Some((name, gradients.get(var.as_tensor())?, var.dims())));
        let mut grads: Vec<(String, Tensor)> = vec![];
        for (name, gradient, dims) in inputs {
            grads.push((name.clone(), gradient.reshape(dims)?));
        }
        for stored in &self.trained {
            let entry = stored.set.get(&stored.name);
            if let Some(gradient) = entry.and_then(|entry| gradients.get(entry.var.as_tensor()).cloned()) {
                grads.push((stored.leaf.clone(), gradient.reshape(stored.dims.as_slice())?));
            }
        }
        all.extend(grads.into_iter().map(|(name, gradient)| (format!("grad.{name}"), gradient.detach())));
        for staged in &self.staged {
            staged.change.commit(&staged.params)?;
        }
        for stored in &self.buffers {
            let Some(entry) = stored.set.get(&stored.name) else { continue };
            let name = stored.leaf.trim_start_matches(BUFFER);
            let value = entry.var.as_detached_tensor().copy()?.reshape(stored.dims.as_slice())?;
            all.insert(format!("buffer_after.{name}"), value);
        }
        Ok(Tensors::new(path, all))
    }
}
