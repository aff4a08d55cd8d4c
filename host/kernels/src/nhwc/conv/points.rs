//! The transforms of Winograd's method, by the points of their polynomials.

use super::lanes::Lanes;

/// One dimension of F(2, r): two outputs of a window of `SIDE - 1`.
pub(super) trait Points<const SIDE: usize>: Copy {
    /// `B^T d`.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    unsafe fn differences<V: Lanes>(d: [V; SIDE]) -> [V; SIDE];

    /// `A^T m`.
    ///
    /// # Safety
    /// As above.
    unsafe fn totals<V: Lanes>(m: [V; SIDE]) -> [V; 2];

    /// `G g`; a window of `SIDE - 1` and an unused element.
    fn weights(g: [f32; SIDE]) -> [f32; SIDE];
}

/// F(2, 3) at 0, 1, -1 and infinity.
#[derive(Clone, Copy)]
pub(super) struct Three;

impl Points<4> for Three {
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
    fn weights([a, b, c, _]: [f32; 4]) -> [f32; 4] {
        [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c]
    }
}

/// F(2, 5) at 0, 1, -1, 2, -1/2 and infinity: with a point and its negative inverse errors stay near those of the plain sum,
/// where 2 and -2 lose two more bits.
#[derive(Clone, Copy)]
pub(super) struct Five;

impl Points<6> for Five {
    /// ```text
    /// 1  3/2  -2   -3/2   1    0
    /// 0  -1  -5/2  -1/2   1    0
    /// 0   1   1/2  -5/2   1    0
    /// 0 -1/2  -1    1/2   1    0
    /// 0   2   -1    -2    1    0
    /// 0   1   3/2   -2  -3/2   1
    /// ```
    #[inline(always)]
    unsafe fn differences<V: Lanes>([a, b, c, d, e, f]: [V; 6]) -> [V; 6] {
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

    /// ```text
    /// 1  1   1  1    1   0
    /// 0  1  -1  2  -1/2  1
    /// ```
    #[inline(always)]
    unsafe fn totals<V: Lanes>([a, b, c, d, e, f]: [V; 6]) -> [V; 2] {
        // SAFETY: the caller's contract.
        unsafe {
            let first = a.add(b.add(c)).add(d.add(e));
            [first, V::splat(2.0).fma(d, V::splat(-0.5).fma(e, b.sub(c).add(f)))]
        }
    }

    /// Rows of powers of the points, by the products of their distances.
    #[inline(always)]
    fn weights([a, b, c, d, e, _]: [f32; 6]) -> [f32; 6] {
        let (even, odd) = (a + c + e, b + d);
        let two = a + 2.0 * b + 4.0 * c + 8.0 * d + 16.0 * e;
        let half = 16.0 * a - 8.0 * b + 4.0 * c - 2.0 * d + e;
        [a, (even + odd) * (-1.0 / 3.0), (even - odd) * (1.0 / 3.0), two * (1.0 / 15.0), half * (-1.0 / 15.0), e]
    }
}

/// F(5, 2), where the window and the outputs change sides.
impl Five {
    /// `G g` of two elements.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn spread<V: Lanes>([a, b]: [V; 2]) -> [V; 6] {
        // SAFETY: the caller's contract.
        unsafe {
            let [third, fifteenth] = [1.0 / 3.0, 1.0 / 15.0].map(|factor| V::splat(factor));
            [
                a,
                V::splat(-1.0 / 3.0).mul(a.add(b)),
                third.mul(a.sub(b)),
                fifteenth.mul(V::splat(2.0).fma(b, a)),
                V::splat(-16.0 / 15.0).mul(V::splat(-0.5).fma(b, a)),
                b,
            ]
        }
    }

    /// `A^T m` of five outputs: powers of the points.
    #[inline(always)]
    pub(super) fn window([a, b, c, d, e, f]: [f32; 6]) -> [f32; 5] {
        let (even, odd) = (b + c, b - c);
        [
            a + even + d + e,
            odd + 2.0 * d - 0.5 * e,
            even + 4.0 * d + 0.25 * e,
            odd + 8.0 * d - 0.125 * e,
            even + 16.0 * d + 0.0625 * e + f,
        ]
    }
}
