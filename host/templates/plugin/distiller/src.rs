//! A whole method: features first, then what the classes say.

use stillhouse_plugin::prelude::*;

/// Settings of [`TemplateName`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateNameConfig {
    /// Epochs over which the weight of the features falls to 0; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub feature_epochs: f64,
    /// Softens both distributions; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

impl Default for TemplateNameConfig {
    fn default() -> TemplateNameConfig {
        TemplateNameConfig { feature_epochs: 5.0, temperature: 2.0 }
    }
}

/// The student's features are mapped to the teacher's and pulled there with a weight that falls from 1 to 0; its softened classes
/// are pulled to the teacher's throughout.
///
/// ```text
/// features = mean (W student + b - teacher)^2
/// classes  = 1 / N * sum_n sum_c (q_nc - p_nc)^2
/// p = softmax(teacher_logits / T)   q = softmax(student_logits / T)
/// ```
/// Both terms are raw: weights and their schedule are in the plan, so that logs can show either.
///
/// # Shapes and units
/// - `student` `[N, D]`, `student_logits` `[N, C]` float; carry gradient
/// - `teacher` `[N, D']`, `teacher_logits` `[N, C]`; constant
/// - parameters `map.weight` `[D', D]`, `map.bias` `[D']`
/// - terms `features`, `classes`, each `[]`
///
/// # Errors
/// Features that are no vectors, logits that differ in shape, an empty batch, settings that are not finite and above 0.
///
/// # Example
/// ```
/// # use stillhouse_plugin::testing::Bench;
/// # use template_name::TemplateName;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::distiller::<TemplateName>(r#"{"temperature": 1.0}"#)?
///     .input("student", &[1, 1], &[3.0])
///     .input("teacher", &[1, 1], &[1.0])
///     .input("student_logits", &[1, 2], &[0.0, 0.0])
///     .input("teacher_logits", &[1, 2], &[3f64.ln(), 0.0])
///     .param("map.weight", &[1.0])
///     .param("map.bias", &[0.0])
///     .run()?;
/// assert_eq!(run.term("features"), 4.0);
/// assert!((run.term("classes") - 0.125).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct TemplateName {
    config: TemplateNameConfig,
    map: Option<Linear>,
}

impl Component for TemplateName {
    type Config = TemplateNameConfig;
    const NAME: &'static str = "template_name";
    const DOC: &'static str = "Features with a falling weight, and softened classes";
    const CITATION: &'static str = "";

    fn new(config: TemplateNameConfig) -> Result<TemplateName> {
        let settings =
            [("feature_epochs", config.feature_epochs), ("temperature", config.temperature)];
        for (name, value) in settings {
            ensure!(
                value.is_finite() && value > 0.0,
                "`{name}` must be finite and above 0, got {value}"
            );
        }
        Ok(TemplateName { config, map: None })
    }

    /// The first two have no default: the manifest says which layers are compared.
    fn ports() -> Vec<Port> {
        vec![
            Port::student(),
            Port::teacher(),
            Port::student().named("student_logits").or("logits"),
            Port::teacher().named("teacher_logits").or("logits"),
        ]
    }
}

impl Distiller for TemplateName {
    /// What the host shall do: terms and weights here; phases, groups of parameters, passes and stages if the method has them.
    fn plan(&mut self, _site: &Site) -> Result<Plan> {
        let falling = WeightPlan {
            points: vec![(0.0, 1.0), (self.config.feature_epochs, 0.0)],
            ..WeightPlan::default()
        };
        Ok(Plan {
            terms: vec![TermPlan::new("features").weighted(falling), TermPlan::new("classes")],
            ..Plan::default()
        })
    }

    /// Parameters are made here and nowhere else; the inputs have shapes but no values.
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let (ours, theirs) = (x.one("student")?.dims()?, x.one("teacher")?.dims()?);
        let (&[_, inputs], &[_, outputs]) = (&ours[..], &theirs[..]) else {
            return Err(Error::new(format!(
                "`{}` compares vectors [N, D]\n  student: {ours:?}\n  teacher: {theirs:?}",
                Self::NAME
            )));
        };
        self.map = Some(Linear::bind(cx, "map", inputs, outputs, true));
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let Some(map) = &self.map else {
            return Err(Error::new(format!("`{}` ran before it was bound", Self::NAME)));
        };
        let mapped = map.forward(cx, &x.one("student")?); // [N, D']
        let teacher = x.one("teacher")?.detach(); // [N, D']
        same_shape(Self::NAME, &mapped, &teacher)?;
        let (ours, theirs) = (x.one("student_logits")?, x.one("teacher_logits")?.detach()); // [N, C]
        same_shape(Self::NAME, &ours, &theirs)?;
        ensure!(!ours.dims()?.contains(&0), "`{}` got an empty batch", Self::NAME);
        let soft = |logits: Tensor| (logits / self.config.temperature).softmax(-1); // [N, C]
        let distance = (soft(ours) - soft(theirs)).square().sum(&[-1]).mean_all(); // []
        Ok(vec![
            ("features".into(), (mapped - teacher).square().mean_all()),
            ("classes".into(), distance),
        ])
    }
}

register!(distiller TemplateName);
