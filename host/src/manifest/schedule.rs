//! Learning-rate schedules.

use super::duration::Duration;
use super::one_or_many::OneOrMany;
use schemars::JsonSchema;
use serde::Deserialize;

/// How the learning rate changes over a stage.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The same all the time.
    Constant {
        /// Rise linearly to the full rate first.
        warmup: Option<Duration>,
    },
    /// Multiplied by `factor` at each of the given times.
    Step {
        /// When, counted from the start of the stage.
        at: OneOrMany<Duration>,
        /// By how much, > 0.
        #[serde(default = "default_factor")]
        #[schemars(extend("exclusiveMinimum" = 0))]
        factor: f64,
        /// Rise linearly to the full rate first.
        warmup: Option<Duration>,
    },
    /// Down half a cosine until the end of the stage, from where the warm-up ends.
    Cosine {
        /// Factor at the end, at least 0.
        #[serde(default)]
        #[schemars(range(min = 0))]
        final_factor: f64,
        /// Rise linearly to the full rate first.
        warmup: Option<Duration>,
    },
}

impl Schedule {
    /// The factor of the learning rate at an update, counted from 0, of a stage of `total_steps`.
    ///
    /// ```text
    /// step < warmup:  (step + 1) / warmup
    /// step:           factor ^ (number of `at` that have passed)
    /// cosine:         final + (1 - final) (1 + cos(pi (step - warmup) / (total - warmup))) / 2
    /// ```
    pub fn factor(&self, step: u64, total_steps: u64, steps_per_epoch: u64) -> f64 {
        let warmup = self.warmup().map_or(0.0, |warmup| warmup.steps(steps_per_epoch).floor());
        let now = step as f64;
        if now < warmup {
            return (now + 1.0) / warmup;
        }
        match self {
            Self::Constant { .. } => 1.0,
            Self::Step { at, factor, .. } => {
                let passed = at.iter().filter(|time| time.steps(steps_per_epoch) <= now).count();
                factor.powi(i32::try_from(passed).unwrap_or(i32::MAX))
            }
            Self::Cosine { final_factor, .. } => {
                let length = (total_steps as f64 - warmup).max(1.0);
                let progress = ((now - warmup) / length).min(1.0);
                final_factor + (1.0 - final_factor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
        }
    }

    /// The warm-up, if there is one.
    pub fn warmup(&self) -> Option<Duration> {
        match self {
            Self::Constant { warmup } | Self::Step { warmup, .. } | Self::Cosine { warmup, .. } => *warmup,
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant { warmup: None }
    }
}

fn default_factor() -> f64 {
    0.1
}
