//! A golden case: tensors, and what they are of.

use super::error::EvalError;
use super::pattern;
use super::tensors::Tensors;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// Errors of the reference itself when it ran in single precision.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Float32 {
    /// Of the loss, relatively.
    pub loss_err: f64,
    /// Largest one of a gradient, relative to the largest gradient.
    pub grad_err: f64,
}

#[derive(Deserialize)]
struct Description {
    case: String,
    algorithm: String,
    variant: String,
    #[serde(default)]
    hyperparameters: Value,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    float32: Float32,
    #[serde(default)]
    informative: Vec<String>,
}

/// A golden case in memory.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The algorithm.
    pub algorithm: String,
    /// The formula.
    pub variant: String,
    /// What the formula takes beside tensors: an object.
    pub hyperparameters: Value,
    /// False where batch statistics are not to be used.
    pub training: bool,
    /// Errors of the reference in single precision.
    pub float32: Float32,
    /// Tensors that are not to be compared.
    pub informative: Vec<String>,
    /// The tensors.
    pub tensors: Tensors,
}

impl Case {
    /// Reads a case from its JSON file and the safetensors file beside it.
    ///
    /// # Errors
    /// One of them is missing or malformed.
    pub fn open(json: &Path) -> Result<Case, EvalError> {
        let text = std::fs::read_to_string(json).map_err(|error| EvalError::file(json, error))?;
        let read: Description = serde_json::from_str(&text).map_err(|error| EvalError::file(json, error))?;
        Ok(Case {
            name: read.case,
            algorithm: read.algorithm,
            variant: read.variant,
            hyperparameters: read.hyperparameters,
            training: read.mode.as_deref() != Some("eval"),
            float32: read.float32,
            informative: read.informative,
            tensors: Tensors::read(&json.with_extension("safetensors"))?,
        })
    }

    /// A hyperparameter; a dot leads into an object, `batch_norm.eps`.
    pub fn hyperparameter(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.hyperparameters, |value, key| value.get(key)).filter(|value| !value.is_null())
    }

    /// True when there is such a hyperparameter, or a tensor where the name is that of one, perhaps with wildcards.
    pub(super) fn has(&self, name: &str) -> bool {
        const TENSORS: [&str; 5] = ["input.", "param.", "frozen.", "buffer.", "cotangent."];
        if TENSORS.iter().any(|prefix| name.starts_with(prefix)) {
            return self.tensors.names().any(|known| pattern::fits(name, known));
        }
        self.hyperparameter(name.trim_start_matches('$')).is_some()
    }
}
