//! Training: from a manifest to trained students.
//!
//! [`Setup`] opens what a manifest stands on. [`plan`] builds models and binds terms for one seed, and finds everything that
//! is wrong before any training. [`run_seed`] trains, stage by stage, and tells an [`Observer`] how it goes.

mod average;
mod batch;
mod binding;
mod blame;
mod cache;
mod checkpoint;
mod checks;
mod connecting;
mod digest;
mod due;
mod epoch;
mod error;
mod evaluate;
mod events;
mod exact;
mod explain;
mod frames;
mod groups;
mod lock;
mod maps;
mod models;
mod needs;
mod optim;
mod phases;
mod plan;
mod planner;
mod preflight;
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
mod store;
mod tables;
mod term;
mod walk;

pub use batch::{Fields, fields, view_field};
pub use binding::PassPlan;
#[cfg(test)]
pub(crate) use checkpoint::stand_in;
pub use checkpoint::{Inside, Position, stage_of, verify_checkpoint};
pub use error::TrainError;
pub use evaluate::{Metrics, evaluate};
pub use events::{EpochEnd, Means, Observer, Progress, Silent, StageStart, TermMean};
pub use exact::Exact;
pub use frames::{FrameMetrics, MOST_PSNR, Nearness};
pub use groups::{GroupPlan, Member};
pub use lock::{Lock, LockedFile, LockedPlugin, lock_path};
pub use maps::{MapMetrics, MapScores};
pub use models::{Model, ModelBuilder};
pub use needs::{Needs, existing, free, held, peak_memory, try_to_write};
pub use optim::{Gradients, Optimizer};
pub use plan::{ActiveTerm, Length, PhasePlan, RunPlan, StagePlan};
pub use planner::plan;
pub use preflight::{Depth, Preflight, preflight};
pub use problem::Problem;
pub use recordings::{RecordingPlan, verify_recording};
pub use run::{Outcome, Role, run_seed};
pub use sampling::SAMPLING;
pub use selector::Selector;
pub use setup::Setup;
pub use stage::{Progressed, StageRunner, load_model, model_tensors};
pub use step::{StepReport, Stepper, TermValue};
pub use store::has_checkpoint;
pub use tables::{Table, Tables};
pub use term::{BoundConnector, BoundPort, BoundTerm, Read};
