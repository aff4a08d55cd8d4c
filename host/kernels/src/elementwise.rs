//! Maps over one, two or three slices, parallel from a size on.

use crate::float::{Float, simd};
use crate::parallel::{CHUNK, pieces, pieces2};
use std::mem::MaybeUninit;

/// `len` elements, each written by `fill(offset, part)`, which gets all parts once.
///
/// Zeros that are overwritten at once would be a third of the work of a map.
fn written<T: Float>(len: usize, fill: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(len);
    pieces(&mut out.spare_capacity_mut()[..len], CHUNK, len, |index, part| fill(index * CHUNK, part));
    // SAFETY: the maps below write each element of each part, and the parts are all of `len` elements.
    unsafe { out.set_len(len) };
    out
}

/// `f(x[i])`.
pub fn map<T: Float>(x: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    written(x.len(), |at, out| {
        let x = &x[at..][..out.len()];
        simd(|| {
            for (out, x) in out.iter_mut().zip(x) {
                out.write(f(*x));
            }
        });
    })
}

/// `f(a[i], b[i])`.
pub fn zip<T: Float>(a: &[T], b: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    assert!(a.len() == b.len(), "zip: lengths differ");
    written(a.len(), |at, out| {
        let (a, b) = (&a[at..][..out.len()], &b[at..][..out.len()]);
        simd(|| {
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                out.write(f(*a, *b));
            }
        });
    })
}

/// `f(a[i], b[i], c[i])`.
pub fn zip3<T: Float>(a: &[T], b: &[T], c: &[T], f: impl Fn(T, T, T) -> T + Sync) -> Vec<T> {
    assert!(a.len() == b.len() && b.len() == c.len(), "zip3: lengths differ");
    written(a.len(), |at, out| {
        let (a, b, c) = (&a[at..][..out.len()], &b[at..][..out.len()], &c[at..][..out.len()]);
        simd(|| {
            for (((out, a), b), c) in out.iter_mut().zip(a).zip(b).zip(c) {
                out.write(f(*a, *b, *c));
            }
        });
    })
}

/// `(first[i], second[i]) = f(a[i], b[i], c[i])`: both gradients of a binary operation in one pass.
pub fn zip3_two<T: Float>(inputs: [&[T]; 3], first: &mut [T], second: &mut [T], f: impl Fn(T, T, T) -> (T, T) + Sync) {
    let [a, b, c] = inputs;
    let len = first.len();
    assert!([a.len(), b.len(), c.len(), second.len()] == [len; 4], "zip3_two: lengths differ");
    pieces2((first, CHUNK), (second, CHUNK), len, |index, first, second| {
        let at = index * CHUNK;
        let (a, b, c) = (&a[at..][..first.len()], &b[at..][..first.len()], &c[at..][..first.len()]);
        simd(|| {
            for ((((first, second), a), b), c) in first.iter_mut().zip(second).zip(a).zip(b).zip(c) {
                (*first, *second) = f(*a, *b, *c);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::{map, zip, zip3, zip3_two};

    #[test]
    fn maps_over_many_pieces_touch_each_element_once() {
        let a: Vec<f64> = (0..100_003).map(f64::from).collect();
        let out = map(&a, |x| x + 1.0);
        assert!(out.iter().zip(&a).all(|(y, x)| *y == x + 1.0));
        let out = zip(&a, &a, |x, y| x - 2.0 * y);
        assert!(out.iter().zip(&a).all(|(y, x)| *y == -x));
        let mut out = zip3(&a, &a, &a, |x, y, z| x + y - z);
        assert_eq!(out, a);
        let mut second = out.clone();
        zip3_two([&a, &a, &a], &mut out, &mut second, |x, y, z| (x + y, y - z));
        assert!(out.iter().zip(&a).all(|(y, x)| *y == 2.0 * x) && second.iter().all(|y| *y == 0.0));
    }
}
