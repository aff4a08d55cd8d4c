//! Features of one length, or of mean 0 and deviation 1.

use crate::features::feature_dims;
use stillhouse_plugin::prelude::*;

/// Least and largest eps: the square of the least is still a number in single precision.
const EPS: std::ops::RangeInclusive<f64> = 1e-15..=1.0;

/// What is brought to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The sum of absolute values.
    L1,
    /// The root of the sum of squares.
    #[default]
    L2,
    /// The deviation, over all values (not one less), after the mean was taken away.
    Deviation,
}

/// What is normalised together, sample by sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dims {
    /// The channels of each place (dimension 1).
    #[default]
    Channels,
    /// The places of each channel; maps alone.
    Places,
    /// All of a sample.
    Sample,
}

/// Settings of [`Normalize`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NormalizeConfig {
    /// What is brought to 1.
    pub by: Measure,
    /// What is normalised together.
    pub dims: Dims,
    /// Least norm, or what is added to the variance; 1e-15 to 1. When absent 1e-12, for `deviation` 1e-5.
    #[schemars(extend("minimum" = 1e-15, "maximum" = 1))]
    pub eps: Option<f64>,
}

/// Brings features to norm 1, or to mean 0 and deviation 1.
///
/// PyTorch's `normalize`, and layer normalisation without scale and shift (Ba, Kiros & Hinton 2016, arXiv:1607.06450, Eq. 3).
/// ```text
/// l1, l2:     y = x / max(|x|_p, eps)     p = 1, 2
/// deviation:  y = (x - mean x) / sqrt(mean (x - mean x)^2 + eps)
/// ```
/// Below `eps` the gradient is that of `x / eps`.
///
/// # Shapes and units
/// - `from` `[N, ...]`, for `places` `[N, C, H, W]`; carries gradient
/// - `to` is not looked at
/// - gives the shape of `from`, no unit
///
/// # Errors
/// Nothing beside the batch's dimension, an empty batch, `places` of other than maps, the deviation of one value, settings out of range.
///
/// # Example
/// ```
/// # use stillhouse_connectors::Normalize;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::connector::<Normalize>("{}")?
///     .input("from", &[2, 2], &[3.0, 4.0, 0.0, -2.0])
///     .input("to", &[2, 2], &[0.0; 4])
///     .run()?;
/// assert_eq!(run.output().values, [0.6, 0.8, 0.0, -1.0]);
/// # Ok(())
/// # }
/// ```
pub struct Normalize(NormalizeConfig);

impl Component for Normalize {
    type Config = NormalizeConfig;
    const NAME: &'static str = "normalize";
    const DOC: &'static str = "Features of norm 1, or of mean 0 and deviation 1, over channels, places or the sample";
    const CITATION: &'static str =
        "PyTorch torch.nn.functional.normalize; Ba, Kiros & Hinton, Layer Normalization, 2016, arXiv:1607.06450";

    fn new(config: NormalizeConfig) -> Result<Normalize> {
        if let Some(eps) = config.eps {
            ensure!(EPS.contains(&eps), "`eps` must be between {:e} and {}, got {eps}", EPS.start(), EPS.end());
        }
        Ok(Normalize(config))
    }
}

impl Connector for Normalize {
    fn bind(&mut self, _cx: &BindCx, from: &Tensor, _to: &Tensor) -> Result<()> {
        self.together(from).map(drop)
    }

    fn forward(&self, _cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let dims = &self.together(x)?;
        let eps = |usual: f64| self.0.eps.unwrap_or(usual);
        Ok(match self.0.by {
            Measure::L1 => x / x.abs().sum_keep(dims).clamp_min(eps(1e-12)),
            Measure::L2 => x.normalize(dims, eps(1e-12)),
            Measure::Deviation => {
                let centred = x - x.mean_keep(dims);
                let variance = centred.square().mean_keep(dims);
                centred / (variance + eps(1e-5)).sqrt()
            }
        })
    }
}

impl Normalize {
    /// The dimensions that are normalised together.
    fn together(&self, x: &Tensor) -> Result<Vec<isize>> {
        let shape = feature_dims(Self::NAME, x)?;
        let dims = match self.0.dims {
            Dims::Channels => vec![1],
            Dims::Sample => (1..shape.len()).collect(),
            Dims::Places => {
                ensure!(
                    shape.len() == 4,
                    "`normalize` wants maps [N, C, H, W] for `dims = \"places\"`, got {shape:?}\n\nhint: `dims = \"sample\"`"
                );
                vec![2, 3]
            }
        };
        let count: usize = dims.iter().map(|dim| shape[*dim]).product();
        ensure!(
            count > 1 || self.0.by != Measure::Deviation,
            "`normalize` got one value, which has no deviation: {shape:?} over dimensions {dims:?}"
        );
        Ok(dims.into_iter().map(|dim| dim as isize).collect())
    }
}

register!(connector Normalize);
