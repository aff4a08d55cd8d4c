//! What the parts ask of features.

use stillhouse_plugin::prelude::*;

/// The dimensions of features that have some beside the batch's.
pub(crate) fn feature_dims(name: &str, x: &Tensor) -> Result<Vec<usize>> {
    let dims = x.dims()?;
    ensure!(dims.len() >= 2, "`{name}` wants features [N, ...], got {dims:?}");
    ensure!(!dims.contains(&0), "`{name}` got an empty batch: {dims:?}");
    Ok(dims)
}

/// The dimensions of a feature map with elements.
pub(crate) fn full_map_dims(name: &str, x: &Tensor) -> Result<[usize; 4]> {
    let dims = map_dims(name, x)?;
    ensure!(!dims.contains(&0), "`{name}` got an empty batch: {dims:?}");
    Ok(dims)
}
