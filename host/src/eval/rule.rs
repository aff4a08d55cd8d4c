//! A golden case, through the parts that a map names.

use super::case::Case;
use super::compare::compare;
use super::engine::Engine;
use super::error::EvalError;
use super::map::{Found, GoldenMap, PartRule, PlanRule, Rule};
use super::network::{self, Layout};
use super::node::{Node, Socket, Spec};
use super::part::weighted;
use super::pattern::{captures, filled, matching};
use super::report::{CaseReport, Outcome};
use super::setting::{holds, number, object, resolve};
use super::tensors::{Float, Tensors};
use crate::manifest::OneOrMany;
use crate::ops::{Given, Moment, PortIn};
use crate::plugin::Registry;
use candle_core::{Device, Tensor};
use indexmap::IndexMap;
use serde_json::Value;
use std::path::Path;
use stillhouse_plugin::desc::Kind;

/// Evaluates a golden case by the parts that the map names, and writes values and gradients under the case's own names. Without
/// a file to write to, compares them with what the case expects.
///
/// # Errors
/// A file that is missing or malformed, a case that the map does not know, a part that fails.
pub fn run_case(
    registry: &Registry,
    map: &GoldenMap,
    case: &Path,
    output: Option<&Path>,
    dtype: Float,
) -> Result<CaseReport, EvalError> {
    let case = Case::open(case)?;
    let report = |outcome| CaseReport {
        case: case.name.clone(),
        algorithm: case.algorithm.clone(),
        variant: case.variant.clone(),
        float: dtype,
        outcome,
    };
    let rule = match map.find_rule(&case)? {
        Found::NotMapped(reason) => return Ok(report(Outcome::NotMapped(reason.into()))),
        Found::Rule(rule) => rule,
    };
    let path = output.unwrap_or_else(|| case.tensors.path());
    let engine = Engine::new(registry, &case.tensors, dtype.dtype());
    let run = Run { case: &case, rule, engine, values: IndexMap::new(), skipped: IndexMap::new(), total: None };
    let tensors = run.all(path)?;
    if output.is_some() {
        tensors.write()?;
        return Ok(report(Outcome::Written(tensors)));
    }
    let comparison = compare(&case, &tensors, dtype)?;
    Ok(report(Outcome::Compared(tensors, comparison)))
}

/// One case on its way through a rule.
struct Run<'a> {
    case: &'a Case,
    rule: &'a Rule,
    engine: Engine<'a>,
    /// What parts gave: `<part>`, `<part>.<name>`, terms with their weight, `<part>:weighted`, and their sum, `<part>:total`.
    values: IndexMap<String, Tensor>,
    /// Connectors that do not apply, with what they would have read.
    skipped: IndexMap<String, Vec<String>>,
    total: Option<Tensor>,
}

