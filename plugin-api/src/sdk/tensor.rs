//! The tensor of a plugin: a handle of the host with operators and the usual functions.

use super::context::Door;
use super::error::{Error, Result};
use super::place;
use crate::abi::{
    Handle, TensorInfo,
    abi_stable::std_types::{RSlice, RSliceMut},
};
use crate::op::{DType, Encoded, Meta, Op};
use std::marker::PhantomData;
use std::panic::Location;

/// A value of the host, within one call.
///
/// Operations never fail at once. The first error of a call is kept, the results after it are poisoned, and the call ends
/// with that error; so the mathematics reads without a `?` on every line. Shapes broadcast as in NumPy. Dimensions are
/// counted from 0; the functions that take an `isize` count from the end when it is negative.
///
/// In a trace a tensor has a shape and a type but no values; nothing is computed then.
pub struct Tensor {
    pub(super) handle: Handle,
    pub(super) door: Door,
    /// Not `Send`: handles belong to the thread of the call.
    _thread: PhantomData<*const ()>,
}

impl Drop for Tensor {
    fn drop(&mut self) {
        self.door.host.release()(self.door.ctx, self.handle);
    }
}

impl Clone for Tensor {
    fn clone(&self) -> Tensor {
        Tensor::own(self.door, self.door.host.retain()(self.door.ctx, self.handle))
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.known_dims() {
            Some(dims) => write!(f, "Tensor({dims:?})"),
            None => write!(f, "Tensor(poisoned)"),
        }
    }
}

impl Tensor {
    pub(super) fn own(door: Door, handle: Handle) -> Tensor {
        Tensor { handle, door, _thread: PhantomData }
    }

    pub(super) fn borrow(door: Door, handle: Handle) -> Tensor {
        Tensor::own(door, door.host.retain()(door.ctx, handle))
    }

    pub(super) fn into_handle(self) -> Handle {
        let handle = self.handle;
        std::mem::forget(self);
        handle
    }

    #[track_caller]
    pub(super) fn call<const K: usize>(door: Door, op: &Op, inputs: &[Handle]) -> [Tensor; K] {
        let attributes: Encoded = op.encode();
        let mut outputs = [Handle::default(); K];
        if attributes.overflowed() {
            place::note(Location::caller());
            let poison = || door.host.poison()(door.ctx, op.name().into(), "takes shapes of up to 8 dimensions".into());
            return outputs.map(|_| Tensor::own(door, poison()));
        }
        door.host.call()(
            door.ctx,
            op.code(),
            op.name().into(),
            RSlice::from_slice(inputs),
            RSlice::from_slice(attributes.ints()),
            RSlice::from_slice(attributes.floats()),
            RSliceMut::from_mut_slice(&mut outputs),
        );
        let outputs = outputs.map(|handle| Tensor::own(door, handle));
        if outputs[0].known().is_none() {
            place::note(Location::caller());
        }
        outputs
    }

    #[track_caller]
    pub(super) fn one(&self, op: &Op) -> Tensor {
        let [out] = Tensor::call(self.door, op, &[self.handle]);
        out
    }

    #[track_caller]
    pub(super) fn with(&self, op: &Op, other: &Tensor) -> Tensor {
        let [out] = Tensor::call(self.door, op, &[self.handle, other.handle]);
        out
    }

    /// Any operation with this tensor as the first input; for those without a method of their own.
    #[track_caller]
    pub fn apply(&self, op: &Op, others: &[&Tensor]) -> Tensor {
        let inputs: Vec<Handle> = std::iter::once(self.handle).chain(others.iter().map(|t| t.handle)).collect();
        let [out] = Tensor::call(self.door, op, &inputs);
        out
    }

    /// What the host knows; `None` for a poisoned tensor, whose error goes on waiting.
    pub(super) fn known(&self) -> Option<TensorInfo> {
        let mut info = TensorInfo::default();
        self.door.host.describe()(self.door.ctx, self.handle, &mut info).then_some(info)
    }

    /// The dimensions; `None` for a poisoned tensor, whose error goes on waiting.
    pub(super) fn known_dims(&self) -> Option<Vec<usize>> {
        self.known().map(|info| info.dims[..info.rank as usize].to_vec())
    }

    fn info(&self) -> Result<TensorInfo> {
        self.known().ok_or_else(|| self.door.error())
    }

