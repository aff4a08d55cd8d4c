//! A given gradient as the start of a walk back.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// A scalar whose gradient for `x` is `gradient`: `backward` on it goes on from there, without a product and a sum over `x`.
///
/// # Errors
/// Another shape than that of `x`.
pub fn seeded(x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    if x.dims() != gradient.dims() {
        candle_core::bail!("a gradient of the shape {:?} for {:?}", gradient.dims(), x.dims());
    }
    x.contiguous()?.apply_op1(Seed(gradient.detach()))
}

struct Seed(Tensor);

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seeded"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let zero = match self.0.dtype() {
            candle_core::DType::F64 => CpuStorage::F64(vec![0.0]),
            _ => CpuStorage::F32(vec![0.0]),
        };
        Ok((zero, Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}
