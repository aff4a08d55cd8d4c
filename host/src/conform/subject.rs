//! The part under the checks: made, bound, run forward and back by the way of training.

use super::scene::{SAMPLES, Scene, unit};
use crate::ops::native::{Record, is_panic};
use crate::ops::{
    BoundPart, Given, Moment, OpError, ParamKind, ParamSet, PortIn, TracePort, Traced, host_api, meta_of,
};
use crate::plugin::{Component, PluginError};
use candle_core::{DType, Device, Tensor, Var};
use std::rc::Rc;
use stillhouse_plugin::abi::code;
use stillhouse_plugin::desc::{FieldSite, Kind, ModelSite, Plan, Port, Site};

/// How a call went wrong.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// The part, or the host for it, said so in words.
    Refused(String),
    /// An operation of the host did not fit: the part did not look at what it got.
    Unfit(String),
    /// A panic was caught.
    Panicked(String),
}

impl Trouble {
    pub(super) fn text(&self) -> &str {
        match self {
            Trouble::Refused(text) | Trouble::Unfit(text) | Trouble::Panicked(text) => text,
        }
    }
}

impl Trouble {
    /// The same, with what it happened in.
    pub(super) fn within(self, place: &str) -> Trouble {
        match self {
            Trouble::Refused(text) => Trouble::Refused(format!("{place}: {text}")),
            Trouble::Unfit(text) => Trouble::Unfit(format!("{place}: {text}")),
            Trouble::Panicked(text) => Trouble::Panicked(format!("{place}: {text}")),
        }
    }
}

impl From<OpError> for Trouble {
    fn from(error: OpError) -> Trouble {
        let text = error.to_string();
        match error {
            OpError::Part { code: code::OPERATION, .. } => Trouble::Unfit(text),
            _ if error.is_panic() => Trouble::Panicked(text),
            _ => Trouble::Refused(text),
        }
    }
}

impl From<candle_core::Error> for Trouble {
    fn from(error: candle_core::Error) -> Trouble {
        if is_panic(&error) { Trouble::Panicked(error.to_string()) } else { Trouble::Refused(error.to_string()) }
    }
}

impl From<PluginError> for Trouble {
    fn from(error: PluginError) -> Trouble {
        match error {
            PluginError::Failed { code: code::PANIC, .. } => Trouble::Panicked(error.to_string()),
            _ => Trouble::Refused(error.to_string()),
        }
    }
}

/// Frames that a module runs: the state of the second is its own, that of the third was made from one of its own.
const FRAMES: u64 = 3;

/// A part with its plan.
pub(super) struct Subject {
    pub(super) part: BoundPart,
    pub(super) plan: Plan,
    pub(super) kind: Kind,
    /// Each run crosses to the part, even where its graph is known.
    pub(super) asked: bool,
}

/// What a run gave.
pub(super) struct Outcome {
    pub(super) given: Given,
    /// Gradients by leaf: `port[tap]` and `parameter NAME`; `None` where none arrives.
    pub(super) gradients: Vec<(String, Option<Tensor>)>,
}

impl Subject {
    /// Makes the part; a distiller plans.
    pub(super) fn make(component: &Component, config: &str, float: DType) -> Result<Subject, Trouble> {
        let part = component.create(config, host_api())?;
        let params = Rc::new(ParamSet::new("term", 1, float, &Device::Cpu));
        let part = BoundPart::new(&component.desc.name, component.desc.clone(), part, params);
        let kind = component.desc.kind;
        let plan = if kind == Kind::Distiller { part.plan(&site(&component.desc.ports))? } else { Plan::default() };
        Ok(Subject { part, plan, kind, asked: false })
    }

    /// Made and bound to the shapes of a scene.
    pub(super) fn bound(component: &Component, config: &str, float: DType, scene: &Scene) -> Result<Subject, Trouble> {
        let subject = Subject::make(component, config, float)?;
        subject.bind(&scene.values(float, super::scene::Fill::Random(0))?)?;
        Ok(subject)
    }

    /// All inputs, those of connectors and modules included.
    pub(super) fn ports(&self) -> Vec<Port> {
        let student = |name| Port::student().named(name);
        let teacher = |name| Port::teacher().named(name);
        match self.kind {
            Kind::Connector => vec![student("from"), teacher("to")],
            Kind::Module => vec![student("input"), teacher("replaced")],
            Kind::Loss | Kind::Distiller if self.plan.ports.is_empty() => self.part.desc().ports.clone(),
            Kind::Loss | Kind::Distiller => self.plan.ports.clone(),
        }
    }

