//! What is wrong with a stage as a whole, or only looks like what was meant.

use super::binding::Scene;
use super::evaluate::Metrics;
use super::plan::{RunPlan, StagePlan};
use super::problem::known_hint;
use super::setup::{Setup, data_path};
use super::term::Read;
use crate::data::{DataSet, LABEL, MAP};
use crate::exec::Executor;
use crate::graph::{Layer, LayerKind, Source};
use crate::manifest::{Diagnostic, Diagnostics, FrozenPrecision, ManifestPath, Part, Stage};

/// The metric that every stage has: the weighted sum of its terms.
const OBJECTIVE: &str = "objective";

/// Checks what a stage says of itself against its data.
pub(super) fn check_spec(setup: &Setup, stage: &Stage, path: &ManifestPath, set: &DataSet, found: &mut Diagnostics) {
    check_metric(setup, stage, path, set, found);
    let predicts = |name: &String| setup.manifest.models.get(name).is_some_and(|model| model.predict.is_some());
    if stage.sampling.is_some() && !stage.train.iter().any(predicts) {
        let message = "`sampling` is for predictors of frames, and none is trained here";
        let hint = "write `predict = {}` at the model, or leave `sampling` out";
        found.push(Diagnostic::error(message).at(&path.key("sampling"), Part::Key).hint(hint));
    }
    let samples = set.train.len();
    if stage.batch > samples {
        let message = format!("`batch` is {}, and there are {samples} samples to train on", stage.batch);
        let warning = Diagnostic::warning(message).at(&path.key("batch"), Part::Value);
        found.push(
            warning
                .note("every update sees all samples, so that an epoch is one update")
                .hint(format!("write `batch = {samples}` or less")),
        );
    }
}

/// The metric of the best weights must be known, and measurable where somebody counts on it.
fn check_metric(setup: &Setup, stage: &Stage, path: &ManifestPath, set: &DataSet, found: &mut Diagnostics) {
    let (name, at) = (stage.best.metric.as_str(), path.key("best").key("metric"));
    if name != OBJECTIVE && !Metrics::NAMES.contains(&name) {
        let hint = known_hint(name, Metrics::NAMES.into_iter().chain([OBJECTIVE]), "there are");
        found.push(Diagnostic::error(format!("unknown metric `{name}`")).at(&at, Part::Value).hint(hint));
        return;
    }
    let is_written = setup.sources.is_written(&path.key("best"));
    if is_written && set.val.is_none() {
        let warning =
            Diagnostic::warning("there is no validation part to choose the best weights on, so the last ones count");
        found.push(
            warning
                .at(&path.key("best"), Part::Key)
                .hint("keep some of the training samples: `split = { val = 0.1 }` in the data"),
        );
    }
    let counts = is_written || (stage.patience.is_some() && set.val.is_some());
    let has = |field: &str| set.test.field(field).is_some();
    let student = stage.train.iter().next().and_then(|name| setup.manifest.models.get(name));
    let predicts = student.is_some_and(|model| model.predict.is_some());
    let is_of_maps = Metrics::OF_MAPS.contains(&name) && has(MAP);
    if is_written && name != OBJECTIVE && predicts != Metrics::is_of_frames(name) && !is_of_maps {
        let (message, hint) = match predicts {
            true => (format!("`{name}` is no metric of a predictor of frames"), "write `best = { metric = \"mse\" }`"),
            false => (
                format!("`{name}` is a metric of predictors of frames alone"),
                "write `best = { metric = \"objective\" }`",
            ),
        };
        found.push(Diagnostic::error(message).at(&at, Part::Value).hint(hint));
        return;
    }
    let counts = counts && !predicts;
    let needed = if Metrics::OF_MAPS.contains(&name) { "maps" } else { "labels" };
    // Of maps the default, which is of networks that classify, gives way to their correlation.
    let is_there = if needed == "maps" { has(MAP) } else { has(LABEL) || (!is_written && has(MAP)) };
    if counts && name != OBJECTIVE && !is_there {
        let message = format!("the metric `{name}` needs {needed}, which the data does not have");
        found.push(Diagnostic::error(message).at(&at, Part::Value).hint("write `best = { metric = \"objective\" }`"));
    }
}

