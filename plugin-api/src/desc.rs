//! What a component says of itself and what a method asks of the host: plain data that crosses as JSON.
//!
//! Keys are only ever added. A reader ignores keys that it does not know.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// The four kinds of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Values to a scalar.
    Loss,
    /// A tensor to a tensor, between two feature spaces.
    Connector,
    /// Takes the place of a layer of a student.
    Module,
    /// A whole method: taps, terms, phases, stages.
    Distiller,
}

impl Kind {
    /// Lower-case name, as in commands and messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Loss => "loss",
            Kind::Connector => "connector",
            Kind::Module => "module",
            Kind::Distiller => "distiller",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Kind> {
        [Kind::Loss, Kind::Connector, Kind::Module, Kind::Distiller].into_iter().find(|kind| kind.name() == name)
    }
}

/// Description of a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desc {
    /// Kind of part.
    pub kind: Kind,
    /// Name, unique within its kind and plugin.
    pub name: String,
    /// What it is, in a sentence or more.
    #[serde(default)]
    pub doc: String,
    /// Paper or repository that defines it.
    #[serde(default)]
    pub citation: String,
    /// JSON schema of its configuration.
    #[serde(default)]
    pub schema: Value,
    /// Inputs.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// True when the value of one sample depends on the others of the batch, so that batches cannot be cut into pieces.
    #[serde(default)]
    pub batch_coupled: bool,
    /// True when the part reads values, so that it cannot be traced.
    #[serde(default)]
    pub dynamic: bool,
}

/// Keys of a term in a manifest that the host reads itself. A part with a setting of such a name is refused, since no
/// manifest could reach it.
pub const RESERVED_SETTINGS: [&str; 9] =
    ["use", "weight", "at", "student", "teacher", "ports", "connector", "connector_on", "phase"];

impl Desc {
    /// Names of the settings at the top of the schema, those of its alternatives included.
    pub fn settings(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        gather(&self.schema, &self.schema, 8, &mut names);
        names
    }
}

/// `depth` bounds references that lead to themselves.
fn gather(schema: &Value, root: &Value, depth: usize, names: &mut BTreeSet<String>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let properties = schema.get("properties").and_then(Value::as_object);
    names.extend(properties.into_iter().flat_map(|map| map.keys().cloned()));
    for key in ["allOf", "anyOf", "oneOf"] {
        for part in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            gather(part, root, depth, names);
        }
    }
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
    if let Some(target) = pointer.and_then(|pointer| root.pointer(pointer)) {
        gather(target, root, depth, names);
    }
}

/// Where a port takes its value from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A tap of a student's pass.
    Student,
    /// A tap of a teacher's pass; never carries a gradient.
    Teacher,
    /// A field of the batch.
    Data,
    /// A parameter of a student.
    StudentParameter,
    /// A parameter of a teacher; never carries a gradient.
    TeacherParameter,
}

/// A named input of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Name, as in `ports.NAME` of a manifest.
    pub name: String,
    /// Where the value comes from.
    pub source: Source,
    /// Any number of values.
    #[serde(default)]
    pub many: bool,
    /// May stay unbound.
    #[serde(default)]
    pub optional: bool,
    /// One value a frame of the sequence; a port that is not over time reads the last frame.
    #[serde(default)]
    pub over_time: bool,
    /// Selector that binds it when the manifest says nothing.
    #[serde(default)]
    pub default: Option<String>,
    /// The phase that reads it; every one when absent.
    #[serde(default)]
    pub phase: Option<String>,
}

impl Port {
    fn new(name: &str, source: Source) -> Port {
        Port { name: name.into(), source, many: false, optional: false, over_time: false, default: None, phase: None }
    }

    /// A tap of the student, port `student` unless renamed.
    pub fn student() -> Port {
        Port::new("student", Source::Student)
    }

    /// A tap of the teacher, port `teacher` unless renamed.
    pub fn teacher() -> Port {
        Port::new("teacher", Source::Teacher)
    }

    /// A field of the batch.
    pub fn data(name: &str) -> Port {
        Port { default: Some(name.into()), ..Port::new(name, Source::Data) }
    }

    /// A parameter of the student.
    pub fn student_parameter(name: &str) -> Port {
        Port::new(name, Source::StudentParameter)
    }

