//! One stage: epochs of steps, evaluation, the best weights, checkpoints.

use super::average::Average;
use super::cache::Caches;
use super::checkpoint::{self, Position};
use super::due::Due;
use super::epoch::Keeper;
use super::error::TrainError;
use super::events::{EpochEnd, Observer, StageStart};
use super::models::Model;
use super::optim::Optimizer;
use super::plan::{Length, RunPlan, StagePlan};
use super::setup::Setup;
use super::store::{Store, Tensors};
use crate::data::batches;
use crate::manifest::{self, Goal};
use crate::model::{WeightsError, load_weights, read_weights, write_weights};
use candle_core::Tensor;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Runs the stages of one seed.
pub struct StageRunner<'a> {
    /// What the manifest stands on.
    pub setup: &'a Setup,
    /// The plan.
    pub run: &'a RunPlan,
    /// Folder of this seed.
    pub folder: PathBuf,
}

/// Length of a stage in updates.
pub(super) struct Extent {
    pub(super) per_epoch: u64,
    pub(super) total: u64,
    /// Batches of an update.
    pub(super) pieces: u64,
}

/// What a run has come to, beside what models, parts and optimizers hold.
#[derive(Default)]
pub struct Progressed {
    /// Where it stands.
    pub position: Position,
    /// The best weights of the stage, where a validation part chooses them.
    pub(super) best: Option<Tensors>,
    /// Averages of a checkpoint, before the stage goes on.
    pub(super) saved_average: Tensors,
    /// The average of the weights, where the stage has one.
    pub(super) average: Option<Average>,
}

impl Progressed {
    /// Does something on the averaged weights, where there are some.
    pub(super) fn averaged<T>(&mut self, task: impl FnOnce() -> Result<T, TrainError>) -> Result<T, TrainError> {
        self.average.as_mut().map_or(Ok(()), Average::swap)?;
        let done = task();
        self.average.as_mut().map_or(Ok(()), Average::swap)?;
        done
    }

    /// The error of a run that was asked to stop.
    pub(super) fn stopped(&self) -> TrainError {
        let Position { name, epochs, steps, .. } = &self.position;
        TrainError::Stopped { stage: name.clone(), epoch: epochs + 1, step: *steps }
    }
}

