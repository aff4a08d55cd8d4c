//! From a term of the manifest to a bound term: the part is found and made, a distiller plans, ports find their values,
//! connectors and part make their parameters.

use super::models::{Model, create};
use super::problem::{AtPath, Problem, known_hint};
use super::reads::binding_hint;
use super::recordings::RecordingPlan;
use super::setup::{Setup, check_settings, find_part};
use super::term::{BoundPort, BoundTerm, Found};
use crate::manifest::{self, Diagnostics, ManifestPath, Part, RESERVED_TERM_KEYS};
use crate::ops::{Moment, ParamSet};
use indexmap::IndexMap;
use std::rc::Rc;
use stillhouse_plugin::desc::{FieldSite, Kind, ModelSite, Pass, Plan, Port, Site, Source as From};
use stillhouse_plugin::op::DType;

/// A forward pass of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct PassPlan {
    /// The model.
    pub model: String,
    /// The batch's field with its view.
    pub view: String,
    /// Batch statistics and dropout.
    pub training: bool,
    /// Gradients wanted: a trained model.
    pub track: bool,
    /// Frames from last to first.
    pub reverse_time: bool,
}

/// What terms of a stage can read.
pub struct Scene<'a> {
    /// What the manifest stands on.
    pub setup: &'a Setup,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the stage in the manifest.
    pub stage_name: &'a str,
    /// The stage.
    pub stage: &'a manifest::Stage,
    /// Data set.
    pub data: &'a str,
    /// Models by name, those that this stage uses.
    pub models: &'a IndexMap<String, Rc<Model>>,
    /// Recordings by name.
    pub recordings: &'a IndexMap<String, RecordingPlan>,
    /// Trained models; the first is the student.
    pub trained: &'a [String],
    /// Passes by name; a model's usual pass has its name.
    pub passes: &'a IndexMap<String, PassPlan>,
    /// Frames of a sample, for models over time.
    pub frames: usize,
}

impl Planned {
    /// True when a port that will be bound reads a teacher.
    pub fn needs_teacher(&self) -> bool {
        let required = |port: &&Port| !port.optional || port.default.is_some();
        self.ports.iter().filter(required).any(|port| matches!(port.source, From::Teacher | From::TeacherParameter))
    }
}

/// What a term may be.
pub const TERM_KINDS: &[Kind] = &[Kind::Loss, Kind::Distiller];

/// A term with its plan, before its ports are bound.
pub struct Planned {
    pub(super) part: crate::ops::BoundPart,
    /// What it asked for.
    pub plan: Plan,
    ports: Vec<Port>,
}

