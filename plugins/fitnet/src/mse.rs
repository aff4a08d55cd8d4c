//! Squared error.

use stillhouse_plugin::prelude::*;

/// Settings of [`Mse`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MseConfig {
    /// How the errors of all elements become one.
    pub reduction: Reduction,
}

/// Mean squared error between features: the hint loss of most one-stage implementations (RepDistiller's `HintLoss`, weight
/// 100; lenscloth/RKD's `FitNet`).
///
/// ```text
/// L = 1 / count * sum (student - teacher)^2
/// dL / d student = 2 / count * (student - teacher)
/// ```
///
/// # Shapes and units
/// - `student` `[N, ...]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - returns `[]`, squared units of the features, >= 0
///
/// # Errors
/// Features that differ in shape, an empty batch.
///
/// # Example
/// ```
/// # use stillhouse_fitnet::Mse;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Mse>("{}")?
///     .input("student", &[1, 2], &[3.0, 1.0])
///     .input("teacher", &[1, 2], &[1.0, 1.0])
///     .run()?;
/// assert_eq!((run.loss(), run.grad("student")), (2.0, &[2.0, 0.0][..]));
/// # Ok(())
/// # }
/// ```
pub struct Mse(MseConfig);

impl Component for Mse {
    type Config = MseConfig;
    const NAME: &'static str = "mse";
    const DOC: &'static str = "Mean squared error between features";
    const CITATION: &'static str = "HobbitLong/RepDistiller distiller_zoo/FitNet.py HintLoss";

    fn new(config: MseConfig) -> Result<Mse> {
        Ok(Mse(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for Mse {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        same_shape(Self::NAME, &student, &teacher)?;
        self.0.reduction.apply(&(student - teacher).square())
    }
}

register!(loss Mse);
