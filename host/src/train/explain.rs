//! What would mend a term whose part refuses it: tried on shapes, not guessed.

use super::binding::Scene;
use super::problem::{Problem, quoted};
use super::term::{BoundTerm, Read};
use crate::manifest::Part;
use crate::ops::{Moment, TracePort};
use stillhouse_plugin::desc::Kind;
use stillhouse_plugin::op::Meta;

impl Scene<'_> {
    /// Adds to what a part said of its ports: that a connector or a larger batch would mend it, where one would, and which
    /// taps have which shape. `moment` is where its run was traced; none for a part that refused when it was bound. A hint of
    /// the part's own stays.
    pub(super) fn explain(&self, problem: Problem, term: &BoundTerm, moment: Option<&Moment>) -> Problem {
        let Ok(ports) = self.trace_ports(term) else { return problem };
        if self.batch() == 1 && self.would_pass(term, moment, &with_samples(&ports, 2)) {
            return self.wants_batch(problem);
        }
        let Some(pairs) = sides(&ports) else { return problem };
        let Some(differs) = pairs.iter().position(|(student, teacher)| student.shape != teacher.shape) else {
            return problem;
        };
        let Problem(mut found) = problem;
        let tap = |name: &str, meta: &Meta| {
            let read = term.port(name).and_then(|port| port.reads.get(differs));
            read.map(|read| format!("{} is {meta}", self.shown(read, term, name, differs)))
        };
        let (student, teacher) = &pairs[differs];
        found.details.notes = [tap("student", student), tap("teacher", teacher)].into_iter().flatten().collect();
        let is_bare = term.connectors.is_empty() && found.details.hint.is_none();
        if !is_bare || !self.would_pass(term, moment, &connected(&ports, &pairs)) {
            return Problem(found);
        }
        let all = self.setup.registry.components().iter().filter(|component| component.desc.kind == Kind::Connector);
        let names: Vec<&str> = all.map(|component| component.desc.name.as_str()).collect();
        Problem(found).hint(match names.as_slice() {
            [] => "a connector would bring them together, and no plugin has one".to_owned(),
            _ => format!("put a connector between them, `connector = \"...\"`; there are {}", quoted(&names)),
        })
    }

    /// The statistics of one sample: says which key is to change.
    pub(super) fn wants_batch(&self, problem: Problem) -> Problem {
        let Problem(found) = problem;
        let samples = self.setup.data.get(self.data).map_or(0, |set| set.train.len());
        if samples < 2 {
            return Problem(found).hint("it takes statistics over the batch: train on two samples or more");
        }
        let at = self.path().key("batch");
        Problem(found.related(&at, Part::Value, "one sample a step"))
            .hint("it takes statistics over the batch: write `batch = 2` or more")
    }

    /// A value as messages name it, with the connectors that it went through.
    fn shown(&self, read: &Read, term: &BoundTerm, port: &str, tap: usize) -> String {
        let through = term.connectors.iter().filter(|connector| connector.port == port && connector.tap == tap);
        let names: Vec<&str> =
            through.flat_map(|connector| &connector.chain).map(|part| part.desc().name.as_str()).collect();
        if names.is_empty() { read.text() } else { format!("{} behind {}", read.text(), quoted(&names)) }
    }

    /// True when a new part of the same settings takes these ports.
    fn would_pass(&self, term: &BoundTerm, moment: Option<&Moment>, ports: &[TracePort]) -> bool {
        let Some(written) = self.stage.terms.get(&term.name) else { return false };
        let Ok(planned) = self.plan(&term.name, written) else { return false };
        let is_loss = planned.part.desc().kind == Kind::Loss;
        let start = self.moment("", "");
        let run = moment.or(is_loss.then_some(&start)).filter(|_| !planned.part.desc().dynamic);
        planned.part.bind(&start, ports).is_ok() && run.is_none_or(|moment| planned.part.trace(moment, ports).is_ok())
    }
}

/// Values of student and teacher, in pairs.
fn sides(ports: &[TracePort]) -> Option<Vec<(Meta, Meta)>> {
    let of = |name: &str| ports.iter().find(|port| port.name == name).map(|port| &port.values);
    let (students, teachers) = (of("student")?, of("teacher")?);
    (students.len() == teachers.len()).then(|| students.iter().cloned().zip(teachers.iter().cloned()).collect())
}

/// The ports, the student's values as large as the teacher's.
fn connected(ports: &[TracePort], pairs: &[(Meta, Meta)]) -> Vec<TracePort> {
    let mut ports = ports.to_vec();
    for port in ports.iter_mut().filter(|port| port.name == "student") {
        port.values = pairs.iter().map(|(_, teacher)| teacher.clone()).collect();
    }
    ports
}

/// The ports of a larger batch; parameters stay.
pub(super) fn with_samples(ports: &[TracePort], samples: usize) -> Vec<TracePort> {
    let mut ports = ports.to_vec();
    for value in ports.iter_mut().flat_map(|port| &mut port.values) {
        if let Some(first) = value.shape.first_mut().filter(|first| **first == 1) {
            *first = samples;
        }
    }
    ports
}
