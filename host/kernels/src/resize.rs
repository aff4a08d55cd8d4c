//! Resizing of the last two dims: each output element is a weighted pair of rows and columns.

use crate::error::ShapeError;
use crate::float::Float;
use crate::parallel::pieces;

/// Which elements along an axis make one output element: `(1 - share) x[low] + share x[high]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tap {
    pub(crate) low: usize,
    pub(crate) high: usize,
    pub(crate) share: f64,
}

/// How planes of one size become planes of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    pub(crate) input: [usize; 2],
    pub(crate) rows: Vec<Tap>,
    pub(crate) columns: Vec<Tap>,
    pub(crate) nearest: bool,
}

impl Resize {
    /// Bilinear with `align_corners = false`: `src = (k + 0.5) L / l - 0.5`, not below 0; neighbours clamped to the plane.
    ///
    /// # Errors
    /// An empty input or output.
    pub fn bilinear(input: [usize; 2], output: [usize; 2]) -> Result<Self, ShapeError> {
        Self::new(input, output, false, |k, from, to| {
            let source = ((k as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let low = (source as usize).min(from - 1);
            Tap { low, high: (low + 1).min(from - 1), share: source - low as f64 }
        })
    }

    /// Nearest: `src = floor(k L / l)`, in whole numbers.
    ///
    /// # Errors
    /// An empty input or output.
    pub fn nearest(input: [usize; 2], output: [usize; 2]) -> Result<Self, ShapeError> {
        Self::new(input, output, true, |k, from, to| {
            let low = k * from / to;
            Tap { low, high: low, share: 0.0 }
        })
    }

    fn new(
        input: [usize; 2],
        output: [usize; 2],
        nearest: bool,
        tap: impl Fn(usize, usize, usize) -> Tap,
    ) -> Result<Self, ShapeError> {
        if input.contains(&0) || output.contains(&0) {
            return Err(ShapeError::Zero("size"));
        }
        let axis = |axis: usize| (0..output[axis]).map(|k| tap(k, input[axis], output[axis])).collect();
        Ok(Self { input, rows: axis(0), columns: axis(1), nearest })
    }

    /// Height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    fn check(&self, x: usize, out: usize) -> [usize; 2] {
        let [from, to] = [self.input, self.output()].map(|[height, width]| height * width);
        assert!(x.is_multiple_of(from) && x / from * to == out, "resize: lengths of input and output");
        [from, to]
    }

    /// `x` `[planes, H, W]` to `out` `[planes, H', W']`.
    pub fn forward<T: Float>(&self, x: &[T], out: &mut [T]) {
        let [from, to] = self.check(x.len(), out.len());
        let (width, work) = (self.input[1], out.len());
        pieces(out, to, work, |index, out| {
            let plane = &x[index * from..][..from];
            for (row, out) in self.rows.iter().zip(out.chunks_exact_mut(self.columns.len())) {
                let (low, high) = (&plane[row.low * width..][..width], &plane[row.high * width..][..width]);
                let down = T::of(row.share);
                for (column, out) in self.columns.iter().zip(out) {
                    if self.nearest {
                        *out = low[column.low];
                        continue;
                    }
                    let right = T::of(column.share);
                    let left = T::ONE - right;
                    let above = left * low[column.low] + right * low[column.high];
                    let below = left * high[column.low] + right * high[column.high];
                    *out = (T::ONE - down) * above + down * below;
                }
            }
        });
    }

    /// The adjoint: `grad` `[planes, H', W']` to `grad_x` `[planes, H, W]`.
    pub fn backward<T: Float>(&self, grad: &[T], grad_x: &mut [T]) {
        let [from, to] = self.check(grad_x.len(), grad.len());
        let width = self.input[1];
        pieces(grad_x, from, grad.len(), |index, plane| {
            plane.fill(T::ZERO);
            let lines = grad[index * to..][..to].chunks_exact(self.columns.len());
            for (row, grad) in self.rows.iter().zip(lines) {
                let down = T::of(row.share);
                for (column, grad) in self.columns.iter().zip(grad) {
                    if self.nearest {
                        plane[row.low * width + column.low] += *grad;
                        continue;
                    }
                    let right = T::of(column.share);
                    let (above, below) = ((T::ONE - down) * *grad, down * *grad);
                    plane[row.low * width + column.low] += (T::ONE - right) * above;
                    plane[row.low * width + column.high] += right * above;
                    plane[row.high * width + column.low] += (T::ONE - right) * below;
                    plane[row.high * width + column.high] += right * below;
                }
            }
        });
    }
}
