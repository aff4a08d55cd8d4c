//! One small step of every stage before the run: what tracing cannot find. The plan that it is done on is thrown away.

use super::checkpoint::Position;
use super::error::TrainError;
use super::evaluate::evaluate;
use super::events::Silent;
use super::optim::Optimizer;
use super::plan::{RunPlan, StagePlan};
use super::recordings;
use super::run::initialise;
use super::setup::Setup;
use super::stage::{StageRunner, extent};
use super::step::Stepper;
use crate::data::{Batch, DataError, DataSet, Loader, LoaderSpec};
use crate::manifest::{Diagnostic, NonFinite, Part};
use crate::plugin::last_words;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

/// Samples of a small step; where it fails, it is done with a whole batch before that is told.
const FEW: usize = 8;

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// A step of a few samples.
    Small,
    /// Beside it two steps of a whole batch, which are timed.
    Timed,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Preflight {
    /// What is not wrong and perhaps not meant.
    pub notes: Vec<String>,
    /// Seconds that the whole run takes by the timed steps, all seeds and evaluations included.
    pub seconds: f64,
}

/// What one step showed.
struct Step {
    /// Parameters that got a gradient, and whether all of it was zero.
    seen: BTreeMap<String, bool>,
    /// Why the stage would leave the step out.
    left_out: Option<Rc<TrainError>>,
    /// Seconds of loading, and of the step.
    seconds: [f64; 2],
}

/// Takes every stage of the plan through a step of real samples: passes, taps, terms, gradients, updates at a rate of 0, evaluation. Models, parts
/// and optimizers are those of the plan, and their state changes: nothing else may run on it.
///
/// # Errors
/// What would end the run at its first step, a trained parameter without gradient, a teacher whose weights change.
pub fn preflight(setup: &Setup, run: &RunPlan, depth: Depth) -> Result<Preflight, Diagnostic> {
    let mut found = Preflight::default();
    let mut optimizers = vec![];
    let scratch = Scratch::new();
    let runner = StageRunner { setup, run, folder: scratch.0.clone() };
    for (index, stage) in run.stages.iter().enumerate() {
        optimizers = runner.optimizers(index, optimizers);
        let told = |error: TrainError| explained(&error, stage);
        initialise(run, index, setup).map_err(told)?;
        Try { runner: &runner, stage, set: &setup.data[&stage.data] }.whole(
            index,
            &mut optimizers,
            depth,
            &mut found,
        )?;
    }
    found.seconds *= setup.manifest.run.seeds.len() as f64;
    Ok(found)
}

/// One stage.
struct Try<'a> {
    runner: &'a StageRunner<'a>,
    stage: &'a StagePlan,
    set: &'a DataSet,
}

