//! What a run gave.

use super::array::Array;
use super::ports::Bound;
use super::session::Session;
use super::store::Store;
use super::tape::NodeId;
use crate::abi::role;
use crate::sdk::{Error, Result};
use std::rc::Rc;

/// A tensor that a part gave back.
pub(super) struct Produced {
    pub(super) role: u32,
    pub(super) name: String,
    pub(super) frame: usize,
    pub(super) node: NodeId,
}

impl Produced {
    /// Name by which [`Run`] and cotangents know it.
    pub(super) fn key(&self) -> String {
        match self.role {
            role::TERM if self.name.is_empty() => "loss".into(),
            role::OUTPUT => "output".into(),
            role::STATE => format!("state.{}", self.name),
            _ => self.name.clone(),
        }
    }
}

/// A call that ended, with its tape.
pub(super) struct Outcome {
    pub(super) session: Session,
    pub(super) bound: Vec<Bound>,
    pub(super) produced: Vec<Produced>,
}

impl Outcome {
    fn array(&self, node: NodeId) -> Result<Rc<Array>> {
        self.session.tape.array(node).ok_or_else(|| Error::new("there are no values in a trace"))
    }

    /// Terms must be finite scalars.
    pub(super) fn check_terms(&self, part: &str) -> Result<()> {
        for term in self.produced.iter().filter(|given| given.role == role::TERM) {
            let array = self.array(term.node)?;
            let (key, meta) = (term.key(), &array.meta);
            if !meta.shape.is_empty() || !meta.dtype.is_float() {
                return Err(Error::new(format!("`{part}` gave `{key}` as {meta}, not as a float scalar")));
            }
            if !array.values[0].is_finite() {
                return Err(Error::new(format!("`{part}` gave `{key}` = {}", array.values[0])));
            }
        }
        Ok(())
    }

    /// What is differentiated: nodes with the weights of their elements.
    fn seeds(&self, cotangents: &[(String, Vec<f64>)]) -> Result<Vec<(NodeId, Vec<f64>)>> {
        let ones = |given: &Produced| (given.node, vec![1.0; self.session.tape.meta(given.node).count()]);
        if cotangents.is_empty() {
            let counted = |given: &&Produced| matches!(given.role, role::TERM | role::OUTPUT);
            return Ok(self.produced.iter().filter(counted).map(ones).collect());
        }
        let mut seeds = vec![];
        for (key, weights) in cotangents {
            let nodes: Vec<NodeId> =
                self.produced.iter().filter(|given| given.key() == *key).map(|given| given.node).collect();
            let count = |node: &NodeId| self.session.tape.meta(*node).count();
            let (all, last) = (nodes.iter().map(count).sum::<usize>(), nodes.last().map_or(0, count));
            let taken = if weights.len() == all { &nodes[..] } else { &nodes[nodes.len().saturating_sub(1)..] };
            if weights.len() != all && weights.len() != last || nodes.is_empty() {
                return Err(Error::new(format!("cotangent `{key}` has {} weights for {all} elements", weights.len())));
            }
            let mut rest = &weights[..];
            for node in taken {
                let (own, others) = rest.split_at(count(node));
                seeds.push((*node, own.to_vec()));
                rest = others;
            }
        }
        Ok(seeds)
    }

    /// The scalar that is differentiated.
    pub(super) fn objective(&self, cotangents: &[(String, Vec<f64>)]) -> Result<f64> {
        let mut sum = 0.0;
        for (node, weights) in self.seeds(cotangents)? {
            sum += self.array(node)?.values.iter().zip(weights).map(|(value, weight)| value * weight).sum::<f64>();
        }
        Ok(sum)
    }

    /// Goes back through the tape and gathers everything.
    pub(super) fn into_run(self, cotangents: &[(String, Vec<f64>)], store: &Store) -> Result<Run> {
        let grads = self.session.tape.backward(&self.seeds(cotangents)?).map_err(Error::new)?;
        let of = |node: NodeId| grads[node].clone().unwrap_or_else(|| vec![0.0; self.session.tape.meta(node).count()]);
        let inputs =
            self.bound.iter().map(|port| (port.port.clone(), port.nodes.iter().map(|node| of(*node)).collect()));
        let param =
            |name: &str, count: usize| self.session.state.get(name).map_or_else(|| vec![0.0; count], |node| of(*node));
        let trained = store.entries.iter().filter(|entry| entry.trained);
        let named = |given: &Produced| Ok((given.key(), given.frame, self.array(given.node)?.as_ref().clone()));
        let emitted = self.session.emitted.iter();
        Ok(Run {
            loss: self.objective(cotangents)?,
            results: self.produced.iter().map(named).collect::<Result<_>>()?,
            grads: inputs.collect(),
            param_grads: trained.map(|e| (e.name.clone(), param(&e.name, e.array.values.len()))).collect(),
            emitted: emitted
                .map(|(name, node)| Ok((name.clone(), self.array(*node)?.as_ref().clone())))
                .collect::<Result<_>>()?,
            buffers: self.session.staged,
            logged: self.session.logged,
        })
    }
}

