//! Pooling over the last two dims: planes are independent.

use crate::conv::Window;
use crate::error::ShapeError;
use crate::float::{Float, simd};
use crate::parallel::pieces;
use crate::reduce::sum;
use std::ops::Range;

/// Geometry of max pooling and of average pooling with a fixed window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolShape {
    /// Images times channels.
    pub planes: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output: `(H + 2 padding - k) / stride + 1`, rounded down.
    pub output: [usize; 2],
    /// The moving window.
    pub window: Window,
}

impl PoolShape {
    /// Pooling of `planes` planes of size `input`.
    ///
    /// # Errors
    /// Zero sizes, a window larger than the padded input, padding above half the window.
    pub fn new(planes: usize, input: [usize; 2], window: Window) -> Result<Self, ShapeError> {
        let output = window.output(input)?;
        for (padding, kernel) in window.padding.into_iter().zip(window.kernel) {
            if padding > kernel / 2 {
                return Err(ShapeError::Padding { padding, kernel });
            }
        }
        Ok(Self { planes, input, output, window })
    }

    fn in_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn out_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    fn check(&self, x: usize, out: usize) {
        let expected = [self.planes * self.in_plane(), self.planes * self.out_plane()];
        assert_eq!([x, out], expected, "pooling: lengths of input and output");
    }

    /// Elements of the input along `axis` under window `at`, given by the first one and their number.
    pub(crate) fn taps(&self, axis: usize, at: usize) -> (usize, usize) {
        let w = &self.window;
        let start = at * w.stride[axis];
        let skipped = w.padding[axis].saturating_sub(start).div_ceil(w.dilation[axis]);
        let first = start + skipped * w.dilation[axis] - w.padding[axis];
        let room = self.input[axis].saturating_sub(first).div_ceil(w.dilation[axis]);
        (first, room.min(w.kernel[axis] - skipped.min(w.kernel[axis])))
    }

    /// Offset in the plane of the first maximum of window `(oy, ox)`; NaN counts as the largest.
    #[inline(always)]
    fn first_maximum<T: Float>(&self, plane: &[T], rows: (usize, usize), columns: (usize, usize)) -> usize {
        let step = self.window.dilation;
        let mut best = rows.0 * self.input[1] + columns.0;
        for row in 0..rows.1 {
            let line = (rows.0 + row * step[0]) * self.input[1] + columns.0;
            for column in 0..columns.1 {
                let at = line + column * step[1];
                if plane[at] > plane[best] || (plane[at].is_nan() && !plane[best].is_nan()) {
                    best = at;
                }
            }
        }
        best
    }

    fn each_maximum<T: Float>(&self, plane: &[T], mut task: impl FnMut(usize, usize)) {
        let mut out = 0;
        for oy in 0..self.output[0] {
            let rows = self.taps(0, oy);
            for ox in 0..self.output[1] {
                task(out, self.first_maximum(plane, rows, self.taps(1, ox)));
                out += 1;
            }
        }
    }
}

/// Largest element of each window; padding never wins. `x` `[planes, H, W]`, `out` `[planes, H', W']`.
pub fn max_pool2d_forward<T: Float>(shape: &PoolShape, x: &[T], out: &mut [T]) {
    shape.check(x.len(), out.len());
    pieces(out, shape.out_plane(), x.len(), |index, out| {
        let plane = &x[index * shape.in_plane()..][..shape.in_plane()];
        shape.each_maximum(plane, |at, best| out[at] = plane[best]);
    });
}

/// The first maximum of a window, in rows then columns, takes all of the window's gradient.
pub fn max_pool2d_backward<T: Float>(shape: &PoolShape, x: &[T], grad: &[T], grad_x: &mut [T]) {
    shape.check(x.len(), grad.len());
    assert_eq!(x.len(), grad_x.len(), "pooling: length of the gradient");
    pieces(grad_x, shape.in_plane(), x.len(), |index, grad_x| {
        let plane = &x[index * shape.in_plane()..][..shape.in_plane()];
        let grad = &grad[index * shape.out_plane()..][..shape.out_plane()];
        grad_x.fill(T::ZERO);
        shape.each_maximum(plane, |at, best| grad_x[best] += grad[at]);
    });
}

