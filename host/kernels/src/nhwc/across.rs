//! Sums and extremes of a row in 16 lanes, the same order on each instruction set.
//!
//! The elements after the last whole block are filled up to one, so that all work is done by whole vectors. Sums are `f32` over
//! a run of blocks, `f64` above.

use crate::float::exp_flushed;

/// Elements of a block.
pub(crate) const LANES: usize = 16;
/// Elements whose sum is taken in `f32` lanes: 16 additions each.
const RUN: usize = 256;

/// What is summed, of the elements of two slices.
pub(crate) trait Term: Copy {
    /// The term of one pair.
    fn of(self, a: f32, b: f32) -> f32;
}

/// The first element.
#[derive(Clone, Copy)]
struct First;
/// The product.
#[derive(Clone, Copy)]
struct Product;
/// The square of the first element's distance.
#[derive(Clone, Copy)]
struct Square(f32);
/// The first element's distance times the second element.
#[derive(Clone, Copy)]
struct CentredProduct(f32);

impl Term for First {
    #[inline(always)]
    fn of(self, a: f32, _b: f32) -> f32 {
        a
    }
}

impl Term for Product {
    #[inline(always)]
    fn of(self, a: f32, b: f32) -> f32 {
        a * b
    }
}

impl Term for Square {
    #[inline(always)]
    fn of(self, a: f32, _b: f32) -> f32 {
        (a - self.0) * (a - self.0)
    }
}

impl Term for CentredProduct {
    #[inline(always)]
    fn of(self, a: f32, b: f32) -> f32 {
        (a - self.0) * b
    }
}

/// Sum of the terms; `fill`, whose term must be 0, stands for the elements behind the end.
#[inline(always)]
fn sum<T: Term>(term: T, a: &[f32], b: &[f32], fill: [f32; 2]) -> f64 {
    let mut total = 0.0;
    for (a, b) in a.chunks(RUN).zip(b.chunks(RUN)) {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let mut lanes = [0f32; LANES];
        for (a, b) in a.iter().zip(b) {
            add_block(term, a, b, &mut lanes);
        }
        if !a_rest.is_empty() {
            add_block(term, &filled(a_rest, fill[0]), &filled(b_rest, fill[1]), &mut lanes);
        }
        total += fold(&lanes);
    }
    total
}

#[inline(always)]
fn add_block<T: Term>(term: T, a: &[f32; LANES], b: &[f32; LANES], lanes: &mut [f32; LANES]) {
    for lane in 0..LANES {
        lanes[lane] += term.of(a[lane], b[lane]);
    }
}

#[inline(always)]
fn filled(rest: &[f32], fill: f32) -> [f32; LANES] {
    let mut block = [fill; LANES];
    for lane in 0..LANES {
        if lane < rest.len() {
            block[lane] = rest[lane];
        }
    }
    block
}

/// Lanes added by halves in `f64`, a fixed tree.
#[inline(always)]
fn fold(lanes: &[f32; LANES]) -> f64 {
    let mut wide = [0f64; LANES];
    for lane in 0..LANES {
        wide[lane] = f64::from(lanes[lane]);
    }
    let mut size = LANES;
    while size > 1 {
        size /= 2;
        for at in 0..size {
            wide[at] += wide[at + size];
        }
    }
    wide[0]
}

/// `sum x`.
#[inline(always)]
pub(crate) fn total(x: &[f32]) -> f64 {
    sum(First, x, x, [0.0; 2])
}

/// `sum a b`.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    sum(Product, a, b, [0.0; 2])
}

/// `sum (x - centre)^2`.
#[inline(always)]
pub(crate) fn squares(x: &[f32], centre: f32) -> f64 {
    sum(Square(centre), x, x, [centre; 2])
}

/// `sum (x - centre) h`.
#[inline(always)]
pub(crate) fn centred_dot(x: &[f32], centre: f32, h: &[f32]) -> f64 {
    sum(CentredProduct(centre), x, h, [centre, 0.0])
}

/// Largest element; negative infinity of none. NaN is passed over.
#[inline(always)]
pub(crate) fn maximum(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        raise(block, &mut lanes);
    }
    if !rest.is_empty() {
        raise(&filled(rest, f32::NEG_INFINITY), &mut lanes);
    }
    let mut size = LANES;
    while size > 1 {
        size /= 2;
        for at in 0..size {
            lanes[at] = if lanes[at + size] > lanes[at] { lanes[at + size] } else { lanes[at] };
        }
    }
    lanes[0]
}

#[inline(always)]
fn raise(block: &[f32; LANES], lanes: &mut [f32; LANES]) {
    for lane in 0..LANES {
        lanes[lane] = if block[lane] > lanes[lane] { block[lane] } else { lanes[lane] };
    }
}

/// `out = e^((x - top) factor)`; returns its sum.
#[inline(always)]
pub(crate) fn exponentials(x: &[f32], top: f32, factor: f32, out: &mut [f32]) -> f64 {
    let mut total = 0.0;
    for (x, out) in x.chunks(RUN).zip(out.chunks_mut(RUN)) {
        let ((x, x_rest), (out, out_rest)) = (x.as_chunks::<LANES>(), out.as_chunks_mut::<LANES>());
        let mut lanes = [0f32; LANES];
        for (x, out) in x.iter().zip(out) {
            exponential_block(x, top, factor, out, &mut lanes);
        }
        if !x_rest.is_empty() {
            let mut block = [0f32; LANES];
            exponential_block(&filled(x_rest, f32::NEG_INFINITY), top, factor, &mut block, &mut lanes);
            out_rest.copy_from_slice(&block[..x_rest.len()]);
        }
        total += fold(&lanes);
    }
    total
}

#[inline(always)]
fn exponential_block(x: &[f32; LANES], top: f32, factor: f32, out: &mut [f32; LANES], lanes: &mut [f32; LANES]) {
    for lane in 0..LANES {
        out[lane] = exp_flushed((x[lane] - top) * factor);
        lanes[lane] += out[lane];
    }
}

/// The block of `values` from `at` on, filled up with 0.
#[inline(always)]
pub(crate) fn block(values: &[f32], at: usize) -> [f32; LANES] {
    match values[at..].first_chunk::<LANES>() {
        Some(block) => *block,
        None => filled(&values[at..], 0.0),
    }
}

/// Puts a block, or what of it lies before the end, at `at`.
#[inline(always)]
pub(crate) fn put_block(block: &[f32; LANES], values: &mut [f32], at: usize) {
    match values[at..].first_chunk_mut::<LANES>() {
        Some(place) => *place = *block,
        None => {
            let rest = &mut values[at..];
            rest.copy_from_slice(&block[..rest.len()]);
        }
    }
}
