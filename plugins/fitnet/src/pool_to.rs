//! Pooling to the other end's size.

use crate::features::{as_map, like_other_end, map_dims};
use stillhouse_plugin::prelude::*;

/// [`PoolTo`] has no settings.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolToConfig {}

/// Adaptive average pooling of the student's map to the size of the teacher's; channels stay.
///
/// mmrazor's `TorchFunctionalConnector(adaptive_avg_pool2d)`. Cell k of an axis of length L pooled to l averages
/// `floor(k L / l) .. ceil((k + 1) L / l)`, so windows may overlap, and a map can grow.
///
/// # Shapes and units
/// - `from` `[N, C, H, W]`, or `[N, C]` as a map of 1x1; carries gradient
/// - `to` `[N, C', H', W']`, or `[N, C']` as a map of 1x1
/// - gives `[N, C, H', W']`, or `[N, C]` where `to` is a vector
///
/// # Errors
/// Other than two or four dimensions.
///
/// # Example
/// ```
/// # use stillhouse_fitnet::PoolTo;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::connector::<PoolTo>("{}")?
///     .input("from", &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 6.0])
///     .input("to", &[1, 5], &[0.0; 5])
///     .run()?;
/// assert_eq!(run.output().values, [3.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct PoolTo {
    size: [usize; 2],
    to_vector: bool,
}

impl Component for PoolTo {
    type Config = PoolToConfig;
    const NAME: &'static str = "pool_to";
    const DOC: &'static str = "Adaptive average pooling to the height and width of the other end";
    const CITATION: &'static str = "open-mmlab/mmrazor TorchFunctionalConnector(adaptive_avg_pool2d)";

    fn new(_: PoolToConfig) -> Result<PoolTo> {
        Ok(PoolTo::default())
    }
}

impl Connector for PoolTo {
    fn bind(&mut self, _cx: &BindCx, from: &Tensor, to: &Tensor) -> Result<()> {
        map_dims(Self::NAME, &from.dims()?)?;
        let [_, _, height, width] = map_dims(Self::NAME, &to.dims()?)?;
        self.size = [height, width];
        self.to_vector = to.rank()? == 2;
        Ok(())
    }

    fn forward(&self, _cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let pooled = as_map(Self::NAME, x)?.adaptive_avg_pool2d(self.size); // [N, C, H', W']
        Ok(like_other_end(&pooled, self.to_vector))
    }
}

register!(connector PoolTo);
