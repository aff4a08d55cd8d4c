//! Trainer state: all that a run needs to go on as if it had never stopped.

use super::error::TrainError;
use super::events::{Means, Observer};
use super::exact::Exact;
use super::optim::Optimizer;
use super::plan::RunPlan;
use super::stage::Progressed;
use super::store::{Store, Tensors, Whole};
use super::tables::Tables;
use crate::ops::ParamSet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Index of the stage.
    pub stage: usize,
    /// Its name, to notice another manifest.
    pub name: String,
    /// The log has the line with which the stage begins.
    pub begun: bool,
    /// Epochs of it that are done.
    pub epochs: u64,
    /// Updates of it that are done.
    pub steps: u64,
    /// Updates that were left out, since something was not finite.
    pub skipped: u64,
    /// Best value of its metric so far.
    pub best: Option<Exact>,
    /// Epochs since then.
    pub since_best: u64,
    /// Updates that each group's optimizer made.
    pub optimizer_steps: Vec<u64>,
    /// Updates that the average of the weights has seen.
    pub averaged: u64,
    /// What the running epoch has come to.
    pub inside: Inside,
    /// Recordings of this run, with a number that follows from the weights of the recorded models.
    pub recordings: BTreeMap<String, u64>,
    /// Those of them that the log does not tell of yet.
    pub untold: Vec<String>,
    /// Samples that could not be read, by data set, with what is wrong with each.
    pub damaged: BTreeMap<String, BTreeMap<String, String>>,
    /// Bytes of the event log.
    pub log: u64,
}

/// What a running epoch has come to. Checkpoints lie between updates, so no gradient waits for more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inside {
    /// Batches that were served.
    pub batches: u64,
    /// Their samples.
    pub samples: u64,
    /// Updates that were left out.
    pub skipped: u64,
    /// Seconds of training.
    pub seconds: Exact,
    /// Learning rate of the last update.
    pub lr: Exact,
    pub(super) means: Means,
    pub(super) tables: Tables,
}

/// Every tensor set of a run, with its prefix.
pub(super) fn sets(run: &RunPlan) -> Vec<(String, Rc<ParamSet>)> {
    let mut all: Vec<(String, Rc<ParamSet>)> = vec![];
    for (name, model) in &run.models {
        all.extend(model.network.sets().into_iter().map(|(prefix, set)| (format!("model/{name}/{prefix}"), set)));
    }
    for stage in &run.stages {
        let side = if stage.alone { "alone" } else { "with" };
        for set in stage.terms().into_iter().flat_map(|term| term.sets()) {
            if !all.iter().any(|(_, known)| Rc::ptr_eq(known, set)) {
                all.push((format!("part/{}/{side}/{}/", stage.origin, set.owner()), set.clone()));
            }
        }
    }
    all
}

const BEST: &str = "best/";
const AVERAGE: &str = "average/";

/// Writes the state of a run. The log is brought to the disk first: it is never shorter than the checkpoint says.
///
/// # Errors
/// The folder or the log cannot be written.
pub(super) fn save(
    store: &mut Store,
    run: &RunPlan,
    optimizers: &[Optimizer],
    state: &mut Progressed,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    state.position.log = observer.mark().map_err(TrainError::Log)?;
    let mut tensors = Tensors::new();
    for (prefix, set) in sets(run) {
        tensors.extend(
            set.entries().into_iter().map(|(name, entry)| (format!("{prefix}{name}"), entry.var.as_detached_tensor())),
        );
    }
    state.position.optimizer_steps.clear();
    for (group, optimizer) in optimizers.iter().enumerate() {
        let (steps, state_of_group) = optimizer.save();
        state.position.optimizer_steps.push(steps);
        tensors.extend(state_of_group.into_iter().map(|(name, tensor)| (format!("optimizer/{group}/{name}"), tensor)));
    }
    let best = state.best.iter().flatten();
    tensors.extend(best.map(|(name, tensor)| (format!("{BEST}{name}"), tensor.clone())));
    let averaged = |name: &str| format!("{AVERAGE}{name}");
    match &state.average {
        Some(average) => {
            tensors.extend(average.tensors().map(|(name, tensor)| (averaged(name), tensor.clone())));
            state.position.averaged = average.updates();
        }
        // Its stage has not gone on yet.
        None => tensors.extend(state.saved_average.iter().map(|(name, tensor)| (averaged(name), tensor.clone()))),
    }
    let text = serde_json::to_vec(&state.position).map_err(|error| TrainError::Other(error.to_string()))?;
    store.save(&text, &tensors)
}

