//! The networks of a manifest, for one seed.

use super::problem::{AtPath, Problem, known_hint, told};
use super::setup::{Setup, check_settings, filter_of, find_part};
use crate::data::{Samples, ViewSpec, channel_stats};
use crate::exec::{Executor, ModuleSlot, Network};
use crate::graph::{Graph, Source};
use crate::manifest::{self, ManifestPath, Part, nearest};
use crate::model::{self, Frame, ModelError};
use crate::ops::{BoundPart, Origin, ParamSet, host_api};
use crate::plugin::{Component, PluginError, last_words};
use indexmap::IndexMap;
use std::collections::BTreeMap;
use std::rc::Rc;
use stillhouse_plugin::desc::Kind;

/// A network with what it sees of the data.
pub struct Model {
    /// Name in the manifest, or of the copy that trains alone.
    pub name: String,
    /// Name in the manifest.
    pub origin: String,
    /// The network.
    pub network: Rc<Network>,
    /// Data set.
    pub data: String,
    /// What it sees of a sample.
    pub view: ViewSpec,
    /// Convolutions round to bf16 in stages that do not train it.
    pub bf16: bool,
    /// What it gives for a sample is kept in stages that do not train it.
    pub keep: manifest::Keep,
}

/// Builds networks.
pub struct ModelBuilder<'a> {
    /// What the manifest stands on.
    pub setup: &'a Setup,
    /// Seed of the run.
    pub seed: u64,
}

impl ModelBuilder<'_> {
    /// The model of this name in the manifest, built as `name` (another name for a copy that trains alone) on a data set.
    ///
    /// # Errors
    /// Data that the architecture cannot take, unknown settings, a module that refuses its place.
    pub fn build(&self, origin: &str, name: &str, data: &str) -> Result<Model, Problem> {
        let path = ManifestPath::of(["models", origin]);
        let Some(entry) = self.setup.manifest.models.get(origin) else {
            return Err(Problem::new(format!("unknown model `{origin}`")).at(&ManifestPath::of(["models"]), Part::Key));
        };
        let set = self.setup.data.get(data).ok_or_else(|| Problem::new(format!("unknown data set `{data}`")))?;
        let view = self.view(origin, name, entry, &set.train)?;
        let shape = shape_of(&view, &set.train).at_path(&path.key("input"))?;
        let input = if entry.over_time { shape.get(1..).unwrap_or_default().to_vec() } else { shape };
        let mut graph = build_graph(entry, &input, set.outputs(), &path)?;
        if let Some(predict) = entry.predict {
            predict_frames(&mut graph, entry, predict, &set.train, &path)?;
        }
        let seed = entry.seed.unwrap_or(self.seed);
        let params = Rc::new(ParamSet::new(origin, seed, self.setup.float, &self.setup.device));
        let modules = self.modules(origin, entry, &mut graph, &path, seed)?;
        let executor = match self.setup.manifest.run.executor {
            manifest::Executor::Candle => Executor::Candle,
            manifest::Executor::Auto | manifest::Executor::Fast => Executor::Fast,
        };
        let network = Network::new(name, graph, params, entry.over_time, modules).at_path(&path)?.run_by(executor);
        let bf16 = entry.frozen == manifest::FrozenPrecision::Bf16;
        let (name, origin, data, network) = (name.into(), origin.into(), data.into(), Rc::new(network));
        Ok(Model { name, origin, network, data, view, bf16, keep: entry.cache })
    }

    /// What the model sees: its own size, channels and normalisation; the training part's statistics where it gives none.
    fn view(&self, origin: &str, name: &str, entry: &manifest::Model, train: &Samples) -> Result<ViewSpec, Problem> {
        let input = entry.input.clone().unwrap_or_default();
        let mut view = ViewSpec { channels: input.channels, ..ViewSpec::new(name) };
        if let Some(of_view) = input.view.as_ref().and_then(|view| self.setup.manifest.views.get(view)) {
            apply_view(of_view, &mut view);
        }
        if let Some(size) = input.size {
            view.size = Some([size.height, size.width]);
        }
        let numbers = |list: &manifest::OneOrMany<f64>| list.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let path = ManifestPath::of(["models", origin, "input"]);
        let (mean, std) = match (&input.mean, &input.std) {
            (None, None) if entry.predict.is_some() => (vec![], vec![]),
            (None, None) => default_statistics(train, &view).at_path(&path)?,
            (mean, std) => {
                (mean.as_ref().map(numbers).unwrap_or_default(), std.as_ref().map(numbers).unwrap_or_default())
            }
        };
        Ok(ViewSpec { mean, std, ..view })
    }

    fn modules(
        &self,
        origin: &str,
        entry: &manifest::Model,
        graph: &mut Graph,
        path: &ManifestPath,
        seed: u64,
    ) -> Result<BTreeMap<usize, ModuleSlot>, Problem> {
        let mut slots = IndexMap::new();
        for (at, part) in &entry.modules {
            let here = path.key("modules").key(at);
            let Some(source) = graph.tap(at).filter(|source| *source != Source::Input) else {
                let close = nearest(at, graph.paths()).map(|close| format!("did you mean `{close}`?"));
                return Err(Problem::new(format!("model `{origin}` has no layer `{at}`"))
                    .at(&here, Part::Key)
                    .maybe_hint(close));
            };
            let replaced = natural_shape(graph, &source, &here)?;
            let named = if self.setup.sources.is_written(&here.key("use")) { here.key("use") } else { here.clone() };
            let component = find_part(&self.setup.registry, &[Kind::Module], &part.use_, &named)?;
            if let Some(wrong) = check_settings(&self.setup.sources, &here, component, &["use"]).into_iter().next() {
                return Err(Problem(wrong));
            }
            let label = format!("models.{origin}.modules.{at} (`{}`)", part.use_);
            let params = Rc::new(ParamSet::new(&format!("{origin}.{at}"), seed, self.setup.float, &self.setup.device));
            let part = create(component, &part.config, &label, params, &here)?;
            if graph.replace(at).is_none() {
                return Err(Problem::new(format!("`{at}` of `{origin}` cannot be replaced")).at(&here, Part::Key));
            }
            slots.insert(at.clone(), ModuleSlot { part, replaced, state: vec![], values: vec![] });
        }
        let index = |at: &str| graph.layers.iter().position(|layer| layer.path == at);
        Ok(slots.into_iter().filter_map(|(at, slot)| Some((index(&at)?, slot))).collect())
    }
}

