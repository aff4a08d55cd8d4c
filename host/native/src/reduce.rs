//! Sums, means, extremes and normalisation along dims.

use super::last::{dim_lying, is_last, lying, standing};
use super::node::{Call, Element, Grads, Node, View, apply, by_dtype, elsewhere, read};
use super::shape::reshape;
use candle_core::{Error, Result, Shape, Tensor};
use stillhouse_kernels::Float;
use stillhouse_kernels::broadcast::{Broadcast, sum_to};
use stillhouse_kernels::norm::{l2_normalize_backward, l2_normalize_forward};
use stillhouse_kernels::reduce::{first_extreme, put, take};

/// `[outer, dim, inner]` of a shape around `dim`.
pub(crate) fn around(name: &'static str, dims: &[usize], dim: usize) -> Result<[usize; 3]> {
    if dim >= dims.len() {
        let shape = Shape::from(dims);
        return Err(Error::DimOutOfRange { shape, dim: dim as i32, op: name }.bt());
    }
    Ok([dims[..dim].iter().product(), dims[dim], dims[dim + 1..].iter().product()])
}

/// The shape with each of `over` set to 1.
fn kept(name: &'static str, dims: &[usize], over: &[usize]) -> Result<Vec<usize>> {
    let mut kept = dims.to_vec();
    for (at, dim) in over.iter().enumerate() {
        around(name, dims, *dim)?;
        if over[..at].contains(dim) {
            let (shape, dims) = (Shape::from(dims), over.to_vec());
            return Err(Error::DuplicateDimIndex { shape, dims, op: name }.bt());
        }
        kept[*dim] = 1;
    }
    Ok(kept)
}

fn without(dims: &[usize], over: &[usize]) -> Vec<usize> {
    dims.iter().enumerate().filter(|(at, _)| !over.contains(at)).map(|(_, size)| *size).collect()
}

/// Sum over `dims` (no dims: nothing is summed), which stay as 1 with `keepdim` and go else.
///
/// # Errors
/// A dim that is out of range or named twice; a dtype other than `f32` and `f64`.
pub fn sum(x: &Tensor, dims: &[usize], keepdim: bool) -> Result<Tensor> {
    total("sum", x, dims, keepdim, 1.0)
}

/// Mean over `dims`, as [`sum`] over the number of elements; NaN where there are none.
///
/// # Errors
/// As [`sum`].
pub fn mean(x: &Tensor, dims: &[usize], keepdim: bool) -> Result<Tensor> {
    kept("mean", x.dims(), dims)?;
    let count: usize = dims.iter().map(|dim| x.dims()[*dim]).product();
    total("mean", x, dims, keepdim, 1.0 / count as f64)
}

/// Variance over `dims`: squared distance from the mean, over the count, or over the count less one with `unbiased`.
///
/// # Errors
/// As [`sum`].
pub fn var(x: &Tensor, dims: &[usize], keepdim: bool, unbiased: bool) -> Result<Tensor> {
    let centred = super::binary::sub(x, &mean(x, dims, true)?)?;
    let count: usize = dims.iter().map(|dim| x.dims()[*dim]).product();
    let divisor = if unbiased { count as f64 - 1.0 } else { count as f64 };
    total("var", &super::unary::square(&centred)?, dims, keepdim, 1.0 / divisor)
}

fn total(name: &'static str, x: &Tensor, over: &[usize], keepdim: bool, scale: f64) -> Result<Tensor> {
    let kept = kept(name, x.dims(), over)?;
    let dims = if keepdim { kept.clone() } else { without(x.dims(), over) };
    if !x.device().is_cpu() {
        let summed = x.sum_keepdim(over)?.reshape(dims)?;
        return super::unary::affine(&summed, scale, 0.0);
    }
    if is_last(x) {
        let over: Vec<usize> = over.iter().map(|dim| dim_lying(*dim)).collect();
        return reshape(&standing(&total(name, &lying(x)?, &over, true, scale)?)?, &dims);
    }
    apply(Total { name, kept, dims, scale }, &[x])
}

struct Total {
    name: &'static str,
    kept: Vec<usize>,
    dims: Vec<usize>,
    scale: f64,
}

