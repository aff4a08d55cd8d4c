//! A case that a run wrote when a call failed: the one part with its settings, repeated as it was called.

use super::case::Case;
use super::error::EvalError;
use super::node::Spec;
use super::part::evaluate;
use super::report::EvalReport;
use super::tensors::Float;
use crate::ops::Moment;
use crate::plugin::Registry;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use stillhouse_plugin::desc::Kind;

/// What such a case says beside what every case says.
#[derive(Debug, Clone, Deserialize)]
pub struct FailedCall {
    /// `kind/plugin::name`.
    part: String,
    /// The file of its plugin.
    pub plugin: PathBuf,
    #[serde(default)]
    config: Map<String, Value>,
    #[serde(default)]
    dtype: String,
    call: Place,
    /// What it said.
    #[serde(default)]
    pub error: String,
}

/// Where in training the call was.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Place {
    owner: String,
    run_stage: String,
    stage: String,
    phase: String,
    seed: u64,
    step: u64,
    epoch: u64,
    steps_per_epoch: u64,
    frame: u64,
    samples: u64,
}

impl FailedCall {
    /// Reads it; none where the file is another case.
    ///
    /// # Errors
    /// The file is missing or malformed.
    pub fn open(json: &Path) -> Result<Option<FailedCall>, EvalError> {
        let text = std::fs::read_to_string(json).map_err(|error| EvalError::file(json, error))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| EvalError::file(json, error))?;
        if value.get("part").is_none() {
            return Ok(None);
        }
        serde_json::from_value(value).map(Some).map_err(|error| EvalError::file(json, error))
    }

    /// Calls the part again, in the type of floats that it ran in unless another is asked for.
    ///
    /// # Errors
    /// What the part says, as it did in the run; or a file that is missing or malformed.
    pub fn repeat(
        &self,
        registry: &Registry,
        json: &Path,
        output: Option<&Path>,
        float: Option<Float>,
    ) -> Result<EvalReport, EvalError> {
        let case = Case::open(json)?;
        let parsed = self.part.split_once('/').and_then(|(kind, name)| Some((Kind::from_name(kind)?, name)));
        let (kind, name) = parsed.ok_or_else(|| EvalError::file(json, format!("`{}` is no part", self.part)))?;
        let Place { owner, run_stage, stage, phase, seed, step, epoch, steps_per_epoch, frame, samples } =
            self.call.clone();
        let (stage, phase, run_stage) = (stage.into(), phase.into(), run_stage.into());
        let training = case.training;
        let moment = Moment { epoch, step, steps_per_epoch, frame, training, samples, stage, phase, run_stage, seed };
        let spec = Spec { label: owner, kind, use_: name.into(), config: self.config.clone(), moment };
        let float = float.unwrap_or(if self.dtype == "float64" { Float::F64 } else { Float::F32 });
        evaluate(registry, spec, &case.tensors, float, output)
    }
}
