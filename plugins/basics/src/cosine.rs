//! Cosine distance.

use stillhouse_plugin::prelude::*;

/// Squared lengths up to this have no direction.
const NOTHING: f64 = 1e-24;

/// Settings of [`Cosine`]: none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CosineConfig {}

/// Cosine distance between the features of each sample, taken as one vector; mean over the batch.
///
/// ```text
/// L = 1 / N * sum_n ( 1 - s_n . t_n / (|s_n| |t_n|) )
/// dL / ds_n = -1 / (N |s_n|) * ( t_n / |t_n| - cos_n s_n / |s_n| )
/// ```
/// Where a vector is no longer than 1e-12 its cosine is 0, without gradient.
///
/// # Shapes and units
/// - `student` `[N, ...]` float; carries gradient
/// - `teacher` same shape and type; constant
/// - returns `[]`, no unit, between 0 and 2
///
/// # Errors
/// Features that differ in shape, an empty batch.
///
/// # Example
/// ```
/// # use stillhouse_basics::Cosine;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Cosine>("{}")?
///     .input("student", &[2, 2], &[3.0, 4.0, 0.0, 2.0])
///     .input("teacher", &[2, 2], &[5.0, 0.0, 0.0, 7.0])
///     .run()?;
/// assert!((run.loss() - 0.5 * (1.0 - 0.6)).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct Cosine;

impl Component for Cosine {
    type Config = CosineConfig;
    const NAME: &'static str = "cosine";
    const DOC: &'static str = "Cosine distance between features, mean over the batch";

    fn new(_: CosineConfig) -> Result<Cosine> {
        Ok(Cosine)
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for Cosine {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        same_shape(Self::NAME, &student, &teacher)?;
        let (student, teacher) = (student.flatten_from(1), teacher.flatten_from(1)); // [N, D]
        let squares = [&student, &teacher].map(|x| x.square().sum(&[1])); // [N]
        let [ours, theirs] = squares.each_ref().map(|squares| squares.clamp_min(NOTHING).sqrt());
        let [has_ours, has_theirs] = squares.each_ref().map(|squares| squares.gt_value(NOTHING));
        let cosines = (student * teacher).sum(&[1]) / (ours * theirs) * (has_ours * has_theirs); // [N]
        Ok(1.0 - cosines.mean_all())
    }
}

register!(loss Cosine);
