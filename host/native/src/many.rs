//! A function of any number of inputs, given by a user, as one node of the tape.

use super::fusion::Pointwise;
use super::node::{Call, Element, Grads, Node, View, apply};
use candle_core::{Error, Result, Tensor};
use std::fmt;
use stillhouse_kernels::Float;
use stillhouse_kernels::fusion::Elementwise;

/// Success, or why not.
pub type Outcome = std::result::Result<(), Failure>;

/// Why a user's function failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For the user.
    pub message: String,
    /// It panicked, rather than said so.
    pub is_panic: bool,
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure { message, is_panic: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Whether an error is of a user's function that panicked.
pub fn is_panic(error: &Error) -> bool {
    match error {
        Error::Io(error) => {
            error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>()).is_some_and(|own| own.is_panic)
        }
        Error::Context { inner, .. } | Error::WithPath { inner, .. } | Error::WithBacktrace { inner, .. } => {
            is_panic(inner)
        }
        _ => false,
    }
}

/// Gradients to fill, by input: `None` is not wanted, a slice starts at zero.
pub type GradSlots<'a, T> = [Option<&'a mut [T]>];

/// A function of any number of tensors of one float type, with its gradient. All slices are contiguous, row-major.
///
/// Call order: one forward; then at most one backward, with the same inputs and the output that forward made.
pub trait ManyOp: Send + Sync + 'static {
    /// Name in error messages.
    fn name(&self) -> &str;

    /// Fills `out`, which starts at zero, from `ins` of the given `shapes`.
    ///
    /// # Errors
    /// A message for the user.
    fn forward_f32(&self, ins: &[&[f32]], shapes: &[&[usize]], out: &mut [f32]) -> Outcome;

    /// [`ManyOp::forward_f32`] in `f64`.
    ///
    /// # Errors
    /// A message for the user.
    fn forward_f64(&self, ins: &[&[f64]], shapes: &[&[usize]], out: &mut [f64]) -> Outcome;

    /// Adds the gradients of the inputs, given that of the output, onto the wanted slots of `grads`.
    ///
    /// # Errors
    /// A message for the user.
    fn backward_f32(
        &self,
        ins: &[&[f32]],
        shapes: &[&[usize]],
        out: &[f32],
        grad_out: &[f32],
        grads: &mut GradSlots<'_, f32>,
    ) -> Outcome;

    /// [`ManyOp::backward_f32`] in `f64`.
    ///
    /// # Errors
    /// A message for the user.
    fn backward_f64(
        &self,
        ins: &[&[f64]],
        shapes: &[&[usize]],
        out: &[f64],
        grad_out: &[f64],
        grads: &mut GradSlots<'_, f64>,
    ) -> Outcome;
}

type Forward<'a, T> = Box<dyn Fn(&[&[T]], &[&[usize]], &mut [T]) -> Outcome + 'a>;
type Backward<'a, T> = Box<dyn Fn(&[&[T]], &[&[usize]], &[T], &[T], &mut GradSlots<'_, T>) -> Outcome + 'a>;

/// The functions of a [`ManyOp`] for one type.
pub(crate) struct Typed<'a, T> {
    forward: Forward<'a, T>,
    backward: Backward<'a, T>,
}

impl Element for f32 {
    fn single(data: &[f32]) -> Option<&[f32]> {
        Some(data)
    }

    fn of_single(data: Vec<f32>) -> Vec<f32> {
        data
    }

    fn pointwise(function: &dyn Pointwise) -> &dyn Elementwise<f32> {
        function.single()
    }

    fn user(op: &dyn ManyOp) -> Typed<'_, f32> {
        Typed {
            forward: Box::new(|ins, shapes, out| op.forward_f32(ins, shapes, out)),
            backward: Box::new(|ins, shapes, out, grad, grads| op.backward_f32(ins, shapes, out, grad, grads)),
        }
    }
}

impl Element for f64 {
    fn single(_: &[f64]) -> Option<&[f32]> {
        None
    }

    fn of_single(data: Vec<f32>) -> Vec<f64> {
        data.into_iter().map(f64::from).collect()
    }

    fn pointwise(function: &dyn Pointwise) -> &dyn Elementwise<f64> {
        function.double()
    }

    fn user(op: &dyn ManyOp) -> Typed<'_, f64> {
        Typed {
            forward: Box::new(|ins, shapes, out| op.forward_f64(ins, shapes, out)),
            backward: Box::new(|ins, shapes, out, grad, grads| op.backward_f64(ins, shapes, out, grad, grads)),
        }
    }
}

/// Runs `op` on `inputs` as ONE node of the tape.
///
/// # Shapes
/// - `inputs` one or more, of any shapes, all `f32` or all `f64`, on the CPU; up to three are read in place, more are laid
///   end to end in one buffer first
/// - returns `out_dims`, the dtype of the inputs
///
/// # Errors
/// No input, differing or other dtypes, another device, and what `op` returns.
pub fn packed_custom_op(inputs: &[&Tensor], out_dims: &[usize], op: Box<dyn ManyOp>) -> Result<Tensor> {
    apply(User { op, out_dims: out_dims.to_vec() }, inputs)
}

struct User {
    op: Box<dyn ManyOp>,
    out_dims: Vec<usize>,
}

impl User {
    fn error(&self, failure: Failure) -> Error {
        let message = format!("`{}`: {failure}", self.op.name());
        if !failure.is_panic {
            return Error::msg(message);
        }
        // Of what candle's errors hold, only those of the system give back what was put in.
        Error::from(std::io::Error::other(Failure { message, ..failure })).bt()
    }
}

fn parts<'a, T>(ins: &[View<'a, T>]) -> (Vec<&'a [T]>, Vec<&'a [usize]>) {
    ins.iter().map(|view| (view.data, view.dims)).unzip()
}

impl Node for User {
    fn name(&self) -> &'static str {
        "packed_custom_op"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let (data, shapes) = parts(ins);
        let mut out = vec![<T as Float>::ZERO; self.out_dims.iter().product()];
        (T::user(self.op.as_ref()).forward)(&data, &shapes, &mut out).map_err(|failure| self.error(failure))?;
        Ok((out, self.out_dims.clone()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let (data, shapes) = parts(call.ins);
        let zeros = |(data, wanted): (&&[T], &bool)| wanted.then(|| vec![<T as Float>::ZERO; data.len()]);
        let mut grads: Grads<T> = data.iter().zip(call.wanted).map(zeros).collect();
        let mut slots: Vec<Option<&mut [T]>> = grads.iter_mut().map(|grad| grad.as_deref_mut()).collect();
        let backward = T::user(self.op.as_ref()).backward;
        backward(&data, &shapes, call.out, call.grad, &mut slots).map_err(|failure| self.error(failure))?;
        Ok(grads)
    }
}