/// What a checkpoint holds.
pub(super) struct Saved {
    /// Where the run stands.
    pub(super) position: Position,
    /// State of each group's optimizer.
    pub(super) groups: Vec<Tensors>,
    /// The best weights of the stage so far.
    pub(super) best: Option<Tensors>,
    /// The average of the weights.
    pub(super) average: Tensors,
}

/// The name of the stage in which the newest whole checkpoint of a seed's folder stands.
pub fn stage_of(folder: &Path) -> Option<String> {
    let whole = Store::new(folder, 1).load().ok()?.0?;
    position(&whole).ok().map(|position| position.name)
}

/// Reads the content of a checkpoint whole: its checksum, position and tensors.
///
/// # Errors
/// A sentence that says what is wrong with it; it calls the content by `name`.
pub fn verify_checkpoint(bytes: &[u8], name: &Path) -> Result<Position, String> {
    let whole = super::store::parse(bytes, name)?;
    position(&whole).map_err(|error| format!("`{}`: {error}", name.display()))
}

/// Writes a checkpoint without tensors that stands in a stage.
#[cfg(test)]
pub(crate) fn stand_in(folder: &Path, stage: &str) {
    let position = Position { name: stage.into(), ..Position::default() };
    let text = serde_json::to_vec(&position).expect("text");
    Store::new(folder, 1).save(&text, &Tensors::new()).expect("is written");
}

/// # Errors
/// The text is of another version.
pub(super) fn position(whole: &Whole) -> Result<Position, TrainError> {
    serde_json::from_slice(&whole.position)
        .map_err(|error| TrainError::Misfit(format!("the checkpoint is of another version: {error}")))
}

/// Puts saved tensors back into models and parts; gives what is left.
///
/// # Errors
/// The file is of another run.
pub(super) fn restore(whole: Whole, run: &RunPlan) -> Result<Saved, TrainError> {
    let position = position(&whole)?;
    let tensors = whole.tensors;
    for (prefix, set) in sets(run) {
        for (name, entry) in set.entries() {
            let full = format!("{prefix}{name}");
            let Some(tensor) = tensors.get(&full) else {
                return Err(TrainError::Misfit(format!("the checkpoint has no `{full}`, which the run has now")));
            };
            let (saved, wanted) = (tensor.dims(), entry.var.dims());
            if saved != wanted {
                let wrong =
                    format!("`{full}` has the shape {saved:?} in the checkpoint, and {wanted:?} in the run now");
                return Err(TrainError::Misfit(wrong));
            }
            set.assign(&name, tensor)?;
        }
    }
    let (mut groups, mut best, mut average): (Vec<Tensors>, Option<Tensors>, Tensors) = Default::default();
    for (name, tensor) in tensors {
        if let Some(rest) = name.strip_prefix(BEST) {
            best.get_or_insert_default().insert(rest.to_owned(), tensor);
        } else if let Some(rest) = name.strip_prefix(AVERAGE) {
            average.insert(rest.to_owned(), tensor);
        } else if let Some((group, rest)) = name.strip_prefix("optimizer/").and_then(|rest| rest.split_once('/')) {
            let Some(group) = group.parse::<usize>().ok().filter(|group| *group < 4096) else { continue };
            groups.resize_with(groups.len().max(group + 1), HashMap::new);
            groups[group].insert(rest.to_owned(), tensor);
        }
    }
    Ok(Saved { position, groups, best, average })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::events::Silent;
    use candle_core::{Device, Tensor};

    /// What is saved between a resume and the stage's going on holds all that the checkpoint before it held.
    #[test]
    fn average_that_waits_for_its_stage_is_saved_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunPlan { seed: 0, models: Default::default(), recordings: Default::default(), stages: vec![] };
        let average = Tensor::full(0.5f32, 3, &Device::Cpu).expect("small");
        let position = Position { averaged: 7, ..Position::default() };
        let mut state =
            Progressed { position, saved_average: [("w".to_owned(), average)].into(), ..Progressed::default() };
        let mut store = Store::new(folder.path(), 1);
        save(&mut store, &run, &[], &mut state, &mut Silent).expect("is saved");
        let saved = restore(store.load().expect("is read").0.expect("is there"), &run).expect("fits");
        assert_eq!((saved.position.averaged, saved.average["w"].to_vec1::<f32>().expect("values")), (7, vec![0.5; 3]));
    }
}
