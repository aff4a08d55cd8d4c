//! Terms: one weighted loss or distiller of a stage.

use super::model::{Config, PartUse};
use super::one_or_many::OneOrMany;
use super::weight::Weight;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use std::ops::Deref;

/// Keys of a term that the host reads; a part whose config uses one of them is refused.
pub const RESERVED_TERM_KEYS: &[&str] = &stillhouse_plugin::desc::RESERVED_SETTINGS;

/// A loss or a distiller at work; keys besides these are the part's own config.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct Term {
    /// Name of the part, `plugin::part` where two plugins share it.
    #[serde(rename = "use")]
    pub use_: String,
    /// Factor of the term in the total: a number, or one that changes over time.
    #[serde(default)]
    pub weight: Weight,
    /// Taps read from both models, where `student` and `teacher` would be the same.
    pub at: Option<OneOrMany<String>>,
    /// Taps of the student: layer paths or globs.
    pub student: Option<OneOrMany<String>>,
    /// Taps of the teacher: layer paths or globs.
    pub teacher: Option<OneOrMany<String>>,
    /// What feeds each port of the part, by the port's name.
    #[serde(default)]
    pub ports: IndexMap<String, OneOrMany<String>>,
    /// A connector between the two, or several in a row.
    #[serde(default)]
    pub connector: Connectors,
    /// Whose values go through the connector.
    #[serde(default)]
    pub connector_on: Side,
    /// The phase that computes this term, where the stage has several.
    pub phase: Option<String>,
    /// The part's own config, checked by its plugin.
    #[serde(flatten)]
    pub config: Config,
}

/// The ends of a distillation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The trained target.
    #[default]
    Student,
    /// The frozen source.
    Teacher,
    /// Each through connectors of its own.
    Both,
}

/// Connectors applied one after another; read as a slice, empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(from = "OneOrMany<PartUse>")]
pub struct Connectors(Vec<PartUse>);

impl From<OneOrMany<PartUse>> for Connectors {
    fn from(parts: OneOrMany<PartUse>) -> Self {
        Self(parts.to_vec())
    }
}

impl Deref for Connectors {
    type Target = [PartUse];

    fn deref(&self) -> &[PartUse] {
        &self.0
    }
}
