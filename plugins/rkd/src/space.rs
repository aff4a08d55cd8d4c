//! The rows of a batch as seen from each of them.

use crate::vectors::{dot, squared_distances};

/// Sides shorter than this count as this long where a direction is taken: theirs is shorter than 1.
pub(crate) const SHORTEST: f64 = 1e-12;

/// Sides of a corner that differ in length by more than this factor: their squares say too little of the shorter one.
const UNEVEN: f64 = 1024.0;

/// Rows, the squared distances between them, and the inverse distances: 0 where rows are equal.
pub(crate) struct Space {
    pub(crate) values: Vec<f64>,
    rows: usize,
    squares: Vec<f64>,
    inverse: Vec<f64>,
    careful: Vec<bool>,
}

impl Space {
    pub(crate) fn of(values: Vec<f64>, rows: usize) -> Space {
        let squares = squared_distances(&values, rows);
        let inverse = |square: &f64| if *square > 0.0 { 1.0 / square.sqrt().max(SHORTEST) } else { 0.0 };
        let careful = squares.chunks(rows.max(1)).map(wants_care).collect();
        Space { inverse: squares.iter().map(inverse).collect(), values, rows, squares, careful }
    }

    /// Squares and inverses of the distances from a row.
    pub(crate) fn from(&self, row: usize) -> (&[f64], &[f64]) {
        let range = row * self.rows..(row + 1) * self.rows;
        (&self.squares[range.clone()], &self.inverse[range])
    }

    /// Whether the corner at a row has sides of very different length, or a side that is too short to have a full direction.
    pub(crate) fn is_careful(&self, row: usize) -> bool {
        self.careful[row]
    }

    pub(crate) fn corner(&self, row: usize) -> Corner<'_> {
        let units = if self.careful[row] { self.units(row) } else { vec![] };
        Corner { space: self, row, units }
    }

    /// Directions `[N, D]` from a row.
    fn units(&self, row: usize) -> Vec<f64> {
        let width = self.values.len() / self.rows;
        let (_, inverse) = self.from(row);
        let centre = &self.values[row * width..(row + 1) * width];
        let towards = |(x, inverse): (&[f64], f64)| -> Vec<f64> {
            x.iter().zip(centre).map(|(x, centre)| (x - centre) * inverse).collect()
        };
        self.values.chunks(width.max(1)).zip(inverse.iter().copied()).flat_map(towards).collect()
    }
}

fn wants_care(squares: &[f64]) -> bool {
    let apart = squares.iter().copied().filter(|square| *square > 0.0);
    let (short, long) =
        apart.fold((f64::INFINITY, 0.0), |(short, long): (f64, f64), side| (short.min(side), long.max(side)));
    short <= SHORTEST * SHORTEST || long > UNEVEN * UNEVEN * short
}

/// The corner at row `i` with one side, to row `j`, fixed: the cosine at `k` by the law of cosines, and half of the product of the
/// inverse distances.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    from_i: &'a [f64],
    inverse_i: &'a [f64],
    from_j: &'a [f64],
    square: f64,
    half_inverse: f64,
}

impl<'a> Side<'a> {
    pub(crate) fn new(space: &'a Space, i: usize, j: usize) -> Side<'a> {
        let (from_i, inverse_i) = space.from(i);
        let (from_j, _) = space.from(j);
        Side { from_i, inverse_i, from_j, square: from_i[j], half_inverse: 0.5 * inverse_i[j] }
    }

    pub(crate) fn at(&self, k: usize) -> (f64, f64) {
        let half = self.half_inverse * self.inverse_i[k];
        ((self.square + self.from_i[k] - self.from_j[k]) * half, half)
    }
}

/// A corner whose uneven pairs of sides are multiplied as directions.
pub(crate) struct Corner<'a> {
    space: &'a Space,
    row: usize,
    /// Empty where no pair of sides is uneven.
    units: Vec<f64>,
}

impl Corner<'_> {
    fn unit(&self, row: usize) -> &[f64] {
        let width = self.units.len() / self.space.rows;
        &self.units[row * width..(row + 1) * width]
    }

    fn is_uneven(&self, j: usize, k: usize) -> bool {
        let (squares, _) = self.space.from(self.row);
        let (short, long) = (squares[j].min(squares[k]), squares[j].max(squares[k]));
        !self.units.is_empty() && long > UNEVEN * UNEVEN * short
    }

    pub(crate) fn cosine(&self, j: usize, k: usize) -> f64 {
        if self.is_uneven(j, k) {
            return dot(self.unit(j), self.unit(k));
        }
        Side::new(self.space, self.row, j).at(k).0
    }

    /// Gradient of the cosines, `slope(j, k)` each: by squared distances, added to `slopes` `[N, N]`, and by uneven directions,
    /// which is the result, `[N, D]`.
    pub(crate) fn bend(&self, slopes: &mut [f64], slope: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let (i, rows) = (self.row, self.space.rows);
        let mut turns = vec![0.0; self.units.len()];
        let (_, inverse) = self.space.from(i);
        // A side at the limit has no length that turns.
        let own = |inverse: f64| if inverse < 1.0 / SHORTEST { 0.5 * inverse * inverse } else { 0.0 };
        for j in (0..rows).filter(|j| inverse[*j] > 0.0) {
            let side = Side::new(self.space, i, j);
            for k in (0..=j).filter(|k| inverse[*k] > 0.0) {
                let slope = if k == j { 0.5 } else { 1.0 } * slope(j, k);
                if self.is_uneven(j, k) {
                    add(&mut turns, j, slope, self.unit(k));
                    add(&mut turns, k, slope, self.unit(j));
                    continue;
                }
                let (cosine, half) = side.at(k);
                slopes[i * rows + j] += slope * (half - cosine * own(inverse[j]));
                slopes[i * rows + k] += slope * (half - cosine * own(inverse[k]));
                slopes[j * rows + k] -= slope * half;
            }
        }
        turns
    }

    /// Adds the gradient of the rows, from that of the directions, times `factor`.
    pub(crate) fn push(&self, turns: &[f64], factor: f64, pushes: &mut [f64]) {
        let width = turns.len() / self.space.rows;
        let (_, inverse) = self.space.from(self.row);
        let mut back = vec![0.0; width];
        for (j, turn) in turns.chunks(width.max(1)).enumerate() {
            let (unit, own) = (self.unit(j), &mut pushes[j * width..(j + 1) * width]);
            let along = if inverse[j] < 1.0 / SHORTEST { dot(turn, unit) } else { 0.0 };
            for (((turn, unit), own), back) in turn.iter().zip(unit).zip(own).zip(&mut back) {
                let push = factor * inverse[j] * (turn - along * unit);
                *own += push;
                *back -= push;
            }
        }
        pushes[self.row * width..(self.row + 1) * width].iter_mut().zip(back).for_each(|(own, back)| *own += back);
    }
}

/// Adds `factor` times `values` to a row.
fn add(rows: &mut [f64], row: usize, factor: f64, values: &[f64]) {
    let own = &mut rows[row * values.len()..(row + 1) * values.len()];
    own.iter_mut().zip(values).for_each(|(own, value)| *own += factor * value);
}
