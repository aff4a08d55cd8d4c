//! When a run is written down to go on from, and how much of that is kept.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Checkpoints: a run that was cut off goes on from the newest one.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// Time between two: `"1 epoch"`, `"500 steps"`, `"5 minutes"`. One more is written at the end of every stage.
    pub every: Every,
    /// How many of the newest are kept, > 0: where one is damaged, the run goes on from the one before.
    #[schemars(range(min = 1))]
    pub keep: usize,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { every: Every::Minutes(5.0), keep: 2 }
    }
}

/// Time between two checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum Every {
    /// Passes over the training samples.
    Epochs(u64),
    /// Updates.
    Steps(u64),
    /// Minutes of the clock.
    Minutes(f64),
}

/// The schema's name for the text form, so that the check can call [`Every::from_str`].
pub(super) const EVERY_FORMAT: &str = "stillhouse-every";

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no time between two checkpoints; write `1 epoch`, `500 steps` or `5 minutes`");
        let (count, unit) = text.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
        let whole = || count.parse::<u64>().ok().filter(|count| *count > 0).ok_or_else(wrong);
        match unit.trim() {
            "epoch" | "epochs" => whole().map(Self::Epochs),
            "step" | "steps" => whole().map(Self::Steps),
            "minute" | "minutes" => {
                let minutes = count.parse::<f64>().ok().filter(|count| count.is_finite() && *count > 0.0);
                minutes.map(Self::Minutes).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Every {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = |is_one: bool| if is_one { "" } else { "s" };
        match self {
            Self::Epochs(count) => write!(f, "{count} epoch{}", ending(*count == 1)),
            Self::Steps(count) => write!(f, "{count} step{}", ending(*count == 1)),
            Self::Minutes(count) => write!(f, "{count} minute{}", ending(*count == 1.0)),
        }
    }
}

impl JsonSchema for Every {
    fn schema_name() -> Cow<'static, str> {
        "Every".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Time between two checkpoints: `\"1 epoch\"`, `\"500 steps\"`, `\"5 minutes\"`.",
            "type": "string",
            "format": EVERY_FORMAT,
            "pattern": "^\\s*[0-9.e+-]+\\s+(epochs?|steps?|minutes?)\\s*$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Every;

    #[test]
    fn every_reads_epochs_steps_and_minutes() {
        let read = |text: &str| text.parse::<Every>();
        assert_eq!(read("1 epoch"), Ok(Every::Epochs(1)));
        assert_eq!(read(" 500  steps "), Ok(Every::Steps(500)));
        assert_eq!(read("0.5 minutes"), Ok(Every::Minutes(0.5)));
        for wrong in
            ["", "5", "0 steps", "1.5 epochs", "-1 minutes", "inf minutes", "NaN minutes", "2 hours", "steps 5"]
        {
            let told = read(wrong).expect_err(wrong);
            assert!(told.starts_with(&format!("`{wrong}` is no time between two checkpoints; write ")), "{told}");
        }
        for text in ["1 epoch", "2 epochs", "1 step", "3 steps", "1 minute", "0.25 minutes"] {
            assert_eq!(read(text).expect("is read").to_string(), text);
        }
    }
}
