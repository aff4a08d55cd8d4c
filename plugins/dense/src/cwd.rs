//! Channel-wise distillation.

use stillhouse_plugin::prelude::*;

/// Settings of [`Cwd`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CwdConfig {
    /// Softens the distributions over places; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

impl Default for CwdConfig {
    fn default() -> CwdConfig {
        CwdConfig { temperature: 1.0 }
    }
}

/// Channel-wise distillation: each channel is a distribution over places; the student's is drawn to the teacher's.
///
/// Shu et al. 2021 (arXiv:2011.13256), as in mmrazor `models/losses/cwd.py`; `temperature` is the paper's T.
/// ```text
/// L = T^2 / (N C) * sum_nc sum_hw p_nchw (ln p_nchw - ln q_nchw)
/// p = softmax over places of teacher / T   q = softmax over places of student / T
/// dL / d student = T / (N C) * (q - p)
/// ```
///
/// # Shapes and units
/// - `student` `[N, C, H, W]` float: features or the map of logits; carries gradient
/// - `teacher` same shape and type; constant
/// - returns `[]`, nats a channel times `T^2`, >= 0
///
/// # Errors
/// Other than maps, shapes that differ, an empty batch, a temperature that is not finite and above 0.
///
/// # Example
/// Places (3/4, 1/4) of the teacher, (1/2, 1/2) of the student.
/// ```
/// # use stillhouse_dense::Cwd;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Cwd>("{}")?
///     .input("student", &[1, 1, 1, 2], &[7.0, 7.0])
///     .input("teacher", &[1, 1, 1, 2], &[3f64.ln(), 0.0])
///     .run()?;
/// assert!((run.loss() - (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct Cwd(CwdConfig);

impl Component for Cwd {
    type Config = CwdConfig;
    const NAME: &'static str = "cwd";
    const DOC: &'static str = "Channel-wise distillation: every channel is a distribution over places";
    const CITATION: &'static str =
        "Shu et al., Channel-wise Knowledge Distillation for Dense Prediction, ICCV 2021, arXiv:2011.13256";

    fn new(config: CwdConfig) -> Result<Cwd> {
        let temperature = config.temperature;
        ensure!(
            temperature.is_finite() && temperature > 0.0,
            "`temperature` must be finite and above 0, got {temperature}"
        );
        Ok(Cwd(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for Cwd {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        let [samples, channels, ..] = map_dims(Self::NAME, &student)?;
        same_shape(Self::NAME, &student, &teacher)?;
        let temperature = self.0.temperature;
        let log_p = (teacher.flatten_from(2) / temperature).log_softmax(2); // [N, C, H W]
        let log_q = (student.flatten_from(2) / temperature).log_softmax(2); // [N, C, H W]
        let factor = temperature * temperature / (samples * channels) as f64;
        Ok((log_p.exp() * (&log_p - log_q)).sum_all() * factor)
    }
}

register!(loss Cwd);
