//! Correlation of predictions.

use crate::checks::{check_temperature, logits};
use stillhouse_plugin::prelude::*;

/// Keeps the product of two lengths off zero.
const EPS: f64 = 1e-8;
/// Least squared length of which a root is taken: far below `EPS`, so that it changes no value.
const LEAST_SQUARE: f64 = 1e-36;

/// Settings of [`Dist`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DistConfig {
    /// Factor of the relation between the classes of a sample; at least 0.
    #[schemars(range(min = 0.0))]
    pub inter_weight: f64,
    /// Factor of the relation between the samples of a class; at least 0.
    #[schemars(range(min = 0.0))]
    pub intra_weight: f64,
    /// Softens both distributions; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

impl Default for DistConfig {
    fn default() -> DistConfig {
        DistConfig { inter_weight: 1.0, intra_weight: 1.0, temperature: 1.0 }
    }
}

/// Distillation from a stronger teacher: Pearson correlations of the class probabilities, along classes and along samples, in
/// place of a divergence.
///
/// Huang et al. 2022 (arXiv:2205.10536), as in mmrazor `models/losses/dist_loss.py`; the weights are the paper's
/// beta (inter) and gamma (intra).
/// ```text
/// L = T^2 ( inter_weight (1 - mean_n r(q_n., p_n.)) + intra_weight (1 - mean_c r(q_.c, p_.c)) )
/// p = softmax(teacher / T)   q = softmax(student / T)   r(a, b) = a~ . b~ / (|a~| |b~| + 1e-8), a~ = a - mean a
/// ```
/// The paper has no `T^2`; its T is 1 (or 4 for CIFAR-100). A row or column without spread has r = 0 and passes no gradient.
///
/// # Shapes and units
/// - `student` `[N, C]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - returns `[]`, no unit, between 0 and `2 T^2 (inter_weight + intra_weight)`
///
/// # Errors
/// Logits that differ in shape, other than two dimensions, an empty batch, a factor that is negative or not finite, a temperature
/// that is not finite and above 0.
///
/// # Example
/// Two samples whose classes are exchanged: all correlations are -1.
/// ```
/// # use stillhouse_logits::Dist;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Dist>("{}")?
///     .input("student", &[2, 2], &[1.0, 0.0, 0.0, 1.0])
///     .input("teacher", &[2, 2], &[0.0, 3.0, 3.0, 0.0])
///     .run()?;
/// assert!((run.loss() - 4.0).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub struct Dist(DistConfig);

impl Component for Dist {
    type Config = DistConfig;
    const NAME: &'static str = "dist";
    const DOC: &'static str = "Correlations of the class probabilities, along classes and along samples";
    const CITATION: &'static str =
        "Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, arXiv:2205.10536";
    const BATCH_COUPLED: bool = true;

    fn new(config: DistConfig) -> Result<Dist> {
        check_temperature(config.temperature)?;
        for (name, value) in [("inter_weight", config.inter_weight), ("intra_weight", config.intra_weight)] {
            ensure!(value.is_finite() && value >= 0.0, "`{name}` must be finite and not negative, got {value}");
        }
        ensure!(
            config.inter_weight > 0.0 || config.intra_weight > 0.0,
            "`inter_weight` or `intra_weight` must be above 0"
        );
        Ok(Dist(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for Dist {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = logits(Self::NAME, x)?;
        let DistConfig { inter_weight, intra_weight, temperature } = self.0;
        let (q, p) = ((student / temperature).softmax(1), (teacher / temperature).softmax(1)); // [N, C]
        let inter = 1.0 - correlations(&q, &p, 1).mean_all();
        let intra = 1.0 - correlations(&q, &p, 0).mean_all();
        Ok((inter * inter_weight + intra * intra_weight) * (temperature * temperature))
    }
}

/// Pearson correlations along a dimension.
fn correlations(a: &Tensor, b: &Tensor, dim: isize) -> Tensor {
    let centred = |x: &Tensor| x - x.mean_keep(&[dim]);
    let length = |x: &Tensor| x.square().sum(&[dim]).clamp_min(LEAST_SQUARE).sqrt();
    let (a, b) = (centred(a), centred(b)); // [N, C]
    (&a * &b).sum(&[dim]) / (length(&a) * length(&b) + EPS)
}

register!(loss Dist);
