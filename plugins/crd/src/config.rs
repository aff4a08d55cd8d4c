//! Settings.

use stillhouse_plugin::prelude::*;

/// Settings of [`Crd`](crate::Crd).
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrdConfig {
    /// Features of the common space; at least 1.
    #[schemars(range(min = 1))]
    pub feat_dim: usize,
    /// Negatives of each sample, where they are drawn here; at least 1.
    #[schemars(range(min = 1))]
    pub negatives: usize,
    /// Temperature of the similarities; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// Share of a memory's row that stays when its sample is seen; at least 0, below 1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub momentum: f64,
}

impl Default for CrdConfig {
    fn default() -> CrdConfig {
        CrdConfig { feat_dim: 128, negatives: 16384, temperature: 0.07, momentum: 0.5 }
    }
}

impl CrdConfig {
    /// Refuses what is out of range.
    pub(crate) fn check(&self) -> Result<()> {
        for (name, count) in [("feat_dim", self.feat_dim), ("negatives", self.negatives)] {
            ensure!(count >= 1, "`{name}` must be at least 1");
        }
        let CrdConfig { temperature, momentum, .. } = *self;
        ensure!(
            temperature.is_finite() && temperature > 0.0,
            "`temperature` must be finite and above 0, got {temperature}"
        );
        ensure!((0.0..1.0).contains(&momentum), "`momentum` must be at least 0 and below 1, got {momentum}");
        Ok(())
    }
}
