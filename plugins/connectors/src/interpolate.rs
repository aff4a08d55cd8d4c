//! Resizing to the other end, or to a size of its own.

use crate::features::full_map_dims;
use crate::pair::Pair;
use stillhouse_plugin::prelude::*;

/// Largest height or width.
const MOST: usize = 1 << 16;
/// Largest factor.
const MOST_SCALE: f64 = 1024.0;

/// How values between places are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// By the distances to the four nearest places.
    #[default]
    Bilinear,
    /// The place at `floor(k L / l)`.
    Nearest,
}

/// Settings of [`Interpolate`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InterpolateConfig {
    /// Height and width, 1 to 65536; those of the other end when neither this nor `scale` is given.
    pub size: Option<Pair<usize>>,
    /// Factor of height and width, above 0, at most 1024; sizes are rounded down.
    pub scale: Option<Pair<f64>>,
    /// How values between places are found.
    pub mode: Filter,
    /// The centres of the corners stay where they are, in place of the borders; `bilinear` alone.
    pub align_corners: bool,
}

/// Resizes a map to the height and width of the other end; channels stay.
///
/// PyTorch's `interpolate`, without antialiasing. Place k of l along an axis of length L reads at
/// ```text
/// bilinear:                 (k + 1/2) L / l - 1/2, within the borders
/// bilinear, align_corners:  k (L - 1) / (l - 1), or 0 where l = 1
/// nearest:                  floor(k L / l)
/// ```
/// L / l is that of the sizes, also where `scale` made them (PyTorch's `recompute_scale_factor`). A much smaller map reads few of the
/// places of a large one: `pool_to` takes means in its place.
///
/// # Shapes and units
/// - `from` `[N, C, H, W]`; carries gradient
/// - `to` `[N, C', H', W']`; any shape where `size` or `scale` is given
/// - gives `[N, C, H', W']`
///
/// # Errors
/// Other than a map at `from`, or at `to` where it gives the size, an empty batch, a scale that leaves nothing, `size` beside `scale`,
/// `align_corners` beside `nearest`, settings out of range.
///
/// # Example
/// ```
/// # use stillhouse_connectors::Interpolate;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::connector::<Interpolate>("{}")?
///     .input("from", &[1, 1, 1, 2], &[1.0, 5.0])
///     .input("to", &[1, 1, 1, 4], &[0.0; 4])
///     .run()?;
/// assert_eq!(run.output().values, [1.0, 2.0, 4.0, 5.0]);
/// # Ok(())
/// # }
/// ```
pub struct Interpolate {
    config: InterpolateConfig,
    size: [usize; 2],
}

impl Component for Interpolate {
    type Config = InterpolateConfig;
    const NAME: &'static str = "interpolate";
    const DOC: &'static str = "Resizing to the height and width of the other end, bilinear or nearest";
    const CITATION: &'static str = "PyTorch torch.nn.functional.interpolate";

    fn new(config: InterpolateConfig) -> Result<Interpolate> {
        ensure!(
            config.size.is_none() || config.scale.is_none(),
            "`size` and `scale` both say how large the map becomes\n\nhint: leave one of them out"
        );
        if let Some(size) = config.size {
            size.within("size", 1, MOST)?;
        }
        for scale in config.scale.into_iter().flat_map(Pair::each) {
            ensure!(
                scale > 0.0 && scale <= MOST_SCALE,
                "`scale` must be above 0 and at most {MOST_SCALE}, got {scale}"
            );
        }
        ensure!(
            config.mode == Filter::Bilinear || !config.align_corners,
            "`align_corners` belongs to `mode = \"bilinear\"`, got \"nearest\""
        );
        Ok(Interpolate { config, size: [0; 2] })
    }
}

impl Connector for Interpolate {
    fn bind(&mut self, _cx: &BindCx, from: &Tensor, to: &Tensor) -> Result<()> {
        let [_, _, height, width] = full_map_dims(Self::NAME, from)?;
        self.size = match (self.config.size, self.config.scale) {
            (Some(size), _) => size.each(),
            (None, Some(scale)) => {
                let [down, across] = scale.each();
                [(height as f64 * down) as usize, (width as f64 * across) as usize]
            }
            (None, None) => other_end(to)?,
        };
        ensure!(
            self.size.into_iter().all(|length| (1..=MOST).contains(&length)),
            "`interpolate` cannot bring a map of {height}x{width} to {}x{}: each must be between 1 and {MOST}",
            self.size[0],
            self.size[1]
        );
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let [_, _, height, width] = full_map_dims(Self::NAME, x)?;
        Ok(match (self.config.mode, self.config.align_corners) {
            (Filter::Nearest, _) => x.resize_nearest(self.size),
            (Filter::Bilinear, false) => x.resize_bilinear(self.size),
            (Filter::Bilinear, true) => {
                let dtype = x.dtype()?;
                let rows = shares(cx, height, self.size[0], dtype); // [H', H]
                let columns = shares(cx, width, self.size[1], dtype); // [W', W]
                rows.matmul(x).matmul(&columns.t()) // [N, C, H', W']
            }
        })
    }
}

fn other_end(to: &Tensor) -> Result<[usize; 2]> {
    match *to.dims()? {
        [_, _, height, width] => Ok([height, width]),
        ref dims => Err(Error::new(format!(
            "`interpolate` takes its size from the other end [N, C, H, W], which is {dims:?}\n\nhint: `size = ...` or \
             `scale = ...` says it"
        ))),
    }
}

/// What each place of the new axis takes of those of the old one, where both ends stay: `1 - |distance|` of the two nearest.
fn shares(cx: &Cx, from: usize, to: usize, dtype: DType) -> Tensor {
    let step = if to > 1 { (from as f64 - 1.0) / (to as f64 - 1.0) } else { 0.0 };
    let read = cx.arange(to, dtype).unsqueeze(1) * step; // [l, 1]
    let place = cx.arange(from, dtype).unsqueeze(0); // [1, L]
    (1.0 - (read - place).abs()).relu()
}

register!(connector Interpolate);
