//! Features as vectors.

use crate::features::feature_dims;
use stillhouse_plugin::prelude::*;

/// [`Flatten`] has no settings.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlattenConfig {}

/// Features as vectors, row by row: channels, then height, then width.
///
/// PyTorch's `flatten(1)`.
///
/// # Shapes and units
/// - `from` `[N, C, H, W]`, or any other shape of more than two dimensions; carries gradient
/// - `to` is not looked at
/// - gives `[N, C H W]`
///
/// # Errors
/// Vectors, where nothing is left to do, or less; an empty batch.
///
/// # Example
/// ```
/// # use stillhouse_connectors::Flatten;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::connector::<Flatten>("{}")?
///     .input("from", &[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0])
///     .input("to", &[1, 4], &[0.0; 4])
///     .run()?;
/// assert_eq!((run.output().shape(), &run.output().values[..]), (&[1, 4][..], &[1.0, 2.0, 3.0, 4.0][..]));
/// # Ok(())
/// # }
/// ```
pub struct Flatten;

impl Component for Flatten {
    type Config = FlattenConfig;
    const NAME: &'static str = "flatten";
    const DOC: &'static str = "Features as vectors: [N, C, H, W] to [N, C H W]";
    const CITATION: &'static str = "PyTorch torch.flatten";

    fn new(_: FlattenConfig) -> Result<Flatten> {
        Ok(Flatten)
    }
}

impl Connector for Flatten {
    fn bind(&mut self, _cx: &BindCx, from: &Tensor, _to: &Tensor) -> Result<()> {
        deep_dims(from).map(drop)
    }

    fn forward(&self, _cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let dims = deep_dims(x)?;
        Ok(x.reshape(&[dims[0], dims[1..].iter().product()]))
    }
}

/// The dimensions of what is no vector yet.
fn deep_dims(x: &Tensor) -> Result<Vec<usize>> {
    let dims = feature_dims(Flatten::NAME, x)?;
    ensure!(dims.len() > 2, "`flatten` got vectors [N, D] already: {dims:?}\n\nhint: leave it out");
    Ok(dims)
}

register!(connector Flatten);
