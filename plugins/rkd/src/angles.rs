//! Angles of all triplets, held against those of another space.

use crate::space::{SHORTEST, Side, Space};
use crate::vectors::{add_differences, matrix, widened};
use stillhouse_plugin::prelude::*;

/// Mean smooth L1 distance between the cosines of all triplets in two spaces, as an operation: `[N, D]` and `[N, E]` to `[]`.
///
/// ```text
/// psi_ijk = e_ij . e_ik = (R_ij + R_ik - R_jk) / (2 r_ij r_ik)     e_ij = (x_j - x_i) / r_ij   R_ij = r_ij^2 = |x_j - x_i|^2
/// L = 1 / N^3 * sum_ijk h(psi_ijk - psi'_ijk)                      h(d) = d^2 / (2 beta) for |d| < beta, else |d| - beta / 2
/// ```
/// By the law of cosines the squared distances of pairs are all that is needed, in both directions: memory grows with N^2, not
/// N^3, and the time that grows with N^3 does not depend on D. Differences and sums are in double precision. Where one side of a
/// corner is more than 1024 times as long as the other, squares would say too little of the shorter one: there the `e` are
/// multiplied. Sides up to 1e-12 have `e = (x_j - x_i) / 1e-12`, with that as the gradient; where two rows are equal `e` is 0, and
/// so is its gradient. The composite form makes all the `e` and multiplies them, with memory N^3 and N^2 D.
pub struct AngleHuber {
    /// Where the smooth L1 distance turns from square to straight; above 0.
    pub beta: f64,
}

/// Gradient by squared distances.
struct Slopes {
    /// `[N, N]`; a pair's is the sum of both entries.
    of_pairs: Vec<f64>,
    /// Those from one row, and from a second one, while they are collected.
    of_i: Vec<f64>,
    of_j: Vec<f64>,
}

impl AngleHuber {
    fn distance(&self, d: f64) -> f64 {
        let size = d.abs();
        if size < self.beta { 0.5 * size * size / self.beta } else { size - 0.5 * self.beta }
    }

    fn slope(&self, d: f64) -> f64 {
        d.clamp(-self.beta, self.beta)
    }

    /// Sum of the distances at row `i`.
    fn sum_at(&self, own: &Space, other: &Space, rows: usize, i: usize) -> f64 {
        if own.is_careful(i) || other.is_careful(i) {
            let (own, other) = (own.corner(i), other.corner(i));
            return (0..rows).map(|j| self.sum_of(j, |k| own.cosine(j, k) - other.cosine(j, k))).sum();
        }
        let mut sum = 0.0;
        for j in 0..rows {
            let (ours, theirs) = (Side::new(own, i, j), Side::new(other, i, j));
            sum += self.sum_of(j, |k| ours.at(k).0 - theirs.at(k).0);
        }
        sum
    }

    /// Sum of the distances of `j` and those before it; a triplet and its mirror image are one.
    #[inline]
    fn sum_of(&self, j: usize, difference: impl Fn(usize) -> f64) -> f64 {
        let of_pair: f64 = (0..j).map(|k| self.distance(difference(k))).sum();
        2.0 * of_pair + self.distance(difference(j))
    }

    /// Gradient of the rows of `own`, of a sum of triplets that are each counted once, times `factor`.
    fn gradient(&self, own: &Space, other: &Space, rows: usize, factor: f64) -> Vec<f64> {
        let mut pushes = vec![0.0; own.values.len()];
        let mut slopes = Slopes { of_pairs: vec![0.0; rows * rows], of_i: vec![0.0; rows], of_j: vec![0.0; rows] };
        for i in 0..rows {
            if !own.is_careful(i) && !other.is_careful(i) {
                self.add_slopes(own, other, i, &mut slopes);
                continue;
            }
            let (own, other) = (own.corner(i), other.corner(i));
            let slope = |j: usize, k: usize| self.slope(own.cosine(j, k) - other.cosine(j, k));
            let turns = own.bend(&mut slopes.of_pairs, slope);
            if !turns.is_empty() {
                own.push(&turns, factor, &mut pushes);
            }
        }
        // The derivative of a square: 2.
        slopes.of_pairs.iter_mut().for_each(|slope| *slope *= 2.0 * factor);
        add_differences(&own.values, rows, &slopes.of_pairs, &mut pushes);
        pushes
    }

    /// Adds the slopes of the corner at row `i` by the squared distances of `own`.
    fn add_slopes(&self, own: &Space, other: &Space, i: usize, slopes: &mut Slopes) {
        let Slopes { of_pairs, of_i, of_j } = slopes;
        let rows = of_i.len();
        of_i.fill(0.0);
        let (_, inverse) = own.from(i);
        for j in (0..rows).filter(|j| inverse[*j] > 0.0) {
            let (ours, theirs) = (Side::new(own, i, j), Side::new(other, i, j));
            let (mut at_j, square_inverse) = (0.0, 0.5 * inverse[j] * inverse[j]);
            for (k, ((at_k, across), inverse_k)) in
                of_i[..j].iter_mut().zip(&mut of_j[..j]).zip(&inverse[..j]).enumerate()
            {
                let ((cosine, half), (wanted, _)) = (ours.at(k), theirs.at(k));
                let slope = self.slope(cosine - wanted);
                at_j += slope * (half - cosine * square_inverse);
                *at_k += slope * (half - cosine * (0.5 * inverse_k * inverse_k));
                *across = -slope * half;
            }
            of_i[j] += at_j;
            of_pairs[j * rows..j * rows + j].iter_mut().zip(&*of_j).for_each(|(slope, across)| *slope += across);
        }
        of_pairs[i * rows..(i + 1) * rows].iter_mut().zip(&*of_i).for_each(|(slope, own)| *slope += own);
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
        let [own, other] = [0, 1].map(|side: usize| Space::of(widened(inputs[side].values), rows));
        let sum: f64 = (0..rows).map(|i| self.sum_at(&own, &other, rows, i)).sum();
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
        let spaces = [0, 1].map(|side: usize| Space::of(widened(inputs[side].values), rows));
        // A triplet and its mirror image: 2.
        let factor = 2.0 * output_grad[0].to_f64() / (self.beta * (rows * rows * rows) as f64);
        for side in [0, 1] {
            let Some(grad) = &mut grads[side] else { continue };
            let pushes = self.gradient(&spaces[side], &spaces[1 - side], rows, factor);
            grad.iter_mut().zip(pushes).for_each(|(grad, push)| *grad += T::of(push));
        }
        Ok(())
    }

    fn composite(&self, _cx: &Cx, inputs: &[&Tensor]) -> Result<Tensor> {
        let cosines = |x: &Tensor| {
            let differences = x.unsqueeze(0) - x.unsqueeze(1); // [N, N, D]
            let squares = differences.square().sum_keep(&[2]); // [N, N, 1]
            // Not by the squares: those of small differences are 0 in single precision.
            let apart = differences.abs().sum_keep(&[2]).gt_value(0.0); // [N, N, 1]
            let unit = differences / squares.clamp_min(SHORTEST * SHORTEST).sqrt() * apart; // [N, N, D]
            unit.matmul(&unit.t()) // [N, N, N]
        };
        Ok(cosines(inputs[0]).smooth_l1(&cosines(inputs[1]), self.beta).mean_all())
    }
}
