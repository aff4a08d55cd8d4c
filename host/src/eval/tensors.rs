//! Tensors by name, in files.

use super::error::EvalError;
use crate::manifest::nearest;
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Type of the floats in an evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Float {
    /// Double precision, in which references are given.
    #[default]
    F64,
    /// Single precision, in which students train.
    F32,
}

impl Float {
    /// candle's name.
    pub fn dtype(self) -> DType {
        match self {
            Float::F64 => DType::F64,
            Float::F32 => DType::F32,
        }
    }

    /// Lower-case name, as on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Float::F64 => "f64",
            Float::F32 => "f32",
        }
    }
}

/// Tensors of a file, by name.
#[derive(Debug, Clone)]
pub struct Tensors {
    path: PathBuf,
    by_name: BTreeMap<String, Tensor>,
}

impl Tensors {
    /// Tensors that are to stand in the file `path`.
    pub fn new(path: &Path, by_name: BTreeMap<String, Tensor>) -> Tensors {
        Tensors { path: path.into(), by_name }
    }

    /// Reads a safetensors file of `F64`, `F32` and whole numbers, which become `I64`.
    ///
    /// # Errors
    /// The file is missing, malformed, or has other types.
    pub fn read(path: &Path) -> Result<Tensors, EvalError> {
        if !path.is_file() {
            return Err(EvalError::file(path, "no such file"));
        }
        let read = candle_core::safetensors::load(path, &Device::Cpu);
        let mut by_name: BTreeMap<String, Tensor> = BTreeMap::new();
        for (name, tensor) in read.map_err(|error| EvalError::file(path, error))? {
            let tensor = match tensor.dtype() {
                DType::F64 | DType::F32 | DType::I64 => tensor,
                DType::U8 | DType::I16 | DType::I32 | DType::U32 => tensor.to_dtype(DType::I64)?,
                other => {
                    let wanted = "F64, F32 or whole numbers of up to 64 bits".into();
                    return Err(EvalError::Tensor { name, wanted, got: format!("{other:?}") });
                }
            };
            by_name.insert(name, tensor);
        }
        Ok(Tensors::new(path, by_name))
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self) -> Result<(), EvalError> {
        let all: HashMap<String, Tensor> = self.by_name.clone().into_iter().collect();
        let beside = self.path.with_extension("partial");
        candle_core::safetensors::save(&all, &beside).map_err(|error| EvalError::file(&self.path, error))?;
        std::fs::rename(&beside, &self.path).map_err(|error| EvalError::file(&self.path, error))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A tensor.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name)
    }

    /// Names and tensors, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.by_name.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The error of a tensor that is not there, with the nearest name that is.
    pub(super) fn missing(&self, name: &str, reader: &str) -> EvalError {
        let hint = nearest(name, self.names()).map(|close| format!("the file has `{close}`"));
        EvalError::Missing { path: self.path.clone(), name: name.into(), reader: reader.into(), hint }
    }
}

/// A tensor in the shape that is wanted, when both shapes differ at most in ones at their ends: `[out, in]` and
/// `[out, in, 1, 1]` are one matrix.
pub(super) fn fitted(name: &str, tensor: &Tensor, wanted: &[usize]) -> Result<Tensor, EvalError> {
    let trimmed = |dims: &[usize]| dims[..dims.iter().rposition(|dim| *dim != 1).map_or(0, |last| last + 1)].to_vec();
    if tensor.dims() != wanted && trimmed(tensor.dims()) != trimmed(wanted) {
        let (wanted, got) = (format!("{wanted:?}"), format!("{:?}", tensor.dims()));
        return Err(EvalError::Tensor { name: name.into(), wanted, got });
    }
    Ok(tensor.reshape(wanted)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitted_takes_a_matrix_for_a_kernel_of_one() {
        let matrix = Tensor::zeros((3, 2), DType::F64, &Device::Cpu).expect("small");
        let dims = |wanted: &[usize]| fitted("w", &matrix, wanted).map(|tensor| tensor.dims().to_vec());
        assert_eq!(dims(&[3, 2, 1, 1]).expect("fits"), [3, 2, 1, 1]);
        assert_eq!(dims(&[3, 2]).expect("fits"), [3, 2]);
        assert_eq!(dims(&[2, 3]).expect_err("differs").to_string(), "`w` must be [2, 3], got [3, 2]");
    }

    #[test]
    fn read_of_no_file_is_error() {
        let error = Tensors::read(Path::new("no/such.safetensors")).expect_err("missing");
        assert_eq!(error.to_string(), "no/such.safetensors: no such file");
    }
}
