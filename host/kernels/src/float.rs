//! The two number types and the instruction sets that loops run on.

use std::cell::RefCell;
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// `f32` or `f64`: what kernels compute in.
///
/// Transcendental functions of `f32` that loops need are branch-free polynomials, so that they vectorise; those of `f64`
/// are the standard library's. Both are within 2 ulp of the true value.
pub trait Float:
    Copy
    + Send
    + Sync
    + Default
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Positive infinity.
    const INFINITY: Self;

    /// The nearest value to `value`.
    fn of(value: f64) -> Self;
    /// The value as `f64`, exact.
    fn wide(self) -> f64;
    /// `e^self`.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// `ln(1 + self)`, accurate near 0.
    fn ln_1p(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// `self^exponent`.
    fn powf(self, exponent: Self) -> Self;
    /// Largest whole number not above `self`.
    fn floor(self) -> Self;
    /// Nearest whole number, halves to the even one.
    fn round_even(self) -> Self;
    /// Whether this is not a number.
    fn is_nan(self) -> bool;
    /// Runs `task` on a scratch buffer of `len` elements of unspecified value that the thread keeps for the next call.
    fn scratch<R>(len: usize, task: impl FnOnce(&mut [Self]) -> R) -> R;
}

macro_rules! float {
    ($type:ident, $exp:expr, $tanh:expr, $erf:expr) => {
        impl Float for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const INFINITY: Self = $type::INFINITY;

            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $type
            }
            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $type::ln(self)
            }
            #[inline(always)]
            fn ln_1p(self) -> Self {
                $type::ln_1p(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $type::sqrt(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $tanh(self)
            }
            #[inline(always)]
            fn erf(self) -> Self {
                $erf(self)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $type::abs(self)
            }
            #[inline(always)]
            fn powf(self, exponent: Self) -> Self {
                $type::powf(self, exponent)
            }
            #[inline(always)]
            fn floor(self) -> Self {
                $type::floor(self)
            }
            #[inline(always)]
            fn round_even(self) -> Self {
                self.round_ties_even()
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $type::is_nan(self)
            }
            fn scratch<R>(len: usize, task: impl FnOnce(&mut [Self]) -> R) -> R {
                thread_local!(static KEPT: RefCell<Vec<Vec<$type>>> = const { RefCell::new(Vec::new()) });
                // A stack: a nested call gets a buffer of its own, the same one each time.
                let mut buffer = KEPT.with(|kept| kept.borrow_mut().pop()).unwrap_or_default();
                if buffer.len() < len {
                    buffer.resize(len, 0.0);
                }
                let result = task(&mut buffer[..len]);
                KEPT.with(|kept| kept.borrow_mut().push(buffer));
                result
            }
        }
    };
}

float!(f32, exp_f32, tanh_f32, erf_f32);
float!(f64, f64::exp, f64::tanh, libm::erf);

/// `e^x` without branches: `x = n ln 2 + r`, `|r| <= ln 2 / 2`, a polynomial in `r`, times `2^n` in two halves, so that
/// results below the smallest normal number and overflow come out as they should.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HI - n * LN2_LO;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    let whole = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = whole >> 1;
    let rest = whole.wrapping_sub(half);
    p * power_of_two(half) * power_of_two(rest)
}

/// `e^x` for loops over many values: as [`Float::exp`], but 0 where the result would be below the smallest normal number. The
/// power of two is added to the exponent's bits, and no subnormal number, which is slow, ever comes up.
#[inline(always)]
pub(crate) fn exp_flushed(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HI - n * LN2_LO;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    // The bits of `ROUND` itself are shifted out.
    let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    // From here on the result is above the largest number; the bits would be those of no number.
    let scaled = if x >= 88.722_84 { f32::INFINITY } else { scaled };
    if x < -87.33 { 0.0 } else { scaled }
}

#[inline(always)]
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits((exponent.wrapping_add(127) as u32) << 23)
}

/// Odd polynomial below 0.625, `1 - 2 / (e^2x + 1)` above.
#[inline(always)]
fn tanh_f32(x: f32) -> f32 {
    let square = x * x;
    let mut p = -5.704_988_7e-3;
    for c in [2.063_909e-2, -5.373_971_6e-2, 0.133_314_42, -0.333_332_8] {
        p = p * square + c;
    }
    let near = p * square * x + x;
    let magnitude = x.abs();
    let far = 1.0 - 2.0 / (exp_flushed(magnitude + magnitude) + 1.0);
    if magnitude < 0.625 { near } else { far.copysign(x) }
}

/// Odd polynomial below 0.92, `1 - e^(polynomial)` above: both sides are computed, one is taken.
#[inline(always)]
fn erf_f32(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = x * x;
    let mut near = -5.967_617e-4;
    for c in [4.991_194e-3, -2.676_813_5e-2, 0.112_819_925, -0.376_125_34, 0.128_379_17] {
        near = near * square + c;
    }
    let near = near * x + x;
    let magnitude = if magnitude > 4.0 { 4.0 } else { magnitude };
    let mut far = -1.728_534_7e-5;
    for c in [3.831_971_3e-4, -3.883_964_4e-3, 2.425_462_2e-2, -0.106_777_88, -0.634_846_7, -0.128_717_51] {
        far = far * magnitude + c;
    }
    let far = 1.0 - exp_flushed(far * magnitude - magnitude);
    if magnitude > 0.927_734_4 { far.copysign(x) } else { near }
}

