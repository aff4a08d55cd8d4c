//! What values follow from: the address under which they are kept.

use super::store::Key;
use crate::exec::PassSpec;
use crate::train::models::Model;
use candle_core::{DType, Tensor};
use std::sync::LazyLock;
use stillhouse_kernels::nhwc::Level;
use stillhouse_kernels::nhwc::conv::has_bf16;

/// This program, by the hash of its file: one that is built anew computes anew. Its version, where the file cannot be read.
static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let file = std::env::current_exe().and_then(std::fs::read);
    file.map_or_else(|_| env!("CARGO_PKG_VERSION").to_owned(), |bytes| blake3::hash(&bytes).to_string())
});

/// Everything but the sample: program, instruction set, graph, weights and buffers to the bit, points, how the pass runs, and how
/// values are kept.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn context(model: &Model, spec: &PassSpec) -> candle_core::Result<String> {
    let mut hash = blake3::Hasher::new();
    let network = &model.network;
    // What `bf16` asks for is done where the processor multiplies such numbers.
    let bf16 = spec.bf16 && has_bf16();
    let told = (&spec.want, model.keep, bf16, spec.reverse_time, network.over_time, network.executor());
    add(&mut hash, PROGRAM.as_bytes());
    add(&mut hash, format!("{:?}", Level::current()).as_bytes());
    add(&mut hash, format!("{told:?}").as_bytes());
    add(&mut hash, format!("{:?}", network.graph).as_bytes());
    for (prefix, set) in network.sets() {
        for (name, entry) in set.entries() {
            let tensor = entry.var.as_detached_tensor();
            add(&mut hash, format!("{prefix}{name} {:?} {:?}", tensor.dtype(), tensor.dims()).as_bytes());
            add(&mut hash, &bytes(&tensor)?);
        }
    }
    Ok(hash.finalize().to_string())
}

/// The key of every sample of an input, from its values as the model sees them: sample, view, normalisation and augmentation are
/// all in them.
///
/// # Errors
/// The input cannot be read.
pub(super) fn samples(input: &Tensor) -> candle_core::Result<Vec<Key>> {
    let raw = bytes(input)?;
    let size = raw.len() / input.dim(0)?.max(1);
    let shape = format!("{:?}", &input.dims()[1..]);
    let one = |row: &[u8]| {
        let mut hash = blake3::Hasher::new();
        add(&mut hash, shape.as_bytes());
        add(&mut hash, row);
        hash.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
    };
    Ok(raw.chunks_exact(size.max(1)).map(one).collect())
}

/// Adds bytes with their number, so that nothing moves from one to the next.
fn add(hash: &mut blake3::Hasher, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn bytes(tensor: &Tensor) -> candle_core::Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    if flat.dtype() == DType::I64 {
        return Ok(flat.to_vec1::<i64>()?.iter().flat_map(|value| value.to_le_bytes()).collect());
    }
    if flat.dtype() == DType::F64 {
        return Ok(flat.to_vec1::<f64>()?.iter().flat_map(|value| value.to_le_bytes()).collect());
    }
    let values = flat.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    let mut bytes = vec![0; values.len() * 4];
    let places = bytes.as_chunks_mut::<4>().0;
    places.iter_mut().zip(values).for_each(|(place, value)| *place = value.to_le_bytes());
    Ok(bytes)
}
