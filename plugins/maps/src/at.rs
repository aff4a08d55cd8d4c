//! Attention transfer.

use stillhouse_plugin::prelude::*;

/// Greatest power: with it activations up to 200 stay finite in `f32`.
const MOST: u32 = 16;

/// Settings of [`At`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AtConfig {
    /// Power of the activations before the mean over channels; 1 to 16. A large one counts the strongest channels.
    #[schemars(range(min = 1, max = 16))]
    pub p: u32,
}

impl Default for AtConfig {
    fn default() -> AtConfig {
        AtConfig { p: 2 }
    }
}

/// Attention transfer: both networks are to respond at the same places.
///
/// Zagoruyko & Komodakis 2017 (arXiv:1612.03928), Sec. 3.1, as in RepDistiller `distiller_zoo/AT.py`.
/// ```text
/// L = sum over taps of mean_n,hw (a_nhw - a'_nhw)^2     a_n = v_n / max(|v_n|, 1e-12)   v_nhw = mean_c |F_nchw|^p
/// ```
/// In each direction the larger map is brought to the smaller one's size by adaptive average pooling first.
///
/// # Shapes and units
/// - `student`, `teacher`: one or more taps, `[N, C, H, W]` with any channels and sizes, paired in order; the student's carry
///   gradient
/// - returns `[]`, no unit, >= 0
/// - emits `per_layer` `[taps]`
///
/// # Errors
/// Other than maps, batches that differ, an empty batch, other numbers of taps on both sides, a `p` of 0.
///
/// # Example
/// Attention (3, 4) / 5 against (1, 0): mean of 0.16 and 0.64.
/// ```
/// # use stillhouse_maps::At;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<At>("{}")?
///     .input("student", &[1, 1, 1, 2], &[3f64.sqrt(), -2.0])
///     .input("teacher", &[1, 2, 1, 2], &[1.0, 0.0, 7.0, 0.0])
///     .run()?;
/// assert!((run.loss() - 0.4).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct At(AtConfig);

impl Component for At {
    type Config = AtConfig;
    const NAME: &'static str = "at";
    const DOC: &'static str = "Attention transfer: both networks respond at the same places";
    const CITATION: &'static str =
        "Zagoruyko & Komodakis, Paying More Attention to Attention, ICLR 2017, arXiv:1612.03928";

    fn new(config: AtConfig) -> Result<At> {
        ensure!((1..=MOST).contains(&config.p), "`p` must be between 1 and {MOST}, got {}", config.p);
        Ok(At(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().many(), Port::teacher().many()]
    }
}

impl Loss for At {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let mut layers = vec![];
        for (student, teacher) in x.pairs(Self::NAME)? {
            let (student, teacher) = common_size(Self::NAME, &student, &teacher)?;
            layers.push((self.attention(&student) - self.attention(&teacher)).square().mean_all());
        }
        sum_of_layers(cx, &layers)
    }
}

impl At {
    fn attention(&self, map: &Tensor) -> Tensor {
        let powers = match self.0.p {
            1 => map.abs(),
            2 => map.square(),
            p => map.abs().pow(f64::from(p)),
        };
        powers.mean(&[1]).flatten_from(1).normalize(&[1], 1e-12) // [N, H W]
    }
}

register!(loss At);
