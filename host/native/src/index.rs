//! Picking elements by index; the gradient is added back where they came from, in the order of the indices.

use super::node::{Call, Element, Grads, Node, View, apply};
use super::reduce::around;
use candle_core::{DType, Error, Result, Shape, Tensor};
use stillhouse_kernels::Float;

/// `out[.., i, ..] = x[.., index[.., i, ..], ..]` along `dim`.
///
/// # Shapes
/// `index` of `u8`, `u32` or `i64`, of the rank of `x`, not larger than it outside `dim`; returns its shape.
///
/// # Errors
/// A dim out of range, other shapes, an index that is out of range or negative.
pub fn gather(x: &Tensor, index: &Tensor, dim: usize) -> Result<Tensor> {
    let name = "gather";
    let [_, size, _] = around(name, x.dims(), dim)?;
    let too_large = |axis: usize| axis != dim && index.dims()[axis] > x.dims()[axis];
    if index.rank() != x.rank() || (0..x.rank()).any(too_large) {
        let (lhs, rhs) = (Shape::from(x.dims()), Shape::from(index.dims()));
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: name }.bt());
    }
    if !x.device().is_cpu() {
        return x.contiguous()?.gather(&index.contiguous()?, dim);
    }
    let picked = positions(name, index, size)?;
    let steps = strides(x.dims());
    let own = strides(index.dims());
    let offset = |(at, picked): (usize, usize)| {
        let along = |axis: usize| if axis == dim { picked } else { at / own[axis] % index.dims()[axis] };
        (0..steps.len()).map(|axis| along(axis) * steps[axis]).sum()
    };
    let at: Vec<usize> = picked.into_iter().enumerate().map(offset).collect();
    apply(Picked { name, at, run: 1, dims: index.dims().to_vec() }, &[x])
}

/// `out[.., i, ..] = x[.., index[i], ..]` along `dim`.
///
/// # Shapes
/// `index` `[L]` of `u8`, `u32` or `i64`; returns the shape of `x` with `L` at `dim`.
///
/// # Errors
/// A dim out of range, another rank of `index`, an index that is out of range or negative.
pub fn index_select(x: &Tensor, index: &Tensor, dim: usize) -> Result<Tensor> {
    let name = "index_select";
    let [outer, size, inner] = around(name, x.dims(), dim)?;
    let len = index.dims1()?;
    if !x.device().is_cpu() {
        return x.contiguous()?.index_select(&index.contiguous()?, dim);
    }
    let picked = positions(name, index, size)?;
    let at = (0..outer).flat_map(|o| picked.iter().map(move |at| (o * size + at) * inner)).collect();
    let mut dims = x.dims().to_vec();
    dims[dim] = len;
    apply(Picked { name, at, run: inner, dims }, &[x])
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// The indices in row-major order, each checked to be below `size`.
fn positions(name: &'static str, index: &Tensor, size: usize) -> Result<Vec<usize>> {
    if !matches!(index.dtype(), DType::U8 | DType::U32 | DType::I64) {
        return Err(Error::msg(format!("`{name}` got indices of {:?}, expected u8, u32 or i64", index.dtype())));
    }
    let indices: Vec<i64> = index.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?;
    let checked = |index: i64| match usize::try_from(index) {
        Ok(index) if index < size => Ok(index),
        _ => Err(Error::msg(format!("`{name}` got index {index} for a dim of {size}"))),
    };
    indices.into_iter().map(checked).collect()
}

/// Runs of `run` elements that start at each of `at`, one after another.
struct Picked {
    name: &'static str,
    at: Vec<usize>,
    run: usize,
    dims: Vec<usize>,
}

impl Node for Picked {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let mut out = Vec::with_capacity(self.at.len() * self.run);
        self.at.iter().for_each(|at| out.extend_from_slice(&ins[0].data[*at..at + self.run]));
        Ok((out, self.dims.clone()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let mut grad = vec![<T as Float>::ZERO; call.ins[0].data.len()];
        if self.run > 0 {
            for (at, picked) in self.at.iter().zip(call.grad.chunks_exact(self.run)) {
                grad[*at..at + self.run].iter_mut().zip(picked).for_each(|(grad, picked)| *grad += *picked);
            }
        }
        Ok(vec![Some(grad)])
    }
}
