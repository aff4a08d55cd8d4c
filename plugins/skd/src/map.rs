//! The true map alone.

use crate::distance::Norm;
use stillhouse_plugin::prelude::*;

/// Settings of [`SkdMap`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SkdMapConfig {
    /// How differences become a number: `mse`, or `l2`.
    pub norm: Norm,
}

/// Distance of the student's map from the true one: the loss of the teachers, of a student alone, and of the network that joins the
/// encoders of two students.
///
/// Li et al. 2019 (arXiv:1904.04992), step 3; the form is that of iCVTEAM/DIS.
/// ```text
/// L = mean_nchw (s - g)^2                       norm = "mse"
/// L = 1/N sum_n |s_n - g_n|                     norm = "l2"
/// dL / d s = 2 / (N C H W) (s - g)              norm = "mse"
/// ```
/// g is the true map, resized bilinearly (half-pixel centres, no antialiasing) where sizes differ.
///
/// # Shapes and units
/// - `student` `[N, C, H, W]` float; carries gradient
/// - `map` `[N, C, H', W']`, field `map` of the data; constant
/// - returns `[]`, squared units of the map (`l2`: its units), >= 0 (`l2`: 1e-12 at a match)
///
/// # Errors
/// Other than maps, samples or channels that differ, an empty batch.
///
/// # Example
/// ```
/// # use stillhouse_skd::SkdMap;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<SkdMap>("{}")?
///     .input("student", &[1, 1, 1, 2], &[1.0, 0.0])
///     .input("map", &[1, 1, 1, 2], &[0.0, 1.0])
///     .run()?;
/// assert_eq!((run.loss(), run.grad("student")), (1.0, &[1.0, -1.0][..]));
/// # Ok(())
/// # }
/// ```
pub struct SkdMap(SkdMapConfig);

impl Component for SkdMap {
    type Config = SkdMapConfig;
    const NAME: &'static str = "skd_map";
    const DOC: &'static str = "Distance of a predicted map from the true one";
    const CITATION: &'static str = crate::CITATION;

    fn new(config: SkdMapConfig) -> Result<SkdMap> {
        Ok(SkdMap(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::data("map")]
    }
}

impl Loss for SkdMap {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        self.0.norm.distance(Self::NAME, &x.one("student")?, ("map", &x.one("map")?))
    }
}

register!(loss SkdMap);