/// Rounding is for the fast executor.
pub(super) fn check_frozen(setup: &Setup, run: &RunPlan, found: &mut Diagnostics) {
    let models = run.models.values().filter(|model| model.bf16 && model.network.executor() != Executor::Fast);
    for model in models {
        let message = format!("model `{}` is not rounded to bf16: candle runs it", model.name);
        let at = ManifestPath::of(["models", &model.origin, "frozen"]);
        let hint = "that is for the fast executor: `executor = \"fast\"`, on the CPU in float32";
        let warning = Diagnostic::warning(message).at(&at, Part::Value);
        found.push(if setup.sources.is_written(&at) { warning.hint(hint) } else { warning });
    }
}

/// Samples that were left out when the data was opened.
pub(super) fn check_damage(setup: &Setup, found: &mut Diagnostics) {
    for (name, set) in &setup.data {
        let Some((count, first)) = set.damage.first() else { continue };
        let (samples, were) = if count == 1 { ("sample", "was") } else { ("samples", "were") };
        let message = format!("{count} {samples} of data `{name}` {were} left out: damaged");
        let at = data_path(name, &setup.sources).key("damaged");
        found.push(Diagnostic::warning(message).at(&at, Part::Key).note(first));
    }
}

/// `1 sample was`, `2 samples were`.
pub(super) fn counted(samples: usize) -> String {
    if samples == 1 { "1 sample was".to_owned() } else { format!("{samples} samples were") }
}

/// True when a stage reads a model that it does not train.
fn is_read_frozen(run: &RunPlan, name: &str) -> bool {
    let reads = |stage: &StagePlan| {
        let mut reads =
            stage.terms().into_iter().flat_map(|term| term.ports.iter().flat_map(|port| port.reads.clone()));
        !stage.trained.iter().any(|trained| trained == name) && reads.any(|read| model_of(&read, stage) == Some(name))
    };
    run.stages.iter().any(reads)
}

/// Rounding, and keeping of values, is for models that a stage only reads.
pub(super) fn check_read_frozen(setup: &Setup, run: &RunPlan, found: &mut Diagnostics) {
    for (name, entry) in setup.manifest.models.iter().filter(|(name, _)| !is_read_frozen(run, name)) {
        let rounds = entry.frozen == FrozenPrecision::Bf16;
        let uses = [(rounds, "frozen", "never rounded to bf16"), (entry.cache.numbers.is_some(), "cache", "not kept")];
        for (_, key, what) in uses.into_iter().filter(|(is_asked, ..)| *is_asked) {
            let warning = Diagnostic::warning(format!("no stage reads model `{name}` frozen, so it is {what}"));
            let at = ManifestPath::of(["models", name, key]);
            found.push(warning.at(&at, Part::Value).hint("write it at a teacher, or leave it out"));
        }
    }
}

