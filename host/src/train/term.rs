//! A term of a stage: its part, bound to what it reads.

use super::problem::Problem;
use super::selector::Selector;
use crate::graph::Source;
use crate::manifest::{ManifestPath, Weight};
use crate::ops::{BoundPart, ParamSet};
use std::rc::Rc;
use stillhouse_plugin::desc::{Plan, Source as From, TermPlan};

/// One value that a port reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Read {
    /// A point of a forward pass.
    Tap {
        /// Name of the pass.
        pass: String,
        /// The point.
        point: Source,
        /// As the user wrote it, for messages.
        text: String,
    },
    /// A parameter of a model.
    Parameter {
        /// Name of the model.
        model: String,
        /// Full name of the parameter.
        name: String,
    },
    /// A field of the batch.
    Field(String),
}

impl Read {
    /// As messages name it.
    pub fn text(&self) -> String {
        match self {
            Read::Tap { pass, text, .. } => {
                let path = Selector::parse(text).map_or_else(|_| text.clone(), |selector| selector.tap());
                format!("{pass} `{path}`")
            }
            Read::Parameter { model, name } => format!("parameter `{name}` of {model}"),
            Read::Field(name) => format!("field `{name}`"),
        }
    }
}

/// A port with what it reads.
#[derive(Debug, Clone)]
pub struct BoundPort {
    /// Name.
    pub name: String,
    /// Side.
    pub from: From,
    /// Values, in order.
    pub reads: Vec<Read>,
    /// One value a frame.
    pub over_time: bool,
    /// The phase that reads it; every one when absent.
    pub phase: Option<String>,
}

impl BoundPort {
    /// Whether a phase reads it.
    pub fn is_read_in(&self, phase: &str) -> bool {
        self.phase.as_ref().is_none_or(|own| own == phase)
    }
}

/// Connectors between a value of a port and its counterpart.
pub struct BoundConnector {
    /// The port whose value goes through.
    pub port: String,
    /// Which of its values.
    pub tap: usize,
    /// The port at the other end.
    pub to: String,
    /// In order.
    pub chain: Vec<BoundPart>,
}

/// A term.
pub struct BoundTerm {
    /// Name in the manifest.
    pub name: String,
    /// Its place there.
    pub path: ManifestPath,
    /// The loss or distiller.
    pub part: BoundPart,
    /// Factor in the total.
    pub weight: Weight,
    /// Factor of the weight: 1, but for a student that trains alone.
    pub scale: f64,
    /// What a distiller asked for.
    pub plan: Plan,
    /// What it reads.
    pub ports: Vec<BoundPort>,
    /// Connectors on the way.
    pub connectors: Vec<BoundConnector>,
}

impl BoundTerm {
    /// Inner terms: those of the plan, or the one of a loss, without a name.
    pub fn inner(&self) -> Vec<TermPlan> {
        if self.plan.terms.is_empty() { vec![TermPlan::new("")] } else { self.plan.terms.clone() }
    }

    /// Name in logs: the term's, or `<term>.<inner>` for an inner term.
    pub fn label(&self, inner: &str) -> String {
        if inner.is_empty() { self.name.clone() } else { format!("{}.{inner}", self.name) }
    }

    /// Factor of an inner term at an update.
    pub fn factor(&self, inner: &str, step: u64, steps_per_epoch: u64) -> f64 {
        let epoch = step as f64 / steps_per_epoch.max(1) as f64;
        let of_plan = self
            .plan
            .terms
            .iter()
            .find(|term| term.name == inner)
            .map_or(1.0, |term| term.weight.at(epoch, step as f64));
        self.scale * self.weight.at(step, steps_per_epoch) * of_plan
    }

    /// The part and its connectors.
    pub fn parts(&self) -> impl Iterator<Item = &BoundPart> {
        std::iter::once(&self.part).chain(self.connectors.iter().flat_map(|connector| &connector.chain))
    }

    /// Parameter sets of the part and its connectors.
    pub fn sets(&self) -> impl Iterator<Item = &Rc<ParamSet>> {
        self.parts().map(BoundPart::params)
    }

    /// True when a port reads a teacher.
    pub fn needs_teacher(&self) -> bool {
        self.ports
            .iter()
            .any(|port| !port.reads.is_empty() && matches!(port.from, From::Teacher | From::TeacherParameter))
    }

    /// A port by name.
    pub fn port(&self, name: &str) -> Option<&BoundPort> {
        self.ports.iter().find(|port| port.name == name)
    }
}

/// Either a value, or what is wrong.
pub type Found<T> = Result<T, Problem>;