impl Run<'_> {
    fn wrong(&self, message: impl Into<String>) -> EvalError {
        EvalError::Rule {
            rule: format!("{}/{}", self.case.algorithm, self.case.variant),
            message: message.into(),
            hint: None,
        }
    }

    fn all(mut self, path: &Path) -> Result<Tensors, EvalError> {
        if let Some(network) = &self.rule.network {
            let values = network::run(&mut self.engine, self.case, network)?;
            self.values.extend(values.into_iter().map(|(tap, value)| (format!("{}.{tap}", network.name), value)));
        }
        for part in &self.rule.parts {
            if !holds(&part.when, self.case) {
                let through = if part.kind == Kind::Connector { self.references(part, "from", true) } else { vec![] };
                self.skipped.insert(part.name().into(), through);
            } else if let Some(plan) = &part.plan {
                self.schedule(part, plan)?;
            } else {
                self.part(part)?;
            }
        }
        if let Some(name) = self.engine.unclaimed(&["param.", "frozen.", "buffer."]) {
            let (path, name) = (self.case.tensors.path().into(), name.to_owned());
            let reason = format!("no part of the rule for {}/{} has it", self.case.algorithm, self.case.variant);
            return Err(EvalError::Unclaimed {
                path,
                name,
                reason,
                hint: Some("name it in the `params` of a part".into()),
            });
        }
        let outputs = self.outputs()?;
        let total = self.total.take().ok_or_else(|| self.wrong("no part gave a term, and no output is weighted"))?;
        let factor = self.rule.factor.as_ref().map_or(Ok(None), |factor| number(factor, self.case));
        let factor = factor.map_err(|message| self.wrong(format!("`factor`: {message}")))?;
        let total = weighted(&total, factor.unwrap_or(1.0))?;
        self.engine.finish(&total, outputs, path)
    }

    fn add(&mut self, part: Tensor) -> Result<(), EvalError> {
        self.total = Some(match self.total.take() {
            Some(sum) => (sum + part)?,
            None => part,
        });
        Ok(())
    }

    fn node(&self, part: &PartRule) -> Result<Node, EvalError> {
        let wrong = |what: &str, message: String| self.wrong(format!("`{what}` of `{}`: {message}", part.name()));
        let config = object(&part.config, self.case).map_err(|message| wrong("config", message))?;
        let samples = part.samples.as_ref().map_or(Ok(None), |samples| number(samples, self.case));
        let moment = Moment {
            training: self.case.training,
            steps_per_epoch: 1,
            samples: samples.map_err(|message| wrong("samples", message))?.unwrap_or(0.0) as u64,
            stage: part.stage.as_str().into(),
            phase: part.phase.as_str().into(),
            ..Moment::default()
        };
        let spec = Spec { label: part.name().into(), kind: part.kind, use_: part.use_.clone(), config, moment };
        Node::make(self.engine.registry, spec, self.engine.float)
    }

    fn part(&mut self, part: &PartRule) -> Result<(), EvalError> {
        let node = self.node(part)?;
        let mut ports = vec![];
        let states = part.ports.keys().filter(|name| name.starts_with("state."));
        for socket in node.sockets.iter().cloned().chain(states.map(|name| Socket::state(name))) {
            let values = self.read(part, &socket)?;
            if values.is_empty() && !socket.optional {
                let name = self.references(part, &socket.name, false).first().cloned().unwrap_or_default();
                return Err(self.case.tensors.missing(&name, &format!("port `{}` of `{}`", socket.name, part.name())));
            }
            if values.len() > 1 && !socket.many {
                return Err(self.wrong(format!(
                    "port `{}` of `{}` takes one value, got {}",
                    socket.name,
                    part.name(),
                    values.len()
                )));
            }
            if !values.is_empty() {
                ports.push(socket.port(values)?);
            }
        }
        self.run(part, &node, &ports)
    }

    fn run(&mut self, part: &PartRule, node: &Node, ports: &[PortIn<'_>]) -> Result<(), EvalError> {
        let file = &self.case.tensors;
        let alias = |name: &str| aliases(file, &part.params, name);
        let given = self.engine.run(node, ports, &alias, true)?;
        self.count(part, node, &given)?;
        self.keep(part.name(), given);
        Ok(())
    }

    /// Adds the terms of a part to the scalar.
    fn count(&mut self, part: &PartRule, node: &Node, given: &Given) -> Result<(), EvalError> {
        let weights = part.weight.as_ref().map_or(Ok(None), |weight| resolve(weight, self.case));
        let weights = weights.map_err(|message| self.wrong(format!("`weight` of `{}`: {message}", part.name())))?;
        let mut total: Option<Tensor> = None;
        for (name, term) in &given.terms {
            let weight = match &weights {
                Some(Value::Object(table)) => {
                    table.get(name).and_then(Value::as_f64).unwrap_or_else(|| node.planned_weight(name))
                }
                Some(one) => {
                    one.as_f64().ok_or_else(|| self.wrong(format!("`weight` of `{}` is {one}", part.name())))?
                }
                None => node.planned_weight(name),
            };
            let weighted = weighted(term, weight)?;
            self.values.insert(format!("{}:weighted", called(part.name(), name)), weighted.clone());
            total = Some(total.map_or(Ok(weighted.clone()), |sum| sum + &weighted)?);
            self.add(weighted)?;
        }
        self.values.extend(total.map(|total| (format!("{}:total", part.name()), total)));
        Ok(())
    }

    fn keep(&mut self, part: &str, given: Given) {
        let named = |(name, value): (String, Tensor)| (called(part, &name), value);
        let emitted = given.emitted.into_iter().map(|emitted| (emitted.name, emitted.value));
        let inner = given.terms.into_iter().chain(given.state).chain(given.values).chain(emitted).map(named);
        let output = given.output.map(|output| (part.to_owned(), output));
        self.values.extend(inner.chain(output));
    }

    /// What a distiller's plan gives a term at the epochs (or steps) that the case lists.
    fn schedule(&mut self, part: &PartRule, plan: &PlanRule) -> Result<(), EvalError> {
        let node = self.node(part)?;
        let Some(term) = node.plan.terms.iter().find(|term| term.name == plan.term) else {
            return Err(self.wrong(format!("`{}` plans no term `{}`", part.name(), plan.term)));
        };
        let positions =
            self.case.tensors.get(&plan.at).ok_or_else(|| self.case.tensors.missing(&plan.at, part.name()))?;
        let listed = positions.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let weights: Vec<f64> = listed.into_iter().map(|at| term.weight.at(at, at)).collect();
        let weights = Tensor::from_vec(weights, positions.dims(), &Device::Cpu)?.to_dtype(self.engine.float)?;
        self.add(weights.sum_all()?)?;
        self.values.insert(part.name().into(), weights);
        Ok(())
    }

    /// What a port reads: as the rule says, else the inputs of its own name.
    fn references(&self, part: &PartRule, port: &str, whole: bool) -> Vec<String> {
        match (part.ports.get(port), port) {
            (Some(list), _) => list.to_vec(),
            (None, "from") if part.kind == Kind::Connector => vec!["input.student.*".into()],
            (None, "to") if part.kind == Kind::Connector => vec!["input.teacher.*".into()],
            (None, "student" | "teacher") if whole => vec![format!("input.{port}.*")],
            (None, "label") => vec!["input.target".into()],
            (None, _) => vec![format!("input.{port}")],
        }
    }

    /// Values of a port. What cannot carry a gradient, and the far end of a connector, are cut off the tape.
    fn read(&mut self, part: &PartRule, socket: &Socket) -> Result<Vec<Tensor>, EvalError> {
        let mut values = vec![];
        let far_end = socket.name == "to" || socket.name == "replaced";
        for reference in self.references(part, &socket.name, true) {
            values.extend(self.value(&reference, socket.student, part)?);
        }
        Ok(if far_end { values.iter().map(Tensor::detach).collect() } else { values })
    }

    fn value(&mut self, reference: &str, student: bool, part: &PartRule) -> Result<Vec<Tensor>, EvalError> {
        if let (name, Some(layout)) = Layout::of(reference) {
            let values = self.value(name, student, part)?;
            return values.iter().map(|value| Ok(layout.from(value)?)).collect();
        }
        if reference.starts_with("input.") {
            let names: Vec<String> =
                matching(reference, self.case.tensors.names()).into_iter().map(str::to_owned).collect();
            let mut values = vec![];
            for name in names {
                values.extend(self.engine.input(&name, student)?);
            }
            return Ok(values);
        }
        if let Some(through) = self.skipped.get(reference).cloned() {
            let nested = through.iter().map(|reference| self.value(reference, student, part));
            return Ok(nested.collect::<Result<Vec<_>, _>>()?.concat());
        }
        if reference.contains('*') {
            let fitting = matching(reference, self.values.keys().map(String::as_str));
            return Ok(fitting.into_iter().filter_map(|name| self.values.get(name).cloned()).collect());
        }
        match self.values.get(reference) {
            Some(value) => Ok(vec![value.clone()]),
            None => Err(self.wrong(format!("`{}` reads `{reference}`, which no part before it gives", part.name()))),
        }
    }

    /// Values under the names of the case, and the scalar's parts that their weights ask for.
    fn outputs(&mut self) -> Result<Vec<(String, Tensor)>, EvalError> {
        let mut outputs = vec![];
        for (name, reference) in &self.rule.out {
            let (reference, layout) = Layout::of(reference);
            let owner = |part: &str| {
                reference.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
            };
            let network = self.rule.network.as_ref().map(|network| network.name.as_str());
            if !self.rule.parts.iter().map(PartRule::name).chain(network).any(owner) {
                return Err(self.wrong(format!("output `{name}` is of `{reference}`, and there is no such part")));
            }
            // A part may give a value with some settings only.
            let Some(value) = self.values.get(reference).cloned() else { continue };
            let value = layout.map_or(Ok(value.clone()), |layout| layout.to(&value))?;
            if let Some(part) = self.engine.cotangent(name, &value)? {
                self.add(part)?;
            }
            outputs.push((name.clone(), value));
        }
        Ok(outputs)
    }
}

/// How a value of a part is called: one without a name by the part's.
fn called(part: &str, name: &str) -> String {
    if name.is_empty() { part.to_owned() } else { format!("{part}.{name}") }
}

/// Names in the file of a parameter or buffer.
pub(super) fn aliases(file: &Tensors, params: &IndexMap<String, OneOrMany<String>>, name: &str) -> Vec<String> {
    let of = |(pattern, names): (&String, &OneOrMany<String>)| {
        let found = captures(pattern, name)?;
        Some(names.iter().filter_map(|name| only_one(file, filled(name, &found))).collect::<Vec<_>>())
    };
    params.iter().find_map(of).unwrap_or_else(|| vec![name.to_owned()])
}

/// A name as it is, or the one parameter or buffer of the file that a name with wildcards fits.
fn only_one(file: &Tensors, name: String) -> Option<String> {
    if !name.contains('*') {
        return Some(name);
    }
    let stored = file.names().filter_map(|known| {
        let (prefix, own) = known.split_once('.')?;
        ["param", "frozen", "buffer"].contains(&prefix).then_some(own)
    });
    match matching(&name, stored).as_slice() {
        [one] => Some((*one).to_owned()),
        _ => None,
    }
}
