//! Soft targets, decoupled.

use crate::logits::{check_temperature, pair};
use serde::Serialize;
use stillhouse_plugin::prelude::*;

/// Stands for minus infinity at the label's place: finite, so that no infinity meets a zero, and out of reach of any logit.
const MASKED: f64 = -1e30;

/// How the values of all elements become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DkdReduction {
    /// Sum over everything, divided by the samples of the batch.
    #[default]
    Batchmean,
    /// Mean over all elements of each part: `2 N` of the label's, `N C` of the rest.
    Mean,
    /// Sum over everything.
    Sum,
}

/// Settings of [`Dkd`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DkdConfig {
    /// Factor of the label's part (TCKD); at least 0.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
    /// Factor of the other classes' part (NCKD); at least 0.
    #[schemars(range(min = 0.0))]
    pub beta: f64,
    /// Softens both distributions; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// How the values of all elements become one.
    pub reduction: DkdReduction,
}

impl Default for DkdConfig {
    fn default() -> DkdConfig {
        DkdConfig { alpha: 1.0, beta: 8.0, temperature: 4.0, reduction: DkdReduction::Batchmean }
    }
}

/// Soft-target loss in two parts: the label against the rest, and the rest among themselves.
///
/// Zhao et al. 2022 (arXiv:2203.08679), Eq. 7 with the factors of Sec. 3.3.
/// ```text
/// L = T^2 / N * sum_n ( alpha KL(b || b') + beta KL(r || r') )
/// b = (p_y, 1 - p_y)                     p = softmax(teacher / T), y the label
/// r = softmax of teacher / T without y   b', r' the same of the student
/// ```
/// With `alpha = 1` and `beta = 1 - p_y` a sample's value is that of `kd`. Both parts are computed from
/// `u = ln sum_{c != y} e^(z_c / T) - z_y / T` and from logits masked at the label, without the logarithm of a probability,
/// so that logits of any size stay finite.
///
/// # Shapes and units
/// - `student` `[N, C]` float, C >= 2; carries gradient
/// - `teacher` same shape and type; constant
/// - `label` `[N]` i64, each in `0..C`
/// - returns `[]`, nats per sample times `T^2`, >= 0
///
/// # Errors
/// Logits that differ in shape, other than two dimensions, fewer than two classes, an empty batch, labels that do not fit,
/// `alpha` or `beta` that is negative or not finite, a temperature that is not finite and above 0.
///
/// # Example
/// Of two classes one is the label, so the rest has nothing to differ in: the value is that of `kd`.
/// ```
/// # use stillhouse_kd::Dkd;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Dkd>(r#"{"temperature": 2.0}"#)?
///     .input("student", &[1, 2], &[0.0, 0.0])
///     .input("teacher", &[1, 2], &[2.0 * 3f64.ln(), 0.0])
///     .labels("label", &[0])
///     .run()?;
/// assert!((run.loss() - 0.523_248_143_764_547_8).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct Dkd(DkdConfig);

impl Component for Dkd {
    type Config = DkdConfig;
    const NAME: &'static str = "dkd";
    const DOC: &'static str = "Decoupled soft targets: the label against the rest, and the rest among themselves";
    const CITATION: &'static str = "Zhao et al., Decoupled Knowledge Distillation, CVPR 2022, arXiv:2203.08679";

    fn new(config: DkdConfig) -> Result<Dkd> {
        check_temperature(config.temperature)?;
        for (name, value) in [("alpha", config.alpha), ("beta", config.beta)] {
            ensure!(value.is_finite() && value >= 0.0, "`{name}` must be finite and not negative, got {value}");
        }
        ensure!(config.alpha > 0.0 || config.beta > 0.0, "`alpha` or `beta` must be above 0");
        Ok(Dkd(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits"), Port::data("label")]
    }
}

impl Loss for Dkd {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = pair(Self::NAME, x)?;
        let label = x.one("label")?;
        let [samples, classes] = self.check(&student, &label)?;
        let target = label.one_hot(classes, student.dtype()?); // [N, C]
        let ours = Split::new(&(student / self.0.temperature), &target)?;
        let theirs = Split::new(&(teacher / self.0.temperature), &target)?;
        let label_part = theirs.log_label.exp() * (&theirs.log_label - ours.log_label)
            + theirs.log_rest.exp() * (&theirs.log_rest - ours.log_rest); // [N]
        let rest_part = theirs.log_among.exp() * (&theirs.log_among - ours.log_among); // [N, C]
        let [of_label, of_rest] = match self.0.reduction {
            DkdReduction::Batchmean => [samples, samples],
            DkdReduction::Mean => [2 * samples, samples * classes],
            DkdReduction::Sum => [1, 1],
        };
        let scaled = |factor: f64, count: usize| factor * self.0.temperature * self.0.temperature / count as f64;
        Ok(label_part.sum_all() * scaled(self.0.alpha, of_label) + rest_part.sum_all() * scaled(self.0.beta, of_rest))
    }
}

impl Dkd {
    /// Samples and classes.
    fn check(&self, student: &Tensor, label: &Tensor) -> Result<[usize; 2]> {
        let (logits, labels) = (student.dims()?, label.dims()?);
        let [samples, classes] = logits[..] else {
            return Err(Error::new(format!("`dkd` wants logits [N, C], got {logits:?}")));
        };
        ensure!(classes >= 2, "`dkd` wants two classes or more, got {classes}");
        ensure!(labels == [samples], "`dkd` wants labels [{samples}], one for each sample, got {labels:?}");
        Ok([samples, classes])
    }
}

/// Softened logits seen from the label.
struct Split {
    /// Logarithm of the label's probability, `[N]`.
    log_label: Tensor,
    /// Logarithm of the probability of all other classes together, `[N]`.
    log_rest: Tensor,
    /// Logarithm of each other class's share of the rest, `[N, C]`; far below all others at the label.
    log_among: Tensor,
}

impl Split {
    fn new(logits: &Tensor, target: &Tensor) -> Result<Split> {
        let masked = target.select(&(target * MASKED), logits); // [N, C]
        let largest = masked.max(1, true).detach(); // [N, 1]
        let rest = (&masked - &largest).exp().sum(&[1]).log() + largest.squeeze(1); // [N]
        let odds = rest - (logits * target).sum(&[1]); // [N]
        Ok(Split { log_label: -odds.softplus(), log_rest: -(-&odds).softplus(), log_among: masked.log_softmax(1) })
    }
}

register!(loss Dkd);
