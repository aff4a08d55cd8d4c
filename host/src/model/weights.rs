//! Weights in files: safetensors of our own and of others, and PyTorch's `.pth`.

use crate::ops::ParamSet;
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Why weights could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// No such file.
    #[error("no weights at {}", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read or written.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        message: String,
    },
    /// The file cannot be written.
    #[error("{}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A tensor that the network needs is not there.
    #[error("{} has no tensor `{name}` {shape:?}", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape in the network.
        shape: Vec<usize>,
        /// A tensor of a similar name in the file.
        close: Option<String>,
    },
    /// A tensor has another shape.
    #[error("`{name}` of {}: the network has {wanted:?}, the file {got:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Shape in the network.
        wanted: Vec<usize>,
        /// Shape in the file.
        got: Vec<usize>,
    },
}

impl WeightsError {
    fn file(path: &Path, error: impl std::fmt::Display) -> WeightsError {
        let message = error.to_string().lines().next().unwrap_or_default().to_owned();
        WeightsError::File { path: path.into(), message }
    }

    /// What to do, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            WeightsError::Missing(_) => Some("train the model in a stage of its own, or correct the path".into()),
            WeightsError::MissingTensor { close: Some(close), .. } => {
                Some(format!("the file has `{close}`; is this another architecture?"))
            }
            WeightsError::MissingTensor { .. } | WeightsError::Shape { .. } => {
                Some("the weights are of another architecture, number of classes or of channels".into())
            }
            WeightsError::File { .. } | WeightsError::Write { .. } => None,
        }
    }
}

/// Reads all tensors of a file by name.
///
/// # Errors
/// The file is missing or not readable as its ending says.
pub fn read(path: &Path) -> Result<HashMap<String, Tensor>, WeightsError> {
    if !path.is_file() {
        return Err(WeightsError::Missing(path.into()));
    }
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending {
        "pth" | "pt" | "bin" => read_pickle(path).map(without_prefix).map_err(|error| WeightsError::file(path, error)),
        _ => candle_core::safetensors::load(path, &Device::Cpu).map_err(|error| WeightsError::file(path, error)),
    }
}

/// Keys under which training scripts keep the tensors beside other things.
const STATE_KEYS: [&str; 4] = ["model", "state_dict", "model_state_dict", "net"];

fn read_pickle(path: &Path) -> candle_core::Result<HashMap<String, Tensor>> {
    let tensors = candle_core::pickle::read_all(path)?;
    if !tensors.is_empty() {
        return Ok(tensors.into_iter().collect());
    }
    let inner = STATE_KEYS.iter().filter_map(|key| candle_core::pickle::read_all_with_key(path, Some(key)).ok());
    Ok(inner.into_iter().find(|tensors| !tensors.is_empty()).unwrap_or_default().into_iter().collect())
}

/// Without the `module.` that PyTorch's `DataParallel` puts before every name.
fn without_prefix(tensors: HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let strip = |name: &String| name.strip_prefix("module.").map(str::to_owned);
    match tensors.keys().map(strip).collect::<Option<Vec<_>>>() {
        Some(names) => names.into_iter().zip(tensors.into_values()).collect(),
        None => tensors,
    }
}

/// Puts the tensors of a file into a network's parameters and buffers. Every one of them must be there, with its shape;
/// others in the file (`num_batches_tracked`, say) are ignored. Nothing is changed unless all fit.
///
/// # Errors
/// The file is missing, unreadable, or of another network.
pub fn load_weights(path: &Path, params: &ParamSet) -> Result<(), WeightsError> {
    let tensors = read(path)?;
    let mut found = vec![];
    for (name, entry) in params.entries() {
        let wanted = entry.var.dims().to_vec();
        let Some(tensor) = tensors.get(&name) else {
            let close = crate::manifest::nearest(&name, tensors.keys().map(String::as_str)).map(str::to_owned);
            return Err(WeightsError::MissingTensor { path: path.into(), name, shape: wanted, close });
        };
        if tensor.dims() != wanted {
            return Err(WeightsError::Shape { path: path.into(), name, wanted, got: tensor.dims().to_vec() });
        }
        found.push((name, tensor));
    }
    found
        .into_iter()
        .try_for_each(|(name, tensor)| params.assign(&name, tensor))
        .map_err(|error| WeightsError::file(path, error))
}

/// Writes parameters and buffers as safetensors, in `f32`, under their own names: first to a file beside, then renamed, so
/// that a file of this name is always whole.
///
/// # Errors
/// The file cannot be written.
pub fn save_weights(path: &Path, params: &ParamSet) -> Result<(), WeightsError> {
    let to_f32 = |(name, entry): (String, crate::ops::Entry)| {
        let tensor = entry.var.as_detached_tensor();
        let tensor = if tensor.dtype() == DType::F64 { tensor.to_dtype(DType::F32)? } else { tensor };
        Ok((name, tensor))
    };
    let tensors: candle_core::Result<HashMap<String, Tensor>> = params.entries().into_iter().map(to_f32).collect();
    write(path, &tensors.map_err(|error| WeightsError::file(path, error))?)
}

/// Writes tensors as safetensors, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, tensors: &HashMap<String, Tensor>) -> Result<(), WeightsError> {
    let bytes = safetensors::serialize(tensors, None).map_err(|error| WeightsError::file(path, error))?;
    crate::disk::place(path, |file| file.write_all(&bytes))
        .map_err(|error| WeightsError::Write { path: path.into(), error })
}
