//! Angles of all triplets, held against those of another space.

use crate::vectors::{add_differences, matrix, squared_distances, widened};
use stillhouse_plugin::prelude::*;

/// Rows at this distance or below coincide.
const COINCIDE: f64 = 1e-12;

/// Mean smooth L1 distance between the cosines of all triplets in two spaces, as an operation: `[N, D]` and `[N, E]` to `[]`.
///
/// ```text
/// psi_ijk = e_ij . e_ik = (R_ij + R_ik - R_jk) / (2 r_ij r_ik)     e_ij = (x_j - x_i) / r_ij   R_ij = r_ij^2 = |x_j - x_i|^2
/// L = 1 / N^3 * sum_ijk h(psi_ijk - psi'_ijk)                      h(d) = d^2 / (2 beta) for |d| < beta, else |d| - beta / 2
/// ```
/// By the law of cosines the squared distances of pairs are all that is needed, in both directions: memory grows with N^2, not
/// N^3, and the time that grows with N^3 does not depend on D. Differences and sums are in double precision. Where two rows
/// coincide `e` is 0, and so is its gradient. The composite form makes the `e` and multiplies them, with memory N^3 and N^2 D.
pub struct AngleHuber {
    /// Where the smooth L1 distance turns from square to straight; above 0.
    pub beta: f64,
}

/// Squared distances between rows, and the inverse distances: 0 where rows coincide.
struct Space {
    squares: Vec<f64>,
    inverse: Vec<f64>,
}

impl Space {
    fn of(values: &[f64], rows: usize) -> Space {
        let squares = squared_distances(values, rows);
        let inverse = |square: &f64| if *square > COINCIDE * COINCIDE { 1.0 / square.sqrt() } else { 0.0 };
        Space { inverse: squares.iter().map(inverse).collect(), squares }
    }

    /// Squares and inverses of the distances from a row.
    fn from(&self, row: usize, rows: usize) -> (&[f64], &[f64]) {
        let range = row * rows..(row + 1) * rows;
        (&self.squares[range.clone()], &self.inverse[range])
    }
}

/// Row `i` of a space while `j` is fixed: the cosine at `k`, and half of the inverse distances' product.
#[derive(Clone, Copy)]
struct Corner<'a> {
    from_i: &'a [f64],
    inverse_i: &'a [f64],
    from_j: &'a [f64],
    square: f64,
    half_inverse: f64,
}

impl<'a> Corner<'a> {
    fn new(space: &'a Space, i: usize, j: usize, rows: usize) -> Corner<'a> {
        let (from_i, inverse_i) = space.from(i, rows);
        let (from_j, _) = space.from(j, rows);
        Corner { from_i, inverse_i, from_j, square: from_i[j], half_inverse: 0.5 * inverse_i[j] }
    }

    fn at(&self, k: usize) -> (f64, f64) {
        let half = self.half_inverse * self.inverse_i[k];
        ((self.square + self.from_i[k] - self.from_j[k]) * half, half)
    }
}

impl AngleHuber {
    /// Factors of the differences between rows of `own`, for a gradient of 1: half of the gradient by squared distances, twice.
    fn slopes(&self, own: &Space, other: &Space, rows: usize) -> Vec<f64> {
        let mut slopes = vec![0.0; rows * rows];
        let (mut of_i, mut of_j) = (vec![0.0; rows], vec![0.0; rows]);
        for i in 0..rows {
            of_i.fill(0.0);
            let (_, inverse) = own.from(i, rows);
            for j in (0..rows).filter(|j| inverse[*j] > 0.0) {
                let (ours, theirs) = (Corner::new(own, i, j, rows), Corner::new(other, i, j, rows));
                let (mut at_j, square_inverse) = (0.0, 0.5 * inverse[j] * inverse[j]);
                for (k, ((at_k, across), inverse_k)) in
                    of_i[..j].iter_mut().zip(&mut of_j[..j]).zip(&inverse[..j]).enumerate()
                {
                    let ((cosine, half), (wanted, _)) = (ours.at(k), theirs.at(k));
                    let slope = (cosine - wanted).clamp(-self.beta, self.beta);
                    at_j += slope * (half - cosine * square_inverse);
                    *at_k += slope * (half - cosine * (0.5 * inverse_k * inverse_k));
                    *across = -slope * half;
                }
                of_i[j] += at_j;
                slopes[j * rows..j * rows + j].iter_mut().zip(&of_j).for_each(|(slope, across)| *slope += across);
            }
            slopes[i * rows..(i + 1) * rows].iter_mut().zip(&of_i).for_each(|(slope, own)| *slope += own);
        }
        // A triplet and its mirror image, and the derivative of a square: 4.
        let scale = 4.0 / (self.beta * (rows * rows * rows) as f64);
        slopes.iter_mut().for_each(|slope| *slope *= scale);
        slopes
    }
}

impl FusedOp for AngleHuber {
    const NAME: &'static str = "angle_huber";

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        let ([rows, _], [others, _]) = (matrix(inputs[0])?, matrix(inputs[1])?);
        ensure!(rows == others, "wants as many rows on both sides, got {inputs:?}");
        Ok(vec![])
    }

