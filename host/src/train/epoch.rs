//! One epoch of a stage, from its first batch or from where a checkpoint lies.

use super::batch::{Fields, fields};
use super::cache::Caches;
use super::checkpoint;
use super::checks::counted;
use super::due::Due;
use super::error::TrainError;
use super::evaluate::evaluate;
use super::events::{EpochEnd, Observer, Progress};
use super::optim::Optimizer;
use super::plan::StagePlan;
use super::stage::{Extent, Progressed, StageRunner, log_every};
use super::step::Stepper;
use super::store::Store;
use super::{Metrics, StepReport, recordings, sampling};
use crate::data::{Augment, Batch, DataSet, Loader, LoaderSpec};
use crate::manifest::{self, NonFinite};
use crate::ops::Moment;
use crate::plugin::last_words;
use std::time::Instant;

/// Where checkpoints go, and when; and what frozen models gave before.
pub(super) struct Keeper<'k> {
    pub(super) store: &'k mut Store,
    pub(super) due: Due,
    pub(super) caches: &'k Caches,
}

impl StageRunner<'_> {
    /// Serves what is left of the running epoch.
    ///
    /// # Errors
    /// As [`StageRunner::run`].
    pub(super) fn epoch(
        &self,
        stage: &StagePlan,
        extent: &Extent,
        state: &mut Progressed,
        optimizers: &mut [Optimizer],
        keeper: &mut Keeper<'_>,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let set = &self.setup.data[&stage.data];
        let (started, before) = (Instant::now(), state.position.inside.seconds.0);
        let batches = extent.per_epoch * extent.pieces;
        let is_done = state.position.steps >= extent.total;
        let left = if is_done { 0 } else { batches.saturating_sub(state.position.inside.batches) };
        let spec = self.loader(stage, set, &state.position);
        let mut stepper = Stepper::new(stage, &self.run.models, optimizers).with_caches(keeper.caches);
        for served in Loader::new(&set.train, spec)?.take(left as usize) {
            let batch = served?;
            let samples = batch.len();
            let position = &state.position;
            let factor = stage.spec.schedule.factor(position.steps, extent.total, extent.per_epoch);
            let lr = stage.spec.optimizer.lr() * factor;
            let report = if samples == 0 {
                stepper.pass_over(position.steps, factor)?
            } else {
                let tensors = self.inputs(stage, set, batch, position)?;
                let moment = self.moment(stage, set, extent, position);
                let norms = stage.spec.gradient_norms && position.steps.is_multiple_of(log_every(stage));
                let step = || stepper.step(&tensors, &moment, factor, norms);
                last_words::during("the training", &stage.name, position.steps, step)
                    .map_err(|error| error.in_step(&stage.name, position.steps))?
            };
            keeper.caches.warn(observer);
            take_in(state, &report, samples, lr)?;
            left_out(stage, state, &report, observer)?;
            report.log.iter().for_each(|(level, term, line)| observer.said(*level, term, line));
            let position = &state.position;
            observer.stepped(&Progress { step: position.steps, epoch: position.epochs, samples, lr, report: &report });
            let is_last = position.inside.batches == batches || position.steps >= extent.total;
            let stop = report.updated && observer.wants_to_stop();
            if stop || report.updated && !is_last && keeper.due.within_epoch(position.steps) {
                state.position.inside.seconds = (before + started.elapsed().as_secs_f64()).into();
                self.save(keeper.store, stepper.optimizers(), state, observer)?;
                keeper.due.saved(state.position.steps);
            }
            if stop {
                return Err(state.stopped());
            }
            if is_last {
                break;
            }
        }
        state.position.inside.seconds = (before + started.elapsed().as_secs_f64()).into();
        Ok(())
    }

    /// The tensors of a batch: its fields, the mask of scheduled sampling, and what is read of recordings.
    ///
    /// # Errors
    /// A sample that was not recorded.
    pub(super) fn inputs(
        &self,
        stage: &StagePlan,
        set: &DataSet,
        batch: Batch,
        position: &checkpoint::Position,
    ) -> Result<Fields, TrainError> {
        let samples = batch.len();
        let mut tensors = fields(batch, self.setup.float, &self.setup.device)?;
        if let (Some(plan), Some(frames)) = (&stage.spec.sampling, frames_of(set)) {
            let to = (self.setup.float, &self.setup.device);
            let piece = position.inside.batches as usize % stage.spec.accumulate.max(1);
            let (first, sizes) = (piece * stage.spec.batch, [samples, frames.saturating_sub(1)]);
            let mask = sampling::mask(plan, (self.run.seed, position.steps), first, sizes, to)?;
            tensors.insert(sampling::SAMPLING.into(), mask);
        }
        recordings::add_fields(self.run, stage, &mut tensors, self.setup.float)?;
        Ok(tensors)
    }

    pub(super) fn loader(&self, stage: &StagePlan, set: &DataSet, position: &checkpoint::Position) -> LoaderSpec {
        LoaderSpec {
            views: stage.views.clone(),
            shuffle: Some(self.run.seed),
            seed: self.run.seed,
            epoch: position.epochs,
            start: position.inside.batches as usize,
            augment: augments(&self.setup.manifest.data[&stage.data].augment),
            variants: self.setup.manifest.data[&stage.data].variants,
            drop_last: set.train.len() >= stage.spec.batch,
            ..LoaderSpec::new(stage.spec.batch.min(set.train.len()))
        }
    }

    /// Ends the running epoch: tells parts, measures the student, and begins the next one.
    ///
    /// # Errors
    /// A part or a network fails.
    pub(super) fn end_epoch(
        &self,
        stage: &StagePlan,
        extent: &Extent,
        state: &mut Progressed,
        observer: &mut dyn Observer,
    ) -> Result<EpochEnd, TrainError> {
        let set = &self.setup.data[&stage.data];
        self.tell_parts(stage, &self.moment(stage, set, extent, &state.position), observer)?;
        tell_damage(stage, set, state, observer);
        let (part, metrics) = state.averaged(|| self.measure(stage, set))?;
        let position = &mut state.position;
        position.epochs += 1;
        let inside = std::mem::take(&mut position.inside);
        Ok(EpochEnd {
            stage: stage.name.clone(),
            seed: self.run.seed,
            epoch: position.epochs,
            step: position.steps,
            lr: inside.lr.0,
            terms: inside.means.terms(),
            total: inside.means.total(),
            metrics,
            tables: inside.tables.means(stage),
            part,
            best: false,
            skipped: inside.skipped,
            seconds: inside.seconds.0,
            samples_per_second: inside.samples as f64 / inside.seconds.0.max(1e-9),
        })
    }

    pub(super) fn moment(
        &self,
        stage: &StagePlan,
        set: &DataSet,
        extent: &Extent,
        position: &checkpoint::Position,
    ) -> Moment {
        Moment {
            epoch: position.epochs,
            step: position.steps,
            steps_per_epoch: extent.per_epoch,
            frame: 0,
            training: true,
            samples: set.train.index_bound() as u64,
            stage: stage.inner.as_str().into(),
            phase: "".into(),
            run_stage: stage.name.as_str().into(),
            seed: self.run.seed,
        }
    }

    pub(super) fn tell_parts(
        &self,
        stage: &StagePlan,
        moment: &Moment,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        for term in stage.terms() {
            let given = term.part.epoch_end(moment)?;
            given.log.iter().for_each(|(level, line)| observer.said(*level, &term.name, line));
            for change in &given.staged {
                change.commit(term.part.params())?;
            }
        }
        Ok(())
    }

    /// Metrics of the student on the part that choices are made on; on the test part, for information, where there is none.
    fn measure(&self, stage: &StagePlan, set: &DataSet) -> Result<(&'static str, Metrics), TrainError> {
        let Some(student) = stage.trained.first().and_then(|name| self.run.models.get(name)) else {
            return Ok(("test", Metrics::default()));
        };
        let (part, samples) = match &set.val {
            Some(val) => ("val", val),
            None => ("test", &set.test),
        };
        let metrics = evaluate(student, samples, stage.spec.eval_batch(), self.setup.float, &self.setup.device)?;
        Ok((part, metrics))
    }
}