/// Results of one run. The accessors panic, with a text that says why, when there is nothing under the name: they are for
/// tests.
#[derive(Debug, Clone)]
pub struct Run {
    loss: f64,
    results: Vec<(String, usize, Array)>,
    grads: Vec<(String, Vec<Vec<f64>>)>,
    param_grads: Vec<(String, Vec<f64>)>,
    pub(super) buffers: Vec<(String, Array)>,
    emitted: Vec<(String, Array)>,
    logged: Vec<String>,
}

fn wanted<'a, T>(what: &str, name: &str, mut all: impl Iterator<Item = (&'a String, T)> + Clone) -> T {
    let known: Vec<&str> = all.clone().map(|(known, _)| known.as_str()).collect();
    match all.find(|(known, _)| *known == name) {
        Some((_, value)) => value,
        None => panic!("no {what} `{name}`; there is: {}", known.join(", ")),
    }
}

impl Run {
    /// The scalar that was differentiated: the sum of all raw terms, or of the outputs times their cotangents.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// A raw term of a distiller.
    pub fn term(&self, name: &str) -> f64 {
        self.result(name).values[0]
    }

    /// Names of everything that the part gave back, once each.
    pub fn names(&self) -> Vec<&str> {
        self.results.iter().filter(|(_, frame, _)| *frame == 0).map(|(name, ..)| name.as_str()).collect()
    }

    /// The output of a connector or module; of the last frame.
    pub fn output(&self) -> &Array {
        self.result("output")
    }

    /// Anything that the part gave back: `output`, `state.NAME`, a term or a value by its name; of the last frame.
    pub fn result(&self, name: &str) -> &Array {
        wanted("result", name, self.results.iter().rev().map(|(known, _, array)| (known, array)))
    }

    /// As [`result`](Run::result), of the frame given.
    pub fn result_at(&self, name: &str, frame: usize) -> &Array {
        let of_frame = self.results.iter().filter(|(_, at, _)| *at == frame);
        wanted("result", name, of_frame.map(|(known, _, array)| (known, array)))
    }

    /// Gradient of the one value of a port; zeros where none arrives, as for ports that a teacher feeds.
    pub fn grad(&self, port: &str) -> &[f64] {
        self.grad_at(port, 0)
    }

    /// Gradient of one of several values (or frames) of a port.
    pub fn grad_at(&self, port: &str, at: usize) -> &[f64] {
        let grads = wanted("port", port, self.grads.iter().map(|(known, grads)| (known, grads)));
        match grads.get(at) {
            Some(grad) => grad,
            None => panic!("port `{port}` has {} values, none at {at}", grads.len()),
        }
    }

    /// Gradient of a parameter.
    pub fn grad_param(&self, name: &str) -> &[f64] {
        wanted("parameter", name, self.param_grads.iter().map(|(known, grad)| (known, grad)))
    }

    /// Gradients of all inputs and parameters, one after another.
    pub(super) fn all_grads(&self) -> impl Iterator<Item = f64> {
        let inputs = self.grads.iter().flat_map(|(_, grads)| grads.iter().flatten());
        inputs.chain(self.param_grads.iter().flat_map(|(_, grad)| grad)).copied()
    }

    /// The value that the run wrote to a buffer.
    pub fn buffer_after(&self, name: &str) -> &[f64] {
        let newest_first = self.buffers.iter().rev();
        &wanted("written buffer", name, newest_first.map(|(known, array)| (known, array))).values
    }

    /// A value that the part emitted.
    pub fn emitted(&self, name: &str) -> &Array {
        wanted("emitted value", name, self.emitted.iter().map(|(known, array)| (known, array)))
    }

    /// Lines that the part logged.
    pub fn logged(&self) -> &[String] {
        &self.logged
    }
}