impl Try<'_> {
    fn whole(
        &self,
        index: usize,
        optimizers: &mut [Optimizer],
        depth: Depth,
        found: &mut Preflight,
    ) -> Result<(), Diagnostic> {
        let told = |error: TrainError| explained(&error, self.stage);
        let teachers = self.runner.teacher_sums(self.stage).map_err(told)?;
        self.record(index).map_err(told)?;
        let batch = self.stage.spec.batch.min(self.set.train.len());
        let few = batch.min(FEW);
        let mut step = match self.step(few, optimizers) {
            // Parts may need more samples than a few.
            Err(_) if few < batch => self.step(batch, optimizers).map_err(told)?,
            step => step.map_err(told)?,
        };
        if step.left_out.is_some() && few < batch {
            step = self.step(batch, optimizers).map_err(told)?;
        }
        self.judge(&step, found)?;
        let student = self.stage.trained.first().and_then(|name| self.runner.run.models.get(name));
        let mut each = 0.0;
        if let Some(student) = student {
            let part = self.set.val.as_ref().unwrap_or(&self.set.test);
            let count = if depth == Depth::Timed { self.stage.spec.eval_batch().min(part.len()) } else { few };
            let some = part.select(&(0..count).collect::<Vec<_>>());
            let begun = Instant::now();
            let (float, device) = (self.runner.setup.float, &self.runner.setup.device);
            evaluate(student, &some, count.max(1), float, device).map_err(told)?;
            each = begun.elapsed().as_secs_f64() / count.max(1) as f64 * part.len() as f64;
        }
        if depth == Depth::Timed {
            self.step(batch, optimizers).map_err(told)?;
            let [load, work] = self.step(batch, optimizers).map_err(told)?.seconds;
            let extent = extent(self.stage, self.set.train.len());
            let epochs = extent.total.div_ceil(extent.per_epoch) as f64;
            // Batches are made while the step before runs.
            found.seconds += load.max(work) * (extent.total * extent.pieces) as f64 + each * epochs;
        }
        for (name, before) in self.runner.teacher_sums(self.stage).map_err(told)? {
            if teachers.iter().any(|(known, sum)| *known == name && *sum != before) {
                return Err(told(TrainError::TeacherMoved(name, self.stage.name.clone())));
            }
        }
        Ok(())
    }

    /// Recordings that the stage reads, of the samples of its first batch.
    fn record(&self, index: usize) -> Result<(), TrainError> {
        let batch = self.stage.spec.batch.min(self.set.train.len());
        let spec = LoaderSpec { views: vec![], fields: Some(vec![]), ..self.spec(batch) };
        match first(Loader::new(&self.set.train, spec)?) {
            Some(first) => recordings::rehearse(self.runner, index, &first?.index, &self.runner.folder),
            None => Ok(()),
        }
    }

    fn spec(&self, samples: usize) -> LoaderSpec {
        let spec = self.runner.loader(self.stage, self.set, &Position::default());
        LoaderSpec { batch: samples, workers: 0, drop_last: true, ..spec }
    }

    /// A step of the first so many samples of the run.
    fn step(&self, samples: usize, optimizers: &mut [Optimizer]) -> Result<Step, TrainError> {
        let Try { runner, stage, set } = self;
        let begun = Instant::now();
        let Some(batch) = first(Loader::new(&set.train, self.spec(samples))?).transpose()? else {
            return Ok(Step { seen: BTreeMap::new(), left_out: None, seconds: [0.0; 2] });
        };
        let load = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let inputs = runner.inputs(stage, set, batch, &Position::default())?;
        let moment = runner.moment(stage, set, &extent(stage, set.train.len()), &Position::default());
        let mut stepper = Stepper::new(stage, &runner.run.models, optimizers);
        stepper.watch();
        let step = || stepper.step(&inputs, &moment, 0.0, false);
        let report = last_words::during("the first step", &stage.name, 0, step)
            .map_err(|error| error.in_step(&stage.name, 0))?;
        let seen = stepper.seen();
        drop(stepper);
        let seconds = [load, begun.elapsed().as_secs_f64()];
        runner.tell_parts(stage, &moment, &mut Silent)?;
        let left_out = report.skipped.or_else(|| report.left_out.then(|| Rc::new(left_out(stage))));
        Ok(Step { seen, left_out, seconds })
    }

    fn judge(&self, step: &Step, found: &mut Preflight) -> Result<(), Diagnostic> {
        if let Some(why) = &step.left_out {
            let limit = match self.stage.spec.nonfinite {
                NonFinite::Skip(limit) => limit,
                NonFinite::Stop => 0,
            };
            found
                .notes
                .push(format!("stage `{}` leaves its first step out, of {limit} that it may: {why}", self.stage.name));
            return Ok(());
        }
        let members =
            self.stage.groups.iter().flat_map(|group| group.members.iter().map(|member| member.full.as_str()));
        let (given, missed): (Vec<&str>, Vec<&str>) = members.partition(|name| step.seen.contains_key(*name));
        if let Some(first) = missed.first() {
            let message = format!(
                "no term gave `{first}`{} a gradient in the first step of stage `{}`, which trains it",
                more(missed.len()),
                self.stage.name
            );
            let hint = "a part that reads values is seen only when it runs: it must use what it is given on every step";
            return Err(Diagnostic::error(message).at(&self.stage.path(), Part::Key).hint(hint));
        }
        let zero: Vec<&str> = given.into_iter().filter(|name| step.seen[*name]).collect();
        if let Some(first) = zero.first() {
            let name = &self.stage.name;
            found.notes.push(format!(
                "stage `{name}`: the gradient of `{first}`{} is zero in the first step",
                more(zero.len())
            ));
        }
        Ok(())
    }
}

/// A piece of an update that was not finite says no more than that.
fn left_out(stage: &StagePlan) -> TrainError {
    TrainError::Other(format!("a term or a gradient of stage `{}` is not finite", stage.name))
}

fn more(count: usize) -> String {
    if count > 1 { format!(" and {} more", count - 1) } else { String::new() }
}

/// An error of a step at the place of its stage.
fn explained(error: &TrainError, stage: &StagePlan) -> Diagnostic {
    let found = Diagnostic::error(error.to_string()).at(&stage.path(), Part::Key).maybe_hint(error.hint());
    error.notes().into_iter().fold(found, Diagnostic::note)
}

/// A folder for what is recorded; made when something is, and gone in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        Scratch(std::env::temp_dir().join(format!("stillhouse-preflight-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if Path::exists(&self.0) {
            // What stays is small, and the system clears it away.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// The first batch of which a sample can be read.
fn first(mut batches: Loader) -> Option<Result<Batch, DataError>> {
    batches.find(|served| served.as_ref().map_or(true, |batch| !batch.is_empty()))
}