    /// A parameter of the teacher.
    pub fn teacher_parameter(name: &str) -> Port {
        Port::new(name, Source::TeacherParameter)
    }

    /// The same under another name.
    pub fn named(self, name: &str) -> Port {
        Port { name: name.into(), ..self }
    }

    /// The same, bound to `selector` when the manifest says nothing.
    pub fn or(self, selector: &str) -> Port {
        Port { default: Some(selector.into()), ..self }
    }

    /// The same, for any number of values.
    pub fn many(self) -> Port {
        Port { many: true, ..self }
    }

    /// The same, and it may stay unbound.
    pub fn optional(self) -> Port {
        Port { optional: true, ..self }
    }

    /// The same, read in this phase alone: in others its passes do not run.
    pub fn in_phase(self, phase: &str) -> Port {
        Port { phase: Some(phase.into()), ..self }
    }

    /// The same, with one value a frame.
    pub fn over_time(self) -> Port {
        Port { over_time: true, ..self }
    }
}

/// What a distiller asks of the host. An empty list means the usual: one phase, the stage's own passes and optimizer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Ports in place of those of the description, when they depend on the configuration.
    pub ports: Vec<Port>,
    /// Terms that the method gives, with their inner weights.
    pub terms: Vec<TermPlan>,
    /// Parameter groups with an optimizer of their own.
    pub groups: Vec<Group>,
    /// Forward passes beside the usual ones.
    pub passes: Vec<Pass>,
    /// Phases of one training step, in order.
    pub phases: Vec<Phase>,
    /// Trainings in order, in place of the one that the manifest describes.
    pub stages: Vec<StagePlan>,
}

/// A term of a distiller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TermPlan {
    /// Name; logged as `<term of the manifest>.<name>`.
    pub name: String,
    /// Inner weight; the manifest's weight multiplies it.
    #[serde(default)]
    pub weight: WeightPlan,
}

impl TermPlan {
    /// A term of inner weight 1.
    pub fn new(name: &str) -> TermPlan {
        TermPlan { name: name.into(), weight: WeightPlan::default() }
    }

    /// The same with this weight.
    pub fn weighted(self, weight: WeightPlan) -> TermPlan {
        TermPlan { weight, ..self }
    }
}

/// What a schedule counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Epochs of the stage.
    #[default]
    Epochs,
    /// Updates of the stage.
    Steps,
}

/// A weight that is linear between points, constant before the first and after the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightPlan {
    /// What positions count.
    #[serde(default)]
    pub unit: Unit,
    /// True: the weight changes at whole units only.
    #[serde(default)]
    pub stepped: bool,
    /// Positions and values, positions rising.
    pub points: Vec<(f64, f64)>,
}

impl Default for WeightPlan {
    fn default() -> Self {
        WeightPlan::constant(1.0)
    }
}

impl WeightPlan {
    /// The same value always.
    pub fn constant(value: f64) -> WeightPlan {
        WeightPlan { unit: Unit::Epochs, stepped: false, points: vec![(0.0, value)] }
    }

    /// The value at this position, in epochs (a fraction within an epoch) and in updates of the stage.
    pub fn at(&self, epoch: f64, step: f64) -> f64 {
        let raw = if self.unit == Unit::Epochs { epoch } else { step };
        let position = if self.stepped { raw.floor() } else { raw };
        let Some(next) = self.points.iter().position(|(at, _)| *at > position) else {
            return self.points.last().map_or(0.0, |(_, value)| *value);
        };
        let (to, to_value) = self.points[next];
        let Some((from, from_value)) = next.checked_sub(1).map(|i| self.points[i]) else { return to_value };
        from_value + (to_value - from_value) * (position - from) / (to - from)
    }

    /// True when the weight never differs from 0.
    pub fn is_always_zero(&self) -> bool {
        self.points.iter().all(|(_, value)| *value == 0.0)
    }
}

/// Parameters that are updated together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Name, for [`Phase::updates`].
    pub name: String,
    /// Globs over the part's own parameter names.
    pub params: Vec<String>,
    /// An optimizer as in a manifest (`{"kind": "adam", "lr": 0.001}`); without it the stage's own.
    #[serde(default)]
    pub optimizer: Option<Value>,
}

