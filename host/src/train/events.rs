//! What a run tells while it runs.

use super::evaluate::Metrics;
use super::exact::Exact;
use super::step::StepReport;
use super::tables::Table;
use serde::{Deserialize, Serialize};
use std::io;

/// A stage begins (or goes on).
#[derive(Debug, Clone, Default, Serialize)]
pub struct StageStart {
    /// Name.
    pub stage: String,
    /// Seed.
    pub seed: u64,
    /// Trained models.
    pub train: Vec<String>,
    /// Updates in all.
    pub total_steps: u64,
    /// Updates of an epoch.
    pub steps_per_epoch: u64,
    /// Epochs done already.
    #[serde(skip)]
    pub epochs_done: u64,
    /// Updates done already.
    #[serde(skip)]
    pub steps_done: u64,
    /// It goes on from a checkpoint: its beginning was told.
    #[serde(skip)]
    pub resumed: bool,
    /// Trained values.
    pub parameters: usize,
    /// True for a student that trains alone.
    pub alone: bool,
    /// Updates between two lines of the event log.
    pub log_every: u64,
}

/// One update.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Updates done.
    pub step: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Samples of this batch.
    pub samples: usize,
    /// Learning rate.
    pub lr: f64,
    /// Terms.
    pub report: &'a StepReport,
}

/// One epoch.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EpochEnd {
    /// Stage.
    pub stage: String,
    /// Seed.
    pub seed: u64,
    /// Epoch, from 1.
    pub epoch: u64,
    /// Updates done.
    pub step: u64,
    /// Learning rate of the last update.
    pub lr: f64,
    /// Mean of every term over the epoch, raw; the weight is that of the last update.
    pub terms: Vec<TermMean>,
    /// Mean of the weighted sum.
    pub total: f64,
    /// On the validation part, or on the test part where there is none.
    pub metrics: Metrics,
    /// Matrices that parts report, means over the epoch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// Which part that was.
    pub part: &'static str,
    /// True when these are the best weights so far.
    pub best: bool,
    /// Updates that were left out, since something was not finite.
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Seconds of training, evaluation not counted.
    pub seconds: f64,
    /// Samples a second.
    pub samples_per_second: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A term over an epoch.
#[derive(Debug, Clone, Serialize)]
pub struct TermMean {
    /// Name.
    pub name: String,
    /// Mean, as the part gave it.
    pub raw: f64,
    /// Factor at the last update.
    pub weight: f64,
    /// Mean norm of its gradient, when logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
}

/// Sums of one epoch's steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Means {
    terms: Vec<TermSum>,
    total: Exact,
    steps: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TermSum {
    name: String,
    raw: Exact,
    /// Factor at the last update.
    weight: Exact,
    steps: u64,
    norm: Exact,
    norms: u64,
}

impl Means {
    pub(super) fn add(&mut self, report: &StepReport) {
        self.total.0 += report.total;
        self.steps += 1;
        for term in &report.terms {
            let norm = term.gradient_norm;
            let (sum, norms) = (norm.unwrap_or(0.0), u64::from(norm.is_some()));
            match self.terms.iter_mut().find(|known| known.name == term.name) {
                Some(known) => {
                    known.raw.0 += term.raw;
                    known.weight = term.weight.into();
                    known.steps += 1;
                    known.norm.0 += sum;
                    known.norms += norms;
                }
                None => self.terms.push(TermSum {
                    name: term.name.clone(),
                    raw: term.raw.into(),
                    weight: term.weight.into(),
                    steps: 1,
                    norm: sum.into(),
                    norms,
                }),
            }
        }
    }

    pub(super) fn terms(&self) -> Vec<TermMean> {
        let mean = |term: &TermSum| TermMean {
            name: term.name.clone(),
            raw: term.raw.0 / term.steps.max(1) as f64,
            weight: term.weight.0,
            gradient_norm: (term.norms > 0).then(|| term.norm.0 / term.norms as f64),
        };
        self.terms.iter().map(mean).collect()
    }

    pub(super) fn total(&self) -> f64 {
        self.total.0 / self.steps.max(1) as f64
    }
}

/// Hears what happens in a run.
pub trait Observer {
    /// A stage begins.
    fn stage_started(&mut self, _start: &StageStart) {}
    /// An update was made.
    fn stepped(&mut self, _progress: &Progress<'_>) {}
    /// An epoch ended.
    fn epoch_ended(&mut self, _end: &EpochEnd) {}
    /// A part says something: level (1 error to 4 detail), term, text.
    fn said(&mut self, _level: u32, _term: &str, _line: &str) {}
    /// A stage ended; the model's weights are those that count from here on.
    fn stage_ended(&mut self, _stage: &str) {}
    /// Something about the run itself that no part said, and that its log does not hold.
    fn warned(&mut self, _line: &str) {}
    /// Likewise, of what went as it should.
    fn noted(&mut self, _line: &str) {}
    /// Asked after each update: whether to write a checkpoint and leave.
    fn wants_to_stop(&self) -> bool {
        false
    }
    /// A checkpoint is about to be written: brings all that was told so far to the disk and gives its length.
    ///
    /// # Errors
    /// Something of it could not be written.
    fn mark(&mut self) -> io::Result<u64> {
        Ok(0)
    }
    /// The run goes on from a checkpoint that was written at this mark, or anew at 0: what was told since is told again.
    ///
    /// # Errors
    /// What was told cannot be taken back.
    fn rewind(&mut self, _mark: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Hears nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
