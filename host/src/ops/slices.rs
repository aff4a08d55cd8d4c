//! The values of a tensor as a slice, where they are.

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor};
use std::cell::RefCell;

/// Hands the values of a contiguous `f32` tensor on the CPU to `task`.
///
/// # Errors
/// Another tensor.
pub fn read<R>(tensor: &Tensor, task: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("wants contiguous f32 on the CPU, got {:?}", tensor.dtype());
    };
    Ok(task(&values[start..end]))
}

/// Whether [`read`] and [`change`] serve the tensor.
pub fn is_slice(tensor: &Tensor) -> bool {
    tensor.dtype() == DType::F32 && tensor.device().is_cpu() && tensor.is_contiguous()
}

/// Hands the values to `task` to be changed; every tensor on the same storage sees it. `false` for a tensor that is no slice.
///
/// # Errors
/// Never for a slice.
pub fn change(tensor: &Tensor, task: impl FnOnce(&mut [f32])) -> Result<bool> {
    if !is_slice(tensor) {
        return Ok(false);
    }
    tensor.inplace_op1(&InPlace(RefCell::new(Some(task))))?;
    Ok(true)
}

/// A task on the values of a tensor, once.
struct InPlace<F>(RefCell<Option<F>>);

impl<F: FnOnce(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        if let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets())
            && let Some(task) = self.0.take()
        {
            task(&mut values[start..end]);
        }
        Ok(())
    }
}
