//! Angles of triplets.

use crate::angles::AngleHuber;
use crate::vectors::{check_beta, pair};
use stillhouse_plugin::prelude::*;

/// Settings of [`RkdAngle`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RkdAngleConfig {
    /// Bring each sample's features, as one vector, to length 1 first.
    pub normalize: bool,
    /// Where the smooth L1 distance turns from square to straight; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub beta: f64,
}

impl Default for RkdAngleConfig {
    fn default() -> RkdAngleConfig {
        RkdAngleConfig { normalize: false, beta: 1.0 }
    }
}

/// Relational distillation, angle-wise: the angles that any two samples of a batch make at a third are to be the same in both
/// networks.
///
/// Park et al. 2019 (arXiv:1904.05068), angle-wise loss, as in lenscloth/RKD `metric/loss.py` `RKdAngle`.
/// ```text
/// L = 1 / N^3 * sum_ijk h(e_ij . e_ik - e'_ij . e'_ik)     e_ij = (s_j - s_i) / |s_j - s_i|; e' the teacher's
/// h(x) = x^2 / (2 beta) for |x| < beta, else |x| - beta / 2
/// ```
/// Lengths are `max(length, 1e-12)`, as in the official code. Rows that are equal have e = 0 and pass no gradient: there the
/// official code's gradient is multiplied by 1e12 where only the student's rows are equal. Rows that are nearly equal do have a
/// gradient, of up to 1e12.
///
/// # Shapes and units
/// - `student` `[N, ...]` float, flattened to vectors; carries gradient
/// - `teacher` `[N, ...]` of any size, same type; constant
/// - returns `[]`, no unit, between 0 and 2; 0 for a batch of one
///
/// # Errors
/// Batches that differ, an empty batch, a `beta` that is not finite and above 0.
///
/// # Example
/// A right angle of the student and a straight one of the teacher, at the first of three points.
/// ```
/// # use stillhouse_rkd::RkdAngle;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<RkdAngle>("{}")?
///     .input("student", &[3, 2], &[0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
///     .input("teacher", &[3, 1], &[0.0, 1.0, -1.0])
///     .run()?;
/// // Cosines 0 and -1 at the first point, sqrt(1/2) and 1 at the others; each counts twice, over 27.
/// let others = (1.0 - 0.5f64.sqrt()).powi(2);
/// assert!((run.loss() - (1.0 + 2.0 * others) / 27.0).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct RkdAngle(RkdAngleConfig);

impl Component for RkdAngle {
    type Config = RkdAngleConfig;
    const NAME: &'static str = "rkd_angle";
    const DOC: &'static str = "Relational distillation of the angles between the samples of a batch";
    const CITATION: &'static str = "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv:1904.05068";
    const BATCH_COUPLED: bool = true;

    fn new(config: RkdAngleConfig) -> Result<RkdAngle> {
        check_beta(config.beta)?;
        Ok(RkdAngle(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for RkdAngle {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = pair(Self::NAME, x, self.0.normalize)?;
        cx.fused(AngleHuber { beta: self.0.beta }, &[&student, &teacher])
    }
}

register!(loss RkdAngle);
