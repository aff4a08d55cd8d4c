//! The same elements in another order, number or type: candle's methods, noted in the open record.

use super::record::{Back, Found, Inputs, is_open, note};
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
    fn back(&self, ins: &[Tensor], _: &Tensor, grad: &Tensor, wanted: &[bool]) -> Result<Found> {
        Ok(match self {
            Move::Reshape => smallvec![Some(grad.reshape(ins[0].dims())?)],
            Move::Permute(dims) => {
                let place = |dim: usize| dims.iter().position(|moved| *moved == dim).unwrap_or(dim);
                smallvec![Some(grad.permute((0..dims.len()).map(place).collect::<Vec<_>>())?)]
            }
            Move::Narrow { dim, start } => {
                let behind = ins[0].dims()[*dim] - start - grad.dims()[*dim];
                smallvec![Some(grad.pad_with_zeros(*dim, *start, behind)?)]
            }
            Move::Concat { dim } => {
                let mut start = 0;
                let mut part = |(from, wanted): (&Tensor, &bool)| {
                    let (at, len) = (start, from.dims()[*dim]);
                    start += len;
                    wanted.then(|| grad.narrow(*dim, at, len)).transpose()
                };
                ins.iter().zip(wanted).map(&mut part).collect::<Result<_>>()?
            }
            Move::Broadcast => smallvec![Some(summed_to(grad, ins[0].dims())?)],
            Move::Cast => smallvec![Some(grad.to_dtype(ins[0].dtype())?)],
        })
    }
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
    note(ins, read, &out, || Box::new(how()));
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
    noted(&[x], x.narrow(dim, start, len)?, || Move::Narrow { dim, start })
}

/// One behind the other along a dim.
///
/// # Errors
/// Shapes that differ outside the dim, differing dtypes.
pub fn concat(all: &[&Tensor], dim: usize) -> Result<Tensor> {
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
