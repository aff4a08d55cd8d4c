//! How a loss of many elements becomes one number.

use super::error::Result;
use super::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the errors of all elements become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    /// Mean over all elements.
    #[default]
    Mean,
    /// Sum over everything.
    Sum,
    /// Sum over everything, divided by the samples of the batch.
    Batchmean,
}

impl Reduction {
    /// The scalar of the values `[N, ...]`.
    ///
    /// # Errors
    /// A poisoned value, or one without a dimension.
    #[track_caller]
    pub fn apply(self, values: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Reduction::Mean => values.mean_all(),
            Reduction::Sum => values.sum_all(),
            Reduction::Batchmean => values.sum_all() / values.dim(0)? as f64,
        })
    }
}