    /// Shape and element type.
    ///
    /// # Errors
    /// The error that poisoned the tensor.
    pub fn meta(&self) -> Result<Meta> {
        let info = self.info()?;
        let dtype = DType::from_code(info.dtype).ok_or_else(|| Error::new("element type of a newer host"))?;
        Ok(Meta::new(&info.dims[..info.rank as usize], dtype))
    }

    /// Length of every dimension.
    ///
    /// # Errors
    /// The error that poisoned the tensor.
    pub fn dims(&self) -> Result<Vec<usize>> {
        Ok(self.meta()?.shape)
    }

    /// Length of one dimension; negative counts from the end.
    ///
    /// # Errors
    /// No such dimension, or a poisoned tensor.
    pub fn dim(&self, dim: isize) -> Result<usize> {
        let meta = self.meta()?;
        let at = from_end(dim, meta.shape.len()).ok_or_else(|| Error::new(format!("{meta} has no dimension {dim}")))?;
        Ok(meta.shape[at])
    }

    /// Number of dimensions.
    ///
    /// # Errors
    /// The error that poisoned the tensor.
    pub fn rank(&self) -> Result<usize> {
        Ok(self.info()?.rank as usize)
    }

    /// Element type.
    ///
    /// # Errors
    /// The error that poisoned the tensor.
    pub fn dtype(&self) -> Result<DType> {
        Ok(self.meta()?.dtype)
    }

    /// True when nothing is computed: the call is a trace.
    ///
    /// # Errors
    /// The error that poisoned the tensor.
    pub fn is_symbolic(&self) -> Result<bool> {
        Ok(self.info()?.symbolic != 0)
    }

    /// The dimensions as the operations want them; a wrong one, or a poisoned tensor, comes back as a poisoned result.
    #[track_caller]
    pub(super) fn resolve(&self, op: &str, dims: &[isize]) -> std::result::Result<Vec<usize>, Tensor> {
        let Some(shape) = self.known_dims() else { return Err(self.clone()) };
        let resolved: Option<Vec<usize>> = dims.iter().map(|dim| from_end(*dim, shape.len())).collect();
        match resolved {
            Some(dims) => Ok(dims),
            None => Err(self.poisoned(op, &format!("{shape:?} has no dimension among {dims:?}"))),
        }
    }

    #[track_caller]
    pub(super) fn poisoned(&self, op: &str, message: &str) -> Tensor {
        place::note(Location::caller());
        Tensor::own(self.door, self.door.host.poison()(self.door.ctx, op.into(), message.into()))
    }

    /// The values, row by row, as `f64`. Only parts that are declared `dynamic` may read.
    ///
    /// # Errors
    /// The part is not dynamic, the call is a trace, or the tensor is poisoned.
    pub fn to_vec(&self) -> Result<Vec<f64>> {
        let meta = self.meta()?;
        let mut bytes = vec![0u8; meta.count() * meta.dtype.size()];
        if !self.door.host.read()(self.door.ctx, self.handle, RSliceMut::from_mut_slice(&mut bytes)) {
            return Err(self.door.error());
        }
        Ok(decode(&bytes, meta.dtype))
    }

    /// The value of a tensor of one element. Only parts that are declared `dynamic` may read.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`], or more than one element.
    pub fn to_scalar(&self) -> Result<f64> {
        match self.to_vec()?[..] {
            [value] => Ok(value),
            _ => Err(Error::new(format!("wants one element, got {}", self.meta()?))),
        }
    }
}

fn from_end(dim: isize, rank: usize) -> Option<usize> {
    let at = if dim < 0 { dim + rank as isize } else { dim };
    usize::try_from(at).ok().filter(|at| *at < rank)
}

fn decode(bytes: &[u8], dtype: DType) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.chunks_exact(N).map(|chunk| read(std::array::from_fn(|i| chunk[i]))).collect()
    }
    match dtype {
        DType::F32 => each(bytes, |b| f64::from(f32::from_ne_bytes(b))),
        DType::F64 => each(bytes, f64::from_ne_bytes),
        DType::I64 => each(bytes, |b| i64::from_ne_bytes(b) as f64),
        DType::U8 => each(bytes, |[b]: [u8; 1]| f64::from(b)),
    }
}
