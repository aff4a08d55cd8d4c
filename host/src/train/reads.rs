//! What the ports of a term read: taps, parameters, fields.

use super::models::Model;
use super::problem::{Problem, known_hint, quoted};
use super::selector::Selector;
use super::term::{BoundPort, Found, Read};
use crate::graph::Graph;
use crate::manifest::{self, ManifestPath, Part, nearest};
use crate::ops::ParamSet;
use std::rc::Rc;
use stillhouse_plugin::desc::{Port, Source as From};
use stillhouse_plugin::op::{DType, Meta};

use super::binding::{PassPlan, Scene};

/// Layers that a hint names at most.
const MOST_NAMED: usize = 12;

/// The taps of a network, without those inside its groups.
fn outline(graph: &Graph) -> String {
    let groups: Vec<&str> =
        graph.groups.iter().map(|group| group.path.as_str()).filter(|path| !path.contains('.')).collect();
    let is_inside =
        |path: &str| groups.iter().any(|group| path.strip_prefix(group).is_some_and(|rest| rest.starts_with('.')));
    let layers = graph.layers.iter().map(|layer| layer.path.as_str()).filter(|path| !is_inside(path));
    let all: Vec<&str> = groups.iter().copied().chain(layers.take(MOST_NAMED)).chain(["logits"]).collect();
    let inside = if groups.is_empty() { "" } else { ", and the layers inside" };
    format!("it has {}{inside}; with `:in` what goes into one", quoted(&all))
}

impl Scene<'_> {
    /// What a port reads: by the manifest, else by its default.
    pub(super) fn port(&self, term: &manifest::Term, port: &Port, path: &ManifestPath) -> Found<Vec<Read>> {
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
    pub(super) fn default_applies(&self, port: &Port) -> bool {
        let Some(name) = &port.default else { return false };
        port.source != From::Data || !port.optional || self.field(name).is_some()
    }

    pub(super) fn read(&self, port: &Port, selector: &Selector, at: &ManifestPath) -> Found<Vec<Read>> {
        match port.source {
            From::Data => match self.field(&selector.path) {
                Some(_) => {
                    self.check_recorded(&selector.path, at)?;
                    Ok(vec![Read::Field(selector.path.clone())])
                }
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
    pub(super) fn side(&self, port: &Port, selector: &Selector, at: &ManifestPath) -> Found<(String, &Rc<Model>)> {
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
    pub(super) fn student_pass(&self) -> String {
        let of_student = |(_, pass): &(&String, &PassPlan)| Some(&pass.model) == self.trained.first();
        self.passes.iter().find(of_student).map_or_else(String::new, |(name, _)| name.clone())
    }

    /// The teacher where none is named; `tap` is what is read of it.
    pub(super) fn only_teacher(&self, tap: &str, at: &ManifestPath) -> Found<String> {
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

    pub(super) fn taps(&self, port: &Port, selector: &Selector, at: &ManifestPath) -> Found<Vec<Read>> {
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
            let known: Vec<String> =
                graph.paths().into_iter().map(str::to_owned).chain(values).chain(graph.states()).collect();
            let close = nearest(&selector.path, known.iter().map(String::as_str));
            let hint = close.map_or_else(|| outline(graph), |close| format!("did you mean `{close}`?"));
            return Err(Problem::new(format!("`{}` has no tap `{}`", model.name, selector.path))
                .at(at, Part::Value)
                .hint(hint));
        }
        Ok(found)
    }

    pub(super) fn parameters(&self, port: &Port, selector: &Selector, at: &ManifestPath) -> Found<Vec<Read>> {
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

    pub(super) fn field_names(&self) -> Vec<&str> {
        let set = self.setup.data.get(self.data);
        set.into_iter()
            .flat_map(|set| set.train.fields().keys().map(String::as_str))
            .chain([crate::data::INDEX])
            .chain(self.recorded_names())
            .collect()
    }

    /// Shape and type of a field for one sample.
    pub(super) fn field(&self, name: &str) -> Option<Meta> {
        if name == crate::data::INDEX {
            return Some(Meta::new([], DType::I64));
        }
        if let Some(shape) = self.recorded(name) {
            return Some(Meta::new(shape.to_vec(), self.float()));
        }
        let field = self.setup.data.get(self.data)?.train.field(name)?;
        let integer = matches!(field.values(), crate::data::Values::I64(_));
        Some(Meta::new(field.shape().to_vec(), if integer { DType::I64 } else { self.float() }))
    }

    /// Shape and type of a value with the batch in front; a parameter has none.
    pub fn meta(&self, read: &Read) -> Option<Meta> {
        let batched = |shape: Vec<usize>, dtype| Meta::new([vec![self.batch()], shape].concat(), dtype);
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
    pub(super) fn frames(&self, port: &BoundPort, read: &Read) -> usize {
        let model = match read {
            Read::Tap { pass, .. } => self.passes.get(pass).and_then(|pass| self.models.get(&pass.model)),
            _ => None,
        };
        match model.map(|model| &model.network).filter(|network| network.over_time && port.over_time) {
            Some(network) if network.graph.given().is_some() => self.frames.saturating_sub(1).max(1),
            Some(_) => self.frames,
            None => 1,
        }
    }
}

/// How an unbound port is bound: to the tap of the other side, where that is given.
pub(super) fn binding_hint(term: &manifest::Term, port: &Port) -> String {
    let (key, other) = match port.name.as_str() {
        "student" => ("student".to_owned(), &term.teacher),
        "teacher" => ("teacher".to_owned(), &term.student),
        name => (format!("ports.{name}"), &None),
    };
    let value = other.as_ref().and_then(|list| list.iter().next()).map_or("...", String::as_str);
    format!("bind it, as in `{key} = \"{value}\"`")
}
