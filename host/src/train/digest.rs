//! One number for the weights of a model.

use super::error::TrainError;
use super::models::Model;
use super::stage::model_tensors;
use crate::hex::hex;
use safetensors::View;
use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal, of a model's tensors in the order of their names: of each a line `fc.weight F32 [10, 32]`, then its
/// bytes, little endian. It is that of the file as well, however that is laid out.
///
/// # Errors
/// A tensor cannot be brought to the processor.
pub(super) fn weights_sha256(model: &Model) -> Result<String, TrainError> {
    let tensors = model_tensors(model, "");
    let mut names: Vec<&String> = tensors.keys().collect();
    names.sort();
    let mut sum = Sha256::new();
    for name in names {
        let tensor = tensors[name].to_device(&candle_core::Device::Cpu)?.contiguous()?;
        sum.update(format!("{name} {:?} {:?}\n", View::dtype(&tensor), tensor.dims()));
        sum.update(View::data(&tensor));
    }
    Ok(hex(sum))
}
