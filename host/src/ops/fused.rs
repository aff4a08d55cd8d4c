//! A plugin's own operation as one node of the tape.

use super::native::{GradSlots, ManyOp, packed_custom_op};
use super::session::{Session, Value};
use super::trace::Node;
use candle_core::Tensor;
use std::sync::Arc;
use stillhouse_plugin::abi::abi_stable::std_types::{RSlice, RSliceMut};
use stillhouse_plugin::abi::{FusedBox, View, ViewMut, code};
use stillhouse_plugin::op::{DType, Meta};

/// Runs or traces the operation.
pub(super) fn run(session: &Session, name: &str, values: &[Value], op: FusedBox) -> Value {
    let metas: Option<Vec<Meta>> = values.iter().map(|value| session.meta(value)).collect();
    let Some(metas) = metas else { return Value::Poisoned };
    let fail = |message: String| {
        session.fail(code::OPERATION, format!("fused operation `{name}`: {message}"));
        Value::Poisoned
    };
    let Some(first) = metas.first() else { return fail("takes one input or more".into()) };
    if !first.dtype.is_float() || metas.iter().any(|meta| meta.dtype != first.dtype) {
        return fail("inputs must have one float type".into());
    }
    let shapes: Vec<RSlice<'_, usize>> = metas.iter().map(|meta| RSlice::from_slice(&meta.shape)).collect();
    let shape = match op.infer(RSlice::from_slice(&shapes)).into_result() {
        Ok(shape) => shape.into_vec(),
        Err(error) => return fail(error.message.into_string()),
    };
    if let Some(trace) = &session.trace {
        let inputs =
            values.iter().filter_map(|v| if let Value::Symbolic(node) = v { Some(*node) } else { None }).collect();
        let meta = Meta::new(shape.clone(), first.dtype);
        let op = FusedOp { name: name.into(), shape, op: Arc::new(op) };
        return Value::Symbolic(trace.borrow_mut().push(Node::Fused { op, inputs }, meta));
    }
    let tensors: Vec<&Tensor> =
        values.iter().filter_map(|v| if let Value::Concrete(t) = v { Some(t) } else { None }).collect();
    match (FusedOp { name: name.into(), shape, op: Arc::new(op) }).run(&tensors) {
        Ok(tensor) => Value::Concrete(tensor),
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            fail(line.strip_prefix(&format!("`{name}`: ")).unwrap_or(line).to_owned())
        }
    }
}

/// A plugin's own operation with its settings.
#[derive(Clone)]
pub struct FusedOp {
    name: String,
    /// Of the result.
    shape: Vec<usize>,
    op: Arc<FusedBox>,
}

impl std::fmt::Debug for FusedOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FusedOp({} -> {:?})", self.name, self.shape)
    }
}

/// What happened, without the operation's name, which the caller adds.
type Outcome = Result<(), String>;

fn view<'a, T>(values: &[T], shape: &'a [usize], dtype: DType) -> View<'a> {
    View { data: values.as_ptr().cast(), shape: RSlice::from_slice(shape), dtype: dtype as u32, device: 0 }
}

fn view_mut<'a, T>(values: Option<&mut [T]>, shape: &'a [usize], dtype: DType) -> ViewMut<'a> {
    let data = values.map_or(std::ptr::null_mut(), |values| values.as_mut_ptr().cast());
    ViewMut { data, shape: RSlice::from_slice(shape), dtype: dtype as u32, device: 0 }
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
        self.op.forward(RSlice::from_slice(&views), out).into_result().map_err(|error| error.message.into_string())
    }

    fn backward<T>(&self, call: Past<'_, T>, grads: &mut GradSlots<'_, T>, dtype: DType) -> Outcome {
        let (ins, shapes, out, grad) = call;
        let views: Vec<View<'_>> = ins.iter().zip(shapes).map(|(values, shape)| view(values, shape, dtype)).collect();
        let mut wanted: Vec<ViewMut<'_>> =
            grads.iter_mut().zip(shapes).map(|(slot, shape)| view_mut(slot.as_deref_mut(), shape, dtype)).collect();
        let (out, grad) = (view(out, &self.shape, dtype), view(grad, &self.shape, dtype));
        let result = self.op.backward(RSlice::from_slice(&views), out, grad, RSliceMut::from_mut_slice(&mut wanted));
        result.into_result().map_err(|error| error.message.into_string())
    }
}

impl ManyOp for FusedOp {
    fn name(&self) -> &str {
        &self.name
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