/// Runs a loop compiled for the widest vectors this processor has.
///
/// The loop must be in `task` itself or in functions inlined into it. Products and sums are not contracted, so the result
/// is the same on each instruction set.
#[inline(always)]
pub fn simd<R>(task: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor has the features that the function is compiled for.
            return unsafe { with_avx512(task) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { with_avx2(task) };
        }
    }
    task()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
fn with_avx512<R>(task: impl FnOnce() -> R) -> R {
    task()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(task: impl FnOnce() -> R) -> R {
    task()
}

#[cfg(test)]
mod tests {
    use super::{Float, exp_flushed, simd};

    fn ulps(got: f32, want: f64) -> f64 {
        let near = want as f32;
        let ulp = f64::from(f32::from_bits(near.abs().to_bits() + 1)) - f64::from(near.abs());
        (f64::from(got) - want).abs() / ulp
    }

    fn worst(function: fn(f32) -> f32, reference: fn(f64) -> f64, from: f32, to: f32) -> f64 {
        let points = 400_000;
        let at = |i: i32| from + (to - from) * i as f32 / points as f32;
        (0..=points).map(|i| ulps(function(at(i)), reference(f64::from(at(i))))).fold(0.0, f64::max)
    }

    #[test]
    fn exp_f32_whole_range_is_within_two_ulp() {
        let error = worst(Float::exp, f64::exp, -103.0, 88.7);
        assert!(error < 2.0, "{error}");
    }

    #[test]
    fn exp_f32_special_values_are_exact() {
        assert_eq!(Float::exp(0f32), 1.0);
        assert_eq!(Float::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Float::exp(-200f32), 0.0);
        assert_eq!(Float::exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(Float::exp(100f32), f32::INFINITY);
        assert!(Float::exp(f32::NAN).is_nan());
    }

    #[test]
    fn exp_flushed_normal_results_are_within_two_ulp() {
        let error = worst(exp_flushed, f64::exp, -87.33, 88.722_83);
        assert!(error < 2.0, "{error}");
        assert_eq!([-88.0, -1e30, f32::NEG_INFINITY].map(exp_flushed), [0.0; 3]);
        assert_eq!([88.73, 1e30, f32::INFINITY].map(exp_flushed), [f32::INFINITY; 3]);
        assert!(exp_flushed(0.0) == 1.0 && exp_flushed(f32::NAN).is_nan());
        // Every number around both ends: a single one of them that gives NaN is met in training.
        for x in (88f32.to_bits()..89f32.to_bits()).chain((-87f32).to_bits()..(-88f32).to_bits()).map(f32::from_bits) {
            let (got, want) = (exp_flushed(x), f64::from(x).exp());
            let near = (f64::from(got) - want).abs() <= 1e-6 * want || (x < -87.33 && got == 0.0);
            assert!(near || got == want as f32, "e^{x} is {got}");
        }
    }

    #[test]
    fn tanh_f32_of_every_large_number_is_one() {
        for x in (9.1f32.to_bits()..200f32.to_bits()).step_by(3).chain([0x4231_7218]).map(f32::from_bits) {
            assert!(Float::tanh(x) == 1.0 && Float::tanh(-x) == -1.0, "tanh {x}");
        }
    }

    #[test]
    fn tanh_f32_whole_range_is_within_three_ulp() {
        let error = worst(Float::tanh, f64::tanh, -12.0, 12.0);
        assert!(error < 3.0, "{error}");
        assert_eq!(Float::tanh(f32::INFINITY), 1.0);
        assert_eq!(Float::tanh(f32::NEG_INFINITY), -1.0);
        assert!(Float::tanh(f32::NAN).is_nan());
    }

    #[test]
    fn erf_f32_whole_range_is_within_three_ulp() {
        let error = worst(Float::erf, libm::erf, -6.0, 6.0);
        assert!(error < 3.0, "{error}");
        assert_eq!(Float::erf(f32::INFINITY), 1.0);
        assert_eq!(Float::erf(f32::NEG_INFINITY), -1.0);
        assert!(Float::erf(f32::NAN).is_nan());
    }

    #[test]
    fn simd_same_loop_equals_portable_code() {
        let x: Vec<f32> = (0..1000).map(|i| i as f32 * 0.07 - 30.0).collect();
        let wide: Vec<f32> = simd(|| x.iter().map(|v| Float::exp(*v)).collect());
        let plain: Vec<f32> = x.iter().map(|v| Float::exp(*v)).collect();
        assert_eq!(wide, plain);
    }

    #[test]
    fn scratch_nested_calls_get_own_buffers() {
        f32::scratch(4, |outer| {
            outer.fill(1.0);
            f32::scratch(4, |inner| inner.fill(2.0));
            assert_eq!(outer, [1.0; 4]);
        });
    }
}
