//! Matched features.

use stillhouse_plugin::prelude::*;

/// Settings of [`CrkdPair`]: none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrkdPairConfig {}

/// Pair-wise constraint: the features of the small and the large picture of one sample are to be the same.
///
/// Feng, Lai & Xie 2021; the formula is this plugin's reading.
/// ```text
/// L = 1 / N * sum_n |s_n - t_n|^2
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
/// # use stillhouse_crkd::CrkdPair;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<CrkdPair>("{}")?
///     .input("student", &[2, 1], &[3.0, 1.0])
///     .input("teacher", &[2, 1], &[1.0, 1.0])
///     .run()?;
/// assert_eq!((run.loss(), run.grad("student")), (2.0, &[2.0, 0.0][..]));
/// # Ok(())
/// # }
/// ```
pub struct CrkdPair;

impl Component for CrkdPair {
    type Config = CrkdPairConfig;
    const NAME: &'static str = "crkd_pair";
    const DOC: &'static str = "Pair-wise constraint: squared distance between matched features, mean over the batch";
    const CITATION: &'static str = crate::CITATION;

    fn new(_: CrkdPairConfig) -> Result<CrkdPair> {
        Ok(CrkdPair)
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for CrkdPair {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        pair(Self::NAME, &student, &teacher)
    }
}

/// The loss of features of a whole batch; `name` is the component's.
pub(crate) fn pair(name: &str, student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    same_shape(name, student, teacher)?;
    Ok((student - teacher).square().sum_all() / student.dim(0)? as f64)
}

register!(loss CrkdPair);