impl StageRunner<'_> {
    /// Folder of a stage.
    pub fn stage_folder(&self, stage: &StagePlan) -> PathBuf {
        self.folder.join(&stage.name)
    }

    /// Runs a stage from where it stands to its end.
    ///
    /// # Errors
    /// A part, a network or the data fail, files cannot be written, or the run was asked to stop. The last checkpoint stays.
    pub(super) fn run(
        &self,
        index: usize,
        state: &mut Progressed,
        optimizers: &mut [Optimizer],
        store: &mut Store,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let stage = &self.run.stages[index];
        let folder = self.stage_folder(stage);
        std::fs::create_dir_all(&folder).map_err(|error| TrainError::file(&folder, error))?;
        let teachers = self.teacher_sums(stage)?;
        let extent = extent(stage, self.setup.data[&stage.data].train.len());
        self.take_up(stage, state)?;
        observer.stage_started(&self.start_event(stage, &extent, &state.position));
        state.position.begun = true;
        state.position.untold.clear();
        let epochs = extent.total.div_ceil(extent.per_epoch);
        let due = Due::new(self.setup.manifest.run.checkpoint.every, state.position.steps);
        let caches = Caches::open(self.setup, self.run, stage)?;
        let mut keeper = Keeper { store, due, caches: &caches };
        while state.position.epochs < epochs && is_patient(stage, &state.position) {
            self.epoch(stage, &extent, state, optimizers, &mut keeper, observer)?;
            let mut end = self.end_epoch(stage, &extent, state, observer)?;
            self.judge(stage, &mut end, state)?;
            observer.epoch_ended(&end);
            let (position, stop) = (&state.position, observer.wants_to_stop());
            let is_last = position.epochs == epochs || !is_patient(stage, position);
            if is_last || stop || keeper.due.after_epoch(position.epochs, position.steps) {
                state.averaged(|| self.save_student(stage, &folder.join("last.safetensors")))?;
                self.save(keeper.store, optimizers, state, observer)?;
                keeper.due.saved(state.position.steps);
            }
            if stop {
                return Err(state.stopped());
            }
        }
        caches.tell(observer);
        self.finish(stage, state, &teachers)?;
        observer.stage_ended(&stage.name);
        Ok(())
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// The folder or the log cannot be written.
    pub(super) fn save(
        &self,
        store: &mut Store,
        optimizers: &[Optimizer],
        state: &mut Progressed,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let damaged = self.setup.data.iter().map(|(name, set)| (name.clone(), set.damage.all()));
        state.position.damaged = damaged.filter(|(_, samples)| !samples.is_empty()).collect();
        checkpoint::save(store, self.run, optimizers, state, observer)
    }

    /// What a stage needs beside the weights: its average, and the file of the best weights as the checkpoint knows it.
    fn take_up(&self, stage: &StagePlan, state: &mut Progressed) -> Result<(), TrainError> {
        let saved = std::mem::take(&mut state.saved_average);
        state.average = None;
        if let Some(decay) = stage.spec.ema {
            let mut average = Average::new(decay, self.trained(stage).map(|(_, model)| model))?;
            average.restore(state.position.averaged, &saved)?;
            state.average = Some(average);
        }
        let path = self.stage_folder(stage).join("best.safetensors");
        match &state.best {
            Some(best) => Ok(write_weights(&path, best)?),
            None if path.exists() => std::fs::remove_file(&path).map_err(|error| TrainError::file(&path, error)),
            None => Ok(()),
        }
    }

    /// Optimizers of a stage: new ones, or those of the stage before where it keeps them and the groups are the same.
    pub fn optimizers(&self, index: usize, before: Vec<Optimizer>) -> Vec<Optimizer> {
        let stage = &self.run.stages[index];
        let mut before = before.into_iter();
        let make = |group: &super::groups::GroupPlan| {
            let mut optimizer = Optimizer::new(group.optimizer, group.members.clone());
            if let (true, Some(old)) = (stage.keep_optimizer, before.next()) {
                let (steps, state) = old.save();
                optimizer.restore(steps, &state);
            }
            optimizer
        };
        stage.groups.iter().map(make).collect()
    }

    fn start_event(&self, stage: &StagePlan, extent: &Extent, start: &Position) -> StageStart {
        let parameters = stage.groups.iter().flat_map(|group| &group.members);
        let count =
            |member: &super::groups::Member| member.set.get(&member.name).map_or(0, |entry| entry.var.elem_count());
        StageStart {
            stage: stage.name.clone(),
            seed: self.run.seed,
            train: stage.trained.clone(),
            total_steps: extent.total,
            steps_per_epoch: extent.per_epoch,
            epochs_done: start.epochs,
            steps_done: start.steps,
            resumed: start.begun,
            parameters: parameters.map(count).sum(),
            alone: stage.alone,
            log_every: log_every(stage),
        }
    }

    /// Keeps the weights when they are the best so far. Only a validation part chooses; without one the objective says
    /// whether there is progress, and the last weights count.
    fn judge(&self, stage: &StagePlan, end: &mut EpochEnd, state: &mut Progressed) -> Result<(), TrainError> {
        let best = &stage.spec.best;
        let value = match best.metric.as_str() {
            _ if !stage.judged || end.part != "val" => Some(-end.total),
            "objective" => Some(-end.total),
            // The default is of networks that classify.
            "accuracy" if end.metrics.maps.is_some() => end.metrics.get("cc"),
            "accuracy" if end.metrics.frames.is_some() => end.metrics.get("mse").map(|value| -value),
            name => end.metrics.get(name).map(|value| if best.goal() == Goal::Max { value } else { -value }),
        };
        let Some(value) = value else { return Ok(()) };
        if state.position.best.is_some_and(|before| value <= before.0 || value.is_nan()) {
            state.position.since_best += 1;
            return Ok(());
        }
        state.position.best = Some(value.into());
        state.position.since_best = 0;
        end.best = true;
        if stage.judged && end.part == "val" {
            let kept = state.averaged(|| self.student_tensors(stage))?;
            write_weights(&self.stage_folder(stage).join("best.safetensors"), &kept)?;
            state.best = Some(kept);
        }
        Ok(())
    }

    /// Trained models go on with their best weights where a validation part chose them, else with the last; `best` is always
    /// there.
    fn finish(&self, stage: &StagePlan, state: &mut Progressed, teachers: &[(String, u64)]) -> Result<(), TrainError> {
        let average = state.average.take();
        match state.best.take() {
            Some(best) => self.load_student(stage, &best)?,
            None => {
                average.map_or(Ok(()), |mut average| average.swap())?;
                self.save_student(stage, &self.stage_folder(stage).join("best.safetensors"))?;
            }
        }
        for (name, before) in teachers {
            if self.run.models.get(name).is_some_and(|model| checksum(model).ok() != Some(*before)) {
                return Err(TrainError::TeacherMoved(name.clone(), stage.name.clone()));
            }
        }
        Ok(())
    }

    /// Checksums of the weights of every model that is not trained here.
    pub(super) fn teacher_sums(&self, stage: &StagePlan) -> Result<Vec<(String, u64)>, TrainError> {
        let teachers = self.run.models.iter().filter(|(name, _)| !stage.trained.contains(*name));
        teachers.map(|(name, model)| Ok((name.clone(), checksum(model)?))).collect()
    }

    fn save_student(&self, stage: &StagePlan, path: &Path) -> Result<(), TrainError> {
        Ok(write_weights(path, &self.student_tensors(stage)?)?)
    }

    /// Copies of the weights of the trained models: of one without prefix, of several with their names.
    fn student_tensors(&self, stage: &StagePlan) -> Result<Tensors, TrainError> {
        let of_model = |(prefix, model): (String, &Rc<Model>)| model_tensors(model, &prefix);
        let all = self.trained(stage).flat_map(of_model);
        all.map(|(name, tensor)| Ok((name, tensor.copy()?))).collect()
    }

    fn load_student(&self, stage: &StagePlan, tensors: &Tensors) -> Result<(), TrainError> {
        for (prefix, model) in self.trained(stage) {
            for (inner, set) in model.network.sets() {
                for (name, _) in set.entries() {
                    if let Some(tensor) = tensors.get(&format!("{prefix}{inner}{name}")) {
                        set.assign(&name, tensor)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn trained<'s>(&'s self, stage: &'s StagePlan) -> impl Iterator<Item = (String, &'s Rc<Model>)> {
        let several = stage.trained.len() > 1;
        let models = stage.trained.iter().filter_map(|name| self.run.models.get(name));
        models.map(move |model| (if several { format!("{}.", model.origin) } else { String::new() }, model))
    }
}

/// Weights of a model by full name, as a file has them.
pub fn model_tensors(model: &Model, prefix: &str) -> HashMap<String, Tensor> {
    let sets = model.network.sets().into_iter();
    sets.flat_map(|(inner, set)| {
        let named = move |(name, entry): (String, crate::ops::Entry)| {
            (format!("{prefix}{inner}{name}"), entry.var.as_detached_tensor())
        };
        set.entries().into_iter().map(named).collect::<Vec<_>>()
    })
    .collect()
}

/// Reads a file of weights into a model, its modules included.
///
/// # Errors
/// The file is missing, unreadable, or of another network.
pub fn load_model(model: &Model, path: &Path) -> Result<(), TrainError> {
    Ok(load_file(model, path)?)
}

/// As [`load_model`], with the error of the file itself.
pub(super) fn load_file(model: &Model, path: &Path) -> Result<(), WeightsError> {
    load_weights(path, &model.network.params)?;
    let sets: Vec<_> = model.network.sets().into_iter().filter(|(prefix, _)| !prefix.is_empty()).collect();
    if sets.is_empty() {
        return Ok(());
    }
    let tensors = read_weights(path)?;
    for (prefix, set) in sets {
        for (inner, entry) in set.entries() {
            let (name, wanted) = (format!("{prefix}{inner}"), entry.var.dims().to_vec());
            let path = path.to_owned();
            let Some(tensor) = tensors.get(&name) else {
                return Err(WeightsError::MissingTensor { path, name, shape: wanted, close: None });
            };
            if tensor.dims() != wanted {
                return Err(WeightsError::Shape { path, name, wanted, got: tensor.dims().to_vec() });
            }
            set.assign(&inner, tensor).map_err(|error| WeightsError::File { path, message: error.to_string() })?;
        }
    }
    Ok(())
}

/// False when the stage waited long enough for a better epoch.
fn is_patient(stage: &StagePlan, position: &Position) -> bool {
    stage.patience.is_none_or(|patience| position.since_best < patience)
}

/// Batches that an epoch serves.
pub(super) fn served(spec: &manifest::Stage, samples: usize) -> usize {
    batches(samples, spec.batch.min(samples), samples >= spec.batch).max(1)
}

pub(super) fn extent(stage: &StagePlan, samples: usize) -> Extent {
    let pieces = stage.spec.accumulate.max(1);
    let per_epoch = (served(&stage.spec, samples) / pieces).max(1) as u64;
    let total = match stage.length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => (epochs * per_epoch as f64).round() as u64,
    };
    Extent { per_epoch, total: total.max(1), pieces: pieces as u64 }
}

/// Updates between two lines of the event log.
pub(super) fn log_every(stage: &StagePlan) -> u64 {
    stage.spec.log_every.unwrap_or(50) as u64
}

/// A number that changes when a weight does (FNV-1a over the bits).
pub(super) fn checksum(model: &Model) -> Result<u64, TrainError> {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for (_, set) in model.network.sets() {
        for (_, entry) in set.entries() {
            let values =
                entry.var.as_detached_tensor().flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
            for value in values {
                hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    Ok(hash)
}
