//! A whole run for one seed: its stages in order, from the start or from a checkpoint.

use super::checkpoint::{self, Position, Saved};
use super::digest::weights_sha256;
use super::error::TrainError;
use super::evaluate::{Metrics, evaluate};
use super::events::Observer;
use super::models::Model;
use super::optim::Optimizer;
use super::plan::{RunPlan, StagePlan};
use super::recordings;
use super::setup::Setup;
use super::stage::{Progressed, StageRunner, model_tensors};
use super::store::{Store, Tensors};
use crate::manifest::Origin;
use crate::ops::ParamSet;
use candle_core::Tensor;
use serde::Serialize;
use std::path::Path;
use std::rc::Rc;

/// What one model reached in the end, on the test part.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Name of the model.
    pub model: String,
    /// What it is in the final table.
    pub role: Role,
    /// The stage that trained it last, if one did.
    pub stage: Option<String>,
    /// Seed.
    pub seed: u64,
    /// Trained values.
    pub parameters: usize,
    /// On the test part.
    pub metrics: Metrics,
    /// SHA-256 of its weights, whatever the file that they are in; for the receipt.
    #[serde(skip)]
    pub weights: String,
}

/// What a model is in the final table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It taught another, or was trained without a teacher.
    Teacher,
    /// A student that trained alone, on the schedule of the distilled one.
    Alone,
    /// A student that learned from a teacher.
    Distilled,
    /// Trained, and nobody's teacher.
    Trained,
}

/// Runs all stages of a seed. With `resume`, goes on where the folder's checkpoint stands.
///
/// # Errors
/// A stage fails; what was written before stays.
pub fn run_seed(
    setup: &Setup,
    run: &RunPlan,
    folder: &Path,
    resume: bool,
    observer: &mut dyn Observer,
) -> Result<Vec<Outcome>, TrainError> {
    std::fs::create_dir_all(folder).map_err(|error| TrainError::file(folder, error))?;
    let runner = StageRunner { setup, run, folder: folder.into() };
    let mut store = Store::new(folder, setup.manifest.run.checkpoint.keep);
    let mut saved = if resume { go_on(run, &mut store, observer)? } else { None };
    observer.rewind(saved.as_ref().map_or(0, |saved| saved.position.log)).map_err(TrainError::Log)?;
    let first = saved.as_ref().map_or(0, |saved| saved.position.stage);
    for (name, samples) in saved.iter().flat_map(|saved| &saved.position.damaged) {
        setup.data.get(name).into_iter().for_each(|set| set.damage.take_up(samples));
    }
    let (mut optimizers, mut state): (Vec<Optimizer>, Progressed) = Default::default();
    for index in first..run.stages.len() {
        optimizers = runner.optimizers(index, optimizers);
        state = match saved.take() {
            Some(saved) => restored(saved, &mut optimizers),
            None => {
                initialise(run, index, setup)?;
                let (name, recordings) = (run.stages[index].name.clone(), state.position.recordings);
                Progressed {
                    position: Position { stage: index, name, recordings, ..Position::default() },
                    ..Progressed::default()
                }
            }
        };
        recordings::prepare(&runner, Some(index), &mut state, &optimizers, &mut store, observer)?;
        runner.run(index, &mut state, &mut optimizers, &mut store, observer)?;
    }
    recordings::prepare(&runner, None, &mut state, &optimizers, &mut store, observer)?;
    outcomes(setup, run)
}

/// The newest whole checkpoint, put back into the run's models and parts.
fn go_on(run: &RunPlan, store: &mut Store, observer: &mut dyn Observer) -> Result<Option<Saved>, TrainError> {
    let (whole, wrong) = store.load()?;
    let Some(whole) = whole else { return Ok(None) };
    let position = checkpoint::position(&whole)?;
    for why in wrong {
        observer.warned(&format!("{why}; the run goes on from the checkpoint before"));
    }
    check_position(run, &position)?;
    checkpoint::restore(whole, run).map(Some)
}

/// What a checkpoint says of the stage in which it stands.
fn restored(saved: Saved, optimizers: &mut [Optimizer]) -> Progressed {
    let Saved { position, mut groups, best, average } = saved;
    groups.resize_with(optimizers.len(), Tensors::new);
    for (optimizer, (steps, tensors)) in optimizers.iter_mut().zip(position.optimizer_steps.iter().zip(groups)) {
        optimizer.restore(*steps, &tensors);
    }
    Progressed { position, best, saved_average: average, average: None }
}

fn check_position(run: &RunPlan, position: &Position) -> Result<(), TrainError> {
    match run.stages.get(position.stage) {
        Some(stage) if stage.name == position.name => Ok(()),
        _ => Err(TrainError::Misfit(format!(
            "the checkpoint stands in stage `{}`, which the manifest does not have there",
            position.name
        ))),
    }
}