/// Averages over windows given row by row and column by column: fixed, adaptive and global pooling are one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Average {
    planes: usize,
    pub(crate) input: [usize; 2],
    pub(crate) rows: Vec<Range<usize>>,
    pub(crate) columns: Vec<Range<usize>>,
    divisor: Option<usize>,
}

impl Average {
    /// Fixed windows. With `count_include_pad` padding counts as zeros, else the mean is over the elements inside.
    pub fn fixed(shape: &PoolShape, count_include_pad: bool) -> Self {
        let axis = |axis: usize| {
            let window = |at| {
                let (first, count) = shape.taps(axis, at);
                first..first + count
            };
            (0..shape.output[axis]).map(window).collect()
        };
        let [height, width] = shape.window.kernel;
        let divisor = count_include_pad.then_some(height * width);
        Self { planes: shape.planes, input: shape.input, rows: axis(0), columns: axis(1), divisor }
    }

    /// Window `k` of `L -> l` goes from `floor(k L / l)` to `ceil((k + 1) L / l)`, for any `l >= 1`, larger than `L` too.
    ///
    /// # Errors
    /// An empty input or output.
    pub fn adaptive(planes: usize, input: [usize; 2], output: [usize; 2]) -> Result<Self, ShapeError> {
        if input.contains(&0) || output.contains(&0) {
            return Err(ShapeError::Zero("size"));
        }
        let axis = |axis: usize| {
            let (from, to) = (input[axis], output[axis]);
            (0..to).map(|k| k * from / to..((k + 1) * from).div_ceil(to)).collect()
        };
        Ok(Self { planes, input, rows: axis(0), columns: axis(1), divisor: None })
    }

    /// Height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    fn check(&self, x: usize, out: usize) {
        let expected = [self.input, self.output()].map(|[height, width]| self.planes * height * width);
        assert_eq!([x, out], expected, "pooling: lengths of input and output");
    }

    fn is_global(&self) -> bool {
        self.output() == [1, 1] && self.rows[0] == (0..self.input[0]) && self.columns[0] == (0..self.input[1])
    }

    pub(crate) fn scale<T: Float>(&self, rows: &Range<usize>, columns: &Range<usize>) -> T {
        T::ONE / T::of(self.divisor.unwrap_or(rows.len() * columns.len()) as f64)
    }

    /// Means of `x` `[planes, H, W]` into `out` `[planes, H', W']`.
    pub fn forward<T: Float>(&self, x: &[T], out: &mut [T]) {
        self.check(x.len(), out.len());
        let plane_len = self.input[0] * self.input[1];
        pieces(out, self.rows.len() * self.columns.len(), x.len(), |index, out| {
            let plane = &x[index * plane_len..][..plane_len];
            if self.is_global() {
                out[0] = sum(plane) * self.scale::<T>(&self.rows[0], &self.columns[0]);
                return;
            }
            let mut out = out.iter_mut();
            for rows in &self.rows {
                for (columns, out) in self.columns.iter().zip(&mut out) {
                    let mut total = T::ZERO;
                    for row in rows.clone() {
                        let line = &plane[row * self.input[1]..];
                        total = line[columns.clone()].iter().fold(total, |total, x| total + *x);
                    }
                    *out = total * self.scale::<T>(rows, columns);
                }
            }
        });
    }

    /// Spreads `grad` `[planes, H', W']` evenly over the windows into `grad_x` `[planes, H, W]`.
    pub fn backward<T: Float>(&self, grad: &[T], grad_x: &mut [T]) {
        self.check(grad_x.len(), grad.len());
        let (made, work) = (self.rows.len() * self.columns.len(), grad_x.len());
        pieces(grad_x, self.input[0] * self.input[1], work, |index, plane| {
            let mut grad = grad[index * made..][..made].iter();
            plane.fill(T::ZERO);
            simd(|| {
                for rows in &self.rows {
                    for (columns, grad) in self.columns.iter().zip(&mut grad) {
                        let share = *grad * self.scale::<T>(rows, columns);
                        for row in rows.clone() {
                            let line = &mut plane[row * self.input[1]..];
                            line[columns.clone()].iter_mut().for_each(|x| *x += share);
                        }
                    }
                }
            });
        });
    }
}