impl Node for Total {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let mut out = sum_to(ins[0].data, ins[0].dims, &self.kept);
        let scale = <T as Float>::of(self.scale);
        if self.scale != 1.0 {
            out.iter_mut().for_each(|out| *out *= scale);
        }
        Ok((out, self.dims.clone()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let x = &call.ins[0];
        let scale = <T as Float>::of(self.scale);
        let mut grad = vec![<T as Float>::ZERO; x.data.len()];
        if let Some(plan) = Broadcast::new(&self.kept, x.dims) {
            plan.zip(call.grad, x.data, &mut grad, |g, _| g * scale);
        }
        Ok(vec![Some(grad)])
    }
}

fn extremes(name: &'static str, x: &Tensor, dim: usize, largest: bool) -> Result<(Vec<u32>, Vec<usize>)> {
    let split = around(name, x.dims(), dim)?;
    if split[1] == 0 {
        return Err(Error::EmptyTensor { op: name }.bt());
    }
    let mut index = vec![0; split[0] * split[2]];
    by_dtype!(x.dtype(), name, T => read::<T, _>(x, |x| {
        if largest {
            first_extreme(x.data, split, &mut index, |new, old| new > old);
        } else {
            first_extreme(x.data, split, &mut index, |new, old| new < old);
        }
        Ok(())
    }))?;
    Ok((index, without(x.dims(), &[dim])))
}

fn extreme(name: &'static str, x: &Tensor, dim: usize, keepdim: bool, largest: bool) -> Result<Tensor> {
    if !x.device().is_cpu() {
        let at = x.detach();
        let at = if largest { at.argmax_keepdim(dim)? } else { at.argmin_keepdim(dim)? };
        let picked = x.gather(&at, dim)?;
        return if keepdim { Ok(picked) } else { picked.squeeze(dim) };
    }
    let (index, mut dims) = extremes(name, x, dim, largest)?;
    if keepdim {
        dims.insert(dim, 1);
    }
    apply(Picked { name, split: around(name, x.dims(), dim)?, index, dims }, &[x])
}

/// Largest element along `dim`. Its gradient goes to the first maximum (`amax` would split it among equals).
///
/// # Errors
/// A dim out of range or empty; a dtype other than `f32` and `f64`.
pub fn max(x: &Tensor, dim: usize, keepdim: bool) -> Result<Tensor> {
    extreme("max", x, dim, keepdim, true)
}

/// Smallest element along `dim`. Its gradient goes to the first minimum.
///
/// # Errors
/// As [`max`].
pub fn min(x: &Tensor, dim: usize, keepdim: bool) -> Result<Tensor> {
    extreme("min", x, dim, keepdim, false)
}

/// Index of the first maximum along `dim`, `u32`. No gradient.
///
/// # Errors
/// As [`max`].
pub fn argmax(x: &Tensor, dim: usize, keepdim: bool) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return if keepdim { x.argmax_keepdim(dim) } else { x.argmax(dim) };
    }
    let (index, mut dims) = extremes("argmax", x, dim, true)?;
    if keepdim {
        dims.insert(dim, 1);
    }
    Tensor::from_vec(index, dims, x.device())
}

struct Picked {
    name: &'static str,
    split: [usize; 3],
    index: Vec<u32>,
    dims: Vec<usize>,
}

impl Node for Picked {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let mut out = vec![<T as Float>::ZERO; self.index.len()];
        take(ins[0].data, self.split, &self.index, &mut out);
        Ok((out, self.dims.clone()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let mut grad = vec![<T as Float>::ZERO; call.ins[0].data.len()];
        put(call.grad, self.split, &self.index, &mut grad);
        Ok(vec![Some(grad)])
    }
}

/// `v / max(|v|, eps)` for each vector along `dim`. Where the norm is below `eps` the gradient is `g / eps`.
///
/// # Errors
/// A dim out of range; a dtype other than `f32` and `f64`; a device other than the CPU.
pub fn l2_normalize(x: &Tensor, dim: usize, eps: f64) -> Result<Tensor> {
    let split = around("l2_normalize", x.dims(), dim)?;
    if !x.device().is_cpu() {
        return Err(elsewhere("l2_normalize", x));
    }
    apply(Unit { split, eps }, &[x])
}

struct Unit {
    split: [usize; 3],
    eps: f64,
}

impl Node for Unit {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let mut out = vec![<T as Float>::ZERO; ins[0].data.len()];
        if !out.is_empty() {
            l2_normalize_forward(ins[0].data, self.split, <T as Float>::of(self.eps), &mut out);
        }
        Ok((out, ins[0].dims.to_vec()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let mut grad = vec![<T as Float>::ZERO; call.grad.len()];
        if !grad.is_empty() {
            l2_normalize_backward([call.ins[0].data, call.grad], self.split, <T as Float>::of(self.eps), &mut grad);
        }
        Ok(vec![Some(grad)])
    }
}
