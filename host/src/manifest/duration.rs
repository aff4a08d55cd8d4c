//! Durations: epochs or steps.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A length or a point of training time: `"10 epochs"`, `"500 steps"`, or a bare number of epochs.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Form")]
pub enum Duration {
    /// Passes over the training samples; fractions are fine.
    Epochs(f64),
    /// Updates of the parameters.
    Steps(u64),
}

/// The schema's name for the text form, so that the check can call [`Duration::from_str`].
pub(super) const DURATION_FORMAT: &str = "stillhouse-duration";

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Epochs(f64),
    Text(String),
}

impl Duration {
    /// The duration in steps, whole or not.
    pub fn steps(self, steps_per_epoch: u64) -> f64 {
        match self {
            Self::Epochs(epochs) => epochs * steps_per_epoch as f64,
            Self::Steps(steps) => steps as f64,
        }
    }

    /// Whether it is no time at all.
    pub fn is_zero(self) -> bool {
        self.steps(1) == 0.0
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no duration; write `10 epochs`, `500 steps`, or a number of epochs");
        let (count, unit) = text.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
        match unit.trim() {
            "epoch" | "epochs" => match count.parse::<f64>() {
                Ok(epochs) if epochs.is_finite() && epochs >= 0.0 => Ok(Self::Epochs(epochs)),
                _ => Err(wrong()),
            },
            "step" | "steps" => count.parse().map(Self::Steps).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<Form> for Duration {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        match form {
            Form::Epochs(epochs) => Ok(Self::Epochs(epochs)),
            Form::Text(text) => text.parse(),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epochs(1.0) => f.write_str("1 epoch"),
            Self::Epochs(epochs) => write!(f, "{epochs} epochs"),
            Self::Steps(1) => f.write_str("1 step"),
            Self::Steps(steps) => write!(f, "{steps} steps"),
        }
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration: `\"10 epochs\"`, `\"500 steps\"`, or a bare number of epochs.",
            "anyOf": [
                { "type": "number", "minimum": 0 },
                { "type": "string", "format": DURATION_FORMAT, "pattern": "^\\s*[0-9.e+-]+\\s+(epochs?|steps?)\\s*$" },
            ],
        })
    }
}
