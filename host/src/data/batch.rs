//! Batches: named arrays with the samples along the first dimension.

use indexmap::IndexMap;

use super::samples::LABEL;

/// Values of an [`Array`], in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayValues {
    /// Floats.
    F32(Vec<f32>),
    /// Integers.
    I64(Vec<i64>),
}

/// One field of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Samples first, then the shape of one sample.
    pub shape: Vec<usize>,
    /// As many values as the shape's product.
    pub values: ArrayValues,
}

impl Array {
    /// The values, if they are floats.
    pub fn f32(&self) -> Option<&[f32]> {
        match &self.values {
            ArrayValues::F32(values) => Some(values),
            ArrayValues::I64(_) => None,
        }
    }

    /// The values, if they are integers.
    pub fn i64(&self) -> Option<&[i64]> {
        match &self.values {
            ArrayValues::I64(values) => Some(values),
            ArrayValues::F32(_) => None,
        }
    }
}

/// Some samples, ready for the models.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Index of every sample, as in [`Samples::indices`](super::Samples::indices); also field
    /// `index`, `[N]` i64.
    pub index: Vec<usize>,
    /// `view.<name>` `[N, ..]` f32 for every view; `label` `[N]` i64 and other fields as they are.
    pub fields: IndexMap<String, Array>,
}

impl Batch {
    /// Number of samples, N.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no samples; no loader makes such a batch.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Array> {
        self.fields.get(name)
    }

    /// Class of every sample, `[N]`; `None` without labels.
    pub fn labels(&self) -> Option<&[i64]> {
        self.field(LABEL)?.i64()
    }
}
