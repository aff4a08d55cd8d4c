//! What can be wrong with an evaluation.

use crate::ops::{OpError, native};
use crate::plugin::PluginError;
use std::path::{Path, PathBuf};

/// Why a part or a case could not be evaluated. The text is one line; [`hint`](EvalError::hint) says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file cannot be read, understood or written.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A tensor that is needed is not there.
    #[error("{} has no tensor `{name}`, which {reader} needs", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Who needs it.
        reader: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A tensor that nothing takes.
    #[error("`{name}` of {} is nobody's: {reason}", path.display())]
    Unclaimed {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A tensor of another shape or type than it must have.
    #[error("`{name}` must be {wanted}, got {got}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What it must be.
        wanted: String,
        /// What it is.
        got: String,
    },
    /// Settings that are no JSON object.
    #[error("the settings are no JSON object: {0}")]
    Config(String),
    /// A rule of the map that cannot be followed.
    #[error("rule `{rule}` of the map: {message}")]
    Rule {
        /// Algorithm and variant.
        rule: String,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A case that the map does not know.
    #[error("the map has no rule for algorithm `{algorithm}`, variant `{variant}`")]
    Unknown {
        /// Algorithm of the case.
        algorithm: String,
        /// Its variant.
        variant: String,
        /// What the map has.
        hint: String,
    },
    /// No file with a map is near.
    #[error("there is no map of golden cases near {}", .0.display())]
    NoMap(PathBuf),
    /// No plugin has the part, or it refused its settings.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The part failed, panicked or gave what it must not give.
    #[error(transparent)]
    Part(#[from] OpError),
    /// candle failed.
    #[error("{}", first_line(.0))]
    Candle(#[from] candle_core::Error),
}

impl EvalError {
    pub(super) fn file(path: &Path, error: impl std::fmt::Display) -> EvalError {
        EvalError::File { path: path.into(), message: first_line(&error) }
    }

    /// What to do, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            EvalError::Missing { hint, .. } | EvalError::Unclaimed { hint, .. } | EvalError::Rule { hint, .. } => {
                hint.clone()
            }
            EvalError::Unknown { hint, .. } => Some(hint.clone()),
            EvalError::Config(_) => Some("write them like `{\"temperature\": 4.0}`".into()),
            EvalError::NoMap(_) => Some("name it, or work in a folder below which `tests/golden/map.toml` lies".into()),
            EvalError::Plugin(error) => error.hint(),
            EvalError::Part(error) if error.is_panic() => Some("this is a mistake of the plugin".into()),
            EvalError::Candle(error) if native::is_panic(error) => Some("this is a mistake of the plugin".into()),
            _ => None,
        }
    }

    /// The text, with the hint below it where there is one.
    pub fn with_hint(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}\n\nhint: {hint}"),
            None => self.to_string(),
        }
    }
}

/// candle adds where it stood; the first line says what was wrong.
fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
