//! Absolute error.

use stillhouse_plugin::prelude::*;

/// Settings of [`L1`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct L1Config {
    /// How the errors of all elements become one.
    pub reduction: Reduction,
}

/// Mean absolute error between features or logits.
///
/// mmrazor `models/losses/l1_loss.py`.
/// ```text
/// L = 1 / count * sum |student - teacher|
/// dL / d student = 1 / count * sign(student - teacher), 0 where they are equal
/// ```
///
/// # Shapes and units
/// - `student` `[N, ...]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - returns `[]`, units of the features, >= 0
///
/// # Errors
/// Features that differ in shape, an empty batch.
///
/// # Example
/// ```
/// # use stillhouse_basics::L1;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<L1>("{}")?
///     .input("student", &[1, 2], &[3.0, 1.0])
///     .input("teacher", &[1, 2], &[1.0, 1.0])
///     .run()?;
/// assert_eq!((run.loss(), run.grad("student")), (1.0, &[0.5, 0.0][..]));
/// # Ok(())
/// # }
/// ```
pub struct L1(L1Config);

impl Component for L1 {
    type Config = L1Config;
    const NAME: &'static str = "l1";
    const DOC: &'static str = "Mean absolute error between features";
    const CITATION: &'static str = "open-mmlab/mmrazor mmrazor/models/losses/l1_loss.py L1Loss";

    fn new(config: L1Config) -> Result<L1> {
        Ok(L1(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for L1 {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        same_shape(Self::NAME, &student, &teacher)?;
        self.0.reduction.apply(&(student - teacher).abs())
    }
}

register!(loss L1);
