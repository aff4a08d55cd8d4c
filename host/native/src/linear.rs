//! Matrix products.

use super::node::{Call, Element, Grads, Node, View, apply};
use candle_core::{Error, Result, Shape, Tensor};
use stillhouse_kernels::Float;
use stillhouse_kernels::broadcast::{Broadcast, sum_to};
use stillhouse_kernels::matmul::{Matrix, batched};

/// Matrix product over the last two dims; leading dims broadcast.
///
/// # Shapes
/// `a` `[..., m, k]`, `b` `[..., k, n]` to `[..., m, n]`. Against a plain matrix `b` all rows of `a` are one product.
///
/// # Errors
/// Fewer than two dims, inner sizes that differ, leading dims that do not broadcast, differing dtypes.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let plan = Plan::new(a.dims(), b.dims())?;
    if !a.device().is_cpu() {
        return a.broadcast_matmul(b);
    }
    apply(Product(plan), &[a, b])
}

/// A batch of products, with where each operand's matrices lie.
struct Plan {
    size: [usize; 3],
    batch: Vec<usize>,
    a_batch: Vec<usize>,
    b_batch: Vec<usize>,
    a_at: Vec<usize>,
    b_at: Vec<usize>,
    out: Vec<usize>,
}

impl Plan {
    fn new(a: &[usize], b: &[usize]) -> Result<Self> {
        let refused = || Error::ShapeMismatchBinaryOp { lhs: Shape::from(a), rhs: Shape::from(b), op: "matmul" }.bt();
        let ([a_lead @ .., rows, k], [b_lead @ .., k_b, n]) = (a, b) else {
            return Err(refused());
        };
        let mut m = *rows;
        if k != k_b {
            return Err(refused());
        }
        let met = Broadcast::new(a_lead, b_lead).ok_or_else(refused)?;
        let out = [met.dims(), &[m, *n]].concat();
        let (mut batch, mut a_lead) = (met.dims().to_vec(), a_lead.to_vec());
        if b_lead.is_empty() {
            m *= a_lead.iter().product::<usize>();
            (batch, a_lead) = (vec![], vec![]);
        }
        let (a_at, b_at) = (offsets(&batch, &a_lead, m * k), offsets(&batch, b_lead, k * n));
        Ok(Self { size: [m, *n, *k], batch, a_batch: a_lead, b_batch: b_lead.to_vec(), a_at, b_at, out })
    }

    fn dense(&self, matrix: usize) -> Vec<usize> {
        (0..self.batch.iter().product()).map(|index| index * matrix).collect()
    }
}

/// Offset of each of the batch's matrices in an operand whose leading dims are `own`.
fn offsets(batch: &[usize], own: &[usize], matrix: usize) -> Vec<usize> {
    let lead = batch.len() - own.len();
    let offset = |index: usize| {
        let (mut rest, mut at, mut step) = (index, 0, matrix);
        for (axis, size) in batch.iter().enumerate().rev() {
            let here = rest % size;
            rest /= size;
            if let Some(own) = axis.checked_sub(lead).map(|axis| own[axis]) {
                at += if own == 1 { 0 } else { here * step };
                step *= own;
            }
        }
        at
    };
    (0..batch.iter().product()).map(offset).collect()
}

struct Product(Plan);

impl Node for Product {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let plan = &self.0;
        let [_, n, k] = plan.size;
        let mut out = vec![<T as Float>::ZERO; plan.out.iter().product()];
        let (a, b) = (Matrix::by_rows(ins[0].data, k), Matrix::by_rows(ins[1].data, n));
        if !out.is_empty() && k > 0 {
            batched(plan.size, (a, &plan.a_at), (b, &plan.b_at), &mut out);
        }
        Ok((out, plan.out.clone()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let plan = &self.0;
        let [m, n, k] = plan.size;
        let (a, b) = (call.ins[0].data, call.ins[1].data);
        let grads_at = plan.dense(m * n);
        let made = |wanted: bool,
                    size: [usize; 3],
                    first: (Matrix<'_, T>, &[usize]),
                    second: (Matrix<'_, T>, &[usize]),
                    own: &[usize]| {
            wanted.then(|| {
                let [rows, columns, _] = size;
                let mut full = vec![<T as Float>::ZERO; plan.batch.iter().product::<usize>() * rows * columns];
                if !full.is_empty() && !call.grad.is_empty() {
                    batched(size, first, second, &mut full);
                }
                if own == plan.batch {
                    return full;
                }
                sum_to(&full, &[&plan.batch[..], &[rows, columns]].concat(), &[own, &[rows, columns]].concat())
            })
        };
        let grad = Matrix::by_rows(call.grad, n);
        Ok(vec![
            made(call.wanted[0], [m, k, n], (grad, &grads_at), (Matrix::transposed(b, n), &plan.b_at), &plan.a_batch),
            made(call.wanted[1], [k, n, m], (Matrix::transposed(a, k), &plan.a_at), (grad, &grads_at), &plan.b_batch),
        ])
    }
}