    fn forward<T: Float>(&self, inputs: &[Slice<'_, T>], output: &mut [T]) -> Result<()> {
        let [rows, _] = matrix(inputs[0].shape)?;
        let [own, other] = [0, 1].map(|side: usize| Space::of(&widened(inputs[side].values), rows));
        let distance = |d: f64| {
            let size = d.abs();
            if size < self.beta { 0.5 * size * size / self.beta } else { size - 0.5 * self.beta }
        };
        let mut sum = 0.0;
        for i in 0..rows {
            let mut of_row = 0.0;
            for j in 0..rows {
                let (ours, theirs) = (Corner::new(&own, i, j, rows), Corner::new(&other, i, j, rows));
                let of_pair: f64 = (0..j).map(|k| distance(ours.at(k).0 - theirs.at(k).0)).sum();
                of_row += 2.0 * of_pair + distance(ours.at(j).0 - theirs.at(j).0);
            }
            sum += of_row;
        }
        output[0] = T::of(sum / (rows * rows * rows) as f64);
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        inputs: &[Slice<'_, T>],
        _output: &[T],
        output_grad: &[T],
        grads: &mut [Option<&mut [T]>],
    ) -> Result<()> {
        let [rows, _] = matrix(inputs[0].shape)?;
        let values = [0, 1].map(|side: usize| widened(inputs[side].values));
        let spaces = [0, 1].map(|side: usize| Space::of(&values[side], rows));
        for side in [0, 1] {
            let Some(grad) = &mut grads[side] else { continue };
            let mut slopes = self.slopes(&spaces[side], &spaces[1 - side], rows);
            slopes.iter_mut().for_each(|slope| *slope *= output_grad[0].to_f64());
            let mut pushes = vec![0.0; values[side].len()];
            add_differences(&values[side], rows, &slopes, &mut pushes);
            grad.iter_mut().zip(pushes).for_each(|(grad, push)| *grad += T::of(push));
        }
        Ok(())
    }

    fn composite(&self, _cx: &Cx, inputs: &[&Tensor]) -> Result<Tensor> {
        let cosines = |x: &Tensor| {
            let differences = x.unsqueeze(0) - x.unsqueeze(1); // [N, N, D]
            let squares = differences.square().sum_keep(&[2]); // [N, N, 1]
            let apart = squares.gt_value(COINCIDE * COINCIDE); // [N, N, 1]
            let unit = differences / squares.clamp_min(COINCIDE * COINCIDE).sqrt() * apart; // [N, N, D]
            unit.matmul(&unit.t()) // [N, N, N]
        };
        Ok(cosines(inputs[0]).smooth_l1(&cosines(inputs[1]), self.beta).mean_all())
    }
}
