//! The weight of the soft term, from stage's start to end.

use serde::Serialize;
use stillhouse_plugin::desc::{Unit, WeightPlan};
use stillhouse_plugin::ensure;
use stillhouse_plugin::prelude::{Deserialize, JsonSchema, Result};

/// Weight of the soft term: flat, then falling in a straight line, then flat.
///
/// `extensions/TeacherDecayOverEpoch.py` of adri-romsor/FitNets. With `c` epochs (or updates) done in the stage:
/// ```text
/// lambda = initial                                                                    c < start
///          initial - (initial - final) / (saturate - start + 1) * (c - start + 1)     c < saturate
///          final                                                                      otherwise
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lambda {
    /// Value before `start`; at least 0.
    #[schemars(range(min = 0.0))]
    pub initial: f64,
    /// Value from `saturate` on; at least 0.
    #[schemars(range(min = 0.0))]
    #[serde(rename = "final")]
    pub last: f64,
    /// Where the line starts to fall.
    pub start: u64,
    /// Where it has reached `final`; not before `start`.
    pub saturate: u64,
    /// What positions count: `epochs` or `steps` of the stage.
    pub unit: Unit,
}

impl Default for Lambda {
    fn default() -> Lambda {
        Lambda { initial: 4.0, last: 1.0, start: 5, saturate: 400, unit: Unit::Epochs }
    }
}

impl Lambda {
    /// Refuses values out of range.
    pub(crate) fn check(&self) -> Result<()> {
        for (name, value) in [("initial", self.initial), ("final", self.last)] {
            ensure!(value.is_finite() && value >= 0.0, "`lambda.{name}` must be finite and not negative, got {value}");
        }
        let (start, saturate) = (self.start, self.saturate);
        ensure!(saturate >= start, "`lambda.saturate` ({saturate}) must not be before `lambda.start` ({start})");
        Ok(())
    }

    /// The same as a weight of the host: the line through (start - 1, initial) and (saturate, final), at whole units.
    pub fn weight(&self) -> WeightPlan {
        let points = vec![(self.start as f64 - 1.0, self.initial), (self.saturate as f64, self.last)];
        WeightPlan { unit: self.unit, stepped: true, points }
    }
}
