//! Training: from a manifest to trained students.
//!
//! [`Setup`] opens what a manifest stands on. [`plan`] builds models and binds terms for one seed, and finds everything that
//! is wrong before any training. [`run_seed`] trains, stage by stage, and tells an [`Observer`] how it goes.

mod batch;
mod binding;
mod blame;
mod checkpoint;
mod checks;
mod connecting;
mod error;
mod evaluate;
mod events;
mod explain;
mod frames;
mod groups;
mod lock;
mod maps;
mod models;
mod optim;
mod phases;
mod plan;
mod planner;
mod problem;
mod reach;
mod reads;
mod recordings;
mod run;
mod sampling;
mod selector;
mod setup;
mod sizes;
mod stage;
mod stages;
mod step;
mod tables;
mod term;
mod walk;

pub use batch::{Fields, fields, view_field};
pub use binding::PassPlan;
pub use checkpoint::Position;
pub use error::TrainError;
pub use evaluate::{Metrics, evaluate};
pub use events::{EpochEnd, Observer, Progress, Silent, StageStart, TermMean};
pub use frames::{FrameMetrics, MOST_PSNR, Nearness};
pub use groups::{GroupPlan, Member};
pub use lock::{Lock, LockedFile, LockedPlugin, lock_path};
pub use maps::{MapMetrics, MapScores};
pub use models::{Model, ModelBuilder};
pub use optim::{Gradients, Optimizer};
pub use plan::{ActiveTerm, Length, PhasePlan, RunPlan, StagePlan};
pub use planner::plan;
pub use problem::Problem;
pub use recordings::RecordingPlan;
pub use run::{Outcome, Role, run_seed};
pub use sampling::SAMPLING;
pub use selector::Selector;
pub use setup::Setup;
pub use stage::{StageRunner, load_model, model_tensors};
pub use step::{StepReport, Stepper, TermValue};
pub use tables::Table;
pub use term::{BoundConnector, BoundPort, BoundTerm, Read};
