//! Why a run ended early.

use crate::data::DataError;
use crate::exec::NetworkError;
use crate::model::WeightsError;
use crate::ops::{OpError, native};
use std::io::ErrorKind::StorageFull;
use std::rc::Rc;

const ROOM: Option<&str> = Some("make room on the disk, or give the run another `dir`");

/// An error of a running stage.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A part failed, panicked or gave what it must not give.
    #[error(transparent)]
    Part(#[from] OpError),
    /// A network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Data could not be served.
    #[error("{}", .0.headline())]
    Data(#[from] DataError),
    /// Weights could not be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A step failed in what does not know where it is.
    #[error("{error}")]
    Step {
        /// What failed.
        error: Box<TrainError>,
        /// Stage.
        stage: Box<str>,
        /// Update.
        step: u64,
        /// What the part read, where that is known.
        inputs: Box<[String]>,
    },
    /// A term is not a number any more.
    #[error("term `{term}` (`{part}`) is {value} at step {step} of stage `{stage}`")]
    NotFinite {
        /// Name of the term.
        term: Box<str>,
        /// The component that gave it.
        part: Box<str>,
        /// Its value.
        value: f64,
        /// Update.
        step: u64,
        /// Stage.
        stage: Box<str>,
        /// What the part read, with shapes and largest values, and what was not finite first.
        inputs: Box<[String]>,
        /// What to do.
        hint: Box<str>,
    },
    /// A gradient is not a number any more.
    #[error("the gradient of `{parameter}` is not finite at step {step} of stage `{stage}`, though every term is")]
    GradientNotFinite {
        /// The first such parameter.
        parameter: Box<str>,
        /// Update.
        step: u64,
        /// Stage.
        stage: Box<str>,
        /// The term that it comes from, and what that read; nothing where only the sum of all is not finite.
        inputs: Box<[String]>,
    },
    /// More updates were left out than the manifest allows: how many it allows, and why the last one would be.
    #[error("{1}")]
    TooManySkipped(u64, Rc<TrainError>),
    /// Somebody asked the run to stop; a checkpoint was written.
    #[error("stopped at stage {stage}, epoch {epoch}, step {step}; go on with --resume")]
    Stopped {
        /// Stage.
        stage: String,
        /// Its running epoch, from 1.
        epoch: u64,
        /// Updates of the stage that were done.
        step: u64,
    },
    /// No checkpoint is whole: what is wrong with each.
    #[error("no checkpoint of this run can be read")]
    Damaged(Vec<String>),
    /// The event log could not be written.
    #[error("the event log cannot be written: {0}")]
    Log(std::io::Error),
    /// A tap has not one value a frame.
    #[error("tap `{tap}` fired {fired} times in a pass, and was to fire {wanted} times")]
    Tap {
        /// The tap.
        tap: String,
        /// Values that it gave.
        fired: usize,
        /// Frames of the pass.
        wanted: usize,
    },
    /// A teacher's weights changed.
    #[error("the weights of teacher `{0}` changed during stage `{1}`")]
    TeacherMoved(String, String),
    /// A file of the run's folder could not be written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A recording that cannot be used: its name, and why.
    #[error("recording `{0}`: {1}")]
    Recording(String, String),
    /// Values that cannot be kept: of which model, and why.
    #[error("the cache of `{0}`: {1}")]
    Cache(String, String),
    /// A checkpoint that does not fit the run.
    #[error("{0}")]
    Misfit(String),
    /// What no other case says.
    #[error("{0}")]
    Other(String),
}

impl TrainError {
    /// What to do, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            TrainError::NotFinite { hint, .. } => Some(hint.to_string()),
            TrainError::Step { error, .. } => error.hint(),
            TrainError::GradientNotFinite { .. } => Some(
                "the derivative of some operation overflows there: lower the learning rate or the weight of a term"
                    .into(),
            ),
            TrainError::TooManySkipped(_, last) => last.hint(),
            TrainError::Damaged(_) | TrainError::Misfit(_) => {
                Some("start anew without `--resume`: this folder is then moved aside".into())
            }
            TrainError::File { error, .. } | TrainError::Log(error) if error.kind() == StorageFull => {
                ROOM.map(str::to_owned)
            }
            TrainError::Data(error) => error.hint(),
            TrainError::Weights(WeightsError::Write { error, .. }) if error.kind() == StorageFull => {
                ROOM.map(str::to_owned)
            }
            TrainError::Weights(error) => error.hint(),
            _ if self.is_panic() => Some("this is a mistake of the plugin; the last checkpoint is intact".into()),
            _ => None,
        }
    }

    /// Whether it is about the checkpoints themselves: none of them helps.
    pub fn is_of_checkpoint(&self) -> bool {
        matches!(self, TrainError::Damaged(_) | TrainError::Misfit(_))
    }

    /// Whether a part, or an operation of its own, panicked.
    fn is_panic(&self) -> bool {
        match self {
            TrainError::Part(error) | TrainError::Network(NetworkError::Part(error)) => error.is_panic(),
            TrainError::Candle(error) | TrainError::Network(NetworkError::Candle(error)) => native::is_panic(error),
            _ => false,
        }
    }

    /// Lines beside the message.
    pub fn notes(&self) -> Vec<String> {
        match self {
            TrainError::NotFinite { inputs, .. } | TrainError::GradientNotFinite { inputs, .. } => inputs.to_vec(),
            TrainError::Part(error) | TrainError::Network(NetworkError::Part(error)) => error.notes(),
            TrainError::Step { stage, step, error, inputs } => {
                let place = std::iter::once(format!("at step {step} of stage `{stage}`"));
                place.chain(inputs.iter().cloned()).chain(error.notes()).collect()
            }
            TrainError::TooManySkipped(limit, last) => {
                [vec![format!("{limit} such steps were skipped before, as many as `nonfinite` allows")], last.notes()]
                    .concat()
            }
            TrainError::Damaged(wrong) => wrong.clone(),
            TrainError::Data(error) => error.notes(),
            _ => vec![],
        }
    }

    /// The same in this step, where the error does not say so itself.
    pub(super) fn in_step(self, stage: &str, step: u64) -> TrainError {
        match &self {
            TrainError::Candle(_) | TrainError::Network(_) | TrainError::Part(_) if self.notes().is_empty() => {
                TrainError::Step { error: Box::new(self), stage: stage.into(), step, inputs: Box::default() }
            }
            _ => self,
        }
    }

    /// Whether a term or a gradient was not finite: such a step may be left out.
    pub(super) fn is_not_finite(&self) -> bool {
        matches!(self, TrainError::NotFinite { .. } | TrainError::GradientNotFinite { .. })
    }

    pub(super) fn file(path: &std::path::Path, error: std::io::Error) -> TrainError {
        TrainError::File { path: path.display().to_string(), error }
    }
}
