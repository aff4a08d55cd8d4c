//! Fully connected layers: `y = x W^T + b`, weights `[outputs, inputs]` as they are stored.

use super::conv::rows_by_weights;
use super::layout::nchw_to_nhwc;
use crate::Float;
use crate::matmul::{Matrix, product};
use crate::parallel::pieces;

/// Products below which a layer stays on the calling thread.
const WORTH: usize = 1 << 20;

/// Rows of a block at least.
const BLOCK: usize = 256;

/// Sizes of a fully connected layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Rows of the batch.
    pub rows: usize,
    /// Columns of the input.
    pub inputs: usize,
    /// Columns of the output.
    pub outputs: usize,
}

impl Linear {
    /// `out = x W^T + bias`. `x` `[rows, inputs]`, `weights` `[outputs, inputs]`, `bias` `[outputs]`, `out` `[rows, outputs]`.
    /// A row has the same bits in any batch.
    pub fn forward(&self, x: &[f32], weights: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        let Self { rows, inputs, outputs } = *self;
        self.check(x.len(), weights.len(), out.len());
        assert!(bias.is_none_or(|bias| bias.len() == outputs), "linear: length of the bias");
        rows_by_weights([rows, inputs, outputs], x, weights, bias, out, false);
    }

    /// `out += x W^T`. Sizes as in [`Linear::forward`].
    pub fn add(&self, x: &[f32], weights: &[f32], out: &mut [f32]) {
        let Self { rows, inputs, outputs } = *self;
        self.check(x.len(), weights.len(), out.len());
        rows_by_weights([rows, inputs, outputs], x, weights, None, out, true);
    }

    /// `grad_x = grad W`, added with `accumulate`. `grad` `[rows, outputs]`, `grad_x` `[rows, inputs]`.
    pub fn backward_data(&self, grad: &[f32], weights: &[f32], grad_x: &mut [f32], accumulate: bool) {
        let Self { rows, inputs, outputs } = *self;
        self.check(grad_x.len(), weights.len(), grad.len());
        let size = [rows, inputs, outputs];
        matmul(size, Matrix::by_rows(grad, outputs), Matrix::by_rows(weights, inputs), grad_x, accumulate);
    }

    /// `grad_weights = grad^T x` and `grad_bias = sum over rows of grad`, both added with `accumulate`.
    pub fn backward_weights(
        &self,
        x: &[f32],
        grad: &[f32],
        grad_weights: Option<&mut [f32]>,
        grad_bias: Option<&mut [f32]>,
        accumulate: bool,
    ) {
        let Self { rows, inputs, outputs } = *self;
        if let Some(grad_weights) = grad_weights {
            self.check(x.len(), grad_weights.len(), grad.len());
            let size = [outputs, inputs, rows];
            let (grad, x) = (Matrix::transposed(grad, outputs), Matrix::by_rows(x, inputs));
            matmul(size, grad, x, grad_weights, accumulate);
        }
        if let Some(grad_bias) = grad_bias {
            assert!(grad_bias.len() == outputs && grad.len() == rows * outputs, "linear: length of the bias");
            f64::scratch(outputs, |sums| {
                sums.fill(0.0);
                for grad in grad.chunks_exact(outputs.max(1)) {
                    sums.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += f64::from(*grad));
                }
                for (out, sum) in grad_bias.iter_mut().zip(sums) {
                    *out = *sum as f32 + if accumulate { *out } else { 0.0 };
                }
            });
        }
    }

    fn check(&self, x: usize, weights: usize, out: usize) {
        let Self { rows, inputs, outputs } = *self;
        let expected = [rows * inputs, outputs * inputs, rows * outputs];
        assert_eq!([x, weights, out], expected, "linear: lengths of input, weights, output");
    }
}

/// `c = a b`, or `c += a b`; `[m, k] x [k, n]`. The longer side of `c` is cut into blocks, each on one thread.
fn matmul(size: [usize; 3], a: Matrix<'_, f32>, b: Matrix<'_, f32>, c: &mut [f32], add: bool) {
    let [m, n, k] = size;
    let work = m * n * k;
    if work < WORTH || c.is_empty() {
        return product(size, a, b, (c, n.max(1)), add);
    }
    if m >= n {
        return by_rows(size, a, b, c, add);
    }
    // (a b)^T = b^T a^T: columns become rows.
    f32::scratch(m * n, |turned| {
        by_rows([n, m, k], flip(b), flip(a), turned, false);
        nchw_to_nhwc(turned, [1, n, m], c, add);
    });
}

fn by_rows([m, n, k]: [usize; 3], a: Matrix<'_, f32>, b: Matrix<'_, f32>, c: &mut [f32], add: bool) {
    // Each block packs all of `b`: it must be high enough to pay that.
    let block = m.div_ceil(16).max(BLOCK).next_multiple_of(16);
    pieces(c, block * n, m * n * k, |index, c| {
        let a = Matrix { data: &a.data[index * block * a.rows..], ..a };
        product([c.len() / n, n, k], a, b, (c, n), add);
    });
}

fn flip<T>(matrix: Matrix<'_, T>) -> Matrix<'_, T> {
    Matrix { data: matrix.data, rows: matrix.columns, columns: matrix.rows }
}
