//! `[stage]`: training runs.

use super::one_or_many::OneOrMany;
use super::optimizer::Optimizer;
use super::origin::Origin;
use super::schedule::Schedule;
use super::term::Term;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

/// A training run: what is trained, on what, for how long, and by which terms.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Model or models to train.
    pub train: OneOrMany<String>,
    /// The data set; the first one unless written.
    pub data: Option<String>,
    /// Length in passes over the training samples, > 0; or give `steps`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub epochs: Option<f64>,
    /// Length in updates; or give `epochs`.
    #[schemars(range(min = 1))]
    pub steps: Option<u64>,
    /// Samples per batch.
    #[serde(default = "default_batch")]
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// Samples per batch of evaluation; as `batch` unless written.
    #[schemars(range(min = 1))]
    pub eval_batch: Option<usize>,
    /// How gradients change parameters.
    pub optimizer: Optimizer,
    /// How the learning rate changes.
    #[serde(default)]
    pub schedule: Schedule,
    /// Losses and distillers by name; the name stands in logs and parameters.
    #[schemars(extend("minProperties" = 1))]
    pub terms: IndexMap<String, Term>,
    /// Phases of an update, in order; one that computes everything unless written.
    #[serde(default)]
    pub phases: IndexMap<String, Phase>,
    /// Parameters with an optimizer or a learning rate of their own.
    #[serde(default)]
    pub groups: IndexMap<String, Group>,
    /// Globs of layer or parameter paths that stay as they are, running statistics included.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// Initial parameters from elsewhere: `"spatial." = "stage:s1:encoder."`.
    #[serde(default)]
    #[schemars(extend("additionalProperties" = { "type": "string", "format": super::origin::ORIGIN_FORMAT }))]
    pub init: IndexMap<String, String>,
    /// Stages that must run before this one.
    #[serde(default)]
    pub after: Vec<String>,
    /// Which epoch's weights are kept as the best.
    #[serde(default)]
    pub best: Best,
    /// Also train the students alone on the same schedule; as `run.baseline` unless written.
    pub baseline: Option<bool>,
    /// Stop after so many epochs without a better one.
    #[schemars(range(min = 1))]
    pub patience: Option<usize>,
    /// Scale gradients down to this norm, > 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub clip_norm: Option<f64>,
    /// What happens at a step whose terms or gradients are not finite.
    #[serde(default)]
    pub nonfinite: NonFinite,
    /// Decay of an average of the weights over the updates, which is evaluated, saved and goes on in place of the last weights.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub ema: Option<f64>,
    /// An average of the gradients over the updates, by which parameters move in place of the gradient or beside it.
    pub gradient_ema: Option<GradientEma>,
    /// Updates between two lines of the event log.
    #[schemars(range(min = 1))]
    pub log_every: Option<usize>,
    /// Log the norm of every term's gradient.
    #[serde(default)]
    pub gradient_norms: bool,
    /// How often predictors read the true frame in training; their own predictions alone unless written.
    pub sampling: Option<Sampling>,
    /// Batches whose gradients are summed up for one update.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub accumulate: usize,
}

impl Stage {
    /// Where `init` takes parameters from: the start of the path here, and the source.
    pub fn origins(&self) -> impl Iterator<Item = (&str, Origin)> {
        self.init.iter().filter_map(|(prefix, from)| Some((prefix.as_str(), from.parse().ok()?)))
    }

    /// Stages that must run before this one, by `after` and by `init`.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        let initial = self.init.values().filter_map(|from| from.strip_prefix("stage:"));
        let initial = initial.map(|rest| rest.split(':').next().unwrap_or(rest));
        self.after.iter().map(String::as_str).chain(initial)
    }

    /// Samples per batch of evaluation.
    pub fn eval_batch(&self) -> usize {
        self.eval_batch.unwrap_or(self.batch)
    }
}

/// What happens at a step whose terms or gradients are not finite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NonFinite {
    /// The run ends with an error.
    #[default]
    Stop,
    /// The step is left out, nothing is updated by it; at most so many times in the stage.
    Skip(u64),
}

/// An average of the gradients over the updates: `m = decay m + (1 - decay) g`, which begins as the first gradient.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GradientEma {
    /// What the average keeps of itself at an update, > 0 and < 1.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub decay: f64,
    /// Parameters move by `g + gain m`, gain > 0 (Grokfast, Lee et al. 2024, arXiv:2405.20233, algorithm 2; published: decay 0.98, gain
    /// 2), `1 + gain` times as far where gradients are steady. Without it the average takes the place of the gradient.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub gain: Option<f64>,
}

/// Scheduled sampling (Bengio et al. 2015, arXiv:1506.03099): behind the given frames each sample reads the true frame with a
/// probability that falls from update to update, else its prediction.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Probability of the true frame at the first update, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub start: f64,
    /// What it loses each update, at least 0.
    #[schemars(range(min = 0))]
    pub step: f64,
    /// Updates behind which it is 0.
    pub until: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { start: 1.0, step: 2e-5, until: 50_000 }
    }
}

impl Sampling {
    /// Probability of the true frame at an update.
    pub fn probability(&self, step: u64) -> f64 {
        if step >= self.until { 0.0 } else { (self.start - self.step * step as f64).clamp(0.0, 1.0) }
    }
}

/// Which epoch's weights are kept as the best.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Name of a metric: `accuracy` (of maps `cc` stands in for it), `nll`, `mse`, `cc`, `sim`, `nss`, `auc` or `objective`.
    #[serde(default = "default_metric")]
    pub metric: String,
    /// Whether more of it is better; less of `nll`, `mse` and `objective`, more of any other, unless written.
    pub mode: Option<Goal>,
}

impl Best {
    /// Whether more or less of the metric is better.
    pub fn goal(&self) -> Goal {
        let falls = matches!(self.metric.as_str(), "nll" | "objective" | "mse");
        self.mode.unwrap_or(if falls { Goal::Min } else { Goal::Max })
    }
}

impl Default for Best {
    fn default() -> Self {
        Self { metric: default_metric(), mode: None }
    }
}

/// Whether more or less of a metric is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// More is better.
    #[default]
    Max,
    /// Less is better.
    Min,
}

/// Parameters with an optimizer or a learning rate of their own.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Globs of parameter paths.
    pub params: OneOrMany<String>,
    /// Their optimizer; the stage's unless written.
    pub optimizer: Option<Optimizer>,
    /// Factor of their learning rate, at least 0.
    #[schemars(range(min = 0))]
    pub lr_scale: Option<f64>,
}

/// One part of an update: passes, terms, and the groups that it updates.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Terms that it sums up; all unless written.
    #[serde(default)]
    pub terms: Vec<String>,
    /// Groups or models that it updates; all unless written.
    #[serde(default)]
    pub updates: Vec<String>,
    /// Forward passes by name; taps are read as `pass:path`.
    #[serde(default)]
    pub passes: IndexMap<String, PassDef>,
    /// Runs on every so many updates.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub every: usize,
}

/// One forward of one model.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PassDef {
    /// The model.
    pub model: String,
    /// What it sees; the model's own view unless written.
    pub view: Option<String>,
    /// How it runs; `train` for a model in training, else `eval`, unless written.
    pub mode: Option<PassMode>,
    /// Run over time from the last frame to the first.
    #[serde(default)]
    pub reverse_time: bool,
}

/// How a forward runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PassMode {
    /// Batch statistics and dropout.
    Train,
    /// Running statistics, no dropout.
    Eval,
}

fn default_batch() -> usize {
    64
}

fn default_metric() -> String {
    "accuracy".to_owned()
}

fn one() -> usize {
    1
}
