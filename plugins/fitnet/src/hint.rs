//! The hint loss of the paper, and mmrazor's L2 loss as variants of it.

use stillhouse_plugin::prelude::*;

/// Settings of [`Hint`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HintConfig {
    /// Half of the squared error, as in the paper.
    pub half: bool,
    /// Bring each sample's features, as one vector, to the length `mult` first.
    pub normalize: bool,
    /// Length of the normalised vectors; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub mult: f64,
    /// Divide by the number of elements, not by the samples of the batch.
    pub div_element: bool,
}

impl Default for HintConfig {
    fn default() -> HintConfig {
        HintConfig { half: true, normalize: false, mult: 1.0, div_element: false }
    }
}

/// Half of the squared distance between features, summed over a sample, mean over the batch.
///
/// Romero et al. 2015 (arXiv:1412.6550), Eq. 3.
/// ```text
/// L = 1 / N * sum_n 1/2 |student_n - teacher_n|^2
/// dL / d student = 1 / N * (student - teacher)
/// ```
/// `half = false` is the L2 loss of mmrazor (`l2_loss.py`), whose default also has `normalize = true`. There a vector is
/// divided by its norm as it is; here a norm below 1e-12 counts as 1e-12, so that features of zeros give zeros.
///
/// # Shapes and units
/// - `student` `[N, ...]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - returns `[]`, squared units of the features (of `mult`, when normalised), >= 0
///
/// # Errors
/// Features that differ in shape, an empty batch, a `mult` that is not finite and above 0.
///
/// # Example
/// ```
/// # use stillhouse_fitnet::Hint;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Hint>("{}")?
///     .input("student", &[1, 2], &[3.0, 1.0])
///     .input("teacher", &[1, 2], &[1.0, 1.0])
///     .run()?;
/// assert_eq!((run.loss(), run.grad("student")), (2.0, &[2.0, 0.0][..]));
/// # Ok(())
/// # }
/// ```
pub struct Hint(HintConfig);

impl Component for Hint {
    type Config = HintConfig;
    const NAME: &'static str = "hint";
    const DOC: &'static str =
        "Half of the squared distance between features, summed over a sample, mean over the batch";
    const CITATION: &'static str =
        "Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv:1412.6550, Eq. 3";

    fn new(config: HintConfig) -> Result<Hint> {
        check_mult(config.mult)?;
        Ok(Hint(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for Hint {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        same_shape(Self::NAME, &student, &teacher)?;
        let dims = student.dims()?;
        let count = if self.0.div_element { dims.iter().product() } else { dims[0] };
        let factor = if self.0.half { 0.5 } else { 1.0 };
        Ok(squared_distance(&student, &teacher, self.0.normalize.then_some(self.0.mult)) * (factor / count as f64))
    }
}

/// Settings of [`HintDistance`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HintDistanceConfig {
    /// Bring each sample's features, as one vector, to the length `mult` first.
    pub normalize: bool,
    /// Length of the normalised vectors; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub mult: f64,
}

impl Default for HintDistanceConfig {
    fn default() -> HintDistanceConfig {
        HintDistanceConfig { normalize: true, mult: 1.0 }
    }
}

/// Distance between the features of a whole batch: mmrazor's L2 loss with `dist = true`.
///
/// ```text
/// L = sqrt( sum_n |student_n - teacher_n|^2 )
/// dL / d student = (student - teacher) / L
/// ```
/// The root is taken over the batch, so that its samples are coupled: a loss of its own, since such a term refuses to be
/// accumulated over pieces of a batch. Where the features agree mmrazor's gradient is no number; here it is 0.
///
/// # Shapes and units
/// - `student` `[N, ...]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - returns `[]`, units of the features (of `mult`, when normalised), >= 0 (1e-12 at a match)
///
/// # Errors
/// Features that differ in shape, an empty batch, a `mult` that is not finite and above 0.
///
/// # Example
/// ```
/// # use stillhouse_fitnet::HintDistance;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<HintDistance>(r#"{"normalize": false}"#)?
///     .input("student", &[2, 1], &[3.0, 4.0])
///     .input("teacher", &[2, 1], &[0.0, 0.0])
///     .run()?;
/// assert_eq!(run.loss(), 5.0);
/// # Ok(())
/// # }
/// ```
pub struct HintDistance(HintDistanceConfig);

impl Component for HintDistance {
    type Config = HintDistanceConfig;
    const NAME: &'static str = "hint_distance";
    const DOC: &'static str = "Distance between the features of a whole batch, taken as one vector";
    const CITATION: &'static str = "open-mmlab/mmrazor mmrazor/models/losses/l2_loss.py L2Loss(dist=True)";
    const BATCH_COUPLED: bool = true;

    fn new(config: HintDistanceConfig) -> Result<HintDistance> {
        check_mult(config.mult)?;
        Ok(HintDistance(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for HintDistance {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        same_shape(Self::NAME, &student, &teacher)?;
        Ok(squared_distance(&student, &teacher, self.0.normalize.then_some(self.0.mult)).clamp_min(1e-24).sqrt())
    }
}

/// Sum of all squared differences, of vectors of length `mult` when there is one.
fn squared_distance(student: &Tensor, teacher: &Tensor, mult: Option<f64>) -> Tensor {
    let prepared = |x: &Tensor| match mult {
        Some(mult) => x.flatten_from(1).normalize(&[1], 1e-12) * mult,
        None => x.clone(),
    };
    (prepared(student) - prepared(teacher)).square().sum_all()
}

fn check_mult(mult: f64) -> Result<()> {
    ensure!(mult.is_finite() && mult > 0.0, "`mult` must be finite and above 0, got {mult}");
    Ok(())
}

register!(loss Hint);
register!(loss HintDistance);