impl Scene<'_> {
    /// Path of the stage in the manifest.
    pub fn path(&self) -> ManifestPath {
        ManifestPath::of(["stage", self.stage_name])
    }

    /// Where training stands in a trace of this stage; a distiller's own stage and phase by name.
    pub fn moment(&self, stage: &str, phase: &str) -> Moment {
        let samples = self.setup.data.get(self.data).map_or(0, |set| set.train.index_bound()) as u64;
        Moment {
            training: true,
            steps_per_epoch: 1,
            samples,
            stage: stage.into(),
            phase: phase.into(),
            seed: self.seed,
            ..Moment::default()
        }
    }

    /// Finds and makes the part of a term; a distiller plans.
    ///
    /// # Errors
    /// An unknown part, a configuration that it refuses, a site on which it cannot work.
    pub fn plan(&self, name: &str, term: &manifest::Term) -> Found<Planned> {
        let path = self.path().key("terms").key(name);
        let registry = &self.setup.registry;
        let component = find_part(registry, TERM_KINDS, &term.use_, &path.key("use"))?;
        let label = format!("`{name}` (`{}`)", component.desc.name);
        let params = self.params(name);
        let part = create(component, &term.config, &label, params, &path)?;
        let plan = if part.desc().kind == Kind::Distiller {
            part.plan(&self.site(term)).at_key(&path)?
        } else {
            Plan::default()
        };
        let ports = if plan.ports.is_empty() { part.desc().ports.clone() } else { plan.ports.clone() };
        Ok(Planned { part, plan, ports })
    }

    /// What is wrong with the settings of a term whose part is known.
    pub fn check_settings(&self, name: &str, term: &manifest::Term) -> Diagnostics {
        match self.setup.registry.find_of(TERM_KINDS, &term.use_) {
            Ok(component) => {
                check_settings(&self.setup.sources, &self.path().key("terms").key(name), component, RESERVED_TERM_KEYS)
            }
            Err(_) => Diagnostics::default(),
        }
    }

    pub(super) fn params(&self, owner: &str) -> Rc<ParamSet> {
        Rc::new(ParamSet::new(owner, self.seed, self.setup.float, &self.setup.device))
    }

    fn site(&self, term: &manifest::Term) -> Site {
        let model = |name: &String| {
            let network = &self.models.get(name)?.network;
            let layers =
                network.graph.layers.iter().map(|layer| (layer.path.clone(), format!("{:?}", layer.kind))).collect();
            let of_set = |(prefix, set): (String, Rc<ParamSet>)| {
                let names = set.names(crate::ops::ParamKind::Parameter).into_iter();
                names.map(move |name| format!("{prefix}{name}")).collect::<Vec<_>>()
            };
            let parameters = network.sets().into_iter().flat_map(of_set).collect();
            Some(ModelSite { name: name.clone(), layers, parameters })
        };
        let set = self.setup.data.get(self.data);
        let fields = set.map(|set| set.train.fields().iter());
        let field = |(name, field): (&String, &crate::data::Field)| FieldSite {
            name: name.clone(),
            shape: field.shape().to_vec(),
        };
        let texts = |list: &manifest::OneOrMany<String>| list.to_vec();
        let mut bindings: Vec<(String, Vec<String>)> =
            term.ports.iter().map(|(port, list)| (port.clone(), texts(list))).collect();
        bindings.extend(term.student.as_ref().map(|list| ("student".to_owned(), texts(list))));
        bindings.extend(term.teacher.as_ref().map(|list| ("teacher".to_owned(), texts(list))));
        Site {
            student: self.trained.first().and_then(model).unwrap_or_default(),
            teachers: self.models.keys().filter(|name| !self.trained.contains(name)).filter_map(model).collect(),
            fields: fields.into_iter().flatten().map(field).collect(),
            samples: set.map_or(0, |set| set.train.index_bound()),
            batch: self.stage.batch,
            epochs: self.stage.epochs.unwrap_or_default(),
            bindings,
        }
    }

    /// Binds the ports of a planned term, then lets connectors and part make their parameters.
    ///
    /// # Errors
    /// A port without value, a tap that does not exist, shapes that the part refuses.
    pub fn bind(&self, name: &str, term: &manifest::Term, planned: Planned) -> Found<BoundTerm> {
        let path = self.path().key("terms").key(name);
        check_port_names(term, &planned.ports, planned.part.label(), &path)?;
        let mut ports = vec![];
        for port in &planned.ports {
            let reads = self.port(term, port, &path)?;
            if reads.is_empty() && !port.optional {
                let message = format!("port `{}` of {} is not bound", port.name, planned.part.label());
                return Err(Problem::new(message).at(&path, Part::Key).hint(binding_hint(term, port)));
            }
            let (name, phase) = (port.name.clone(), port.phase.clone());
            ports.push(BoundPort { name, from: port.source, reads, over_time: port.over_time, phase });
        }
        let Planned { part, plan, .. } = planned;
        let weight = term.weight.clone();
        let mut bound = BoundTerm {
            name: name.into(),
            path: path.clone(),
            part,
            weight,
            scale: 1.0,
            plan,
            ports,
            connectors: vec![],
        };
        self.connect(term, &mut bound)?;
        let values = self.trace_ports(&bound)?;
        let bind = bound.part.bind(&self.moment("", ""), &values).at_key(&path);
        bind.map_err(|problem| self.explain(problem, &bound, None))?;
        Ok(bound)
    }

    /// Samples of a step.
    pub(super) fn batch(&self) -> usize {
        let samples = self.setup.data.get(self.data).map_or(usize::MAX, |set| set.train.len());
        self.stage.batch.min(samples).max(1)
    }

    /// The type that trains.
    pub(super) fn float(&self) -> DType {
        crate::ops::from_meta_dtype(self.setup.float)
    }

    /// A pass that a distiller asks for.
    ///
    /// # Errors
    /// A model or view that does not exist.
    pub fn own_pass(&self, pass: &Pass, path: &ManifestPath) -> Found<PassPlan> {
        let name = match pass.model.as_str() {
            "student" => self.trained.first().cloned().unwrap_or_default(),
            "teacher" => self.only_teacher("logits", path)?,
            other => other.to_owned(),
        };
        let model = self.models.get(&name).ok_or_else(|| {
            let hint = known_hint(&name, self.setup.manifest.models.keys().map(String::as_str), "there are");
            let message = format!("pass `{}` wants the model `{name}`, which there is not", pass.name);
            Problem::new(message).at(path, Part::Key).hint(hint)
        })?;
        let trained = self.trained.contains(&name);
        let training = pass.mode.map_or(trained, |mode| mode == stillhouse_plugin::desc::Mode::Train);
        let view = pass.view.as_ref().map_or_else(|| model.view.name.clone(), |view| format!("{name}@{view}"));
        Ok(PassPlan { model: name, view, training, track: trained, reverse_time: pass.reverse_time })
    }
}

fn check_port_names(term: &manifest::Term, ports: &[Port], label: &str, path: &ManifestPath) -> Found<()> {
    let known = |name: &str| ports.iter().any(|port| port.name == name);
    let refuse = |name: &str, at: ManifestPath| {
        let hint = known_hint(name, ports.iter().map(|port| port.name.as_str()), "its ports");
        Err(Problem::new(format!("{label} has no port `{name}`")).at(&at, Part::Key).hint(hint))
    };
    if let Some(name) = term.ports.keys().find(|name| !known(name)) {
        return refuse(name, path.key("ports").key(name));
    }
    for (name, written) in [("student", term.student.is_some()), ("teacher", term.teacher.is_some())] {
        if written && !known(name) {
            return refuse(name, path.key(name));
        }
    }
    Ok(())
}