/// A part of a component, its configuration checked.
pub(super) fn create(
    component: &Component,
    config: &manifest::Config,
    label: &str,
    params: Rc<ParamSet>,
    at: &ManifestPath,
) -> Result<BoundPart, Problem> {
    let json = serde_json::Value::Object(config.clone()).to_string();
    let plugin = &component.plugin;
    let who = format!("plugin `{}`, {} `{}`", plugin.name, component.desc.kind.name(), component.desc.name);
    let part = last_words::during(&who, "", 0, || component.create(&json, host_api()));
    let part = part.map_err(|error| at_setting(&error, config, at))?;
    let origin = Origin { plugin: plugin.name.clone(), file: plugin.path.clone(), config: json };
    Ok(BoundPart::new(label, component.desc.clone(), part, params).made_from(origin))
}

/// The error of a part that refuses its settings, at the setting that it names first.
fn at_setting(error: &PluginError, config: &manifest::Config, at: &ManifestPath) -> Problem {
    let named = match error {
        PluginError::Config { message, .. } => message.split('`').nth(1),
        _ => None,
    };
    let steps: Vec<&str> = named.into_iter().flat_map(|name| name.split('.')).collect();
    match steps.first() {
        Some(first) if config.contains_key(*first) => {
            let setting = steps.iter().fold(at.clone(), |path, step| path.key(*step));
            told(error).at(&setting, Part::Value)
        }
        _ => told(error).at(at, Part::Key),
    }
}

/// Takes over what a view of the manifest says.
pub(super) fn apply_view(from: &manifest::View, view: &mut ViewSpec) {
    if let Some(size) = from.size {
        view.size = Some([size.height, size.width]);
    }
    view.filter = filter_of(from.filter);
    if let Some(augment) = from.augment {
        view.augment = augment;
    }
}

/// Shape of one sample of a view.
pub(super) fn shape_of(view: &ViewSpec, samples: &Samples) -> Result<Vec<usize>, crate::data::DataError> {
    match samples.main_field() {
        Some((name, field)) => view.shape(view.field.as_deref().unwrap_or(name), field.shape()),
        None => view.shape(crate::data::IMAGE, &[]),
    }
}

