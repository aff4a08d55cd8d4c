//! Optimizers: how gradients change parameters.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// How gradients change parameters.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum; weight decay is added to the gradient.
    Sgd {
        /// Learning rate, > 0.
        #[schemars(extend("exclusiveMinimum" = 0))]
        lr: f64,
        /// Momentum, at least 0 and less than 1.
        #[serde(default)]
        #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
        momentum: f64,
        /// Weight decay, at least 0.
        #[serde(default)]
        #[schemars(range(min = 0))]
        weight_decay: f64,
        /// Look ahead along the momentum.
        #[serde(default)]
        nesterov: bool,
        /// Whether biases and the scales of norms decay too.
        #[serde(default = "yes")]
        decay_norm_and_bias: bool,
    },
    /// Adam; weight decay is added to the gradient.
    Adam {
        /// Learning rate, > 0.
        #[schemars(extend("exclusiveMinimum" = 0))]
        lr: f64,
        /// Decay of the first and the second moment, each at least 0 and less than 1.
        #[serde(default = "default_betas")]
        #[schemars(schema_with = "betas_schema")]
        betas: [f64; 2],
        /// Added to the root of the second moment, > 0.
        #[serde(default = "default_eps")]
        #[schemars(extend("exclusiveMinimum" = 0))]
        eps: f64,
        /// Weight decay, at least 0.
        #[serde(default)]
        #[schemars(range(min = 0))]
        weight_decay: f64,
        /// Whether biases and the scales of norms decay too.
        #[serde(default = "yes")]
        decay_norm_and_bias: bool,
    },
    /// Adam with weight decay applied to the parameters, apart from the gradient.
    AdamW {
        /// Learning rate, > 0.
        #[schemars(extend("exclusiveMinimum" = 0))]
        lr: f64,
        /// Decay of the first and the second moment, each at least 0 and less than 1.
        #[serde(default = "default_betas")]
        #[schemars(schema_with = "betas_schema")]
        betas: [f64; 2],
        /// Added to the root of the second moment, > 0.
        #[serde(default = "default_eps")]
        #[schemars(extend("exclusiveMinimum" = 0))]
        eps: f64,
        /// Weight decay, at least 0.
        #[serde(default = "default_decoupled_decay")]
        #[schemars(range(min = 0))]
        weight_decay: f64,
        /// Whether biases and the scales of norms decay too.
        #[serde(default = "yes")]
        decay_norm_and_bias: bool,
    },
}

impl Optimizer {
    /// The learning rate before any schedule.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::AdamW { lr, .. } => lr,
        }
    }

    /// The same optimizer with its learning rate times `scale`.
    pub fn scaled(mut self, scale: f64) -> Self {
        match &mut self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::AdamW { lr, .. } => *lr *= scale,
        }
        self
    }
}

fn yes() -> bool {
    true
}

fn default_betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn betas_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "number", "minimum": 0, "exclusiveMaximum": 1 },
        "minItems": 2,
        "maxItems": 2,
    })
}

fn default_eps() -> f64 {
    1e-8
}

fn default_decoupled_decay() -> f64 {
    0.01
}
