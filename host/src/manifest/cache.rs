//! `[cache]` and `models.X.cache`: what frozen models gave for a sample is kept, and read in place of another run.

use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;

/// Where values of frozen models are kept, and how much of them.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Folder, relative to the manifest; `cache` in the folder of the runs unless written. Runs may share one.
    pub dir: Option<String>,
    /// Most that the folder holds, in 10^9 bytes; what was not used for longest goes first.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub limit_gb: f64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { dir: None, limit_gb: 10.0 }
    }
}

/// Whether and how the values of a model are kept in stages that do not train it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "KeepForm")]
pub struct Keep {
    /// The numbers; nothing is kept without.
    pub numbers: Option<Numbers>,
    /// Of the network's output so many of the largest values of a sample and the mean of the others' exponentials.
    pub top: Option<usize>,
}

/// `f16 numbers, of the output the 16 largest`.
impl fmt::Display for Keep {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.numbers.unwrap_or_default() {
            Numbers::F32 => write!(to, "f32 numbers")?,
            Numbers::F16 => write!(to, "f16 numbers")?,
        }
        self.top.map_or(Ok(()), |top| write!(to, ", of the output the {top} largest"))
    }
}

/// The numbers that values are kept in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// To the bit.
    #[default]
    F32,
    /// Rounded to half precision, when they are first computed, too: half the room.
    F16,
}

/// Keep values or not, or how.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum KeepForm {
    /// `true` keeps them to the bit.
    Switch(bool),
    /// The numbers that they are kept in.
    Numbers(Numbers),
    /// How they are kept.
    Table(KeepTable),
}

/// How values are kept.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeepTable {
    /// The numbers.
    #[serde(default)]
    numbers: Numbers,
    /// Of the network's output only so many of the largest values of a sample; the others share what is left of the exponentials
    /// evenly.
    #[schemars(range(min = 1))]
    top: Option<usize>,
}

impl From<KeepForm> for Keep {
    fn from(form: KeepForm) -> Self {
        match form {
            KeepForm::Switch(on) => Self { numbers: on.then(Numbers::default), top: None },
            KeepForm::Numbers(numbers) => Self { numbers: Some(numbers), top: None },
            KeepForm::Table(KeepTable { numbers, top }) => Self { numbers: Some(numbers), top },
        }
    }
}
