//! What one student learns from.

use crate::distance::Norm;
use stillhouse_plugin::prelude::*;

/// Settings of [`Skd`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SkdConfig {
    /// Share of the teacher's map, 0 to 1; the rest is that of the true map.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mu: f64,
    /// How differences become a number: `mse`, or `l2`.
    pub norm: Norm,
}

impl Default for SkdConfig {
    fn default() -> SkdConfig {
        SkdConfig { mu: 0.5, norm: Norm::Mse }
    }
}

/// Spatiotemporal distillation, step 2: a student of low resolution learns a teacher's map and the true one.
///
/// Li et al. 2019 (arXiv:1904.04992). No code is public: the form is that of descriptions, and of the same group's iCVTEAM/DIS.
/// ```text
/// L = mu soft + (1 - mu) hard     soft = mean (s - t)^2     hard = mean (s - g)^2          norm = "mse"
///                                 soft = 1/N sum_n |s_n - t_n|, hard likewise              norm = "l2"
/// dL / d s = 2 / (N C H W) (s - mu t - (1 - mu) g)                                         norm = "mse"
/// ```
/// t is the teacher's map and g the true one, each resized bilinearly (half-pixel centres, no antialiasing) to the student's size. The
/// spatial and the temporal student have a term each, in a stage of their own or in one; step 3 is the loss `skd_map` on a network that
/// starts from both encoders and leaves them frozen.
///
/// # Shapes and units
/// - `student` `[N, C, H, W]` float; carries gradient
/// - `teacher` `[N, C, H', W']`; constant
/// - `map` `[N, C, H'', W'']`, field `map` of the data; constant
/// - terms `soft` and `hard`, each `[]` and raw, squared units of the map (`l2`: its units), >= 0
///
/// # Errors
/// Other than maps, samples or channels that differ, an empty batch, `mu` out of range.
///
/// # Example
/// ```
/// # use stillhouse_skd::Skd;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::distiller::<Skd>(r#"{"mu": 0.75}"#)?
///     .input("student", &[1, 1, 1, 1], &[1.0])
///     .input("teacher", &[1, 1, 1, 1], &[3.0])
///     .input("map", &[1, 1, 2, 2], &[0.0, 0.0, 0.0, 0.0])
///     .run()?;
/// assert_eq!((run.term("soft"), run.term("hard")), (4.0, 1.0));
/// # Ok(())
/// # }
/// ```
pub struct Skd(SkdConfig);

impl Component for Skd {
    type Config = SkdConfig;
    const NAME: &'static str = "skd";
    const DOC: &'static str = "Spatiotemporal distillation: a student's map learns a teacher's map and the true one";
    const CITATION: &'static str = crate::CITATION;

    fn new(config: SkdConfig) -> Result<Skd> {
        let mu = config.mu;
        ensure!((0.0..=1.0).contains(&mu), "`mu` must be from 0 to 1, got {mu}");
        Ok(Skd(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits"), Port::data("map")]
    }
}

impl Distiller for Skd {
    fn plan(&mut self, _site: &Site) -> Result<Plan> {
        let term = |name: &str, weight| TermPlan::new(name).weighted(WeightPlan::constant(weight));
        Ok(Plan { terms: vec![term("soft", self.0.mu), term("hard", 1.0 - self.0.mu)], ..Plan::default() })
    }

    fn step(&self, _cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let student = x.one("student")?;
        let to = |port: &str| self.0.norm.distance(Self::NAME, &student, (port, &x.one(port)?));
        Ok(vec![("soft".into(), to("teacher")?), ("hard".into(), to("map")?)])
    }
}

register!(distiller Skd);