/// Adds a batch to what the epoch has come to.
fn take_in(state: &mut Progressed, report: &StepReport, samples: usize, lr: f64) -> Result<(), TrainError> {
    let inside = &mut state.position.inside;
    inside.batches += 1;
    inside.samples += samples as u64;
    inside.lr = lr.into();
    if !report.left_out && samples > 0 {
        inside.means.add(report);
        inside.tables.add(report);
    }
    state.position.steps += u64::from(report.updated);
    match &mut state.average {
        Some(average) if report.updated && !report.left_out => Ok(average.update()?),
        _ => Ok(()),
    }
}

/// Tells of samples that could not be read, those of the epoch in the log and new ones by name.
fn tell_damage(stage: &StagePlan, set: &DataSet, state: &Progressed, observer: &mut dyn Observer) {
    let inside = &state.position.inside;
    let missing = inside.batches * stage.spec.batch.min(set.train.len()) as u64 - inside.samples;
    if missing > 0 {
        let line = format!("{} left out of this epoch: damaged", counted(missing as usize));
        observer.said(2, &stage.name, &line);
    }
    set.damage
        .news()
        .iter()
        .for_each(|what| observer.warned(&format!("a sample of `{}` is left out: {what}", stage.data)));
}

/// Counts an update that was left out.
fn left_out(
    stage: &StagePlan,
    state: &mut Progressed,
    report: &StepReport,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let (Some(error), NonFinite::Skip(limit)) = (&report.skipped, stage.spec.nonfinite) else { return Ok(()) };
    let position = &mut state.position;
    position.skipped += 1;
    position.inside.skipped += 1;
    observer.said(2, &stage.name, &format!("step left out: {error}"));
    if position.skipped > limit { Err(TrainError::TooManySkipped(limit, error.clone())) } else { Ok(()) }
}

/// Frames of a clip.
fn frames_of(set: &DataSet) -> Option<usize> {
    set.train.field(crate::data::FRAMES)?.shape().first().copied()
}

fn augments(list: &[manifest::Augment]) -> Vec<Augment> {
    let convert = |augment: &manifest::Augment| match *augment {
        manifest::Augment::Flip => Augment::Flip,
        manifest::Augment::Crop(pad) => Augment::Crop(pad),
        manifest::Augment::Cutout(size) => Augment::Cutout(size),
        manifest::Augment::Noise(std) => Augment::Noise(std as f32),
    };
    list.iter().map(convert).collect()
}
