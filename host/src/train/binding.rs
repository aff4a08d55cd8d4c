//! From a term of the manifest to a bound term: the part is found and made, a distiller plans, ports find their values,
//! connectors and part make their parameters.

use super::models::{Model, create};
use super::problem::{AtPath, Problem, known_hint, quoted};
use super::selector::Selector;
use super::setup::{Setup, check_settings, find_part};
use super::term::{BoundConnector, BoundPort, BoundTerm, Found, Read};
use crate::manifest::{self, Diagnostics, ManifestPath, Part, RESERVED_TERM_KEYS, Side, nearest};
use crate::ops::{Moment, ParamSet, TracePort};
use indexmap::IndexMap;
use std::rc::Rc;
use stillhouse_plugin::desc::{FieldSite, Kind, ModelSite, Pass, Plan, Port, Site, Source as From};
use stillhouse_plugin::op::{DType, Meta};

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
    part: crate::ops::BoundPart,
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

    fn params(&self, owner: &str) -> Rc<ParamSet> {
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
            ports.push(BoundPort { name: port.name.clone(), from: port.source, reads, over_time: port.over_time });
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
        bind.map_err(|problem| self.explain_shapes(problem, &bound))?;
        Ok(bound)
    }

    /// Where student and teacher differ in shape and nothing connects them, says so beside what the part said.
    pub fn explain_shapes(&self, problem: Problem, term: &BoundTerm) -> Problem {
        let side = |name: &str| {
            let [read] = term.port(name)?.reads.as_slice() else { return None };
            Some((read.text(), self.meta(read)?))
        };
        let (Some((student, from)), Some((teacher, to))) = (side("student"), side("teacher")) else { return problem };
        if from.shape == to.shape || !term.connectors.is_empty() {
            return problem;
        }
        let all = self.setup.registry.components().iter().filter(|component| component.desc.kind == Kind::Connector);
        let names: Vec<&str> = all.map(|component| component.desc.name.as_str()).collect();
        let hint = match names.as_slice() {
            [] => "a connector would bring them together, and no plugin has one".to_owned(),
            _ => format!("put a connector between them, `connector = \"...\"`; there are {}", quoted(&names)),
        };
        let Problem(mut found) = problem;
        found.details.notes = vec![format!("{student} is {from}"), format!("{teacher} is {to}")];
        Problem(found).hint(hint)
    }

    /// What a port reads: by the manifest, else by its default.
    fn port(&self, term: &manifest::Term, port: &Port, path: &ManifestPath) -> Found<Vec<Read>> {
        let short = match port.name.as_str() {
            "student" => term.student.as_ref().map(|list| (list, path.key("student"))),
            "teacher" => term.teacher.as_ref().map(|list| (list, path.key("teacher"))),
            _ => None,
        };
        let both = matches!(port.name.as_str(), "student" | "teacher")
            .then(|| term.at.as_ref().map(|list| (list, path.key("at"))))
            .flatten();
        let named = term.ports.get(&port.name).map(|list| (list, path.key("ports").key(&port.name)));
        let default = port.default.clone().map(|text| manifest::OneOrMany::from(vec![text]));
        let (list, at) = match named.or(short).or(both) {
            Some((list, at)) => (list, at),
            None => match &default {
                // Nobody wrote it: the finding points at the name of the term.
                Some(list) if self.default_applies(port) => (list, path.key("ports").key(&port.name)),
                _ => return Ok(vec![]),
            },
        };
        let mut reads = vec![];
        for (i, text) in list.iter().enumerate() {
            let selector =
                Selector::parse(text).map_err(|message| Problem::new(message).at(&at.index(i), Part::Value))?;
            reads.extend(self.read(port, &selector, &at.index(i))?);
        }
        if reads.len() > 1 && !port.many {
            let texts: Vec<String> = reads.iter().map(Read::text).collect();
            return Err(Problem::new(format!("port `{}` takes one value, got {}", port.name, texts.join(", ")))
                .at(&at, Part::Value));
        }
        Ok(reads)
    }

    /// An optional field of the data is bound by default only where the data has it.
    fn default_applies(&self, port: &Port) -> bool {
        let Some(name) = &port.default else { return false };
        port.source != From::Data || !port.optional || self.field(name).is_some()
    }

    fn read(&self, port: &Port, selector: &Selector, at: &ManifestPath) -> Found<Vec<Read>> {
        match port.source {
            From::Data => match self.field(&selector.path) {
                Some(_) => Ok(vec![Read::Field(selector.path.clone())]),
                None => {
                    let message = format!(
                        "port `{}` reads the field `{}`, which the data does not have",
                        port.name, selector.path
                    );
                    let hint = known_hint(&selector.path, self.field_names(), "its fields");
                    Err(Problem::new(message).at(at, Part::Value).hint(hint))
                }
            },
            From::Student | From::Teacher => self.taps(port, selector, at),
            From::StudentParameter | From::TeacherParameter => self.parameters(port, selector, at),
        }
    }

    /// The pass of a selector, and the model behind it.
    fn side(&self, port: &Port, selector: &Selector, at: &ManifestPath) -> Found<(String, &Rc<Model>)> {
        let of_student = matches!(port.source, From::Student | From::StudentParameter);
        let name = match (&selector.pass, of_student) {
            (Some(pass), _) if pass == "student" && !self.passes.contains_key(pass) => self.student_pass(),
            (Some(pass), _) => pass.clone(),
            (None, true) => self.student_pass(),
            (None, false) => self.only_teacher(&selector.tap(), at)?,
        };
        let found = self.passes.get(&name).and_then(|pass| self.models.get(&pass.model));
        let Some(model) = found else {
            let fits = |pass: &PassPlan| of_student || !self.trained.contains(&pass.model);
            let known = self.passes.iter().filter(|(_, pass)| fits(pass)).map(|(name, _)| name.as_str());
            let hint =
                known_hint(&name, known, if of_student { "there are" } else { "models that are not trained here" });
            return Err(Problem::new(format!("there is no model or pass `{name}`")).at(at, Part::Value).hint(hint));
        };
        if !of_student && self.trained.contains(&model.name) {
            let message = format!("port `{}` wants a teacher, and `{}` is trained here", port.name, model.name);
            let others = self.passes.iter().filter(|(_, pass)| !self.trained.contains(&pass.model));
            let hint = known_hint(&name, others.map(|(name, _)| name.as_str()), "models that are not trained here");
            return Err(Problem::new(message).at(at, Part::Value).hint(hint));
        }
        Ok((name, model))
    }

    /// The usual pass of the student, which has the name of its model in the manifest.
    fn student_pass(&self) -> String {
        let of_student = |(_, pass): &(&String, &PassPlan)| Some(&pass.model) == self.trained.first();
        self.passes.iter().find(of_student).map_or_else(String::new, |(name, _)| name.clone())
    }

    /// The teacher where none is named; `tap` is what is read of it.
    fn only_teacher(&self, tap: &str, at: &ManifestPath) -> Found<String> {
        let all = &self.setup.manifest.models;
        let candidates: Vec<&String> =
            all.keys().filter(|name| !self.trained.contains(name) && !self.stage.train.contains(name)).collect();
        match candidates.as_slice() {
            [one] => Ok((*one).clone()),
            _ if candidates.iter().any(|name| *name == "teacher") => Ok("teacher".into()),
            [] => Err(Problem::new("there is no teacher: every model is trained here")
                .at(at, Part::Key)
                .hint("add one to `[models]`, with `weights` or with a stage before that trains it")),
            _ => {
                let names: Vec<&str> = candidates.iter().map(|name| name.as_str()).collect();
                let message = format!("several models can be the teacher: {}", quoted(&names));
                let hint = format!("say which, as in `teacher = \"{}:{tap}\"`, or name one model `teacher`", names[0]);
                Err(Problem::new(message).at(at, Part::Key).hint(hint))
            }
        }
    }

    fn taps(&self, port: &Port, selector: &Selector, at: &ManifestPath) -> Found<Vec<Read>> {
        let (pass, model) = self.side(port, selector, at)?;
        let graph = &model.network.graph;
        let read = |path: &str, text: String| {
            let tap = if selector.of_input { format!("{path}:in") } else { path.to_owned() };
            let point = graph.tap(&tap).filter(|point| model.network.shape(point).is_some())?;
            Some(Read::Tap { pass: pass.clone(), point, text })
        };
        let found: Vec<Read> = if selector.is_pattern() {
            graph.matching(&selector.path).into_iter().filter_map(|path| read(path, path.to_owned())).collect()
        } else {
            read(&selector.path, selector.tap()).into_iter().collect()
        };
        if found.is_empty() {
            let values = model.network.modules.iter().flat_map(|(index, slot)| {
                slot.values.iter().map(move |(name, _)| format!("{}.{name}", graph.layers[*index].path))
            });
            let known: Vec<String> = graph.paths().into_iter().map(str::to_owned).chain(values).collect();
            let groups: Vec<&str> =
                graph.groups.iter().map(|group| group.path.as_str()).filter(|path| !path.contains('.')).collect();
            let hint = match nearest(&selector.path, known.iter().map(String::as_str)) {
                Some(close) => format!("did you mean `{close}`?"),
                None if groups.is_empty() => known_hint(&selector.path, graph.paths(), "it has"),
                None => format!("it has {}, `logits` and the layers inside", quoted(&groups)),
            };
            return Err(Problem::new(format!("`{}` has no tap `{}`", model.name, selector.path))
                .at(at, Part::Value)
                .hint(hint));
        }
        Ok(found)
    }

    fn parameters(&self, port: &Port, selector: &Selector, at: &ManifestPath) -> Found<Vec<Read>> {
        let (_, model) = self.side(port, selector, at)?;
        let of_set = |(prefix, set): (String, Rc<ParamSet>)| {
            set.entries().into_iter().map(move |(name, _)| format!("{prefix}{name}")).collect::<Vec<_>>()
        };
        let names: Vec<String> = model.network.sets().into_iter().flat_map(of_set).collect();
        let glob = crate::graph::Glob::new(&selector.path);
        let found: Vec<Read> = names
            .iter()
            .filter(|name| glob.matches(name))
            .map(|name| Read::Parameter { model: model.name.clone(), name: name.clone() })
            .collect();
        if found.is_empty() {
            let hint = known_hint(&selector.path, names.iter().map(String::as_str), "it has");
            return Err(Problem::new(format!("`{}` has no parameter `{}`", model.name, selector.path))
                .at(at, Part::Value)
                .hint(hint));
        }
        Ok(found)
    }

    fn field_names(&self) -> Vec<&str> {
        let set = self.setup.data.get(self.data);
        set.into_iter()
            .flat_map(|set| set.train.fields().keys().map(String::as_str))
            .chain([crate::data::INDEX])
            .collect()
    }

    /// The type that trains.
    fn float(&self) -> DType {
        crate::ops::from_meta_dtype(self.setup.float)
    }

    /// Shape and type of a field for one sample.
    fn field(&self, name: &str) -> Option<Meta> {
        if name == crate::data::INDEX {
            return Some(Meta::new([], DType::I64));
        }
        let field = self.setup.data.get(self.data)?.train.field(name)?;
        let integer = matches!(field.values(), crate::data::Values::I64(_));
        Some(Meta::new(field.shape().to_vec(), if integer { DType::I64 } else { self.float() }))
    }

    /// Shape and type of a value with the batch in front; a parameter has none.
    pub fn meta(&self, read: &Read) -> Option<Meta> {
        let batched = |shape: Vec<usize>, dtype| Meta::new([vec![self.stage.batch.max(2)], shape].concat(), dtype);
        match read {
            Read::Tap { pass, point, .. } => {
                let model = self.models.get(&self.passes.get(pass)?.model)?;
                Some(batched(model.network.shape(point)?, self.float()))
            }
            Read::Parameter { model, name } => {
                self.models.get(model)?.network.parameter(name).and_then(|(set, name)| set.meta(&name))
            }
            Read::Field(name) => self.field(name).map(|meta| batched(meta.shape, meta.dtype)),
        }
    }

    /// Frames of a value: those of its model, where that is over time.
    fn frames(&self, port: &BoundPort, read: &Read) -> usize {
        let over_time = match read {
            Read::Tap { pass, .. } => self
                .passes
                .get(pass)
                .and_then(|pass| self.models.get(&pass.model))
                .is_some_and(|model| model.network.over_time),
            _ => false,
        };
        if over_time && port.over_time { self.frames } else { 1 }
    }

    fn connect(&self, term: &manifest::Term, bound: &mut BoundTerm) -> Found<()> {
        if term.connector.is_empty() {
            return Ok(());
        }
        let path = bound.path.key("connector");
        let (from, to) =
            if term.connector_on == Side::Student { ("student", "teacher") } else { ("teacher", "student") };
        let count = |name: &str| bound.port(name).map_or(0, |port| port.reads.len());
        if count(from) == 0 || count(from) != count(to) {
            let message = format!(
                "a connector joins `{from}` to `{to}`, and {} has {} and {} values there",
                bound.part.label(),
                count(from),
                count(to)
            );
            return Err(Problem::new(message).at(&path, Part::Key));
        }
        let (several, mut connectors) = (count(from) > 1, vec![]);
        for tap in 0..count(from) {
            let meta = |name: &str| bound.port(name).and_then(|port| self.meta(port.reads.get(tap)?));
            let (Some(mut x), Some(end)) = (meta(from), meta(to)) else { continue };
            let mut chain = vec![];
            for (i, part) in term.connector.iter().enumerate() {
                let here = if term.connector.len() > 1 { path.index(i) } else { path.clone() };
                // A table is told at its `use`, a bare name at itself.
                let named =
                    if self.setup.sources.is_written(&here.key("use")) { here.key("use") } else { here.clone() };
                let component = find_part(&self.setup.registry, &[Kind::Connector], &part.use_, &named)?;
                if let Some(wrong) = check_settings(&self.setup.sources, &here, component, &["use"]).into_iter().next()
                {
                    return Err(Problem(wrong));
                }
                let mut owner = format!("{}.connector", bound.name);
                if several {
                    owner = format!("{owner}.{tap}");
                }
                if term.connector.len() > 1 {
                    owner = format!("{owner}.{i}");
                }
                let label = format!("`{owner}` (`{}`)", component.desc.name);
                let part = create(component, &part.config, &label, self.params(&owner), &here)?;
                let ports = [trace_port("from", &x), trace_port("to", &end)];
                part.bind(&self.moment("", ""), &ports).at_path(&named)?;
                let traced = part.trace(&self.moment("", ""), &ports).at_path(&named)?;
                x = traced.results.first().map_or(x, |(.., meta, _)| meta.clone());
                chain.push(part);
            }
            connectors.push(BoundConnector { port: from.into(), tap, to: to.into(), chain });
        }
        bound.connectors = connectors;
        Ok(())
    }

    /// The ports of a term for a trace, connectors applied.
    pub fn trace_ports(&self, term: &BoundTerm) -> Found<Vec<TracePort>> {
        let mut ports = vec![];
        for port in term.ports.iter().filter(|port| !port.reads.is_empty()) {
            let frames = self.frames(port, &port.reads[0]);
            let mut values = vec![];
            for (tap, read) in port.reads.iter().enumerate() {
                let missing = || Problem::new(format!("{} has no shape", read.text())).at(&term.path, Part::Key);
                let mut meta = self.meta(read).ok_or_else(missing)?;
                if let Some(connector) = term.connectors.iter().find(|c| c.port == port.name && c.tap == tap) {
                    let end = term
                        .port(&connector.to)
                        .and_then(|port| self.meta(port.reads.get(tap)?))
                        .ok_or_else(missing)?;
                    for part in &connector.chain {
                        let traced = part
                            .trace(&self.moment("", ""), &[trace_port("from", &meta), trace_port("to", &end)])
                            .at_key(&term.path)?;
                        meta = traced.results.first().map_or(meta, |(.., meta, _)| meta.clone());
                    }
                }
                values.extend(std::iter::repeat_n(meta, frames));
            }
            ports.push(TracePort { name: port.name.clone(), values, frames });
        }
        Ok(ports)
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

fn trace_port(name: &str, meta: &Meta) -> TracePort {
    TracePort { name: name.into(), values: vec![meta.clone()], frames: 1 }
}

/// How an unbound port is bound: to the tap of the other side, where that is given.
fn binding_hint(term: &manifest::Term, port: &Port) -> String {
    let (key, other) = match port.name.as_str() {
        "student" => ("student".to_owned(), &term.teacher),
        "teacher" => ("teacher".to_owned(), &term.student),
        name => (format!("ports.{name}"), &None),
    };
    let value = other.as_ref().and_then(|list| list.iter().next()).map_or("...", String::as_str);
    format!("bind it, as in `{key} = \"{value}\"`")
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
