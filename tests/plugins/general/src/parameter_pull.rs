//! Ports on parameters.

use stillhouse_plugin::prelude::*;

/// Settings of [`ParameterPull`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParameterPullConfig {
    /// Weight of the distance from the start.
    pub to_start: f64,
    /// Weight of the distance from the teacher's parameter.
    pub to_teacher: f64,
}

impl Default for ParameterPullConfig {
    fn default() -> ParameterPullConfig {
        ParameterPullConfig { to_start: 1.0, to_teacher: 1.0 }
    }
}

/// Holds a parameter of the student near its start, and pulls it to a parameter of the teacher.
///
/// After Li et al. 2018 (arXiv:1802.01483), Eq. 2, L2-SP.
/// ```text
/// L = to_start / 2 |w - w0|^2 + to_teacher / 2 |w - w_teacher|^2
/// ```
/// w0 is what the parameter was at the first step of the stage; it lives in the buffer `start`.
///
/// # Shapes and units
/// - `own`: a parameter of the student, any shape; carries gradient
/// - `other`: a parameter of the teacher, the same shape; may stay unbound
/// - returns `[]`
pub struct ParameterPull(ParameterPullConfig);

impl Component for ParameterPull {
    type Config = ParameterPullConfig;
    const NAME: &'static str = "parameter_pull";
    const DOC: &'static str = "Holds a parameter near its start and near a teacher's parameter";
    const CITATION: &'static str =
        "Li et al., Explicit Inductive Bias for Transfer Learning, ICML 2018, arXiv:1802.01483";

    fn new(config: ParameterPullConfig) -> Result<ParameterPull> {
        Ok(ParameterPull(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student_parameter("own"), Port::teacher_parameter("other").optional()]
    }
}

impl Loss for ParameterPull {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let own = x.one("own")?.meta()?;
        if let Some(other) = x.optional("other")? {
            let other = other.meta()?;
            ensure!(own.shape == other.shape, "wants parameters of one shape, got {own} and {other}");
        }
        cx.add_buffer("start", &own.shape, &Init::Zeros);
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let own = x.one("own")?;
        let start = if cx.moment().step == 0 { own.detach() } else { cx.buffer("start") };
        cx.set("start", &start);
        let half = |distance: Tensor| distance.square().sum_all() * 0.5;
        let loss = half(&own - start) * self.0.to_start;
        Ok(match x.optional("other")? {
            Some(other) => loss + half(own - other) * self.0.to_teacher,
            None => loss,
        })
    }
}

register!(loss ParameterPull);