/// Mean and deviation of the training part, for as many channels as the view has.
fn default_statistics(train: &Samples, view: &ViewSpec) -> Result<(Vec<f32>, Vec<f32>), crate::data::DataError> {
    let (mean, std) = channel_stats(train)?;
    let average = |list: &[f32]| vec![list.iter().sum::<f32>() / list.len().max(1) as f32];
    match view.channels {
        Some(channels) if channels != mean.len() => Ok((average(&mean), average(&std))),
        _ => Ok((mean, std)),
    }
}

fn build_graph(
    entry: &manifest::Model,
    input: &[usize],
    classes: usize,
    path: &ManifestPath,
) -> Result<Graph, Problem> {
    let wrong = |error: ModelError, key: &str| {
        let mut at = path.key(key);
        let is_short = entry.arch.as_ref().is_some_and(|arch| arch.options.is_empty());
        for step in error.key.iter().filter(|_| !is_short).flat_map(|key| key.split('.')) {
            at = step.parse().map_or_else(|_| at.key(step), |index| at.index(index));
        }
        unknown_option(&error.message, &at)
            .unwrap_or_else(|| Problem::new(error.message).at(&at, Part::Value).maybe_hint(error.hint))
    };
    if let Some(layers) = &entry.layers {
        return model::build_inline(layers, input).map_err(|error| wrong(error, "layers"));
    }
    let Some(arch) = &entry.arch else {
        return Err(Problem::new("a model needs `arch` or `layers`").at(path, Part::Key));
    };
    let mut options = arch.options.clone();
    let own =
        options.shift_remove("classes").and_then(|value| value.as_u64()).and_then(|value| usize::try_from(value).ok());
    let known = if entry.predict.is_some() { classes.max(1) } else { classes };
    let frame = Frame { input: input.to_vec(), classes: own.unwrap_or(known) };
    if frame.classes == 0 && model::has_classes(&arch.kind) {
        let kind = &arch.kind;
        let message =
            format!("the data set has neither labels nor maps, so the number of classes of `{kind}` is not known");
        let hint = match options.is_empty() {
            true => "write it as a table, as in `arch = { kind = \"resnet\", depth = 8, classes = 10 }`",
            false => "give it beside the other settings, as in `classes = 10`",
        };
        return Err(Problem::new(message).at(&path.key("arch"), Part::Value).hint(hint));
    }
    let built = if options.is_empty() {
        model::build_short(&arch.kind, &frame)
    } else {
        model::build_table(&arch.kind, &options, &frame)
    };
    built.map_err(|error| wrong(error, "arch"))
}

/// Makes a network a predictor of frames.
fn predict_frames(
    graph: &mut Graph,
    entry: &manifest::Model,
    predict: manifest::Predict,
    train: &Samples,
    path: &ManifestPath,
) -> Result<(), Problem> {
    let at = path.key("predict");
    let frames = train.field(crate::data::FRAMES).and_then(|field| field.shape().first().copied());
    let Some(frames) = frames.filter(|_| entry.over_time) else {
        let message = "only a network over time, on clips, can predict frames";
        return Err(Problem::new(message)
            .at(&at, Part::Key)
            .hint("write `over_time = true`, and use data that has `frames`"));
    };
    let given = predict.given.unwrap_or(frames / 2);
    if given == 0 || given >= frames {
        let message = format!("clips of {frames} frames, of which {given} are given, leave nothing to predict");
        return Err(Problem::new(message)
            .at(&at, Part::Value)
            .hint("`given` must be 1 or more, and less than the frames"));
    }
    let output = natural_shape(graph, &Source::Layer(graph.output), path)?;
    graph.predict(given, &output).map_err(|message| Problem::new(message).at(&at, Part::Key))
}

/// ``unknown field `a`, expected one of `b`, `c` `` at the key, with the nearest right one.
fn unknown_option(message: &str, at: &ManifestPath) -> Option<Problem> {
    let (name, known) = message.strip_prefix("unknown field `")?.split_once('`')?;
    let hint = known_hint(name, known.split('`').skip(1).step_by(2), "known keys");
    Some(Problem::new(format!("unknown key `{name}`")).at(at, Part::Key).hint(hint))
}

/// Shape of one sample that the layers of the graph give at a point before anything is replaced.
fn natural_shape(graph: &Graph, source: &Source, path: &ManifestPath) -> Result<Vec<usize>, Problem> {
    let params = Rc::new(ParamSet::new("shape", 0, candle_core::DType::F32, &candle_core::Device::Cpu));
    let network = Network::new("shape", graph.clone(), params, false, BTreeMap::new()).at_path(path)?;
    Ok(network.shape(source).unwrap_or_default())
}
