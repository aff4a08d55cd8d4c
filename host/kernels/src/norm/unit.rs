//! `v / max(|v|, eps)` along one dim of `[outer, dim, inner]`.

use crate::float::{Float, simd};
use crate::parallel::pieces;

/// Divides each vector along the dim by its L2 norm, or by `eps` where the norm is below it.
pub fn l2_normalize_forward<T: Float>(x: &[T], dims: [usize; 3], eps: T, out: &mut [T]) {
    let [outer, dim, inner] = dims;
    assert!(x.len() == outer * dim * inner && out.len() == x.len(), "l2_normalize: lengths");
    pieces(out, dim * inner, x.len(), |slice, out| {
        let x = &x[slice * dim * inner..][..dim * inner];
        T::scratch(inner, |norms| {
            simd(|| {
                lengths(x, norms);
                for (out, x) in out.chunks_exact_mut(inner).zip(x.chunks_exact(inner)) {
                    for ((out, x), norm) in out.iter_mut().zip(x).zip(&*norms) {
                        *out = *x / if *norm < eps { eps } else { *norm };
                    }
                }
            });
        });
    });
}

#[inline(always)]
fn lengths<T: Float>(x: &[T], norms: &mut [T]) {
    dots(x, x, norms);
    norms.iter_mut().for_each(|norm| *norm = norm.sqrt());
}

#[inline(always)]
fn dots<T: Float>(a: &[T], b: &[T], out: &mut [T]) {
    if let [out] = out {
        *out = crate::reduce::dot(a, b);
        return;
    }
    out.fill(T::ZERO);
    for (a, b) in a.chunks_exact(out.len()).zip(b.chunks_exact(out.len())) {
        out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out += *a * *b);
    }
}

/// `g / |v| - v (v . g) / |v|^3`, and `g / eps` where the norm is below `eps`.
pub fn l2_normalize_backward<T: Float>([x, grad]: [&[T]; 2], dims: [usize; 3], eps: T, grad_x: &mut [T]) {
    let [outer, dim, inner] = dims;
    assert!([x.len(), grad.len(), grad_x.len()] == [outer * dim * inner; 3], "l2_normalize: lengths");
    pieces(grad_x, dim * inner, x.len(), |slice, grad_x| {
        let at = slice * dim * inner;
        let (x, grad) = (&x[at..][..dim * inner], &grad[at..][..dim * inner]);
        T::scratch(2 * inner, |scratch| {
            let (norms, along) = scratch.split_at_mut(inner);
            simd(|| {
                lengths(x, norms);
                dots(x, grad, along);
                for (along, norm) in along.iter_mut().zip(norms.iter_mut()) {
                    let flat = *norm < eps;
                    *norm = if flat { eps } else { *norm };
                    *along = if flat { T::ZERO } else { *along / (*norm * *norm * *norm) };
                }
                let lines = grad_x.chunks_exact_mut(inner).zip(grad.chunks_exact(inner)).zip(x.chunks_exact(inner));
                for ((grad_x, grad), x) in lines {
                    for (((grad_x, grad), x), (norm, along)) in
                        grad_x.iter_mut().zip(grad).zip(x).zip(norms.iter().zip(&*along))
                    {
                        *grad_x = *grad / *norm - *x * *along;
                    }
                }
            });
        });
    });
}