    /// Every stage and phase; of a module, training and evaluation, and two frames more.
    pub(super) fn moments(&self) -> Vec<Moment> {
        let none = [String::new()];
        let names = |phases: &[stillhouse_plugin::desc::Phase]| -> Vec<String> {
            if phases.is_empty() { none.to_vec() } else { phases.iter().map(|phase| phase.name.clone()).collect() }
        };
        let mut all = vec![];
        if self.kind == Kind::Module {
            let both = |frame| [true, false].map(|training| Moment { frame, training, ..moment() });
            return (0..FRAMES).flat_map(both).collect();
        }
        let stages: Vec<(String, Vec<String>)> = match self.plan.stages.is_empty() {
            true => vec![(String::new(), names(&self.plan.phases))],
            false => self.plan.stages.iter().map(|stage| (stage.name.clone(), names(&stage.phases))).collect(),
        };
        for (stage, phases) in stages {
            let at = |phase: &String| Moment { stage: stage.as_str().into(), phase: phase.as_str().into(), ..moment() };
            all.extend(phases.iter().map(at));
        }
        all
    }

    pub(super) fn bind(&self, ports: &[PortIn<'_>]) -> Result<(), Trouble> {
        Ok(self.part.bind(&moment(), &ports.iter().map(TracePort::of).collect::<Vec<_>>())?)
    }

    /// The ports that a run of this phase reads; of a module at a later frame with the state that the frames before gave.
    pub(super) fn read<'p>(&self, at: &Moment, ports: &[PortIn<'p>]) -> Result<Vec<PortIn<'p>>, Trouble> {
        let own = self.ports();
        let of_phase = |port: &&PortIn<'_>| {
            let phase = own.iter().find(|known| known.name == port.name).and_then(|known| known.phase.as_deref());
            phase.is_none_or(|phase| phase == &*at.phase)
        };
        let shape_only = |port: &&PortIn<'_>| {
            matches!((self.kind, &*port.name), (Kind::Connector, "to") | (Kind::Module, "replaced"))
        };
        let mut read: Vec<_> = ports.iter().filter(of_phase).filter(|port| !shape_only(port)).cloned().collect();
        let own = read.len();
        for frame in (0..at.frame).filter(|_| self.kind == Kind::Module) {
            let given = self.part.cross(&Moment { frame, ..at.clone() }, &read)?;
            let state: Vec<_> = given.state.iter().map(state_port).collect::<candle_core::Result<_>>()?;
            let (before, after) = (described(&read[own..]), described(&state));
            if frame > 0 && before != after {
                let text = format!("gave the state {after} at frame {frame}, {before} at the one before");
                return Err(Trouble::Refused(text));
            }
            read.truncate(own);
            read.extend(state);
        }
        Ok(read)
    }

    /// The part on shapes alone.
    pub(super) fn trace(&self, at: &Moment, ports: &[PortIn<'_>]) -> Result<Traced, Trouble> {
        Ok(self.traced(at, ports)??)
    }

    /// The same, with the part's own error.
    pub(super) fn traced(&self, at: &Moment, ports: &[PortIn<'_>]) -> Result<Result<Traced, OpError>, Trouble> {
        let shapes: Vec<TracePort> = self.read(at, ports)?.iter().map(TracePort::of).collect();
        Ok(self.part.trace(at, &shapes))
    }

    /// Forward and back; every result counts.
    pub(super) fn run(&self, at: &Moment, ports: &[PortIn<'_>]) -> Result<Outcome, Trouble> {
        let ports = self.read(at, ports)?;
        let mut record = Record::default();
        let given = record.during(|| match self.asked {
            true => self.part.cross(at, &ports),
            false => self.part.run(at, &ports),
        })?;
        let mut starts = vec![];
        for (name, value) in results(&given) {
            starts.push((value.clone(), weights(&name, &value)?));
        }
        let found = record.gradients(&starts)?;
        let mut gradients = vec![];
        for port in &ports {
            let names = (0..port.values.len()).map(|at| format!("{}[{at}]", port.name));
            gradients.extend(
                names
                    .zip(&port.values)
                    .filter(|(_, value)| value.is_variable())
                    .map(|(name, value)| (name, found.get(value).cloned())),
            );
        }
        for (name, entry) in self.part.params().entries() {
            if entry.kind == ParamKind::Parameter {
                gradients.push((format!("parameter {name}"), found.get(entry.var.as_tensor()).cloned()));
            }
        }
        Ok(Outcome { given, gradients })
    }
}

/// Float results by name: terms, output, state, values.
pub(super) fn results(given: &Given) -> Vec<(String, Tensor)> {
    let named = |prefix: &'static str| {
        move |(name, value): &(String, Tensor)| {
            (format!("{prefix}{}", if name.is_empty() { "loss" } else { name }), value.clone())
        }
    };
    let output = given.output.iter().map(|value| ("output".to_owned(), value.clone()));
    let all = given.terms.iter().map(named("term ")).chain(output);
    let all = all.chain(given.state.iter().map(named("state "))).chain(given.values.iter().map(named("value ")));
    all.filter(|(_, value)| value.dtype().is_float()).collect()
}

/// By what each element of a result counts: 1 for a term, else what looks random.
pub(super) fn weights(name: &str, value: &Tensor) -> candle_core::Result<Tensor> {
    if name.starts_with("term ") {
        return Tensor::ones(value.dims(), value.dtype(), &Device::Cpu);
    }
    let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let values: Vec<f64> = (0..value.elem_count()).map(|at| unit(at, seed)).collect();
    Tensor::from_vec(values, value.dims(), &Device::Cpu)?.to_dtype(value.dtype())
}

/// The number that is differentiated.
pub(super) fn objective(given: &Given) -> candle_core::Result<f64> {
    let mut sum = 0.0;
    for (name, value) in results(given) {
        let products = (value.detach() * weights(&name, &value)?)?;
        sum += numbers(&products)?.into_iter().sum::<f64>();
    }
    Ok(sum)
}

/// All values of a tensor.
pub(super) fn numbers(value: &Tensor) -> candle_core::Result<Vec<f64>> {
    // candle looks for the first value of a piece of nothing.
    if value.elem_count() == 0 {
        return Ok(vec![]);
    }
    value.detach().flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

/// The first result or gradient that is not finite, if there is one.
pub(super) fn not_finite(outcome: &Outcome) -> candle_core::Result<Option<String>> {
    let gradients =
        outcome.gradients.iter().filter_map(|(name, value)| Some((format!("the gradient of {name}"), value.clone()?)));
    for (name, value) in results(&outcome.given).into_iter().chain(gradients) {
        if let Some(wrong) = numbers(&value)?.into_iter().find(|value| !value.is_finite()) {
            return Ok(Some(format!("{} is {wrong}", name.trim_end())));
        }
    }
    Ok(None)
}

/// What a result is called and shaped like, for comparison.
pub(super) fn shapes(given: &Given) -> Vec<(String, stillhouse_plugin::op::Meta)> {
    results(given).iter().map(|(name, value)| (name.clone(), meta_of(value))).collect()
}

/// A module's state as an input of the next frame.
fn state_port<'p>((name, value): &(String, Tensor)) -> candle_core::Result<PortIn<'p>> {
    let value = value.detach();
    let value = if value.dtype().is_float() { Var::from_tensor(&value)?.as_tensor().clone() } else { value };
    Ok(PortIn { name: format!("state.{name}").into(), values: vec![value], frames: 1 })
}

/// Names and shapes, in one line.
fn described(ports: &[PortIn<'_>]) -> String {
    let one =
        |port: &PortIn<'_>| port.values.iter().map(|value| format!("`{}` {}", port.name, meta_of(value))).collect();
    ports.iter().map(one).collect::<Vec<String>>().join(", ")
}

fn moment() -> Moment {
    Moment { training: true, steps_per_epoch: 4, samples: SAMPLES as u64, ..Moment::default() }
}

/// A student, two teachers, and a selector for each port.
fn site(ports: &[Port]) -> Site {
    let layers = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "Relu".to_owned())).collect();
    let model = |name: &str| ModelSite { name: name.into(), layers: layers(&["layer1", "layer2"]), parameters: vec![] };
    let field = |name: &str, shape: &[usize]| FieldSite { name: name.into(), shape: shape.to_vec() };
    let bound = |port: &Port| (port.name.clone(), vec![port.default.clone().unwrap_or_else(|| "layer1".into())]);
    Site {
        student: model("student"),
        teachers: vec![model("teacher"), model("teacher2")],
        fields: vec![field("image", &[3, 8, 8]), field("label", &[])],
        samples: SAMPLES,
        batch: 4,
        epochs: 10.0,
        bindings: ports.iter().map(bound).collect(),
    }
}
