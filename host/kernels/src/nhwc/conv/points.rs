//! The transforms of Winograd's method, by the points of their polynomials.

use super::lanes::Lanes;

/// One dimension: `OUTS` outputs of a window of `SIDE + 1 - OUTS`; turned around, a window of outputs of the size of the other.
pub(super) trait Points<const SIDE: usize, const OUTS: usize>: Copy + Send + Sync {
    /// `B^T d`.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    unsafe fn differences<V: Lanes>(d: [V; SIDE]) -> [V; SIDE];

    /// `A^T m`.
    ///
    /// # Safety
    /// As above.
    unsafe fn totals<V: Lanes>(m: [V; SIDE]) -> [V; OUTS];

    /// `G g`; elements beyond the window are unused.
    ///
    /// # Safety
    /// As above.
    unsafe fn weights<V: Lanes>(g: [V; SIDE]) -> [V; SIDE];

    /// `G g` where `g` is as long as the outputs.
    ///
    /// # Safety
    /// As above.
    unsafe fn spread<V: Lanes>(g: [V; OUTS]) -> [V; SIDE];

    /// `A^T m` of as many outputs as a window has elements; those beyond are no outputs.
    ///
    /// # Safety
    /// As above.
    unsafe fn window<V: Lanes>(m: [V; SIDE]) -> [V; SIDE];
}

/// F(2, 3) at 0, 1, -1 and infinity.
#[derive(Clone, Copy)]
pub(super) struct TwoThree;

impl Points<4, 2> for TwoThree {
    #[inline(always)]
    unsafe fn differences<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 4] {
        // SAFETY: the caller's contract.
        unsafe { [a.sub(c), b.add(c), c.sub(b), b.sub(d)] }
    }

    #[inline(always)]
    unsafe fn totals<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 2] {
        // SAFETY: the caller's contract.
        unsafe { [a.add(b).add(c), b.sub(c).sub(d)] }
    }

    #[inline(always)]
    unsafe fn weights<V: Lanes>([a, b, c, _]: [V; 4]) -> [V; 4] {
        // SAFETY: the caller's contract.
        unsafe {
            let (half, even) = (V::splat(0.5), a.add(c));
            [a, half.mul(even.add(b)), half.mul(even.sub(b)), c]
        }
    }

    #[inline(always)]
    unsafe fn spread<V: Lanes>([a, b]: [V; 2]) -> [V; 4] {
        // SAFETY: the caller's contract.
        unsafe {
            let half = V::splat(0.5);
            [a, half.mul(a.add(b)), half.mul(a.sub(b)), b]
        }
    }

    #[inline(always)]
    unsafe fn window<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 4] {
        // SAFETY: the caller's contract.
        unsafe { [a.add(b).add(c), b.sub(c), b.add(c).sub(d), d] }
    }
}

/// The points 0, 1, -1, 2, -1/2 and infinity: with a point and its negative inverse errors stay near those of the plain sum,
/// where 2 and -2 lose two more bits.
///
/// ```text
///       1  3/2  -2   -3/2   1    0
///       0  -1  -5/2  -1/2   1    0
/// B^T = 0   1   1/2  -5/2   1    0
///       0 -1/2  -1    1/2   1    0
///       0   2   -1    -2    1    0
///       0   1   3/2   -2  -3/2   1
/// ```
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn six_differences<V: Lanes>([a, b, c, d, e, f]: [V; 6]) -> [V; 6] {
    // SAFETY: the caller's contract.
    unsafe {
        let [half, one_half, two] = [0.5, 1.5, 2.0].map(|factor| V::splat(factor));
        let [across, over] = [b.sub(d), c.sub(e)];
        // e - c, and the parts that the points 1 and -1 share.
        let even = V::splat(0.0).sub(over);
        let minus = V::splat(-2.0);
        [
            one_half.fma(across, minus.fma(c, a.add(e))),
            V::splat(-2.5).fma(c, e.sub(b)).sub(half.mul(d)),
            half.fma(c, V::splat(-2.5).fma(d, b.add(e))),
            V::splat(-0.5).fma(across, even),
            two.fma(across, even),
            one_half.fma(over, minus.fma(d, b.add(f))),
        ]
    }
}

/// Inverse products of the distances of the points 1, -1, 2 and -1/2 from the others.
const SCALES: [f32; 4] = [-1.0 / 3.0, 1.0 / 3.0, 1.0 / 15.0, -16.0 / 15.0];

/// F(2, 5).
#[derive(Clone, Copy)]
pub(super) struct TwoFive;

impl Points<6, 2> for TwoFive {
    #[inline(always)]
    unsafe fn differences<V: Lanes>(d: [V; 6]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe { six_differences(d) }
    }

