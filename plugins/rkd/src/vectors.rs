//! What the losses ask of their inputs and settings, and differences of rows.

use stillhouse_plugin::prelude::*;

/// One vector for each sample: maps are flattened, and brought to length 1 when asked.
pub(crate) fn pair(name: &str, x: &Inputs, normalize: bool) -> Result<(Tensor, Tensor)> {
    let (student, teacher) = x.pair(name)?;
    let vectors = |values: Tensor| {
        let flat = values.flatten_from(1); // [N, D]
        if normalize { flat.normalize(&[1], 1e-12) } else { flat }
    };
    Ok((vectors(student), vectors(teacher)))
}

/// Refuses a bend of the smooth L1 distance that is none.
pub(crate) fn check_beta(beta: f64) -> Result<()> {
    ensure!(beta.is_finite() && beta > 0.0, "`beta` must be finite and above 0, got {beta}");
    Ok(())
}

/// Rows and columns of an input.
pub(crate) fn matrix(shape: &[usize]) -> Result<[usize; 2]> {
    <[usize; 2]>::try_from(shape).map_err(|_| Error::new(format!("wants vectors [N, D], got {shape:?}")))
}

/// The values in double precision.
pub(crate) fn widened<T: Float>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// Squared distances `[N, N]` of `rows` rows, taken from differences, so that equal rows are at 0 exactly.
pub(crate) fn squared_distances<T: Float>(values: &[T], rows: usize) -> Vec<T> {
    let width = values.len() / rows.max(1);
    let row = |at: usize| &values[at * width..(at + 1) * width];
    let mut squares = vec![T::of(0.0); rows * rows];
    for i in 0..rows {
        for j in 0..i {
            let square = squared_distance(row(i), row(j));
            squares[i * rows + j] = square;
            squares[j * rows + i] = square;
        }
    }
    squares
}

fn squared_distance<T: Float>(a: &[T], b: &[T]) -> T {
    const LANES: usize = 8;
    let mut sums = [T::of(0.0); LANES];
    let (pieces_a, pieces_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let ends = pieces_a.remainder().iter().zip(pieces_b.remainder());
    let rest: T = ends.map(|(a, b)| (*a - *b) * (*a - *b)).sum();
    for (a, b) in pieces_a.zip(pieces_b) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    sums.into_iter().sum::<T>() + rest
}

/// Sum of products.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (pieces_a, pieces_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = pieces_a.remainder().iter().zip(pieces_b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in pieces_a.zip(pieces_b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.into_iter().sum::<f64>() + rest
}

/// Gradient of the rows from factors `[N, N]` of their differences: `grad_i += sum_j (w_ij + w_ji) (x_i - x_j)`.
pub(crate) fn add_differences<T: Float>(values: &[T], rows: usize, weights: &[T], grad: &mut [T]) {
    let width = values.len() / rows.max(1);
    for i in 0..rows {
        let (before, own) = grad[..(i + 1) * width].split_at_mut(i * width);
        let x = &values[i * width..(i + 1) * width];
        for j in 0..i {
            let weight = weights[i * rows + j] + weights[j * rows + i];
            if weight != T::of(0.0) {
                let (y, other) = (&values[j * width..(j + 1) * width], &mut before[j * width..(j + 1) * width]);
                for (((own, other), x), y) in own.iter_mut().zip(other).zip(x).zip(y) {
                    let push = weight * (*x - *y);
                    *own += push;
                    *other += -push;
                }
            }
        }
    }
}
