//! One stage: epochs of steps, evaluation, the best weights, checkpoints.

use super::batch::fields;
use super::checkpoint::{self, Position};
use super::error::TrainError;
use super::evaluate::{Metrics, evaluate};
use super::events::{EpochEnd, Means, Observer, Progress, StageStart};
use super::models::Model;
use super::optim::Optimizer;
use super::plan::{Length, RunPlan, StagePlan};
use super::setup::Setup;
use super::step::Stepper;
use super::tables::Tables;
use super::{recordings, sampling};
use crate::data::{Augment, DataSet, Loader, LoaderSpec, batches};
use crate::manifest::{self, Goal};
use crate::model::{WeightsError, load_weights, read_weights, write_weights};
use crate::ops::Moment;
use crate::plugin::last_words;
use candle_core::Tensor;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

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
struct Extent {
    per_epoch: u64,
    total: u64,
    /// Batches of an update.
    pieces: u64,
}

impl StageRunner<'_> {
    /// Folder of a stage.
    pub fn stage_folder(&self, stage: &StagePlan) -> PathBuf {
        self.folder.join(&stage.name)
    }

    /// Runs a stage from `start` on. `optimizers` are those of the stage before, replaced unless the stage keeps them.
    ///
    /// # Errors
    /// A part, a network or the data fail, or files cannot be written. The last checkpoint stays.
    pub fn run(
        &self,
        index: usize,
        start: Position,
        optimizers: &mut [Optimizer],
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let stage = &self.run.stages[index];
        let set = &self.setup.data[&stage.data];
        let folder = self.stage_folder(stage);
        std::fs::create_dir_all(&folder).map_err(|error| TrainError::file(&folder, error))?;
        let teachers = self.teacher_sums(stage)?;
        let extent = extent(stage, set.train.len());
        observer.stage_started(&self.start_event(stage, &extent, &start));
        let mut position = start;
        position.stage = index;
        position.name.clone_from(&stage.name);
        let epochs = extent.total.div_ceil(extent.per_epoch);
        let every = self.setup.manifest.run.checkpoint_every.unwrap_or(1) as u64;
        while position.epochs < epochs && is_patient(stage, &position) {
            let mut end = self.epoch(stage, set, &extent, &mut position, optimizers, observer)?;
            self.judge(stage, &folder, &mut end, &mut position)?;
            if position.epochs.is_multiple_of(every) || position.epochs == epochs || !is_patient(stage, &position) {
                self.save_student(stage, &folder.join("last.safetensors"))?;
                checkpoint::save(&self.folder, self.run, optimizers, position.clone())?;
            }
            // Told when it is saved: who stops a run after this line loses nothing.
            observer.epoch_ended(&end);
        }
        self.finish(stage, &folder, &teachers)?;
        observer.stage_ended(&stage.name);
        Ok(())
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
            parameters: parameters.map(count).sum(),
            alone: stage.alone,
            log_every: log_every(stage),
        }
    }

    fn epoch(
        &self,
        stage: &StagePlan,
        set: &DataSet,
        extent: &Extent,
        position: &mut Position,
        optimizers: &mut [Optimizer],
        observer: &mut dyn Observer,
    ) -> Result<EpochEnd, TrainError> {
        let spec = LoaderSpec {
            views: stage.views.clone(),
            shuffle: Some(self.run.seed),
            seed: self.run.seed,
            epoch: position.epochs,
            augment: augments(&self.setup.manifest.data[&stage.data].augment),
            drop_last: set.train.len() >= stage.spec.batch,
            ..LoaderSpec::new(stage.spec.batch.min(set.train.len()))
        };
        let (mut means, mut tables) = (Means::default(), Tables::default());
        let (started, mut samples) = (Instant::now(), 0);
        let mut lr = 0.0;
        let mut stepper = Stepper::new(stage, &self.run.models, optimizers);
        for served in Loader::new(&set.train, spec)?.take((extent.per_epoch * extent.pieces) as usize) {
            let batch = served?;
            let count = batch.len();
            let mut tensors = fields(batch, self.setup.float, &self.setup.device)?;
            if let (Some(plan), Some(frames)) = (&stage.spec.sampling, frames_of(set)) {
                let to = (self.setup.float, &self.setup.device);
                let shape = [count, frames.saturating_sub(1)];
                let mask = sampling::mask(plan, (self.run.seed, position.steps), shape, to)?;
                tensors.insert(sampling::SAMPLING.into(), mask);
            }
            recordings::add_fields(self.run, stage, &mut tensors, self.setup.float)?;
            let factor = stage.spec.schedule.factor(position.steps, extent.total, extent.per_epoch);
            lr = stage.spec.optimizer.lr() * factor;
            let moment = self.moment(stage, set, extent, position);
            let norms = stage.spec.gradient_norms && position.steps.is_multiple_of(log_every(stage));
            let step = || stepper.step(&tensors, &moment, factor, norms);
            let report = last_words::during("the training", &stage.name, position.steps, step)
                .map_err(|error| error.in_step(&stage.name, position.steps))?;
            report.log.iter().for_each(|(level, term, line)| observer.said(*level, term, line));
            means.add(&report);
            tables.add(&report);
            samples += count;
            position.steps += u64::from(report.updated);
            observer.stepped(&Progress {
                step: position.steps,
                epoch: position.epochs,
                samples: count,
                lr,
                report: &report,
            });
            if position.steps >= extent.total {
                break;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        self.tell_parts(stage, &self.moment(stage, set, extent, position), observer)?;
        position.epochs += 1;
        let (part, metrics) = self.measure(stage, set)?;
        Ok(EpochEnd {
            stage: stage.name.clone(),
            seed: self.run.seed,
            epoch: position.epochs,
            step: position.steps,
            lr,
            terms: means.terms(),
            total: means.total(),
            metrics,
            tables: tables.means(stage),
            part,
            best: false,
            seconds,
            samples_per_second: samples as f64 / seconds.max(1e-9),
        })
    }

    fn moment(&self, stage: &StagePlan, set: &DataSet, extent: &Extent, position: &Position) -> Moment {
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

    fn tell_parts(&self, stage: &StagePlan, moment: &Moment, observer: &mut dyn Observer) -> Result<(), TrainError> {
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

    /// Keeps the weights when they are the best so far. Only a validation part chooses; without one the objective says
    /// whether there is progress, and the last weights count.
    fn judge(
        &self,
        stage: &StagePlan,
        folder: &Path,
        end: &mut EpochEnd,
        position: &mut Position,
    ) -> Result<(), TrainError> {
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
        if position.best.is_none_or(|before| value > before) {
            position.best = Some(value);
            position.since_best = 0;
            end.best = true;
            if stage.judged && end.part == "val" {
                self.save_student(stage, &folder.join("best.safetensors"))?;
            }
        } else {
            position.since_best += 1;
        }
        Ok(())
    }

    /// Trained models go on with their best weights where a validation part chose them; `best` is always there.
    fn finish(&self, stage: &StagePlan, folder: &Path, teachers: &[(String, u64)]) -> Result<(), TrainError> {
        let best = folder.join("best.safetensors");
        if best.is_file() && stage.judged && self.setup.data[&stage.data].val.is_some() {
            self.load_student(stage, &best)?;
        } else {
            self.save_student(stage, &best)?;
        }
        for (name, before) in teachers {
            if self.run.models.get(name).is_some_and(|model| checksum(model).ok() != Some(*before)) {
                return Err(TrainError::TeacherMoved(name.clone(), stage.name.clone()));
            }
        }
        Ok(())
    }

    /// Checksums of the weights of every model that is not trained here.
    fn teacher_sums(&self, stage: &StagePlan) -> Result<Vec<(String, u64)>, TrainError> {
        let teachers = self.run.models.iter().filter(|(name, _)| !stage.trained.contains(*name));
        teachers.map(|(name, model)| Ok((name.clone(), checksum(model)?))).collect()
    }

    /// Weights of the trained models: one without prefix, several with their names.
    fn save_student(&self, stage: &StagePlan, path: &Path) -> Result<(), TrainError> {
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        for (prefix, model) in self.trained(stage) {
            tensors.extend(model_tensors(model, &prefix));
        }
        Ok(write_weights(path, &tensors)?)
    }

    fn load_student(&self, stage: &StagePlan, path: &Path) -> Result<(), TrainError> {
        let tensors = read_weights(path)?;
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

/// Frames of a clip.
fn frames_of(set: &DataSet) -> Option<usize> {
    set.train.field(crate::data::FRAMES)?.shape().first().copied()
}

/// False when the stage waited long enough for a better epoch.
fn is_patient(stage: &StagePlan, position: &Position) -> bool {
    stage.patience.is_none_or(|patience| position.since_best < patience)
}

/// Batches that an epoch serves.
pub(super) fn served(spec: &manifest::Stage, samples: usize) -> usize {
    batches(samples, spec.batch.min(samples), samples >= spec.batch).max(1)
}

fn extent(stage: &StagePlan, samples: usize) -> Extent {
    let pieces = stage.spec.accumulate.max(1);
    let per_epoch = (served(&stage.spec, samples) / pieces).max(1) as u64;
    let total = match stage.length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => (epochs * per_epoch as f64).round() as u64,
    };
    Extent { per_epoch, total: total.max(1), pieces: pieces as u64 }
}

/// Updates between two lines of the event log.
fn log_every(stage: &StagePlan) -> u64 {
    stage.spec.log_every.unwrap_or(50) as u64
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
