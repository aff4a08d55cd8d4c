//! Resampling of planes: separable filters with the weights worked out once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;

/// Longest side of a view, in pixels.
const LONGEST_SIDE: usize = 16_384;

/// How a picture is brought to another size. Pixels are squares: pixel `i` covers `i..i+1`, its
/// centre is `i + 1/2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Mean over the covered area where an axis shrinks (no aliasing), bilinear where it grows.
    #[default]
    Area,
    /// Linear between the two nearest centres; skips pixels when it shrinks an axis to less than
    /// half.
    Bilinear,
    /// The pixel that the new centre falls into.
    Nearest,
}

/// One output pixel along an axis: where its inputs begin, and their weights (sum 1).
type Taps = (usize, Vec<f32>);

/// A resampling from one size to another.
#[derive(Clone, Debug)]
pub(crate) struct Resize {
    width: usize,
    rows: Vec<Taps>,
    columns: Vec<Taps>,
}

impl Resize {
    /// Weights from `from` to `to`, both `[H, W]`; `subject` is who asks.
    pub(crate) fn new(subject: &str, from: [usize; 2], to: [usize; 2], filter: Filter) -> Result<Self, DataError> {
        if to.iter().chain(&from).any(|side| !(1..=LONGEST_SIDE).contains(side)) {
            return Err(DataError::InvalidOption {
                option: format!("{subject}: size"),
                got: format!("{from:?} to {to:?}"),
                wanted: format!("sides of 1 to {LONGEST_SIDE} pixels"),
            });
        }
        let axis = |axis: usize| (0..to[axis]).map(|i| taps(i, from[axis], to[axis], filter)).collect();
        Ok(Self { width: from[1], rows: axis(0), columns: axis(1) })
    }

    /// The plane at the new size, row by row.
    pub(crate) fn plane(&self, plane: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.rows.len() * self.columns.len());
        let mut line = vec![0.0f32; self.width];
        for (start, weights) in &self.rows {
            line.fill(0.0);
            for (source, weight) in plane.chunks_exact(self.width).skip(*start).zip(weights) {
                line.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
            }
            out.extend(self.columns.iter().map(|(start, weights)| {
                line[*start..].iter().zip(weights).fold(0.0, |sum, (value, weight)| sum + weight * value)
            }));
        }
        out
    }
}

fn taps(i: usize, from: usize, to: usize, filter: Filter) -> Taps {
    match filter {
        Filter::Nearest => ((2 * i + 1) * from / (2 * to), vec![1.0]),
        Filter::Area if to < from => area(i, from, to),
        Filter::Area | Filter::Bilinear => bilinear(i, from, to),
    }
}

/// Overlap of output pixel `i`, which covers `i * from .. (i + 1) * from`, with input pixels of
/// length `to`: exact integers.
fn area(i: usize, from: usize, to: usize) -> Taps {
    let (begin, end) = (i * from, (i + 1) * from);
    let start = begin / to;
    let weights = (start..end.div_ceil(to)).map(|j| {
        let overlap = end.min((j + 1) * to) - begin.max(j * to);
        overlap as f32 / from as f32
    });
    (start, weights.collect())
}

fn bilinear(i: usize, from: usize, to: usize) -> Taps {
    let centre = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
    let centre = centre.clamp(0.0, (from - 1) as f64);
    let start = centre.floor();
    let share = (centre - start) as f32;
    if share == 0.0 { (start as usize, vec![1.0]) } else { (start as usize, vec![1.0 - share, share]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(plane: &[f32], from: [usize; 2], to: [usize; 2], filter: Filter) -> Vec<f32> {
        Resize::new("test", from, to, filter).unwrap().plane(plane)
    }

    #[test]
    fn area_whole_ratio_is_the_mean_of_blocks() {
        let plane: Vec<f32> = (0..16).map(|value| value as f32).collect();
        // First block 0 1 4 5: 10/4; then 2 3 6 7: 18/4; 8 9 12 13: 42/4; 10 11 14 15: 50/4.
        assert_eq!(resized(&plane, [4, 4], [2, 2], Filter::Area), [2.5, 4.5, 10.5, 12.5]);
        assert_eq!(resized(&plane, [4, 4], [1, 1], Filter::Area), [7.5]);
    }

    #[test]
    fn area_fractional_ratio_weighs_by_overlap() {
        // 3 pixels to 2: each output covers 1.5 pixels: (1 a + 0.5 b) / 1.5 and (0.5 b + 1 c) /
        // 1.5.
        let out = resized(&[3.0, 6.0, 12.0], [1, 3], [1, 2], Filter::Area);
        assert!((out[0] - 4.0).abs() < 1e-6 && (out[1] - 10.0).abs() < 1e-6, "{out:?}");
    }

    #[test]
    fn bilinear_doubling_is_quarters_between_centres() {
        // Output centres 0.25, 0.75, 1.25, 1.75 are -0.25 (clamped to 0), 0.25, 0.75, 1.25 (clamped
        // to 1) of the input.
        assert_eq!(resized(&[0.0, 4.0], [1, 2], [1, 4], Filter::Bilinear), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(resized(&[0.0, 4.0], [2, 1], [4, 1], Filter::Area), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn bilinear_quartering_takes_the_two_centres_only() {
        // Centre of output 0 is 2.0, between pixels 1 and 2: no antialiasing.
        assert_eq!(resized(&[9.0, 1.0, 3.0, 9.0], [1, 4], [1, 1], Filter::Bilinear), [2.0]);
    }

    #[test]
    fn nearest_takes_the_pixel_under_the_centre() {
        // 5 to 2: centres 1.25 and 3.75 lie in pixels 1 and 3. 2 to 3: 0.33, 1.0, 1.67 lie in
        // pixels 0, 1, 1.
        assert_eq!(resized(&[0.0, 1.0, 2.0, 3.0, 4.0], [1, 5], [1, 2], Filter::Nearest), [1.0, 3.0]);
        assert_eq!(resized(&[0.0, 1.0], [1, 2], [1, 3], Filter::Nearest), [0.0, 1.0, 1.0]);
    }

    #[test]
    fn prop_resize_keeps_constants_and_same_size() {
        for filter in [Filter::Area, Filter::Bilinear, Filter::Nearest] {
            for (from, to) in [([7, 5], [3, 4]), ([3, 4], [9, 11]), ([28, 28], [14, 7]), ([1, 1], [5, 5])] {
                let out = resized(&vec![0.75; from[0] * from[1]], from, to, filter);
                assert_eq!(out.len(), to[0] * to[1]);
                assert!(out.iter().all(|value| (value - 0.75).abs() < 1e-6), "{filter:?} {from:?} {to:?}");
            }
            let plane: Vec<f32> = (0..12).map(|value| value as f32).collect();
            assert_eq!(resized(&plane, [3, 4], [3, 4], filter), plane);
        }
    }

    #[test]
    fn resize_impossible_size_is_error() {
        for to in [[0, 3], [3, 0], [usize::MAX, 1]] {
            assert!(matches!(Resize::new("v", [2, 2], to, Filter::Area), Err(DataError::InvalidOption { .. })));
        }
    }
}
