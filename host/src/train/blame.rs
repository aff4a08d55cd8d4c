//! Where a term that is not finite comes from: the first tensor on its way that is not.

use super::batch::{Fields, view_field};
use super::models::Model;
use super::plan::StagePlan;
use super::term::{BoundTerm, Read};
use crate::exec::PassSpec;
use crate::graph::Source;
use crate::ops::{Moment, ParamSet, PortIn};
use candle_core::{DType, Tensor};
use indexmap::IndexMap;
use std::rc::Rc;

/// What a step was given.
pub(super) struct Given<'a> {
    pub(super) stage: &'a StagePlan,
    pub(super) models: &'a IndexMap<String, Rc<Model>>,
    pub(super) fields: &'a Fields,
    pub(super) moment: &'a Moment,
}

/// The first tensor that is not finite, and what to do.
pub(super) struct Blame {
    /// A line that names it; none where all that the part was given is finite.
    pub(super) first: Option<String>,
    pub(super) hint: String,
}

const RATE: &str = "lower the learning rate or the weight of the term, or set `clip_norm`";

/// Looks for the cause of a term that is not finite.
pub(super) fn blame(term: &BoundTerm, ports: &[PortIn<'_>], given: &Given<'_>) -> Blame {
    let reads = term.ports.iter().filter(|port| port.reads.iter().any(|read| !given.is_finite(read)));
    let read = reads.flat_map(|port| &port.reads).find(|read| !given.is_finite(read));
    if let Some(blame) = read.map(|read| given.of_read(read)) {
        return blame;
    }
    let wrong = ports.iter().find(|port| port.values.iter().any(|value| !is_finite(value)));
    if let Some(port) = wrong {
        let own = term.connectors.iter().filter(|connector| connector.port == port.name);
        let own = own.flat_map(|connector| &connector.chain).find_map(|part| first_of(part.params()));
        let first = match own {
            Some(name) => format!("first not finite: the connector's `{name}`"),
            None => format!("first not finite: port `{}`, behind its connector", port.name),
        };
        return Blame { first: Some(first), hint: given.of_training() };
    }
    if let Some(name) = first_of(term.part.params()) {
        return Blame { first: Some(format!("first not finite: the part's `{name}`")), hint: given.of_training() };
    }
    let hint = match given.moment.step {
        0 => format!("all that it reads is finite: {} has no finite value there", term.part.label()),
        _ => RATE.to_owned(),
    };
    Blame { first: None, hint }
}

impl Given<'_> {
    /// True where a model was not updated yet and its weights cannot be the training's doing.
    fn of_training(&self) -> String {
        if self.moment.step == 0 { "nothing was updated yet: its start values overflow".into() } else { RATE.into() }
    }

    fn is_finite(&self, read: &Read) -> bool {
        match read {
            Read::Field(name) => self.fields.get(name).is_none_or(is_finite),
            Read::Parameter { model, name } => {
                let found = self.models.get(model).and_then(|model| model.network.parameter(name));
                found.and_then(|(set, name)| set.value(&name)).is_none_or(|value| is_finite(&value))
            }
            Read::Tap { pass, point, .. } => self.values(pass, std::slice::from_ref(point)).is_none(),
        }
    }

    /// The first of the points of a pass whose value is not finite.
    fn values(&self, pass: &str, points: &[Source]) -> Option<Source> {
        let plan = self.stage.passes.get(pass)?;
        let model = self.models.get(&plan.model)?;
        let spec = PassSpec {
            training: plan.training,
            reverse_time: plan.reverse_time,
            want: points.to_vec(),
            frozen: if plan.track { self.stage.frozen.clone() } else { Default::default() },
            ..PassSpec::default()
        };
        let forward = model.network.forward(self.fields.get(&view_field(&plan.view))?, &spec, self.moment).ok()?;
        let wrong = |point: &&Source| forward.taps.get(*point).is_some_and(|frames| !frames.iter().all(is_finite));
        points.iter().find(wrong).cloned()
    }

    fn of_read(&self, read: &Read) -> Blame {
        let (first, hint) = match read {
            Read::Field(name) => {
                (format!("field `{name}` of the batch"), "the data has values that are not finite".to_owned())
            }
            Read::Parameter { model, name } => (format!("parameter `{name}` of `{model}`"), self.of_weights(model)),
            Read::Tap { pass, .. } => self.of_pass(pass),
        };
        Blame { first: Some(format!("first not finite: {first}")), hint }
    }

    /// In the order of computation: what the network sees, its parameters, its layers.
    fn of_pass(&self, pass: &str) -> (String, String) {
        let nothing = (format!("pass `{pass}`"), self.of_training());
        let Some((plan, model)) =
            self.stage.passes.get(pass).and_then(|plan| Some((plan, self.models.get(&plan.model)?)))
        else {
            return nothing;
        };
        let name = &model.name;
        if self.fields.get(&view_field(&plan.view)).is_some_and(|input| !is_finite(input)) {
            let hint = "the data, or `mean` and `std` of the model's `input`, have values that are not finite";
            return (format!("the input of `{name}`"), hint.to_owned());
        }
        let sets = model.network.sets();
        let parameter = sets.iter().find_map(|(prefix, set)| Some(format!("{prefix}{}", first_of(set)?)));
        if let Some(parameter) = parameter {
            return (format!("`{parameter}` of `{name}`"), self.of_weights(name));
        }
        let graph = &model.network.graph;
        let layers: Vec<Source> = (0..graph.layers.len()).map(Source::Layer).collect();
        match self.values(pass, &layers) {
            Some(Source::Layer(at)) => {
                let hint =
                    if plan.track { self.of_training() } else { "its input or its weights are too large".into() };
                (format!("layer `{}` of `{name}`", graph.layers[at].path), hint)
            }
            _ => nothing,
        }
    }

    fn of_weights(&self, model: &str) -> String {
        let trained = self.stage.trained.iter().any(|name| name == model);
        match trained && self.moment.step > 0 {
            true => RATE.to_owned(),
            false => {
                format!("the weights that `{model}` came with are damaged, or the training that gave them diverged")
            }
        }
    }
}

/// Name of the first tensor of a set that is not finite.
fn first_of(set: &Rc<ParamSet>) -> Option<String> {
    let wrong =
        |(name, entry): (String, crate::ops::Entry)| (!is_finite(&entry.var.as_detached_tensor())).then_some(name);
    set.entries().into_iter().find_map(wrong)
}

fn is_finite(tensor: &Tensor) -> bool {
    if !tensor.dtype().is_float() {
        return true;
    }
    let values = tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F64)).and_then(|flat| flat.to_vec1::<f64>());
    values.map_or(true, |values| values.iter().all(|value| value.is_finite()))
}
