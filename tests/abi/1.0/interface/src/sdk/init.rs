//! How a parameter or buffer starts.

use serde::{Deserialize, Serialize};

/// Initial values. Random ones come from the host: by the run's seed and the parameter's name.
///
/// `fan_in` of a weight `[out, in, ...]` is `in` times the elements of a kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// All the same.
    Constant {
        /// The value.
        value: f64,
    },
    /// Uniform in `[low, high)`.
    Uniform {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// Normal with deviation `gain / sqrt(fan)` (He et al. 2015 with gain `sqrt(2)`).
    KaimingNormal {
        /// Factor of the deviation.
        gain: f64,
        /// Count outputs in place of inputs.
        fan_out: bool,
    },
    /// Uniform in `+-gain sqrt(3 / fan_in)`; `gain = 1 / sqrt(3)` is PyTorch's default for layers.
    KaimingUniform {
        /// Factor of the bound.
        gain: f64,
    },
    /// Normal with deviation `gain sqrt(2 / (fan_in + fan_out))` (Glorot & Bengio 2010).
    XavierNormal {
        /// Factor of the deviation.
        gain: f64,
    },
    /// Uniform in `+-bound`, where the bound is `1 / sqrt(fan)`: PyTorch's rule for biases.
    BiasUniform {
        /// Inputs of the layer.
        fan_in: usize,
    },
}

impl Init {
    /// PyTorch's default for weights of linear layers and convolutions.
    pub fn layer_default() -> Init {
        Init::KaimingUniform { gain: 1.0 / 3f64.sqrt() }
    }

    pub(crate) fn json(&self) -> String {
        // An enum of numbers always serialises.
        serde_json::to_string(self).unwrap_or_else(|_| r#"{"kind":"zeros"}"#.into())
    }
}
