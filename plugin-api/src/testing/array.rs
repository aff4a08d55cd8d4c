//! Values of the reference host.

use crate::op::{DType, Meta};

/// A tensor in row-major order. Values are kept as `f64` whatever the element type says.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Shape and element type.
    pub meta: Meta,
    /// One number an element.
    pub values: Vec<f64>,
}

impl Array {
    /// An array from its parts; the values are brought to what the element type can hold.
    pub fn new(meta: Meta, values: Vec<f64>) -> Array {
        let values = match meta.dtype {
            DType::F64 => values,
            DType::F32 => values.into_iter().map(|value| f64::from(value as f32)).collect(),
            DType::I64 => values.into_iter().map(f64::trunc).collect(),
            DType::U8 => values.into_iter().map(|value| f64::from(value as u8)).collect(),
        };
        Array { meta, values }
    }

    /// Real values.
    pub fn real(shape: &[usize], values: &[f64]) -> Array {
        Array { meta: Meta::new(shape, DType::F64), values: values.to_vec() }
    }

    /// Whole numbers: labels, indices.
    pub fn whole(shape: &[usize], values: &[i64]) -> Array {
        Array { meta: Meta::new(shape, DType::I64), values: values.iter().map(|value| *value as f64).collect() }
    }

    /// Length of every dimension.
    pub fn shape(&self) -> &[usize] {
        &self.meta.shape
    }

    /// True when there are as many values as the shape says.
    pub(super) fn is_complete(&self) -> bool {
        self.meta.count() == self.values.len()
    }

    /// The whole number at a place, as an index below `len`.
    pub(super) fn index(&self, at: usize, len: usize) -> Result<usize, String> {
        let value = self.values[at];
        let within = value >= 0.0 && value < len as f64;
        if within { Ok(value as usize) } else { Err(format!("index {value} is outside 0..{len}")) }
    }

    /// The elements as bytes of their type.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let values = self.values.iter();
        match self.meta.dtype {
            DType::F32 => values.flat_map(|value| (*value as f32).to_ne_bytes()).collect(),
            DType::F64 => values.flat_map(|value| value.to_ne_bytes()).collect(),
            DType::I64 => values.flat_map(|value| (*value as i64).to_ne_bytes()).collect(),
            DType::U8 => values.map(|value| *value as u8).collect(),
        }
    }

    /// An array from bytes of its type; `None` when their number is wrong.
    pub(super) fn from_bytes(meta: Meta, bytes: &[u8]) -> Option<Array> {
        let values = decode(meta.dtype, bytes);
        (bytes.len() == meta.count() * meta.dtype.size()).then_some(Array { meta, values })
    }
}

/// Elements from bytes in this machine's order.
fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.chunks_exact(N).map(|chunk| read(std::array::from_fn(|i| chunk[i]))).collect()
    }
    match dtype {
        DType::F32 => each(bytes, |b| f64::from(f32::from_ne_bytes(b))),
        DType::F64 => each(bytes, f64::from_ne_bytes),
        DType::I64 => each(bytes, |b| i64::from_ne_bytes(b) as f64),
        DType::U8 => each(bytes, |[b]: [u8; 1]| f64::from(b)),
    }
}
