//! The same elements in another order, number or type: candle's methods, noted in the open record.

use super::last::{dim_lying, has_last_strides, is_last, lies};
use super::record::{Back, Found, Inputs, is_open, note, sole};
use super::reduce::sum;
use candle_core::{DType, Result, Tensor};
use smallvec::smallvec;

enum Move {
    Reshape,
    Permute(Vec<usize>),
    Narrow { dim: usize, start: usize },
    Concat { dim: usize },
    Broadcast,
    Cast,
}

impl Back for Move {
    fn part(&self) -> Option<(usize, usize)> {
        if let Move::Narrow { dim, start } = self { Some((*dim, *start)) } else { None }
    }

    fn back(&self, ins: &[Tensor], outs: &[Tensor], grads: &[Option<Tensor>], wanted: &[bool]) -> Result<Found> {
        let (_, grad) = sole(outs, grads)?;
        Ok(match self {
            Move::Reshape => smallvec![Some(grad.reshape(ins[0].dims())?)],
            Move::Permute(dims) => {
                let place = |dim: usize| dims.iter().position(|moved| *moved == dim).unwrap_or(dim);
                smallvec![Some(grad.permute((0..dims.len()).map(place).collect::<Vec<_>>())?)]
            }
            Move::Narrow { .. } => smallvec![None],
            Move::Concat { dim } => {
                let mut start = 0;
                let mut part = |(from, wanted): (&Tensor, &bool)| {
                    let (at, len) = (start, from.dims()[*dim]);
                    start += len;
                    wanted.then(|| part_of(grad, *dim, at, len)).transpose()
                };
                ins.iter().zip(wanted).map(&mut part).collect::<Result<_>>()?
            }
            Move::Broadcast => smallvec![Some(summed_to(grad, ins[0].dims())?)],
            Move::Cast => smallvec![Some(grad.to_dtype(ins[0].dtype())?)],
        })
    }
}

/// A part of a gradient, which lies as the whole does.
fn part_of(grad: &Tensor, dim: usize, start: usize, len: usize) -> Result<Tensor> {
    if has_last_strides(grad) {
        let lying = grad.permute((0, 2, 3, 1))?.narrow(dim_lying(dim), start, len)?;
        return lying.contiguous()?.permute((0, 3, 1, 2));
    }
    grad.narrow(dim, start, len)?.contiguous()
}

/// Sums over what was repeated.
fn summed_to(grad: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let new = grad.rank() - dims.len();
    let repeated = |at: &usize| *at < new || (dims[at - new] == 1 && grad.dims()[*at] != 1);
    let over: Vec<usize> = (0..grad.rank()).filter(repeated).collect();
    sum(grad, &over, true)?.reshape(dims)
}

/// Notes a result of candle's; it leaves candle's tape.
fn noted(ins: &[&Tensor], out: Tensor, how: impl FnOnce() -> Move) -> Result<Tensor> {
    // candle hands on what stays as it is.
    if !is_open() || ins.iter().any(|from| from.id() == out.id()) {
        return Ok(out);
    }
    let out = out.detach();
    let read: Inputs = ins.iter().map(|from| from.detach()).collect();
    note(ins, read, std::slice::from_ref(&out), || Box::new(how()));
    Ok(out)
}

/// The same elements in another shape.
///
/// # Errors
/// Another number of elements.
pub fn reshape(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    if x.dims() == dims {
        return Ok(x.clone());
    }
    noted(&[x], x.reshape(dims)?, || Move::Reshape)
}

/// Dim `i` of the result is dim `dims[i]` of `x`.
///
/// # Errors
/// Not a permutation of the dims.
pub fn permute(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    noted(&[x], x.permute(dims)?, || Move::Permute(dims.to_vec()))
}

/// `len` elements of a dim, from `start`.
///
/// # Errors
/// Elements that the dim does not have.
pub fn narrow(x: &Tensor, dim: usize, start: usize, len: usize) -> Result<Tensor> {
    let part = x.narrow(dim, start, len)?;
    let part = if is_last(x) { part_of(x, dim, start, len)? } else { part };
    noted(&[x], part, || Move::Narrow { dim, start })
}

/// One behind the other along a dim.
///
/// # Errors
/// Shapes that differ outside the dim, differing dtypes.
pub fn concat(all: &[&Tensor], dim: usize) -> Result<Tensor> {
    if lies(all) && all.iter().all(|x| x.rank() == 4) && dim < 4 {
        let lying = all.iter().map(|x| x.permute((0, 2, 3, 1))?.contiguous()).collect::<Result<Vec<_>>>()?;
        let joined = Tensor::cat(&lying, dim_lying(dim))?.permute((0, 3, 1, 2))?;
        return noted(all, joined, || Move::Concat { dim });
    }
    noted(all, Tensor::cat(all, dim)?, || Move::Concat { dim })
}

/// Repeated to a larger shape, in a buffer of its own.
///
/// # Errors
/// A shape that `x` does not broadcast to.
pub fn broadcast_to(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    noted(&[x], x.broadcast_as(dims)?.contiguous()?, || Move::Broadcast)
}

/// The values in another type; a gradient passes between floats only.
///
/// # Errors
/// A type that candle does not convert to.
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype().is_float() && dtype.is_float() {
        return noted(&[x], x.to_dtype(dtype)?, || Move::Cast);
    }
    x.detach().to_dtype(dtype)
}

/// The same values as another tensor, which no record knows.
pub(crate) fn apart(x: &Tensor) -> Tensor {
    // A view of all elements shares them and is a tensor of its own.
    x.unsqueeze(0).and_then(|view| view.squeeze(0)).map_or_else(|_| x.detach(), |apart| apart.detach())
}
