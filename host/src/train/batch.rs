//! From a batch of plain arrays to tensors.

use crate::data::{Array, ArrayValues, Batch};
use candle_core::{DType, Device, Result, Tensor};
use indexmap::IndexMap;

/// The fields of a batch as tensors: views and other floats in the type that trains, labels and indices as `i64`.
pub type Fields = IndexMap<String, Tensor>;

/// Turns a batch into tensors.
///
/// # Errors
/// candle fails.
pub fn fields(batch: Batch, float: DType, device: &Device) -> Result<Fields> {
    batch.fields.into_iter().map(|(name, array)| Ok((name, tensor(array, float, device)?))).collect()
}

fn tensor(array: Array, float: DType, device: &Device) -> Result<Tensor> {
    match array.values {
        ArrayValues::F32(values) => Tensor::from_vec(values, array.shape, device)?.to_dtype(float),
        ArrayValues::I64(values) => Tensor::from_vec(values, array.shape, device),
    }
}

/// Name of a view's field.
pub fn view_field(view: &str) -> String {
    format!("{}{view}", crate::data::VIEW_PREFIX)
}
