//! A part of an evaluation: made, and what it reads.

use super::error::EvalError;
use crate::ops::{BoundPart, Moment, ParamSet, PortIn, TracePort, host_api};
use crate::plugin::Registry;
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};
use std::rc::Rc;
use stillhouse_plugin::desc::{Kind, ModelSite, Plan, Port, Site, Source};

/// What a part is made of.
pub(super) struct Spec {
    /// Its name in the evaluation; parameters are drawn and errors named by it.
    pub(super) label: String,
    pub(super) kind: Kind,
    pub(super) use_: String,
    pub(super) config: Map<String, Value>,
    pub(super) moment: Moment,
}

/// One input of a part.
#[derive(Debug, Clone)]
pub(super) struct Socket {
    pub(super) name: String,
    /// Its value may carry a gradient.
    pub(super) student: bool,
    pub(super) many: bool,
    pub(super) optional: bool,
    over_time: bool,
}

/// A part with its inputs.
pub(super) struct Node {
    pub(super) part: BoundPart,
    pub(super) plan: Plan,
    pub(super) sockets: Vec<Socket>,
    moment: Moment,
}

impl Node {
    /// Finds and makes a part; a distiller plans.
    pub(super) fn make(registry: &Registry, spec: Spec, float: DType) -> Result<Node, EvalError> {
        let component = registry.find(Some(spec.kind), &spec.use_)?;
        let part = component.create(&Value::Object(spec.config).to_string(), host_api())?;
        let label = match spec.label == component.desc.name {
            true => spec.label.clone(),
            false => format!("{} (`{}`)", spec.label, component.desc.name),
        };
        let params = Rc::new(ParamSet::new(&spec.label, spec.moment.seed, float, &Device::Cpu));
        let part = BoundPart::new(&label, component.desc.clone(), part, params);
        let plan = if spec.kind == Kind::Distiller { part.plan(&site())? } else { Plan::default() };
        let sockets = sockets(spec.kind, if plan.ports.is_empty() { &part.desc().ports } else { &plan.ports });
        let moment = placed(spec.moment, &plan);
        Ok(Node { part, plan, sockets, moment })
    }

    /// Shows the part its inputs, as a stage's plan does.
    pub(super) fn bind(&self, ports: &[PortIn<'_>]) -> Result<(), EvalError> {
        let moment = Moment { training: true, stage: "".into(), phase: "".into(), ..self.moment.clone() };
        let shown = |port: &&PortIn<'_>| !port.name.starts_with("state.");
        Ok(self.part.bind(&moment, &ports.iter().filter(shown).map(TracePort::of).collect::<Vec<_>>())?)
    }

    /// Runs the part, as a step does.
    pub(super) fn run(&self, ports: &[PortIn<'_>]) -> Result<crate::ops::Given, EvalError> {
        let ports: Vec<PortIn<'_>> = ports.iter().filter(|port| port.name != "replaced").cloned().collect();
        Ok(self.part.run(&self.moment, &ports)?)
    }

    /// Factor of a term before any schedule has moved.
    pub(super) fn planned_weight(&self, term: &str) -> f64 {
        self.plan.terms.iter().find(|planned| planned.name == term).map_or(1.0, |planned| planned.weight.at(0.0, 0.0))
    }
}

impl Socket {
    /// The values of a port. Where the port is over time, each value has its frames along the second dimension.
    pub(super) fn port(&self, values: Vec<Tensor>) -> Result<PortIn<'static>, EvalError> {
        let name = self.name.clone().into();
        if !self.over_time {
            return Ok(PortIn { name, values, frames: 1 });
        }
        let frames = values.first().map_or(1, |value| value.dims().get(1).copied().unwrap_or(1));
        let mut split = vec![];
        for value in &values {
            for frame in 0..frames {
                split.push(value.narrow(1, frame, 1)?.squeeze(1)?);
            }
        }
        Ok(PortIn { name, values: split, frames })
    }

    /// A state of a module from the frame before.
    pub(super) fn state(name: &str) -> Socket {
        Socket { name: name.into(), student: true, many: false, optional: true, over_time: false }
    }
}

fn sockets(kind: Kind, ports: &[Port]) -> Vec<Socket> {
    let plain = |name: &str, student| Socket { student, optional: false, ..Socket::state(name) };
    match kind {
        Kind::Connector => vec![plain("from", true), plain("to", false)],
        Kind::Module => vec![plain("input", true), plain("replaced", false)],
        Kind::Loss | Kind::Distiller => {
            let socket = |port: &Port| Socket {
                name: port.name.clone(),
                student: matches!(port.source, Source::Student | Source::StudentParameter),
                many: port.many,
                optional: port.optional,
                over_time: port.over_time,
            };
            ports.iter().map(socket).collect()
        }
    }
}

/// The first stage and phase of a plan, unless others are named.
fn placed(moment: Moment, plan: &Plan) -> Moment {
    let or_first = |named: Rc<str>, first: Option<&String>| match first {
        Some(first) if named.is_empty() => first.as_str().into(),
        _ => named,
    };
    let stage = or_first(moment.stage.clone(), plan.stages.first().map(|stage| &stage.name));
    let own = plan.stages.iter().find(|own| *own.name == *stage).map_or(&[][..], |own| &own.phases);
    let phase = or_first(moment.phase.clone(), own.first().or(plan.phases.first()).map(|phase| &phase.name));
    Moment { stage, phase, ..moment }
}

/// A distiller plans for a student and a teacher of which nothing else is known.
fn site() -> Site {
    let model = |name: &str| ModelSite { name: name.into(), ..ModelSite::default() };
    Site { student: model("student"), teachers: vec![model("teacher")], epochs: 1.0, ..Site::default() }
}
