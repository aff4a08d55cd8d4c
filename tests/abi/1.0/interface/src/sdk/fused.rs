//! Operations that a part computes itself, with their own gradient.

use super::context::Cx;
use super::error::{Error, Result};
use super::guard::{guard, quiet_drop};
use super::tensor::Tensor;
use super::threads;
use crate::abi::abi_stable::std_types::{RSlice, RSliceMut, RVec};
use crate::abi::{
    AbiResult, Fused, Fused_TO, FusedBox, HostApi_Ref, View, ViewMut, abi_stable::sabi_trait::TD_Opaque, code,
};
use crate::abi::{Element, view_slice, view_slice_mut};
use crate::op::DType;

/// An operation with a hand-written forward and backward over contiguous values, in `f32` and `f64`.
///
/// All inputs have the same type. It may be called from any thread, and its backward long after its forward.
/// [`parallel_for`](super::parallel_for) shares its work out.
pub trait FusedOp: Send + Sync + Sized + 'static {
    /// Name, for messages.
    const NAME: &'static str;

    /// Shape of the result.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>>;

    /// Writes the result.
    ///
    /// # Errors
    /// Values that it cannot work on.
    fn forward<T: Float>(&self, inputs: &[Slice<'_, T>], output: &mut [T]) -> Result<()>;

    /// Writes the gradient of every input that is wanted (`Some`). The buffers hold zeros.
    ///
    /// # Errors
    /// Values that it cannot work on.
    fn backward<T: Float>(
        &self,
        inputs: &[Slice<'_, T>],
        output: &[T],
        output_grad: &[T],
        grads: &mut [Option<&mut [T]>],
    ) -> Result<()>;

    /// The same by ordinary operations, for devices on which a fused operation cannot run.
    ///
    /// # Errors
    /// Not written, unless overridden.
    fn composite(&self, _cx: &Cx, _inputs: &[&Tensor]) -> Result<Tensor> {
        Err(Error::coded(code::UNSUPPORTED, format!("`{}` runs on the CPU only", Self::NAME)))
    }
}

/// Values and shape of one input of a [`FusedOp`].
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a, T> {
    /// Row-major values.
    pub values: &'a [T],
    /// Length of every dimension.
    pub shape: &'a [usize],
}

/// Arithmetic that a generic [`FusedOp`] can rely on; `f32` and `f64`.
pub trait Float:
    Element
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::iter::Sum
{
    /// From `f64`, rounded.
    fn of(value: f64) -> Self;
    /// To `f64`.
    fn to_f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// `e^x`.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
}

macro_rules! float {
    ($type:ty) => {
        impl Float for $type {
            fn of(value: f64) -> Self {
                value as $type
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn sqrt(self) -> Self {
                <$type>::sqrt(self)
            }
            fn exp(self) -> Self {
                <$type>::exp(self)
            }
            fn ln(self) -> Self {
                <$type>::ln(self)
            }
        }
    };
}
float!(f32);
float!(f64);

/// The option is empty only while it is dropped: a panic of the author's destructor must not leave it.
struct Boxed<F: FusedOp> {
    op: Option<F>,
    host: HostApi_Ref,
}

impl<F: FusedOp> Drop for Boxed<F> {
    fn drop(&mut self) {
        quiet_drop(F::NAME, self.op.take());
    }
}

impl<F: FusedOp> Boxed<F> {
    fn op(&self) -> Result<&F> {
        self.op.as_ref().ok_or_else(|| Error::coded(code::MISUSE, "used after its end"))
    }
}

/// The operation as it crosses.
pub(super) fn boxed<F: FusedOp>(op: F, host: HostApi_Ref) -> FusedBox {
    Fused_TO::from_value(Boxed { op: Some(op), host }, TD_Opaque)
}

impl<F: FusedOp> Fused for Boxed<F> {
    fn infer(&self, shapes: RSlice<'_, RSlice<'_, usize>>) -> AbiResult<RVec<usize>> {
        guard(F::NAME, || {
            let shapes: Vec<&[usize]> = shapes.iter().map(|shape| shape.as_slice()).collect();
            Ok(self.op()?.shape(&shapes)?.into())
        })
    }

    fn forward(&self, inputs: RSlice<'_, View<'_>>, output: ViewMut<'_>) -> AbiResult<()> {
        let work = || match DType::from_code(output.dtype) {
            Some(DType::F32) => forward::<F, f32>(self.op()?, inputs.as_slice(), output),
            Some(DType::F64) => forward::<F, f64>(self.op()?, inputs.as_slice(), output),
            _ => Err(Error::new("wants f32 or f64")),
        };
        guard(F::NAME, || threads::on(self.host, work))
    }

    fn backward(
        &self,
        inputs: RSlice<'_, View<'_>>,
        output: View<'_>,
        output_grad: View<'_>,
        mut grads: RSliceMut<'_, ViewMut<'_>>,
    ) -> AbiResult<()> {
        let work = || {
            let (inputs, grads) = (inputs.as_slice(), grads.as_mut_slice());
            match DType::from_code(output.dtype) {
                Some(DType::F32) => backward::<F, f32>(self.op()?, inputs, &output, &output_grad, grads),
                Some(DType::F64) => backward::<F, f64>(self.op()?, inputs, &output, &output_grad, grads),
                _ => Err(Error::new("wants f32 or f64")),
            }
        };
        guard(F::NAME, || threads::on(self.host, work))
    }
}

fn slices<'a, T: Float>(views: &[View<'a>]) -> Result<Vec<Slice<'a, T>>> {
    let slice = |view: &View<'a>| {
        let values = view_slice::<T>(view).ok_or_else(|| Error::new("inputs must have one element type"))?;
        Ok(Slice { values, shape: view.shape.as_slice() })
    };
    views.iter().map(slice).collect()
}

fn forward<F: FusedOp, T: Float>(op: &F, inputs: &[View<'_>], mut output: ViewMut<'_>) -> Result<()> {
    let output = view_slice_mut::<T>(&mut output).ok_or_else(|| Error::new("no place for the result"))?;
    op.forward(&slices::<T>(inputs)?, output)
}

fn backward<F: FusedOp, T: Float>(
    op: &F,
    inputs: &[View<'_>],
    output: &View<'_>,
    output_grad: &View<'_>,
    grads: &mut [ViewMut<'_>],
) -> Result<()> {
    let missing = || Error::new("inputs must have one element type");
    let output = view_slice::<T>(output).ok_or_else(missing)?;
    let output_grad = view_slice::<T>(output_grad).ok_or_else(missing)?;
    let mut grads: Vec<Option<&mut [T]>> = grads.iter_mut().map(view_slice_mut::<T>).collect();
    op.backward(&slices::<T>(inputs)?, output, output_grad, &mut grads)
}
