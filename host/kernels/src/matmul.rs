//! Matrix products over strided operands.

use crate::float::Float;
use crate::parallel::pieces;
use gemm::Parallelism;

/// A matrix inside a slice: element `(row, column)` is at `row * rows + column * columns`.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// Distance of two rows.
    pub rows: usize,
    /// Distance of two columns.
    pub columns: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix whose rows are `width` apart.
    pub fn by_rows(data: &'a [T], width: usize) -> Self {
        Self { data, rows: width, columns: 1 }
    }

    /// The transpose of a row-major matrix whose rows are `width` apart.
    pub fn transposed(data: &'a [T], width: usize) -> Self {
        Self { data, rows: 1, columns: width }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.rows + (columns - 1) * self.columns < self.data.len()
    }

    fn from(&self, offset: usize) -> Self {
        Self { data: &self.data[offset..], rows: self.rows, columns: self.columns }
    }
}

/// `c = a b`, or `c += a b` when `add`; `c` is row-major with rows `width` apart. `[m, k] x [k, n] -> [m, n]`, one thread.
pub fn product<T: Float>(
    [m, n, k]: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    (c, width): (&mut [T], usize),
    add: bool,
) {
    assert!(a.holds(m, k) && b.holds(k, n), "product: an operand is too short");
    let into = Matrix { data: &*c, rows: width, columns: 1 };
    assert!(width >= n && into.holds(m, n), "product: the result is too short");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !add {
            c.chunks_mut(width).take(m).for_each(|row| row[..n].fill(T::ZERO));
        }
        return;
    }
    let step = |distance: usize| distance as isize;
    // SAFETY: the asserts above keep every element that the strides reach inside its slice, and `c` is borrowed mutably,
    // so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            step(width),
            add,
            a.data.as_ptr(),
            step(a.columns),
            step(a.rows),
            b.data.as_ptr(),
            step(b.columns),
            step(b.rows),
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `c = a b` with rows of `c` cut into fixed blocks over threads. `c` is `[m, n]`, contiguous.
pub fn matmul<T: Float>([m, n, k]: [usize; 3], a: Matrix<'_, T>, b: Matrix<'_, T>, c: &mut [T]) {
    assert_eq!(c.len(), m * n, "matmul: the result has the wrong length");
    let block = rows_of_block(m, n, k);
    pieces(c, block * n, m * n * k, |index, c| {
        let row = index * block;
        let rows = (m - row).min(block);
        product([rows, n, k], a.from(row * a.rows), b, (c, n), false);
    });
}

/// Rows of one block: enough work to pay a task, and at most 16 blocks.
fn rows_of_block(m: usize, n: usize, k: usize) -> usize {
    let worth = (1usize << 18).div_ceil((n * k).max(1));
    m.div_ceil(16).max(worth).max(8).min(m.max(1))
}

/// A batch of products: `c[i] = a[i] b[i]`, `[m, k] x [k, n]`, where `a_at` and `b_at` give the offset of matrix `i` in
/// the operand (equal offsets broadcast a matrix).
pub fn batched<T: Float>(
    size: [usize; 3],
    (a, a_at): (Matrix<'_, T>, &[usize]),
    (b, b_at): (Matrix<'_, T>, &[usize]),
    c: &mut [T],
) {
    let [m, n, k] = size;
    assert!(a_at.len() == b_at.len() && c.len() == a_at.len() * m * n, "batched: lengths differ");
    if a_at.len() == 1 {
        let (a, b) = (a.from(a_at[0]), b.from(b_at[0]));
        return matmul(size, a, b, c);
    }
    let work = c.len() * k;
    pieces(c, m * n, work, |index, c| {
        let (a, b) = (a.from(a_at[index]), b.from(b_at[index]));
        product([m, n, k], a, b, (c, n.max(1)), false);
    });
}