/// Mode of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Batch statistics, dropout.
    Train,
    /// Running statistics.
    Eval,
}

/// One forward of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    /// Name, for selectors (`NAME:path`).
    pub name: String,
    /// `student`, `teacher` or the name of a model.
    pub model: String,
    /// View of the sample; the model's own when absent.
    #[serde(default)]
    pub view: Option<String>,
    /// Frames from last to first.
    #[serde(default)]
    pub reverse_time: bool,
    /// Mode; a student trains and a teacher evaluates when absent.
    #[serde(default)]
    pub mode: Option<Mode>,
}

/// A part of a training step that ends in an update.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phase {
    /// Name; the part reads it in its step.
    pub name: String,
    /// Own terms that take part.
    pub terms: Vec<String>,
    /// True when the manifest's other terms take part, too.
    pub with_others: bool,
    /// Groups that are updated: own ones by name, and `student`.
    pub updates: Vec<String>,
}

/// One training of several that a distiller asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StagePlan {
    /// Name; the stage runs as `<stage of the manifest>.<name>`.
    pub name: String,
    /// Own terms that take part.
    pub terms: Vec<String>,
    /// True when the manifest's other terms take part, too.
    pub with_others: bool,
    /// Train only those parameters of the student on which the taps of this port depend.
    pub upto_port: Option<String>,
    /// Globs of student parameters that are trained; empty: all.
    pub train: Vec<String>,
    /// Globs of student parameters that are frozen.
    pub freeze: Vec<String>,
    /// Globs of own parameters that are frozen.
    pub freeze_own: Vec<String>,
    /// Epochs; the manifest's when absent.
    pub epochs: Option<f64>,
    /// Stop after this many epochs without improvement of the objective.
    pub patience: Option<u64>,
    /// Keep the optimizer's state of the stage before.
    pub keep_optimizer: bool,
    /// Phases, when the stage has several.
    pub phases: Vec<Phase>,
}

/// What a distiller may know before it plans.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Site {
    /// The trained model.
    pub student: ModelSite,
    /// Models that teach, by name.
    pub teachers: Vec<ModelSite>,
    /// Fields of a batch.
    pub fields: Vec<FieldSite>,
    /// Samples of the training set.
    pub samples: usize,
    /// Samples of a batch.
    pub batch: usize,
    /// Epochs that the manifest asks for.
    pub epochs: f64,
    /// Selectors that the manifest binds to each port.
    pub bindings: Vec<(String, Vec<String>)>,
}

/// A model, for planning.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelSite {
    /// Name in the manifest.
    pub name: String,
    /// Paths of layers, with their kinds.
    pub layers: Vec<(String, String)>,
    /// Paths of parameters.
    pub parameters: Vec<String>,
}

/// A field of the batch, for planning.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FieldSite {
    /// Name.
    pub name: String,
    /// Shape of one sample.
    pub shape: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_between_points_is_linear() {
        let weight = WeightPlan { points: vec![(1.0, 4.0), (3.0, 0.0)], ..WeightPlan::default() };
        assert_eq!([0.0, 1.0, 2.0, 2.5, 9.0].map(|epoch| weight.at(epoch, 0.0)), [4.0, 4.0, 2.0, 1.0, 0.0]);
    }

    #[test]
    fn weight_stepped_changes_at_whole_units() {
        let weight = WeightPlan { unit: Unit::Steps, stepped: true, points: vec![(0.0, 0.0), (2.0, 2.0)] };
        assert_eq!([0.5, 1.9, 2.0].map(|step| weight.at(0.0, step)), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn weight_of_zeros_is_always_zero() {
        assert!(WeightPlan::constant(0.0).is_always_zero());
        assert!(!WeightPlan { points: vec![(0.0, 0.0), (1.0, 1.0)], ..WeightPlan::default() }.is_always_zero());
    }

    #[test]
    fn plan_with_unknown_keys_reads() {
        let plan: Plan = serde_json::from_str(r#"{"terms":[{"name":"hint"}],"later":1}"#).expect("reads");
        assert_eq!(plan.terms[0].weight, WeightPlan::constant(1.0));
    }
}
