//! Soft targets across resolutions.

use stillhouse_plugin::prelude::*;

/// Settings of [`CrkdRad`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrkdRadConfig {
    /// Softens both distributions; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

impl Default for CrkdRadConfig {
    fn default() -> CrkdRadConfig {
        CrkdRadConfig { temperature: 4.0 }
    }
}

/// Resolution-aware distillation: the classes that a student sees in a small picture are to be those that the teacher sees in the
/// large one.
///
/// Feng, Lai & Xie 2021; the formula is this plugin's reading.
/// ```text
/// L = T^2 / N * sum_n sum_c p_nc (ln p_nc - ln q_nc)
/// p = softmax(teacher / T)   q = softmax(student / T)
/// ```
/// The resolutions are those of the models' views.
///
/// # Shapes and units
/// - `student` `[N, C]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - returns `[]`, nats per sample times `T^2`, >= 0
///
/// # Errors
/// Logits that differ in shape, other than two dimensions, an empty batch, a temperature that is not finite and above 0.
///
/// # Example
/// Teacher (3/4, 1/4), student (1/2, 1/2), T = 1.
/// ```
/// # use stillhouse_crkd::CrkdRad;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<CrkdRad>(r#"{"temperature": 1}"#)?
///     .input("student", &[1, 2], &[0.0, 0.0])
///     .input("teacher", &[1, 2], &[3f64.ln(), 0.0])
///     .run()?;
/// assert!((run.loss() - (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct CrkdRad(CrkdRadConfig);

impl Component for CrkdRad {
    type Config = CrkdRadConfig;
    const NAME: &'static str = "crkd_rad";
    const DOC: &'static str = "Resolution-aware distillation: soft targets from a teacher that sees more";
    const CITATION: &'static str = crate::CITATION;

    fn new(config: CrkdRadConfig) -> Result<CrkdRad> {
        check_temperature(config.temperature)?;
        Ok(CrkdRad(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for CrkdRad {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        rad(Self::NAME, &student, &teacher, self.0.temperature)
    }
}

/// Refuses temperatures that soften nothing.
pub(crate) fn check_temperature(temperature: f64) -> Result<()> {
    ensure!(
        temperature.is_finite() && temperature > 0.0,
        "`temperature` must be finite and above 0, got {temperature}"
    );
    Ok(())
}

/// The loss of logits of a whole batch; `name` is the component's.
pub(crate) fn rad(name: &str, student: &Tensor, teacher: &Tensor, temperature: f64) -> Result<Tensor> {
    let (ours, theirs) = (student.dims()?, teacher.dims()?);
    ensure!(
        ours == theirs,
        "`{name}` got logits that differ{}\n  student: {ours:?}\n  teacher: {theirs:?}",
        if ours.get(1) != theirs.get(1) { " in classes (dim 1)" } else { "" }
    );
    ensure!(ours.len() == 2 && !ours.contains(&0), "`{name}` wants logits [N, C], got {ours:?}");
    let log_p = (teacher.detach() / temperature).log_softmax(1); // [N, C]
    let log_q = (student / temperature).log_softmax(1); // [N, C]
    Ok((log_p.exp() * (&log_p - log_q)).sum_all() * (temperature * temperature / ours[0] as f64))
}

register!(loss CrkdRad);
