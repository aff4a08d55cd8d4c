//! Squared distance of softened classes, that of the label left out.

use stillhouse_plugin::prelude::*;

/// Settings of [`TemplateName`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateNameConfig {
    /// Softens both distributions; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

impl Default for TemplateNameConfig {
    fn default() -> TemplateNameConfig {
        TemplateNameConfig { temperature: 1.0 }
    }
}

/// Squared distance between the student's softened classes and the teacher's, over the classes that are not the sample's own.
///
/// ```text
/// L = 1 / N * sum_n sum_{c != y_n} (q_nc - p_nc)^2
/// p = softmax(teacher / T)   q = softmax(student / T)
/// dL / d student_ni = 2 / (N T) * q_ni (d_ni - sum_c q_nc d_nc)   d_nc = q_nc - p_nc, 0 where c = y_n
/// ```
///
/// # Shapes and units
/// - `student` `[N, C]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - `label` y, `[N]` `i64`, from 0 to C - 1
/// - `temperature` T, no unit, finite, > 0
/// - returns `[]`, mean over the batch, between 0 and 2
///
/// # Errors
/// Logits that differ in shape or are no matrix, an empty batch, labels of another number, a temperature that is not finite and
/// above 0.
///
/// # Example
/// Student (1/2, 1/2), teacher (3/4, 1/4), label 0: (1/4)^2.
/// ```
/// # use stillhouse_plugin::testing::Bench;
/// # use template_name::TemplateName;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<TemplateName>("{}")?
///     .input("student", &[1, 2], &[0.0, 0.0])
///     .input("teacher", &[1, 2], &[3f64.ln(), 0.0])
///     .labels("label", &[0])
///     .run()?;
/// assert!((run.loss() - 0.0625).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct TemplateName(TemplateNameConfig);

impl Component for TemplateName {
    type Config = TemplateNameConfig;
    const NAME: &'static str = "template_name";
    const DOC: &'static str = "Squared distance of softened classes, that of the label left out";
    const CITATION: &'static str = "";

    fn new(config: TemplateNameConfig) -> Result<TemplateName> {
        let temperature = config.temperature;
        ensure!(
            temperature.is_finite() && temperature > 0.0,
            "`temperature` must be finite and above 0, got {temperature}"
        );
        Ok(TemplateName(config))
    }

    /// What it reads, and what binds each port when the manifest says nothing.
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits"), Port::data("label")]
    }
}

impl Loss for TemplateName {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?; // both [N, C]; the teacher's without gradient
        let label = x.one("label")?; // [N]
        same_shape(Self::NAME, &student, &teacher)?;
        let (dims, labels) = (student.dims()?, label.dims()?);
        ensure!(
            dims.len() == 2 && !dims.contains(&0) && labels == dims[..1],
            "`{}` wants logits [N, C] and labels [N], got {dims:?} and {labels:?}",
            Self::NAME
        );
        let others = 1.0 - label.one_hot(dims[1], student.dtype()?); // [N, C], 0 at the label
        let p = (teacher / self.0.temperature).softmax(1); // [N, C]
        let q = (student / self.0.temperature).softmax(1); // [N, C]
        Ok(((q - p).square() * others).sum(&[1]).mean_all()) // []
    }
}

register!(loss TemplateName);
