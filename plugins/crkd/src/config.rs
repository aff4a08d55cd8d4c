//! Settings of the distiller.

use crate::mmd::CrkdMmdConfig;
use crate::rad::check_temperature;
use serde::Serialize;
use stillhouse_plugin::prelude::*;

/// How student and discriminator learn against each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Adversary {
    /// In turns: first the discriminator, then the student against it.
    #[default]
    Alternating,
    /// At once: both have the discriminator's loss, whose gradient is reversed on its way to the student.
    Reversal,
}

/// Settings of [`Crkd`](crate::Crkd).
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrkdConfig {
    /// Weight of the soft targets; at least 0; 0 leaves the part out.
    #[schemars(range(min = 0.0))]
    pub rad_weight: f64,
    /// Weight of the distance between matched features; at least 0; 0 leaves the part out.
    #[schemars(range(min = 0.0))]
    pub pair_weight: f64,
    /// Weight of the discrepancy between distributions; at least 0; 0 leaves the part out.
    #[schemars(range(min = 0.0))]
    pub mmd_weight: f64,
    /// Weight of the adversary; at least 0; 0 leaves the part and the discriminator out.
    #[schemars(range(min = 0.0))]
    pub adv_weight: f64,
    /// Softens both distributions of the soft targets; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// Kernels of the discrepancy, as of the loss `crkd_mmd`.
    pub mmd: CrkdMmdConfig,
    /// How student and discriminator learn against each other.
    pub adversary: Adversary,
    /// Factor of the reversed gradient; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub reversal: f64,
    /// Hidden features of the discriminator; at least 1.
    #[schemars(range(min = 1))]
    pub hidden: usize,
    /// Learning rate of the discriminator's Adam; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub discriminator_lr: f64,
}

impl Default for CrkdConfig {
    fn default() -> CrkdConfig {
        CrkdConfig {
            rad_weight: 1.0,
            pair_weight: 0.1,
            mmd_weight: 0.5,
            adv_weight: 0.1,
            temperature: 4.0,
            mmd: CrkdMmdConfig::default(),
            adversary: Adversary::Alternating,
            reversal: 1.0,
            hidden: 128,
            discriminator_lr: 1e-3,
        }
    }
}

impl CrkdConfig {
    /// Refuses what is out of range.
    pub(crate) fn check(&self) -> Result<()> {
        check_temperature(self.temperature)?;
        self.mmd.check("mmd.")?;
        let weights = [
            ("rad_weight", self.rad_weight),
            ("pair_weight", self.pair_weight),
            ("mmd_weight", self.mmd_weight),
            ("adv_weight", self.adv_weight),
        ];
        for (name, weight) in weights {
            ensure!(weight.is_finite() && weight >= 0.0, "`{name}` must be finite and not negative, got {weight}");
        }
        ensure!(weights.iter().any(|(_, weight)| *weight > 0.0), "one of the four weights must be above 0");
        ensure!(self.hidden >= 1, "`hidden` must be at least 1");
        for (name, value) in [("reversal", self.reversal), ("discriminator_lr", self.discriminator_lr)] {
            ensure!(value.is_finite() && value > 0.0, "`{name}` must be finite and above 0, got {value}");
        }
        Ok(())
    }

    /// True when features are read.
    pub(crate) fn reads_features(&self) -> bool {
        self.pair_weight > 0.0 || self.mmd_weight > 0.0 || self.adv_weight > 0.0
    }
}
