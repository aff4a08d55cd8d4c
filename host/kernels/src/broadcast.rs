//! NumPy broadcasting of two operands, and its adjoint.

use crate::float::{Float, simd};
use crate::parallel::{CHUNK, pieces, pieces2};
use crate::reduce::sum_dim;

/// How two shapes meet: equal dims, or 1 on one side, aligned at the last dim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    dims: Vec<usize>,
    /// Merged dims, outermost first: (size, step in a, step in b).
    loops: Vec<[usize; 3]>,
}

impl Broadcast {
    /// The common shape of `a` and `b`, if there is one.
    pub fn new(a: &[usize], b: &[usize]) -> Option<Self> {
        let rank = a.len().max(b.len());
        let padded = |dims: &[usize]| [vec![1; rank - dims.len()], dims.to_vec()].concat();
        let (a, b) = (padded(a), padded(b));
        let mut dims = vec![0; rank];
        let mut loops: Vec<[usize; 3]> = Vec::new();
        let (mut a_step, mut b_step) = (1, 1);
        for axis in (0..rank).rev() {
            let size = match (a[axis], b[axis]) {
                (x, y) if x == y => x,
                (1, y) => y,
                (x, 1) => x,
                _ => return None,
            };
            dims[axis] = size;
            let step = |own: usize, step: usize| if own == 1 { 0 } else { step };
            let next = [size, step(a[axis], a_step), step(b[axis], b_step)];
            (a_step, b_step) = (a_step * a[axis], b_step * b[axis]);
            match loops.last_mut() {
                _ if size == 1 => {}
                Some(last) if next[1] == last[1] * last[0] && next[2] == last[2] * last[0] => last[0] *= size,
                _ => loops.push(next),
            }
        }
        loops.reverse();
        if loops.is_empty() {
            loops.push([1, 0, 0]);
        }
        Some(Self { dims, loops })
    }

    /// The common shape.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Elements of the common shape.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether the common shape has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `out = f(a, b)` over the common shape.
    pub fn zip<T: Float>(&self, a: &[T], b: &[T], out: &mut [T], f: impl Fn(T, T) -> T + Sync) {
        assert_eq!(out.len(), self.len(), "broadcast: length of the result");
        let [_, a_step, b_step] = self.line();
        self.each_piece(out, |at, out| {
            self.each_line(at, out.len(), |from, len, a_at, b_at| {
                let out = &mut out[from..from + len];
                let (a, b) = (&a[a_at..], &b[b_at..]);
                simd(|| match (a_step, b_step) {
                    (1, 1) => out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b)),
                    (1, _) => out.iter_mut().zip(a).for_each(|(out, a)| *out = f(*a, b[0])),
                    (_, 1) => out.iter_mut().zip(b).for_each(|(out, b)| *out = f(a[0], *b)),
                    _ => out.fill(f(a[0], b[0])),
                });
            });
        });
    }

    /// `(first, second) = f(a, b, grad)` over the common shape: both gradients, before they are summed back.
    pub fn zip_two<T: Float>(
        &self,
        [a, b, grad]: [&[T]; 3],
        first: &mut [T],
        second: &mut [T],
        f: impl Fn(T, T, T) -> (T, T) + Sync,
    ) {
        assert!([grad.len(), first.len(), second.len()] == [self.len(); 3], "broadcast: lengths");
        let [_, a_step, b_step] = self.line();
        let piece = self.piece();
        pieces2((first, piece), (second, piece), grad.len(), |index, first, second| {
            self.each_line(index * piece, first.len(), |from, len, a_at, b_at| {
                let (first, second) = (&mut first[from..from + len], &mut second[from..from + len]);
                let grad = &grad[index * piece + from..][..len];
                simd(|| {
                    for (i, ((first, second), grad)) in first.iter_mut().zip(second).zip(grad).enumerate() {
                        (*first, *second) = f(a[a_at + i * a_step], b[b_at + i * b_step], *grad);
                    }
                });
            });
        });
    }

    fn line(&self) -> [usize; 3] {
        self.loops[self.loops.len() - 1]
    }

    /// Elements of one piece: whole lines.
    fn piece(&self) -> usize {
        let line = self.line()[0].max(1);
        if self.loops.len() == 1 { line.min(CHUNK) } else { line * CHUNK.div_ceil(line) }
    }

    fn each_piece<T: Float>(&self, out: &mut [T], task: impl Fn(usize, &mut [T]) + Sync) {
        let (piece, work) = (self.piece(), out.len());
        pieces(out, piece, work, |index, out| task(index * piece, out));
    }

    /// Calls `task(offset in the piece, length, offset in a, offset in b)` for each line of the piece at `at`.
    #[inline(always)]
    fn each_line(&self, at: usize, len: usize, mut task: impl FnMut(usize, usize, usize, usize)) {
        let [width, a_step, b_step] = self.line();
        let mut from = 0;
        while from < len {
            let (mut line, column) = ((at + from) / width, (at + from) % width);
            let count = (width - column).min(len - from);
            let (mut a_at, mut b_at) = (column * a_step, column * b_step);
            for [size, a_step, b_step] in self.loops[..self.loops.len() - 1].iter().rev() {
                a_at += line % size * a_step;
                b_at += line % size * b_step;
                line /= size;
            }
            task(from, count, a_at, b_at);
            from += count;
        }
    }
}

/// The adjoint of broadcasting: sums `full` of shape `from` over the dims that `to` lacks or has as 1.
///
/// `to` must broadcast to `from`.
pub fn sum_to<T: Float>(full: &[T], from: &[usize], to: &[usize]) -> Vec<T> {
    let lead = from.len() - to.len();
    // A dim of 1 is summed with its neighbours: sums do not depend on where such dims stand.
    let kept = |axis: usize| from[axis] != 1 && axis >= lead && to[axis - lead] == from[axis];
    let mut sizes = from.to_vec();
    let mut partial: Option<Vec<T>> = None;
    let mut axis = from.len();
    while axis > 0 {
        let end = axis;
        while axis > 0 && !kept(axis - 1) {
            axis -= 1;
        }
        let dim: usize = sizes[axis..end].iter().product();
        if dim != 1 {
            let outer: usize = sizes[..axis].iter().product();
            let inner: usize = sizes[end..].iter().product();
            let mut summed = vec![T::ZERO; outer * inner];
            sum_dim(partial.as_deref().unwrap_or(full), [outer, dim, inner], &mut summed);
            sizes[axis..end].fill(1);
            partial = Some(summed);
        }
        axis = axis.saturating_sub(1);
    }
    partial.unwrap_or_else(|| full.to_vec())
}
