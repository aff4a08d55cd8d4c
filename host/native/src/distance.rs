//! The squared distance of two tensors, as one function.

use super::last::{lies, lying};
use super::node::{Call, Element, Grads, Node, View, apply};
use candle_core::{Error, Result, Shape, Tensor};
use stillhouse_kernels::Float;
use stillhouse_kernels::elementwise::zip;
use stillhouse_kernels::reduce::squared_distance as distance;

/// `scale * sum (a - b)^2`, to the bit what [`super::sub`], [`super::square`], [`super::sum`] (or [`super::mean`] for a scale of
/// one over the count) make of it, without the values between.
///
/// # Shapes
/// `a` and `b` of one shape; returns `[]`.
///
/// # Errors
/// Other shapes, differing dtypes, a dtype other than `f32` and `f64`, a device other than the CPU.
pub fn squared_distance(a: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
    if a.dims() != b.dims() {
        let (lhs, rhs) = (Shape::from(a.dims()), Shape::from(b.dims()));
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "squared_distance" }.bt());
    }
    if lies(&[a, b]) {
        return apply(SquaredDistance(scale), &[&lying(a)?, &lying(b)?]);
    }
    apply(SquaredDistance(scale), &[a, b])
}

struct SquaredDistance(f64);

impl Node for SquaredDistance {
    fn name(&self) -> &'static str {
        "squared_distance"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let scale = <T as Float>::of(self.0);
        Ok((vec![distance(ins[0].data, ins[1].data) * scale], vec![]))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let (a, b) = (call.ins[0].data, call.ins[1].data);
        let factor = call.grad[0] * <T as Float>::of(self.0);
        let two = <T as Float>::of(2.0);
        let wanted = |at: usize| call.wanted[at];
        let first = wanted(0).then(|| zip(a, b, |a, b| factor * (two * (a - b))));
        let second = wanted(1).then(|| zip(a, b, |a, b| -(factor * (two * (a - b)))));
        Ok(vec![first, second])
    }
}
