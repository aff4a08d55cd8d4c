//! What the parts ask of features.

use stillhouse_plugin::prelude::*;

/// The dimensions of features as a map: vectors `[N, D]` are maps `[N, D, 1, 1]`.
pub(crate) fn map_dims(name: &str, dims: &[usize]) -> Result<[usize; 4]> {
    match *dims {
        [samples, width] => Ok([samples, width, 1, 1]),
        [samples, channels, height, width] => Ok([samples, channels, height, width]),
        _ => Err(Error::new(format!("`{name}` wants vectors [N, D] or maps [N, C, H, W], got {dims:?}"))),
    }
}

/// Features as a map.
pub(crate) fn as_map(name: &str, x: &Tensor) -> Result<Tensor> {
    Ok(x.reshape(&map_dims(name, &x.dims()?)?))
}

/// A map as a vector again, where the other end is one.
pub(crate) fn like_other_end(map: &Tensor, is_vector: bool) -> Tensor {
    if is_vector { map.flatten_from(1) } else { map.clone() }
}
