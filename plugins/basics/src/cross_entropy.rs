//! Cross-entropy with labels.

use stillhouse_plugin::prelude::*;

/// Settings of [`CrossEntropy`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrossEntropyConfig {
    /// Share of the label that is spread evenly over all classes; at least 0, below 1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub smoothing: f64,
}

/// Cross-entropy of the student's classes with the labels, mean over the batch.
///
/// Smoothing after Szegedy et al. 2016 (arXiv:1512.00567), Sec. 7; `smoothing` is the paper's epsilon.
/// ```text
/// L = -1 / N * sum_n sum_c t_nc ln q_nc
/// q = softmax(student)   t = (1 - smoothing) onehot(label) + smoothing / C
/// dL / d student = 1 / N * (q - t)
/// ```
///
/// # Shapes and units
/// - `student` `[N, C]` float; carries gradient
/// - `label` `[N]` i64, each in `0..C`
/// - returns `[]`, nats per sample, >= 0
///
/// # Errors
/// Logits other than `[N, C]`, labels that do not fit, an empty batch, a smoothing outside `[0, 1)`.
///
/// # Example
/// Equal logits of two classes: ln 2.
/// ```
/// # use stillhouse_basics::CrossEntropy;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<CrossEntropy>("{}")?.input("student", &[1, 2], &[0.0, 0.0]).labels("label", &[1]).run()?;
/// assert!((run.loss() - 2f64.ln()).abs() < 1e-12);
/// assert_eq!(run.grad("student"), [0.5, -0.5]);
/// # Ok(())
/// # }
/// ```
pub struct CrossEntropy(CrossEntropyConfig);

impl Component for CrossEntropy {
    type Config = CrossEntropyConfig;
    const NAME: &'static str = "cross_entropy";
    const DOC: &'static str = "Cross-entropy of the student's classes with the labels, mean over the batch";
    const CITATION: &'static str =
        "smoothing: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, arXiv:1512.00567";

    fn new(config: CrossEntropyConfig) -> Result<CrossEntropy> {
        let smoothing = config.smoothing;
        ensure!((0.0..1.0).contains(&smoothing), "`smoothing` must be at least 0 and below 1, got {smoothing}");
        Ok(CrossEntropy(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::data("label")]
    }
}

impl Loss for CrossEntropy {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, label) = (x.one("student")?, x.one("label")?);
        let dims = student.dims()?;
        ensure!(!dims.contains(&0), "`cross_entropy` got an empty batch: {dims:?}");
        Ok(student.cross_entropy(&label, self.0.smoothing).mean_all())
    }
}

register!(loss CrossEntropy);
