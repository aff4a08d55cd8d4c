//! Distances between all rows.

use crate::vectors::{add_differences, matrix, squared_distances};
use stillhouse_plugin::prelude::*;

/// Squared distances below this count as this, and pass no gradient.
const CLAMP: f64 = 1e-12;

/// Distances between all rows, as an operation: `[N, D]` to `[N, N]`, 0 on the diagonal.
///
/// ```text
/// d_ij = sqrt(max(|x_i - x_j|^2, 1e-12))     squared: without the root
/// dL / dx_i = sum_j (g_ij + g_ji) (x_i - x_j) / d_ij, without the pairs at the clamp     squared: 2 in place of 1 / d_ij
/// ```
/// Distances are those of differences, row by row, so that equal rows are at the clamp in single precision, too. The composite form
/// is `|a|^2 + |b|^2 - 2 a.b` of centred rows, with memory N^2 and a matrix product: its squares are exact to rounding errors of
/// `|a|^2 + |b|^2`, so that in single precision it cannot tell rows closer than about 1e-3 of their length from equal ones.
pub struct Distances {
    /// Without the root.
    pub squared: bool,
}

impl FusedOp for Distances {
    const NAME: &'static str = "distances";

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        let [rows, _] = matrix(inputs[0])?;
        Ok(vec![rows, rows])
    }

    fn forward<T: Float>(&self, inputs: &[Slice<'_, T>], output: &mut [T]) -> Result<()> {
        let [rows, _] = matrix(inputs[0].shape)?;
        let squares = squared_distances(inputs[0].values, rows);
        let clamp = T::of(CLAMP);
        for (at, (out, square)) in output.iter_mut().zip(squares).enumerate() {
            let kept = if square < clamp { clamp } else { square };
            let value = if self.squared { kept } else { kept.sqrt() };
            *out = if at / rows == at % rows { T::of(0.0) } else { value };
        }
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        inputs: &[Slice<'_, T>],
        output: &[T],
        output_grad: &[T],
        grads: &mut [Option<&mut [T]>],
    ) -> Result<()> {
        let Some(grad) = &mut grads[0] else { return Ok(()) };
        let [rows, _] = matrix(inputs[0].shape)?;
        let clamp = if self.squared { T::of(CLAMP) } else { T::of(CLAMP).sqrt() };
        let slope = |(distance, grad): (&T, &T)| match *distance <= clamp {
            true => T::of(0.0),
            false if self.squared => T::of(2.0) * *grad,
            false => *grad / *distance,
        };
        let weights: Vec<T> = output.iter().zip(output_grad).map(slope).collect();
        add_differences(inputs[0].values, rows, &weights, grad);
        Ok(())
    }

    fn composite(&self, cx: &Cx, inputs: &[&Tensor]) -> Result<Tensor> {
        let x = inputs[0] - inputs[0].detach().mean_keep(&[0]); // [N, D]
        let lengths = x.square().sum_keep(&[1]); // [N, 1]
        let squares = (&lengths + lengths.t() - x.matmul(&x.t()) * 2.0).clamp_min(CLAMP); // [N, N]
        let values = if self.squared { squares } else { squares.sqrt() };
        Ok(values * (1.0 - cx.eye(x.dim(0)?, x.dtype()?)))
    }
}
