//! Settings of the distiller.

use stillhouse_plugin::prelude::*;

/// Settings of [`Tmu`](crate::Tmu).
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TmuConfig {
    /// The networks whose memories are said: their names, or how many.
    pub sources: Sources,
    /// Weight of what is said beside the prediction's 1; at least 0.
    #[schemars(range(min = 0.0))]
    pub beta: f64,
    /// Path of the student's `tmu_cell`.
    pub cell: String,
    /// Tap of a source's memory.
    pub memory: String,
    /// Where the memories come from.
    pub bank: Bank,
    /// Name of the recording, where the bank is stored.
    pub recording: String,
    /// Each step has a second update, on the frames from last to first.
    pub reversed: bool,
}

impl Default for TmuConfig {
    fn default() -> TmuConfig {
        TmuConfig {
            sources: Sources::Count(2),
            beta: 0.1,
            cell: "cell_list.0".into(),
            memory: "cell_list.0.cell".into(),
            bank: Bank::Online,
            recording: "bank".into(),
            reversed: true,
        }
    }
}

/// The networks whose memories are said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Sources {
    /// So many: the models that are not trained here, in the order of the manifest.
    Count(usize),
    /// These models.
    Named(Vec<String>),
}

impl Sources {
    /// How many.
    pub fn count(&self) -> usize {
        match self {
            Sources::Count(count) => *count,
            Sources::Named(names) => names.len(),
        }
    }
}

/// Where the memories of the sources come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bank {
    /// The sources run beside the student, on what it is given and under its sampling mask.
    #[default]
    Online,
    /// They were recorded before, over the true frames; no source is needed.
    Stored,
}

impl TmuConfig {
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.sources.count() > 0, "`sources` must name at least 1 model");
        ensure!(self.beta.is_finite() && self.beta >= 0.0, "`beta` must be finite and not negative, got {}", self.beta);
        Ok(())
    }
}
