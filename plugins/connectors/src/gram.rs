//! Which channels go together.

use crate::features::full_map_dims;
use stillhouse_plugin::prelude::*;

/// By what the products are divided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Divisor {
    /// Nothing (Gatys et al.).
    None,
    /// Height times width: mean products over places.
    #[default]
    Positions,
    /// Channels times height times width (Johnson et al.).
    Elements,
}

/// Settings of [`Gram`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GramConfig {
    /// By what the products are divided.
    pub normalize: Divisor,
}

/// Gram matrix: products of all pairs of channels, summed over places. Where in the map something is no longer counts.
///
/// Gatys, Ecker & Bethge 2016 (CVPR, "Image Style Transfer Using Convolutional Neural Networks"), Eq. 3; with `elements` as
/// Johnson, Alahi & Fei-Fei 2016 (arXiv:1603.08155), Eq. 3.
/// ```text
/// G_ncd = 1 / Z * sum_hw x_nchw x_ndhw     Z = 1 (none), H W (positions), C H W (elements)
/// ```
///
/// # Shapes and units
/// - `from` `[N, C, H, W]`; carries gradient
/// - `to` is not looked at
/// - gives `[N, C, C]`, symmetric, the square of the features' unit
///
/// # Errors
/// Other than a map, an empty batch.
///
/// # Example
/// ```
/// # use stillhouse_connectors::Gram;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::connector::<Gram>("{}")?
///     .input("from", &[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0])
///     .input("to", &[1, 2, 2], &[0.0; 4])
///     .run()?;
/// assert_eq!(run.output().values, [2.5, 5.5, 5.5, 12.5]);
/// # Ok(())
/// # }
/// ```
pub struct Gram(GramConfig);

impl Component for Gram {
    type Config = GramConfig;
    const NAME: &'static str = "gram";
    const DOC: &'static str = "Gram matrix: products of all pairs of channels over places";
    const CITATION: &'static str = "Gatys, Ecker & Bethge, Image Style Transfer Using Convolutional Neural Networks, CVPR 2016; Johnson et al., 2016, arXiv:1603.08155";

    fn new(config: GramConfig) -> Result<Gram> {
        Ok(Gram(config))
    }
}

impl Connector for Gram {
    fn bind(&mut self, _cx: &BindCx, from: &Tensor, _to: &Tensor) -> Result<()> {
        full_map_dims(Self::NAME, from).map(drop)
    }

    fn forward(&self, _cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let [_, channels, height, width] = full_map_dims(Self::NAME, x)?;
        let divisor = match self.0.normalize {
            Divisor::None => 1,
            Divisor::Positions => height * width,
            Divisor::Elements => channels * height * width,
        };
        let rows = x.flatten_from(2); // [N, C, H W]
        Ok(rows.matmul(&rows.t()) / divisor as f64) // [N, C, C]
    }
}

register!(connector Gram);
