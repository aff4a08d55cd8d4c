//! Distances and angles at once.

use crate::angles::AngleHuber;
use crate::distance::distance_loss;
use crate::vectors::{check_beta, pair};
use stillhouse_plugin::prelude::*;

/// Settings of [`Rkd`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RkdConfig {
    /// Factor of the distances; at least 0.
    #[schemars(range(min = 0.0))]
    pub distance_weight: f64,
    /// Factor of the angles; at least 0.
    #[schemars(range(min = 0.0))]
    pub angle_weight: f64,
    /// Bring each sample's features, as one vector, to length 1 first.
    pub normalize: bool,
    /// Squared distances in place of distances; the angles stay.
    pub squared: bool,
    /// Where the smooth L1 distance turns from square to straight; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub beta: f64,
}

impl Default for RkdConfig {
    fn default() -> RkdConfig {
        RkdConfig { distance_weight: 1.0, angle_weight: 2.0, normalize: false, squared: false, beta: 1.0 }
    }
}

/// Relational distillation of distances and angles together (RKD-DA).
///
/// Park et al. 2019 (arXiv:1904.05068); the parts are [`RkdDistance`](crate::RkdDistance) and
/// [`RkdAngle`](crate::RkdAngle).
/// ```text
/// L = distance_weight * L_distance + angle_weight * L_angle
/// ```
/// The defaults 1 and 2 are those of the official metric learning runs, where RKD is the only loss; for classification
/// RepDistiller and mdistiller take 25 and 50 beside the task.
///
/// # Shapes and units
/// - `student` `[N, ...]` float, flattened to vectors; carries gradient
/// - `teacher` `[N, ...]` of any size, same type; constant
/// - returns `[]`, no unit, >= 0; 0 for a batch of one
/// - emits `distance` and `angle`, both raw
///
/// # Errors
/// Batches that differ, an empty batch, a factor that is negative or not finite, a `beta` that is not finite and above 0.
///
/// # Example
/// ```
/// # use stillhouse_rkd::Rkd;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Rkd>(r#"{"distance_weight": 25, "angle_weight": 50}"#)?
///     .input("student", &[3, 1], &[0.0, 1.0, 3.0])
///     .input("teacher", &[3, 1], &[0.0, 8.0, 24.0])
///     .run()?;
/// assert_eq!(run.loss(), 0.0);
/// # Ok(())
/// # }
/// ```
pub struct Rkd(RkdConfig);

impl Component for Rkd {
    type Config = RkdConfig;
    const NAME: &'static str = "rkd";
    const DOC: &'static str = "Relational distillation of distances and angles between the samples of a batch";
    const CITATION: &'static str = "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv:1904.05068";
    const BATCH_COUPLED: bool = true;

    fn new(config: RkdConfig) -> Result<Rkd> {
        check_beta(config.beta)?;
        for (name, value) in [("distance_weight", config.distance_weight), ("angle_weight", config.angle_weight)] {
            ensure!(value.is_finite() && value >= 0.0, "`{name}` must be finite and not negative, got {value}");
        }
        ensure!(
            config.distance_weight > 0.0 || config.angle_weight > 0.0,
            "`distance_weight` or `angle_weight` must be above 0"
        );
        Ok(Rkd(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for Rkd {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let RkdConfig { distance_weight, angle_weight, normalize, squared, beta } = self.0;
        let (student, teacher) = pair(Self::NAME, x, normalize)?;
        let distance = distance_loss(cx, &student, &teacher, squared, beta)?;
        let angle = cx.fused(AngleHuber { beta }, &[&student, &teacher])?;
        cx.emit("distance", &distance);
        cx.emit("angle", &angle);
        Ok(distance * distance_weight + angle * angle_weight)
    }
}

register!(loss Rkd);
