//! Weighted soft labels.

use crate::checks::{check_temperature, logits};
use stillhouse_plugin::prelude::*;

/// Settings of [`Wsld`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WsldConfig {
    /// Softens both distributions; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

impl Default for WsldConfig {
    fn default() -> WsldConfig {
        WsldConfig { temperature: 1.0 }
    }
}

/// Weighted soft labels: soft targets count for a sample as much as the student still errs on it beside the teacher.
///
/// Zhou et al. 2021 (arXiv:2102.00650), as in mmrazor
/// `models/losses/weighted_soft_label_distillation.py`.
/// ```text
/// L = T^2 / N * sum_n w_n sum_c -p_nc ln q_nc     p = softmax(teacher / T)   q = softmax(student / T)
/// w_n = 1 - exp(-l_n / (l'_n + 1e-7)), constant; l, l' the cross-entropy of student and teacher with the label, at T = 1
/// ```
///
/// # Shapes and units
/// - `student` `[N, C]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - `label` `[N]` i64, each in `0..C`
/// - returns `[]`, nats per sample times `T^2`, >= 0
///
/// # Errors
/// Logits that differ in shape, other than two dimensions, an empty batch, labels that do not fit, a temperature that is not
/// finite and above 0.
///
/// # Example
/// Student (1/2, 1/2) and teacher (3/4, 1/4), label 0: cross-entropies ln 2 and ln 4/3.
/// ```
/// # use stillhouse_logits::Wsld;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Wsld>("{}")?
///     .input("student", &[1, 2], &[0.0, 0.0])
///     .input("teacher", &[1, 2], &[3f64.ln(), 0.0])
///     .labels("label", &[0])
///     .run()?;
/// let weight = 1.0 - (-2f64.ln() / ((4.0f64 / 3.0).ln() + 1e-7)).exp();
/// assert!((run.loss() - weight * 2f64.ln()).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct Wsld(WsldConfig);

impl Component for Wsld {
    type Config = WsldConfig;
    const NAME: &'static str = "wsld";
    const DOC: &'static str = "Soft targets, weighted by how much the student errs beside the teacher";
    const CITATION: &'static str = "Zhou et al., Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff Perspective, ICLR 2021, \
         arXiv:2102.00650";

    fn new(config: WsldConfig) -> Result<Wsld> {
        check_temperature(config.temperature)?;
        Ok(Wsld(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits"), Port::data("label")]
    }
}

impl Loss for Wsld {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = logits(Self::NAME, x)?;
        let label = x.one("label")?;
        let temperature = self.0.temperature;
        let (ours, theirs) = (student.detach().cross_entropy(&label, 0.0), teacher.cross_entropy(&label, 0.0)); // [N]
        let weight = 1.0 - (-(ours / (theirs + 1e-7))).exp(); // [N]
        let p = (teacher / temperature).softmax(1); // [N, C]
        let soft = -(p * (student / temperature).log_softmax(1)).sum(&[1]); // [N]
        Ok((soft * weight).mean_all() * (temperature * temperature))
    }
}

register!(loss Wsld);
