//! Where a network responds.

use crate::features::full_map_dims;
use stillhouse_plugin::prelude::*;

/// Greatest power: with it activations up to 200 stay finite in `f32`.
const MOST: u32 = 16;
/// Least length of a sample's attention.
const EPS: f64 = 1e-12;

/// How channels become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their sum, as the paper writes it.
    Sum,
    /// Their mean, as its code and RepDistiller compute it: another width gives values of the same size.
    #[default]
    Mean,
}

/// Settings of [`AttentionMap`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionMapConfig {
    /// Power of the activations; 1 to 16. A large one counts the strongest channels.
    #[schemars(range(min = 1, max = 16))]
    pub p: u32,
    /// How channels become one.
    pub channels: Pooling,
    /// Each sample is brought to length 1.
    pub normalize: bool,
    /// A map of one channel, in place of a vector.
    pub keep_shape: bool,
}

impl Default for AttentionMapConfig {
    fn default() -> AttentionMapConfig {
        AttentionMapConfig { p: 2, channels: Pooling::Mean, normalize: true, keep_shape: false }
    }
}

/// Attention map: how strongly each place responds, over all channels.
///
/// Zagoruyko & Komodakis 2017 (arXiv:1612.03928), `F_sum^p` of Sec. 3.1, and the normalisation of its Eq. 2.
/// ```text
/// v_nhw = sum_c |x_nchw|^p, or the mean      a_n = v_n / max(|v_n|_2, 1e-12)
/// ```
/// Sum and mean are the same where each sample is brought to length 1. The loss `at` does this on both sides, and the sizes of both
/// sides are brought together there.
///
/// # Shapes and units
/// - `from` `[N, C, H, W]`; carries gradient
/// - `to` is not looked at
/// - gives `[N, H W]`, or `[N, 1, H, W]` with `keep_shape`; >= 0, no unit, or that of the features to the power `p`
///
/// # Errors
/// Other than a map, an empty batch, a `p` out of range.
///
/// # Example
/// Squares of two channels: (9 + 0) and (4 + 8), half of that 4.5 and 6.
/// ```
/// # use stillhouse_connectors::AttentionMap;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::connector::<AttentionMap>("{}")?
///     .input("from", &[1, 2, 1, 2], &[3.0, -2.0, 0.0, 8f64.sqrt()])
///     .input("to", &[1, 2], &[0.0; 2])
///     .run()?;
/// let values = &run.output().values;
/// assert!((values[0] - 0.6).abs() < 1e-12 && (values[1] - 0.8).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct AttentionMap(AttentionMapConfig);

impl Component for AttentionMap {
    type Config = AttentionMapConfig;
    const NAME: &'static str = "attention_map";
    const DOC: &'static str = "Attention map: how strongly each place responds, over all channels";
    const CITATION: &'static str =
        "Zagoruyko & Komodakis, Paying More Attention to Attention, ICLR 2017, arXiv:1612.03928";

    fn new(config: AttentionMapConfig) -> Result<AttentionMap> {
        ensure!((1..=MOST).contains(&config.p), "`p` must be between 1 and {MOST}, got {}", config.p);
        Ok(AttentionMap(config))
    }
}

impl Connector for AttentionMap {
    fn bind(&mut self, _cx: &BindCx, from: &Tensor, _to: &Tensor) -> Result<()> {
        full_map_dims(Self::NAME, from).map(drop)
    }

    fn forward(&self, _cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let [samples, _, height, width] = full_map_dims(Self::NAME, x)?;
        let powers = match self.0.p {
            1 => x.abs(),
            2 => x.square(),
            p => x.abs().pow(f64::from(p)),
        };
        let pooled = match self.0.channels {
            Pooling::Sum => powers.sum(&[1]),
            Pooling::Mean => powers.mean(&[1]),
        };
        let attention = pooled.flatten_from(1); // [N, H W]
        let attention = if self.0.normalize { attention.normalize(&[1], EPS) } else { attention };
        Ok(if self.0.keep_shape { attention.reshape(&[samples, 1, height, width]) } else { attention })
    }
}

register!(connector AttentionMap);
