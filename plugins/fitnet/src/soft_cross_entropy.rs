//! The soft term of the second stage.

use stillhouse_plugin::prelude::*;

/// Settings of [`SoftCrossEntropy`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SoftCrossEntropyConfig {
    /// Softens both distributions; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

impl Default for SoftCrossEntropyConfig {
    fn default() -> SoftCrossEntropyConfig {
        SoftCrossEntropyConfig { temperature: 3.0 }
    }
}

/// Cross-entropy of the student's softened classes with the teacher's, without the square of the temperature.
///
/// Romero et al. 2015 (arXiv:1412.6550), Eq. 2, second term; `costs/KDCost.py` of adri-romsor/FitNets.
/// ```text
/// L = -1 / N * sum_n sum_c p_nc ln q_nc
/// p = softmax(teacher / T)   q = softmax(student / T)
/// dL / d student = 1 / (N T) * (q - p)
/// ```
/// Its gradient is that of `kd` divided by `T^2`; at a match it is the entropy of `p`, not 0.
///
/// # Shapes and units
/// - `student` `[N, C]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - `temperature` `T`, no unit, finite, > 0
/// - returns `[]`, nats per sample, >= 0
///
/// # Errors
/// Logits that differ in shape or are not `[N, C]`, an empty batch, a temperature that is not finite and above 0.
///
/// # Example
/// Equal logits of two classes: ln 2, whatever the teacher says.
/// ```
/// # use stillhouse_fitnet::SoftCrossEntropy;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<SoftCrossEntropy>("{}")?
///     .input("student", &[1, 2], &[0.0, 0.0])
///     .input("teacher", &[1, 2], &[5.0, 1.0])
///     .run()?;
/// assert!((run.loss() - 2f64.ln()).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct SoftCrossEntropy(SoftCrossEntropyConfig);

impl Component for SoftCrossEntropy {
    type Config = SoftCrossEntropyConfig;
    const NAME: &'static str = "soft_cross_entropy";
    const DOC: &'static str = "Cross-entropy of the student's softened classes with the teacher's, without T^2";
    const CITATION: &'static str =
        "Romero et al., FitNets, ICLR 2015, arXiv:1412.6550, Eq. 2; adri-romsor/FitNets costs/KDCost.py";

    fn new(config: SoftCrossEntropyConfig) -> Result<SoftCrossEntropy> {
        check_temperature(config.temperature)?;
        Ok(SoftCrossEntropy(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for SoftCrossEntropy {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        soft_cross_entropy(Self::NAME, &x.one("student")?, &x.one("teacher")?, self.0.temperature)
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

/// The value, for the component `name`.
pub(crate) fn soft_cross_entropy(name: &str, student: &Tensor, teacher: &Tensor, temperature: f64) -> Result<Tensor> {
    let (ours, theirs) = (student.dims()?, teacher.dims()?);
    ensure!(ours.len() == 2, "`{name}` wants logits [N, C], got {ours:?}");
    ensure!(ours == theirs, "`{name}` got logits that differ\n  student: {ours:?}\n  teacher: {theirs:?}");
    ensure!(!ours.contains(&0), "`{name}` got an empty batch: {ours:?}");
    let p = (teacher.detach() / temperature).softmax(1); // [N, C]
    let log_q = (student / temperature).log_softmax(1); // [N, C]
    Ok((p * log_q).sum_all() / -(ours[0] as f64))
}

register!(loss SoftCrossEntropy);
