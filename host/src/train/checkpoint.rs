//! Trainer state in files: enough to go on as if nothing had happened.

use super::error::TrainError;
use super::optim::Optimizer;
use super::plan::RunPlan;
use crate::model::{read_weights, write_weights};
use crate::ops::ParamSet;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
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
    /// Epochs of it that are done.
    pub epochs: u64,
    /// Updates of it that are done.
    pub steps: u64,
    /// Best value of its metric so far.
    pub best: Option<f64>,
    /// Epochs since then.
    pub since_best: u64,
    /// Updates that each group's optimizer made.
    pub optimizer_steps: Vec<u64>,
}

const TENSORS: &str = "trainer.safetensors";
const POSITION: &str = "trainer.json";
/// Name of the position among the tensors.
const PLACE: &str = "position";

/// What a checkpoint holds.
pub struct Saved {
    /// Where the run stands.
    pub position: Position,
    tensors: HashMap<String, Tensor>,
}

/// Every tensor set of a run, with its prefix.
fn sets(run: &RunPlan) -> Vec<(String, Rc<ParamSet>)> {
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

/// Writes the state of a run. The position lies in the same file as the tensors, so that the two always belong together,
/// whenever the process ends; the file beside it is for people.
///
/// # Errors
/// The folder cannot be written.
pub fn save(folder: &Path, run: &RunPlan, optimizers: &[Optimizer], mut position: Position) -> Result<(), TrainError> {
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for (prefix, set) in sets(run) {
        tensors.extend(
            set.entries().into_iter().map(|(name, entry)| (format!("{prefix}{name}"), entry.var.as_detached_tensor())),
        );
    }
    position.optimizer_steps.clear();
    for (group, optimizer) in optimizers.iter().enumerate() {
        let (steps, state) = optimizer.save();
        position.optimizer_steps.push(steps);
        tensors.extend(state.into_iter().map(|(name, tensor)| (format!("optimizer/{group}/{name}"), tensor)));
    }
    let text = serde_json::to_string_pretty(&position).map_err(|error| TrainError::Resume(error.to_string()))?;
    tensors.insert(PLACE.into(), Tensor::new(text.as_bytes(), &Device::Cpu)?);
    write_weights(&folder.join(TENSORS), &tensors)?;
    let (path, beside) = (folder.join(POSITION), folder.join("trainer.json.partial"));
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, &path))
        .map_err(|error| TrainError::file(&path, error))
}

/// The checkpoint of a run, if it was ever saved.
///
/// # Errors
/// The file is there and cannot be read.
pub fn load(folder: &Path) -> Result<Option<Saved>, TrainError> {
    let path = folder.join(TENSORS);
    if !path.exists() {
        return Ok(None);
    }
    let mut tensors = read_weights(&path)?;
    let wrong = |why: String| TrainError::Resume(format!("{}: {why}", path.display()));
    let text = tensors.remove(PLACE).ok_or_else(|| wrong("it has no position".into()))?.to_vec1::<u8>()?;
    let position = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(Some(Saved { position, tensors }))
}

/// Puts saved tensors back; gives those of the optimizers, by group.
///
/// # Errors
/// The file is of another run.
pub fn restore(saved: Saved, run: &RunPlan) -> Result<Vec<HashMap<String, Tensor>>, TrainError> {
    let tensors = saved.tensors;
    for (prefix, set) in sets(run) {
        for (name, _) in set.entries() {
            let full = format!("{prefix}{name}");
            let Some(tensor) = tensors.get(&full) else {
                return Err(TrainError::Resume(format!("the checkpoint has no `{full}`: the manifest changed since")));
            };
            set.assign(&name, tensor).map_err(|error| TrainError::Resume(format!("checkpoint: {error}")))?;
        }
    }
    let mut groups: Vec<HashMap<String, Tensor>> = vec![];
    for (name, tensor) in tensors {
        let Some((group, rest)) = name.strip_prefix("optimizer/").and_then(|rest| rest.split_once('/')) else {
            continue;
        };
        let Ok(group) = group.parse::<usize>() else { continue };
        if group < 4096 {
            groups.resize_with(groups.len().max(group + 1), HashMap::new);
            groups[group].insert(rest.to_owned(), tensor);
        }
    }
    Ok(groups)
}
