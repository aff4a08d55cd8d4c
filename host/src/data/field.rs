//! Fields: one named quantity of every sample, row by row.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::DataError;

/// Values of a field, all samples one after the other, each in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Bytes; 255 stands for 1.0 in pictures and clips, bytes stand for themselves elsewhere.
    U8(Vec<u8>),
    /// Floats, taken as they are.
    F32(Vec<f32>),
    /// Integers: labels and counts.
    I64(Vec<i64>),
    /// Floats that are made, or bytes and floats that are read, when they are asked for.
    Made(Made),
}

/// Samples that are made or read rather than kept. The same row gives the same values, from any thread.
pub trait Rows: fmt::Debug + Send + Sync {
    /// Number of samples.
    fn rows(&self) -> usize;

    /// Appends the values of a sample, as floats: bytes divided by `unit`, floats as they are.
    ///
    /// # Errors
    /// The sample cannot be read; [`DataError::LeftOut`] where it is to be left out.
    fn push(&self, row: usize, unit: f32, out: &mut Vec<f32>) -> Result<(), DataError>;

    /// Whether the samples are bytes.
    fn are_bytes(&self) -> bool {
        false
    }

    /// Files that they are read from each time, in a fixed order; none where they are made in memory.
    fn files(&self) -> &[PathBuf] {
        &[]
    }
}

/// Values of samples that are made, or read from a file.
#[derive(Clone, Debug)]
pub struct Made {
    rows: Arc<dyn Rows>,
    size: usize,
}

impl PartialEq for Made {
    /// The same maker.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }
}

impl Values {
    /// Number of values, over all samples.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::Made(made) => made.rows.rows() * made.size,
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of the type: `u8`, `f32` or `i64`.
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::F32(_) | Self::Made(_) => "f32",
            Self::I64(_) => "i64",
        }
    }
}

/// One named quantity of every sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    shape: Vec<usize>,
    size: usize,
    values: Values,
}

impl Field {
    /// A field of samples of `shape`; the number of samples follows from the number of values.
    ///
    /// # Errors
    /// `SampleShape`: `shape` holds no values, or the values are not a whole number of samples.
    pub fn new(shape: Vec<usize>, values: Values) -> Result<Self, DataError> {
        let size = shape.iter().try_fold(1usize, |size, &dim| size.checked_mul(dim));
        match size {
            Some(size) if size > 0 && values.len().is_multiple_of(size) => Ok(Self { shape, size, values }),
            _ => Err(DataError::SampleShape {
                subject: "field".into(),
                got: shape,
                wanted: format!("a shape of which {} values are whole samples", values.len()),
                hint: "no dimension may be 0",
            }),
        }
    }

    /// A field of samples of `shape` that are made when they are asked for.
    ///
    /// # Errors
    /// `SampleShape`: `shape` holds no values.
    pub fn made(shape: Vec<usize>, rows: Arc<dyn Rows>) -> Result<Self, DataError> {
        let size = shape.iter().try_fold(1usize, |size, &dim| size.checked_mul(dim)).unwrap_or(0);
        Self::new(shape, Values::Made(Made { rows, size }))
    }

    /// Shape of one sample; `[]` for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of values of one sample.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Number of samples.
    pub fn rows(&self) -> usize {
        self.values.len() / self.size
    }

    /// All values, `[rows, shape..]`.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Appends one sample as floats: bytes divided by `unit` (255 for pictures and clips), the rest
    /// as they are.
    ///
    /// # Errors
    /// A sample that is read when it is asked for, and cannot be.
    pub(crate) fn push_f32(&self, row: usize, unit: f32, out: &mut Vec<f32>) -> Result<(), DataError> {
        let range = row * self.size..(row + 1) * self.size;
        match &self.values {
            Values::U8(values) => out.extend(values[range].iter().map(|&value| f32::from(value) / unit)),
            Values::F32(values) => out.extend_from_slice(&values[range]),
            Values::Made(made) => return made.rows.push(row, unit, out),
            Values::I64(values) => out.extend(values[range].iter().map(|&value| value as f32)),
        }
        Ok(())
    }

    /// Whether the values are bytes, kept or read.
    pub(crate) fn are_bytes(&self) -> bool {
        match &self.values {
            Values::U8(_) => true,
            Values::Made(made) => made.rows.are_bytes(),
            _ => false,
        }
    }

    /// Files that samples come from each time; none where they are in memory.
    pub(crate) fn files(&self) -> &[PathBuf] {
        match &self.values {
            Values::Made(made) => made.rows.files(),
            _ => &[],
        }
    }

    /// Whether samples come from a file each time, so that more threads are of use.
    pub(crate) fn are_read(&self) -> bool {
        !self.files().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_impossible_shape_is_error() {
        assert!(Field::new(vec![0, 2], Values::U8(vec![])).is_err());
        assert!(Field::new(vec![3], Values::U8(vec![0; 4])).is_err());
        assert!(Field::new(vec![usize::MAX, 2], Values::U8(vec![])).is_err());
    }
}