/// What is kept of a model must follow from its weights and the sample alone.
pub(super) fn check_kept(setup: &Setup, run: &RunPlan, found: &mut Diagnostics) {
    for (name, entry) in setup.manifest.models.iter().filter(|(_, entry)| entry.cache.numbers.is_some()) {
        let at = ManifestPath::of(["models", name, "cache"]);
        let mut wrong = |message: String, key: Option<&str>, hint: &str| {
            let at = key.map_or_else(|| at.clone(), |key| at.key(key));
            found.push(Diagnostic::error(message).at(&at, Part::Value).hint(hint));
        };
        if !entry.modules.is_empty() {
            let message = format!("what `{name}` gives is not kept: its modules may draw numbers or remember");
            wrong(message, None, "leave `cache` out, or record what you need of it (`[recordings]`)");
        }
        if entry.predict.is_some() {
            let message = format!("what `{name}` gives is not kept: what a predictor reads is drawn anew each time");
            wrong(message, None, "leave `cache` out, or record it over true frames (`[recordings]`)");
        }
        let Some(model) = run.models.get(name) else { continue };
        let output = Source::Layer(model.network.graph.output);
        let shape = model.network.shape(&output).unwrap_or_default();
        match (entry.cache.top, shape.as_slice()) {
            (Some(top), [values]) if top >= *values => {
                let message = format!("`top` is {top}, and `{name}` gives {values} values");
                wrong(message, Some("top"), "keep fewer, or leave `top` out to keep all");
            }
            (Some(_), [] | [_, _, ..]) => {
                let message = format!("`top` is for a vector of logits, and `{name}` gives {shape:?}");
                wrong(message, Some("top"), "leave `top` out");
            }
            _ => {}
        }
    }
}

/// One sample has no variance where its maps are single values.
pub(super) fn check_norms(stage: &StagePlan, scene: &Scene<'_>, found: &mut Diagnostics) {
    let models = stage.trained.iter().filter_map(|name| scene.models.get(name));
    for model in models.filter(|_| scene.batch() == 1) {
        let network = &model.network;
        let is_single = |(layer, shape): &(&Layer, &Vec<usize>)| {
            let is_frozen = stage.frozen.contains(&format!("{}.{}.weight", model.name, layer.path));
            matches!(layer.kind, LayerKind::BatchNorm { .. }) && !is_frozen && shape[1..].iter().all(|size| *size == 1)
        };
        if let Some((layer, shape)) = network.graph.layers.iter().zip(&network.shapes).find(is_single) {
            let message =
                format!("layer `{}` of `{}` takes statistics over one value, {shape:?}", layer.path, model.name);
            let wrong = Diagnostic::error(message).at(&stage.path().key("batch"), Part::Value);
            found.push(wrong.hint("write `batch = 2` or more"));
        }
    }
}

/// Models that a stage only reads must have weights by then. `run` holds the stages before.
pub(super) fn check_teachers(setup: &Setup, run: &RunPlan, stage: &StagePlan, found: &mut Diagnostics) {
    let mut told: Vec<&str> = vec![];
    for term in stage.terms() {
        for read in term.ports.iter().flat_map(|port| &port.reads) {
            let Some(model) = model_of(read, stage).filter(|model| !stage.trained.iter().any(|name| name == model))
            else {
                continue;
            };
            let has_weights =
                setup.manifest.models.get(model).is_none_or(|entry| entry.weights.is_some() || entry.stage.is_some());
            let is_trained = run.stages.iter().any(|before| before.trained.iter().any(|name| name == model));
            if has_weights || is_trained || told.contains(&model) {
                continue;
            }
            told.push(model);
            found.push(untrained(setup, model, stage, &term.path));
        }
    }
}

fn untrained(setup: &Setup, model: &str, stage: &StagePlan, at: &ManifestPath) -> Diagnostic {
    let message = format!("model `{model}` is not trained yet when stage `{}` reads it", stage.name);
    let trains = setup.manifest.stage.iter().find(|(_, other)| other.train.iter().any(|name| name == model));
    let hint = match trains {
        Some((name, _)) => format!("put stage `{name}` before this one, or write `after = [\"{name}\"]`"),
        None => "give it `weights = \"FILE\"`".to_owned(),
    };
    Diagnostic::error(message).at(at, Part::Key).hint(hint)
}

fn model_of<'s>(read: &'s Read, stage: &'s StagePlan) -> Option<&'s str> {
    match read {
        Read::Tap { pass, .. } => stage.passes.get(pass).map(|pass| pass.model.as_str()),
        Read::Parameter { model, .. } => Some(model),
        Read::Field(_) => None,
    }
}
