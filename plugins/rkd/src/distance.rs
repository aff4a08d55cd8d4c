//! Distances between pairs.

use crate::distances::Distances;
use crate::vectors::{check_beta, pair};
use stillhouse_plugin::prelude::*;

/// Settings of [`RkdDistance`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RkdDistanceConfig {
    /// Bring each sample's features, as one vector, to length 1 first.
    pub normalize: bool,
    /// Squared distances in place of distances.
    pub squared: bool,
    /// Where the smooth L1 distance turns from square to straight; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub beta: f64,
}

impl Default for RkdDistanceConfig {
    fn default() -> RkdDistanceConfig {
        RkdDistanceConfig { normalize: false, squared: false, beta: 1.0 }
    }
}

/// Relational distillation, distance-wise: the distances between the samples of a batch, measured by their mean, are to be the
/// same in both networks.
///
/// Park et al. 2019 (arXiv:1904.05068), distance-wise loss, as in lenscloth/RKD `metric/loss.py` `RkdDistance`.
/// ```text
/// L = 1 / N^2 * sum_ij h(d_ij / mu - d'_ij / mu')     d_ij = sqrt(max(|s_i - s_j|^2, 1e-12)), 0 for i = j; d' the teacher's
/// h(x) = x^2 / (2 beta) for |x| < beta, else |x| - beta / 2
/// mu   = mean of the d_ij with i != j; it carries gradient
/// ```
/// `squared` leaves out the root (mdistiller's option). No connector is needed: N x N distances are compared.
///
/// # Shapes and units
/// - `student` `[N, ...]` float, flattened to vectors; carries gradient
/// - `teacher` `[N, ...]` of any size, same type; constant
/// - returns `[]`, no unit, >= 0; 0 for a batch of one
///
/// # Errors
/// Batches that differ, an empty batch, a `beta` that is not finite and above 0.
///
/// # Example
/// Three points of the student on a line, at 0, 1 and 3; the teacher's triangle has equal sides.
/// ```
/// # use stillhouse_rkd::RkdDistance;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<RkdDistance>("{}")?
///     .input("student", &[3, 1], &[0.0, 1.0, 3.0])
///     .input("teacher", &[3, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
///     .run()?;
/// // Distances 1, 2, 3 by their mean 2, against 1: twice 1/2 (1/4 + 0 + 1/4), over 9.
/// assert!((run.loss() - 1.0 / 18.0).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct RkdDistance(RkdDistanceConfig);

impl Component for RkdDistance {
    type Config = RkdDistanceConfig;
    const NAME: &'static str = "rkd_distance";
    const DOC: &'static str = "Relational distillation of the distances between the samples of a batch";
    const CITATION: &'static str = "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv:1904.05068";
    const BATCH_COUPLED: bool = true;

    fn new(config: RkdDistanceConfig) -> Result<RkdDistance> {
        check_beta(config.beta)?;
        Ok(RkdDistance(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for RkdDistance {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = pair(Self::NAME, x, self.0.normalize)?;
        distance_loss(cx, &student, &teacher, self.0.squared, self.0.beta)
    }
}

/// The loss of vectors `[N, D]` and `[N, E]`.
pub(crate) fn distance_loss(cx: &Cx, student: &Tensor, teacher: &Tensor, squared: bool, beta: f64) -> Result<Tensor> {
    let samples = student.dim(0)?;
    let pairs = (samples * (samples - 1)).max(1) as f64;
    let measured = |x: &Tensor| -> Result<Tensor> {
        let distances = cx.fused(Distances { squared }, &[x])?; // [N, N]
        // A batch of one has no distance to measure by.
        let mean = (distances.sum_all() / pairs).clamp_min(1e-30);
        Ok(distances / mean)
    };
    Ok(measured(student)?.smooth_l1(&measured(teacher)?, beta).mean_all())
}

register!(loss RkdDistance);
