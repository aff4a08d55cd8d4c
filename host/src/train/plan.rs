//! What a run does for one seed: stages, phases, terms.

use super::binding::PassPlan;
use super::groups::GroupPlan;
use super::models::Model;
use super::recordings::RecordingPlan;
use super::term::BoundTerm;
use crate::data::ViewSpec;
use crate::manifest::{self, ManifestPath};
use indexmap::IndexMap;
use std::collections::HashSet;
use std::rc::Rc;

/// Everything that a run does for one seed.
pub struct RunPlan {
    /// Seed.
    pub seed: u64,
    /// Models by name, copies that train alone among them.
    pub models: IndexMap<String, Rc<Model>>,
    /// Recordings by name.
    pub recordings: IndexMap<String, RecordingPlan>,
    /// Stages in order.
    pub stages: Vec<StagePlan>,
}

/// One training run.
pub struct StagePlan {
    /// Its name: the manifest's, `distil.hint` for a stage of a method, `distil-alone` for the student alone.
    pub name: String,
    /// The manifest's.
    pub origin: String,
    /// The method's; empty without one.
    pub inner: String,
    /// True when the student trains alone, to compare with.
    pub alone: bool,
    /// Data set.
    pub data: String,
    /// Trained models; the first is the student.
    pub trained: Vec<String>,
    /// Forward passes.
    pub passes: IndexMap<String, PassPlan>,
    /// Views of the sample that the passes read.
    pub views: Vec<ViewSpec>,
    /// Parts of a step, each with an update.
    pub phases: Vec<PhasePlan>,
    /// What is updated together.
    pub groups: Vec<GroupPlan>,
    /// Full names of student parameters that stay.
    pub frozen: HashSet<String>,
    /// Epochs, whole or not; or updates.
    pub length: Length,
    /// What the manifest says of the stage.
    pub spec: manifest::Stage,
    /// Stop after so many epochs without improvement.
    pub patience: Option<u64>,
    /// Judged on its metric: keeps the best weights. Else the last count.
    pub judged: bool,
    /// The optimizer goes on from the stage before.
    pub keep_optimizer: bool,
}

/// How long a stage is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// Passes over the training samples.
    Epochs(f64),
    /// Updates.
    Steps(u64),
}

/// A part of a step that ends in an update.
pub struct PhasePlan {
    /// Name; empty when there is one only.
    pub name: String,
    /// Terms with their active inner names.
    pub terms: Vec<ActiveTerm>,
    /// Indices of the groups that it updates.
    pub updates: Vec<usize>,
    /// Runs on every so many steps.
    pub every: u64,
}

/// A term in a phase.
#[derive(Clone)]
pub struct ActiveTerm {
    /// The term.
    pub term: Rc<BoundTerm>,
    /// Inner terms that it gives there; one empty name for a loss.
    pub inner: Vec<String>,
}

impl StagePlan {
    /// Path of the stage in the manifest.
    pub fn path(&self) -> ManifestPath {
        ManifestPath::of(["stage", &self.origin])
    }

    /// Every term, once.
    pub fn terms(&self) -> Vec<&Rc<BoundTerm>> {
        let mut all: Vec<&Rc<BoundTerm>> = vec![];
        for active in self.phases.iter().flat_map(|phase| &phase.terms) {
            if !all.iter().any(|term| Rc::ptr_eq(term, &active.term)) {
                all.push(&active.term);
            }
        }
        all
    }
}