/// Weights that come from elsewhere: `models.X.stage`, and `init` of the stage.
pub(super) fn initialise(run: &RunPlan, index: usize, setup: &Setup) -> Result<(), TrainError> {
    let stage = &run.stages[index];
    for (name, model) in &run.models {
        let from = setup.manifest.models.get(&model.origin).and_then(|entry| entry.stage.as_ref());
        let is_untouched = run.stages[..index].iter().all(|before| !before.trained.contains(name));
        let source =
            from.and_then(|from| student_of(run, from)).filter(|source| is_untouched && !Rc::ptr_eq(source, model));
        if let Some(source) = source {
            copy(source, "", model, "")?;
        }
    }
    // A later stage of a method goes on with what the one before trained.
    let is_first = run
        .stages
        .iter()
        .find(|other| other.origin == stage.origin && other.alone == stage.alone)
        .is_some_and(|first| first.name == stage.name);
    if !is_first {
        return Ok(());
    }
    let Some(student) = stage.trained.first().and_then(|name| run.models.get(name)) else { return Ok(()) };
    for (prefix, origin) in stage.spec.origins() {
        let (source, from) = match &origin {
            Origin::Stage { name, prefix } => (student_of(run, name), prefix),
            Origin::Model { name, prefix } => (run.models.get(name), prefix),
        };
        if let Some(source) = source {
            let copied = copy(source, from, student, prefix)?;
            if copied == 0 {
                return Err(TrainError::Other(format!(
                    "`init` of stage `{}`: nothing of `{}` under `{from}` fits `{prefix}`",
                    stage.origin, source.name
                )));
            }
        }
    }
    Ok(())
}

/// What a stage of the manifest trained.
fn student_of<'a>(run: &'a RunPlan, stage: &str) -> Option<&'a Rc<Model>> {
    let stage = run.stages.iter().rev().find(|other| other.origin == stage && !other.alone)?;
    run.models.get(stage.trained.first()?)
}

/// Copies tensors whose names and shapes fit; gives their number.
fn copy(source: &Model, from: &str, target: &Model, to: &str) -> Result<usize, TrainError> {
    let pairs = pairs(source, from, target, to);
    pairs.iter().try_for_each(|(set, name, tensor)| set.assign(name, tensor))?;
    Ok(pairs.len())
}

/// Tensors of one model whose name below `from` and whose shape fit one of the other below `to`: the place, and the tensor.
pub(super) fn pairs(source: &Model, from: &str, target: &Model, to: &str) -> Vec<(Rc<ParamSet>, String, Tensor)> {
    let tensors = model_tensors(source, "");
    let mut found = vec![];
    for (inner, set) in target.network.sets() {
        for (name, entry) in set.entries() {
            let Some(rest) = format!("{inner}{name}").strip_prefix(to).map(str::to_owned) else { continue };
            if let Some(tensor) =
                tensors.get(&format!("{from}{rest}")).filter(|tensor| tensor.dims() == entry.var.dims())
            {
                found.push((set.clone(), name, tensor.clone()));
            }
        }
    }
    found
}

/// Test metrics of every model that has weights, teachers first.
fn outcomes(setup: &Setup, run: &RunPlan) -> Result<Vec<Outcome>, TrainError> {
    let mut all = vec![];
    for (name, model) in &run.models {
        let stage = run.stages.iter().rev().find(|stage| stage.trained.contains(name));
        let set = &setup.data[stage.map_or(&model.data, |stage| &stage.data)];
        let batch = stage.map_or(256, |stage| stage.spec.eval_batch().max(64));
        let metrics = evaluate(model, &set.test, batch, setup.float, &setup.device)?;
        let parameters = model.network.sets().iter().map(|(_, set)| set.parameter_count()).sum();
        all.push(Outcome {
            model: name.clone(),
            role: role(run, name, stage),
            stage: stage.map(|stage| stage.name.clone()),
            seed: run.seed,
            parameters,
            metrics,
            weights: weights_sha256(model)?,
        });
    }
    all.sort_by_key(|outcome| outcome.role as u8);
    Ok(all)
}

fn role(run: &RunPlan, name: &str, stage: Option<&StagePlan>) -> Role {
    let teaches = run.stages.iter().any(|stage| reads_teacher(stage, name));
    match stage {
        Some(stage) if stage.alone => Role::Alone,
        Some(stage) if stage.terms().iter().any(|term| term.needs_teacher()) => Role::Distilled,
        _ if teaches => Role::Teacher,
        Some(_) => Role::Trained,
        None => Role::Teacher,
    }
}

fn reads_teacher(stage: &StagePlan, name: &str) -> bool {
    use super::term::Read;
    let reads = stage
        .terms()
        .into_iter()
        .flat_map(|term| term.ports.iter().flat_map(|port| port.reads.iter()).collect::<Vec<_>>());
    let of = |read: &Read| match read {
        Read::Tap { pass, .. } => stage.passes.get(pass).is_some_and(|pass| pass.model == name && !pass.track),
        Read::Parameter { model, .. } => model == name && !stage.trained.contains(model),
        Read::Field(_) => false,
    };
    reads.into_iter().any(of)
}
