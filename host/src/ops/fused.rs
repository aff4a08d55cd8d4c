//! A plugin's own operation as one node of the tape.

use super::native::{Failure, GradSlots, ManyOp, Outcome, is_panic, packed_custom_op};
use super::session::{Session, Value};
use super::trace::Node;
use crate::plugin::last_words;
use candle_core::Tensor;
use std::sync::Arc;
use stillhouse_plugin::abi::abi_stable::std_types::{RSlice, RSliceMut};
use stillhouse_plugin::abi::{AbiError, FusedBox, View, ViewMut, code};
use stillhouse_plugin::op::{DType, Meta};

/// Runs or traces the operation.
pub(super) fn run(session: &Session, name: &str, values: &[Value], op: FusedBox) -> Value {
    let metas: Option<Vec<Meta>> = values.iter().map(|value| session.meta(value)).collect();
    let Some(metas) = metas else { return Value::Poisoned };
    let fail_as = |code: u32, message: &str| {
        session.fail(code, format!("fused operation `{name}`: {message}"));
        Value::Poisoned
    };
    let fail = |message: &str| fail_as(code::OPERATION, message);
    let Some(first) = metas.first() else { return fail("takes one input or more") };
    if !first.dtype.is_float() || metas.iter().any(|meta| meta.dtype != first.dtype) {
        return fail("inputs must have one float type");
    }
    let shapes: Vec<RSlice<'_, usize>> = metas.iter().map(|meta| RSlice::from_slice(&meta.shape)).collect();
    let shape = match op.infer(RSlice::from_slice(&shapes)).into_result() {
        Ok(shape) => shape.into_vec(),
        Err(error) => {
            let Failure { message, is_panic } = failure(name, error);
            return fail_as(code_of(is_panic), &message);
        }
    };
    if let Some(trace) = &session.trace {
        let inputs =
            values.iter().filter_map(|v| if let Value::Symbolic(node) = v { Some(*node) } else { None }).collect();
        let meta = Meta::new(shape.clone(), first.dtype);
        let op = FusedOp { name: name.into(), owner: session.params.owner().into(), shape, op: Arc::new(op) };
        return Value::Symbolic(trace.borrow_mut().push(Node::Fused { op, inputs }, meta));
    }
    let tensors: Vec<&Tensor> =
        values.iter().filter_map(|v| if let Value::Concrete(t) = v { Some(t) } else { None }).collect();
    let owner: Arc<str> = session.params.owner().into();
    match (FusedOp { name: name.into(), owner: owner.clone(), shape, op: Arc::new(op) }).run(&tensors) {
        Ok(tensor) => Value::Concrete(tensor),
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            let said = format!("`{owner}`: fused operation `{name}`: ");
            fail_as(code_of(is_panic(&error)), line.strip_prefix(&said).unwrap_or(line))
        }
    }
}

/// A plugin's own operation with its settings.
#[derive(Clone)]
pub struct FusedOp {
    name: Arc<str>,
    /// Term or module of its part.
    owner: Arc<str>,
    /// Of the result.
    shape: Vec<usize>,
    op: Arc<FusedBox>,
}

impl std::fmt::Debug for FusedOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FusedOp({} -> {:?})", self.name, self.shape)
    }
}

/// A panic keeps its code; what else an operation says is the failure of an operation.
fn code_of(is_panic: bool) -> u32 {
    if is_panic { code::PANIC } else { code::OPERATION }
}

/// What an operation said; its name, which stands before it, is not said again.
fn failure(name: &str, error: AbiError) -> Failure {
    let message = error.message.as_str();
    let message = message.strip_prefix(&format!("`{name}` ")).unwrap_or(message).to_owned();
    Failure { message, is_panic: error.code == code::PANIC }
}

fn view<'a, T>(values: &[T], shape: &'a [usize], dtype: DType) -> View<'a> {
    View::of(values.as_ptr().cast(), shape, dtype as u32)
}

fn view_mut<'a, T>(values: Option<&mut [T]>, shape: &'a [usize], dtype: DType) -> ViewMut<'a> {
    let data = values.map_or(std::ptr::null_mut(), |values| values.as_mut_ptr().cast());
    ViewMut::of(data, shape, dtype as u32)
}

/// Inputs, their shapes, the output and its gradient.
type Past<'a, T> = (&'a [&'a [T]], &'a [&'a [usize]], &'a [T], &'a [T]);

impl FusedOp {
    /// One node of candle's tape.
    pub(super) fn run(&self, inputs: &[&Tensor]) -> candle_core::Result<Tensor> {
        packed_custom_op(inputs, &self.shape, Box::new(self.clone()))
    }

    fn forward<T>(&self, ins: &[&[T]], shapes: &[&[usize]], out: &mut [T], dtype: DType) -> Outcome {
        let views: Vec<View<'_>> = ins.iter().zip(shapes).map(|(values, shape)| view(values, shape, dtype)).collect();
        let out = view_mut(Some(out), &self.shape, dtype);
        let result = self.in_plugin(|| self.op.forward(RSlice::from_slice(&views), out).into_result());
        result.map_err(|error| self.told("", error))
    }

    fn backward<T>(&self, call: Past<'_, T>, grads: &mut GradSlots<'_, T>, dtype: DType) -> Outcome {
        let (ins, shapes, out, grad) = call;
        let views: Vec<View<'_>> = ins.iter().zip(shapes).map(|(values, shape)| view(values, shape, dtype)).collect();
        let mut wanted: Vec<ViewMut<'_>> =
            grads.iter_mut().zip(shapes).map(|(slot, shape)| view_mut(slot.as_deref_mut(), shape, dtype)).collect();
        let (out, grad) = (view(out, &self.shape, dtype), view(grad, &self.shape, dtype));
        let wanted = RSliceMut::from_mut_slice(&mut wanted);
        let result = self.in_plugin(|| self.op.backward(RSlice::from_slice(&views), out, grad, wanted).into_result());
        result.map_err(|error| self.told(", on the way back", error))
    }

    /// A call whose last words name the operation.
    fn in_plugin<T>(&self, call: impl FnOnce() -> T) -> T {
        let who = || format!("fused operation `{}` of `{}`", self.name, self.owner);
        last_words::within(who, call)
    }

    fn told(&self, way: &str, error: AbiError) -> Failure {
        let own = failure(&self.name, error);
        Failure { message: format!("fused operation `{}`{way}: {own}", self.name), ..own }
    }
}

impl ManyOp for FusedOp {
    /// Stands before errors: those of the way back have no other place to say whose operation it is.
    fn name(&self) -> &str {
        self.owner.as_ref()
    }

    fn forward_f32(&self, ins: &[&[f32]], shapes: &[&[usize]], out: &mut [f32]) -> Outcome {
        self.forward(ins, shapes, out, DType::F32)
    }

    fn forward_f64(&self, ins: &[&[f64]], shapes: &[&[usize]], out: &mut [f64]) -> Outcome {
        self.forward(ins, shapes, out, DType::F64)
    }

    fn backward_f32(
        &self,
        ins: &[&[f32]],
        shapes: &[&[usize]],
        out: &[f32],
        grad: &[f32],
        grads: &mut GradSlots<'_, f32>,
    ) -> Outcome {
        self.backward((ins, shapes, out, grad), grads, DType::F32)
    }

    fn backward_f64(
        &self,
        ins: &[&[f64]],
        shapes: &[&[usize]],
        out: &[f64],
        grad: &[f64],
        grads: &mut GradSlots<'_, f64>,
    ) -> Outcome {
        self.backward((ins, shapes, out, grad), grads, DType::F64)
    }
}