    /// ```text
    /// 1  1   1  1    1   0
    /// 0  1  -1  2  -1/2  1
    /// ```
    #[inline(always)]
    unsafe fn totals<V: Lanes>([a, b, c, d, e, f]: [V; 6]) -> [V; 2] {
        // SAFETY: the caller's contract.
        unsafe {
            let first = a.add(b.add(c)).add(d.add(e));
            [first, of_points([d, e], b.sub(c).add(f), 1)]
        }
    }

    #[inline(always)]
    unsafe fn weights<V: Lanes>([a, b, c, d, e, _]: [V; 6]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let [one, minus, two, half] = SCALES.map(|factor| V::splat(factor));
            let (even, odd) = (a.add(c).add(e), b.add(d));
            let [of_two, of_half] = [powers([a, b, c, d, e], 2.0), powers([a, b, c, d, e], -0.5)];
            [a, one.mul(even.add(odd)), minus.mul(even.sub(odd)), two.mul(of_two), half.mul(of_half), e]
        }
    }

    #[inline(always)]
    unsafe fn spread<V: Lanes>([a, b]: [V; 2]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let [one, minus, two, half] = SCALES.map(|factor| V::splat(factor));
            let [of_two, of_half] = [powers([a, b], 2.0), powers([a, b], -0.5)];
            [a, one.mul(a.add(b)), minus.mul(a.sub(b)), two.mul(of_two), half.mul(of_half), b]
        }
    }

    #[inline(always)]
    unsafe fn window<V: Lanes>([a, b, c, d, e, f]: [V; 6]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let (even, odd) = (b.add(c), b.sub(c));
            let first = a.add(even).add(d.add(e));
            [
                first,
                of_points([d, e], odd, 1),
                of_points([d, e], even, 2),
                of_points([d, e], odd, 3),
                of_points([d, e], even, 4).add(f),
                f,
            ]
        }
    }
}

/// F(4, 3).
#[derive(Clone, Copy)]
pub(super) struct FourThree;

impl Points<6, 4> for FourThree {
    #[inline(always)]
    unsafe fn differences<V: Lanes>(d: [V; 6]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe { six_differences(d) }
    }

    /// ```text
    /// 1  1   1  1    1   0
    /// 0  1  -1  2  -1/2  0
    /// 0  1   1  4   1/4  0
    /// 0  1  -1  8  -1/8  1
    /// ```
    #[inline(always)]
    unsafe fn totals<V: Lanes>([a, b, c, d, e, f]: [V; 6]) -> [V; 4] {
        // SAFETY: the caller's contract.
        unsafe {
            let (even, odd) = (b.add(c), b.sub(c));
            let of = |to, power| of_points([d, e], to, power);
            [a.add(even).add(d.add(e)), of(odd, 1), of(even, 2), of(odd, 3).add(f)]
        }
    }

    #[inline(always)]
    unsafe fn weights<V: Lanes>([a, b, c, ..]: [V; 6]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let [one, minus, two, half] = SCALES.map(|factor| V::splat(factor));
            let even = a.add(c);
            let [of_two, of_half] = [powers([a, b, c], 2.0), powers([a, b, c], -0.5)];
            [a, one.mul(even.add(b)), minus.mul(even.sub(b)), two.mul(of_two), half.mul(of_half), c]
        }
    }

    #[inline(always)]
    unsafe fn spread<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let [one, minus, two, half] = SCALES.map(|factor| V::splat(factor));
            let (even, odd) = (a.add(c), b.add(d));
            let [of_two, of_half] = [powers([a, b, c, d], 2.0), powers([a, b, c, d], -0.5)];
            [a, one.mul(even.add(odd)), minus.mul(even.sub(odd)), two.mul(of_two), half.mul(of_half), d]
        }
    }

    #[inline(always)]
    unsafe fn window<V: Lanes>([a, b, c, d, e, f]: [V; 6]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let (even, odd) = (b.add(c), b.sub(c));
            let first = a.add(even).add(d.add(e));
            [first, of_points([d, e], odd, 1), of_points([d, e], even, 2).add(f), f, f, f]
        }
    }
}

/// A polynomial at a point.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn powers<V: Lanes, const N: usize>(of: [V; N], point: f32) -> V {
    // SAFETY: the caller's contract.
    unsafe { of[..N - 1].iter().rfold(of[N - 1], |sum, value| sum.fma(V::splat(point), *value)) }
}

/// `to` and the values at 2 and -1/2 times a power of these points.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn of_points<V: Lanes>([two, half]: [V; 2], to: V, power: i32) -> V {
    // SAFETY: the caller's contract.
    unsafe { V::splat(2f32.powi(power)).fma(two, V::splat((-0.5f32).powi(power)).fma(half, to)) }
}
