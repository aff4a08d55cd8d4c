//! Maps over one, two or three slices, parallel from a size on.

use crate::float::{Float, simd};
use crate::parallel::{CHUNK, pieces, pieces2};

/// `out[i] = f(x[i])`.
pub fn map<T: Float>(x: &[T], out: &mut [T], f: impl Fn(T) -> T + Sync) {
    assert_eq!(x.len(), out.len(), "map: lengths differ");
    let work = out.len();
    pieces(out, CHUNK, work, |index, out| {
        let x = &x[index * CHUNK..][..out.len()];
        simd(|| {
            for (out, x) in out.iter_mut().zip(x) {
                *out = f(*x);
            }
        });
    });
}

/// `out[i] = f(a[i], b[i])`.
pub fn zip<T: Float>(a: &[T], b: &[T], out: &mut [T], f: impl Fn(T, T) -> T + Sync) {
    assert!(a.len() == out.len() && b.len() == out.len(), "zip: lengths differ");
    let work = out.len();
    pieces(out, CHUNK, work, |index, out| {
        let a = &a[index * CHUNK..][..out.len()];
        let b = &b[index * CHUNK..][..out.len()];
        simd(|| {
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                *out = f(*a, *b);
            }
        });
    });
}

/// `out[i] = f(a[i], b[i], c[i])`.
pub fn zip3<T: Float>(a: &[T], b: &[T], c: &[T], out: &mut [T], f: impl Fn(T, T, T) -> T + Sync) {
    assert!(a.len() == out.len() && b.len() == out.len() && c.len() == out.len(), "zip3: lengths differ");
    let work = out.len();
    pieces(out, CHUNK, work, |index, out| {
        let a = &a[index * CHUNK..][..out.len()];
        let b = &b[index * CHUNK..][..out.len()];
        let c = &c[index * CHUNK..][..out.len()];
        simd(|| {
            for (((out, a), b), c) in out.iter_mut().zip(a).zip(b).zip(c) {
                *out = f(*a, *b, *c);
            }
        });
    });
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
        let mut out = vec![0.0; a.len()];
        map(&a, &mut out, |x| x + 1.0);
        assert!(out.iter().zip(&a).all(|(y, x)| *y == x + 1.0));
        zip(&a, &a, &mut out, |x, y| x - 2.0 * y);
        assert!(out.iter().zip(&a).all(|(y, x)| *y == -x));
        zip3(&a, &a, &a, &mut out, |x, y, z| x + y - z);
        assert_eq!(out, a);
        let mut second = out.clone();
        zip3_two([&a, &a, &a], &mut out, &mut second, |x, y, z| (x + y, y - z));
        assert!(out.iter().zip(&a).all(|(y, x)| *y == 2.0 * x) && second.iter().all(|y| *y == 0.0));
    }
}
