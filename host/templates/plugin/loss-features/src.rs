//! Squared distance of the directions of features.

use stillhouse_plugin::prelude::*;

/// Settings of [`TemplateName`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateNameConfig {
    /// Length below which features have no direction; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub eps: f64,
}

impl Default for TemplateNameConfig {
    fn default() -> TemplateNameConfig {
        TemplateNameConfig { eps: 1e-6 }
    }
}

/// Squared distance between the student's features and the teacher's, each sample's brought to length 1.
///
/// ```text
/// L = 1 / N * sum_n |u_n - v_n|^2
/// u = student / max(|student|, eps)   v = teacher / max(|teacher|, eps), over all that a sample has
/// dL / d student_n = 2 / (N |student_n|) * (d_n - u_n (u_n . d_n))   d = u - v
/// ```
///
/// # Shapes and units
/// - `student` `[N, ...]` float; carries gradient
/// - `teacher` same shape and type; constant. Where a student has other channels, a connector in the manifest brings it there
/// - `eps` in units of the features, finite, > 0
/// - returns `[]`, mean over the batch, between 0 and 4
///
/// # Errors
/// Features that differ in shape, an empty batch, an `eps` that is not finite and above 0.
///
/// # Example
/// Student (3, 4), teacher (1, 0): (0.6 - 1)^2 + 0.8^2.
/// ```
/// # use stillhouse_plugin::testing::Bench;
/// # use template_name::TemplateName;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<TemplateName>("{}")?
///     .input("student", &[1, 2], &[3.0, 4.0])
///     .input("teacher", &[1, 2], &[1.0, 0.0])
///     .run()?;
/// assert!((run.loss() - 0.8).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct TemplateName(TemplateNameConfig);

impl Component for TemplateName {
    type Config = TemplateNameConfig;
    const NAME: &'static str = "template_name";
    const DOC: &'static str = "Squared distance of the directions of features";
    const CITATION: &'static str = "";

    fn new(config: TemplateNameConfig) -> Result<TemplateName> {
        let eps = config.eps;
        ensure!(eps.is_finite() && eps > 0.0, "`eps` must be finite and above 0, got {eps}");
        Ok(TemplateName(config))
    }

    /// What it reads: taps that the manifest names.
    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for TemplateName {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?; // both [N, ...]; the teacher's without gradient
        same_shape(Self::NAME, &student, &teacher)?;
        let direction = |features: Tensor| features.flatten_from(1).normalize(&[1], self.0.eps); // [N, D]
        let difference = direction(student) - direction(teacher); // [N, D]
        Ok(difference.square().sum(&[1]).mean_all()) // []
    }
}

register!(loss TemplateName);
