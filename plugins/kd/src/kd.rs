//! Soft targets.

use crate::logits::{check_temperature, pair};
use serde::Serialize;
use stillhouse_plugin::prelude::*;

/// How the values of all elements become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    /// Sum over everything, divided by the samples of the batch.
    #[default]
    Batchmean,
    /// Mean over all elements: the number of classes (and places of a map) divides, too.
    Mean,
    /// Sum over everything.
    Sum,
    /// The sum, and the elements themselves as the emitted value `elementwise`.
    None,
}

/// Settings of [`Kd`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KdConfig {
    /// Softens both distributions; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// How the values of all elements become one.
    pub reduction: Reduction,
    /// Multiply by the square of the temperature, so that gradients keep their size when it changes.
    pub t_squared: bool,
}

impl Default for KdConfig {
    fn default() -> KdConfig {
        KdConfig { temperature: 4.0, reduction: Reduction::Batchmean, t_squared: true }
    }
}

/// Soft-target loss: from the student's softened classes to the teacher's.
///
/// Hinton, Vinyals & Dean 2015 (arXiv:1503.02531), Sec. 2, softmax of Eq. 1; `temperature` is the paper's T.
/// ```text
/// L = T^2 / N * sum_n sum_c p_nc (ln p_nc - ln q_nc)
/// p = softmax(teacher / T)   q = softmax(student / T)
/// dL / d student = T / N * (q - p)
/// ```
/// The paper uses cross-entropy: same gradient, but the divergence is 0 at a match. `reduction` replaces the `1 / N`, and
/// `t_squared = false` drops the `T^2`. On maps `[N, C, H, W]` the classes are dimension 1 and every place counts as a
/// sample of its own, but `batchmean` still divides by N only, as mmrazor does.
///
/// # Shapes and units
/// - `student` `[N, C, ...]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - `temperature` no unit, finite, > 0
/// - returns `[]`, nats per sample times `T^2`, >= 0
///
/// # Errors
/// Logits that differ in shape or have no class dimension, an empty batch, a temperature that is not finite and above 0.
///
/// # Example
/// Teacher (3/4, 1/4), student (1/2, 1/2), T = 2: 4 (3/4 ln 3/2 + 1/4 ln 1/2).
/// ```
/// # use stillhouse_kd::Kd;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Kd>(r#"{"temperature": 2.0}"#)?
///     .input("student", &[1, 2], &[0.0, 0.0])
///     .input("teacher", &[1, 2], &[2.0 * 3f64.ln(), 0.0])
///     .run()?;
/// assert!((run.loss() - 0.523_248_143_764_547_8).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct Kd(KdConfig);

impl Component for Kd {
    type Config = KdConfig;
    const NAME: &'static str = "kd";
    const DOC: &'static str =
        "Soft targets: Kullback-Leibler divergence of the student's softened classes from the teacher's";
    const CITATION: &'static str =
        "Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531";

    fn new(config: KdConfig) -> Result<Kd> {
        check_temperature(config.temperature)?;
        Ok(Kd(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for Kd {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = pair(Self::NAME, x)?;
        let temperature = self.0.temperature;
        let factor = if self.0.t_squared { temperature * temperature } else { 1.0 };
        let log_p = (teacher / temperature).log_softmax(1); // [N, C, ...]
        let log_q = (&student / temperature).log_softmax(1); // [N, C, ...]
        let elementwise = log_p.exp() * (&log_p - log_q); // [N, C, ...]
        Ok(match self.0.reduction {
            Reduction::Batchmean => elementwise.sum_all() * (factor / student.dim(0)? as f64),
            Reduction::Mean => elementwise.mean_all() * factor,
            Reduction::Sum => elementwise.sum_all() * factor,
            Reduction::None => {
                cx.emit("elementwise", &(&elementwise * factor));
                elementwise.sum_all() * factor
            }
        })
    }
}

register!(loss Kd);
