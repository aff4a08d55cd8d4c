//! Elementwise functions of one tensor. Each keeps its shape and dtype.

use super::fusion::Pointwise;
use super::last::{lies, lying, standing};
use super::node::{Call, Element, Grads, Node, View, apply, apply_constant};
use candle_core::{Result, Tensor};
use stillhouse_kernels::elementwise::{map, zip3};
use stillhouse_kernels::fusion::{Back, Elementwise};
use stillhouse_kernels::{Float, simd};

/// A function and its derivative, from the input and the output.
trait Unary: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    /// Step functions have no gradient, not a zero one.
    const SMOOTH: bool = true;

    fn value<T: Element>(&self, x: T) -> T;
    fn slope<T: Element>(&self, x: T, y: T) -> T;
    /// The same from candle's own operations, for other devices.
    fn composed(&self, x: &Tensor) -> Result<Tensor>;
}

struct Map<U>(U);

impl<U: Unary> Node for Map<U> {
    fn name(&self) -> &'static str {
        U::NAME
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        Ok((map(ins[0].data, |x| self.0.value(x)), ins[0].dims.to_vec()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        Ok(vec![Some(zip3(call.ins[0].data, call.out, call.grad, |x, y, g| g * self.0.slope(x, y)))])
    }
}

impl<T: Element, U: Unary> Elementwise<T> for Map<U> {
    fn arity(&self) -> usize {
        1
    }

    fn is_smooth(&self) -> bool {
        U::SMOOTH
    }

    fn value(&self, ins: [&[T]; 2], out: &mut [T]) {
        simd(|| out.iter_mut().zip(ins[0]).for_each(|(out, x)| *out = self.0.value(*x)));
    }

    fn slope(&self, _: usize, Back { ins, out, grad }: Back<'_, T>, to: &mut [T]) {
        let known = ins[0].iter().zip(out).zip(grad);
        simd(|| to.iter_mut().zip(known).for_each(|(to, ((x, y), g))| *to = *g * self.0.slope(*x, *y)));
    }
}

impl<U: Unary> Pointwise for Map<U> {
    fn apply(&self, ins: &[&Tensor]) -> Result<Tensor> {
        let [x] = ins else { candle_core::bail!("`{}` takes one tensor, got {}", U::NAME, ins.len()) };
        run(self.0, x)
    }

    fn single(&self) -> &dyn Elementwise<f32> {
        self
    }

    fn double(&self) -> &dyn Elementwise<f64> {
        self
    }
}

fn run<U: Unary>(function: U, x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        let x = if U::SMOOTH { x.clone() } else { x.detach() };
        return function.composed(&x);
    }
    if !U::SMOOTH {
        return apply_constant(Map(function), &[x]);
    }
    if lies(&[x]) {
        return standing(&apply(Map(function), &[&lying(x)?])?);
    }
    apply(Map(function), &[x])
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident($($parameter:ident),*) $type:ident $(smooth = $smooth:literal)?:
        $x:ident => $value:expr; $sx:ident, $sy:ident => $slope:expr; $t:ident => $composed:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $type { $($parameter: f64),* }

        impl Unary for $type {
            const NAME: &'static str = stringify!($name);
            $(const SMOOTH: bool = $smooth;)?

            #[inline(always)]
            fn value<T: Element>(&self, $x: T) -> T {
                $(let $parameter = <T as Float>::of(self.$parameter);)*
                $value
            }

            #[inline(always)]
            fn slope<T: Element>(&self, $sx: T, $sy: T) -> T {
                $(let $parameter = <T as Float>::of(self.$parameter); let _ = $parameter;)*
                let _ = ($sx, $sy);
                $slope
            }

            fn composed(&self, $t: &Tensor) -> Result<Tensor> {
                $(let $parameter = self.$parameter;)*
                $composed
            }
        }

        $(#[$doc])*
        ///
        /// # Errors
        /// A dtype other than `f32` and `f64`.
        pub fn $name(x: &Tensor, $($parameter: f64),*) -> Result<Tensor> {
            run($type { $($parameter),* }, x)
        }
    )*

    /// The functions themselves.
    pub mod functions {
        use super::{Map, Pointwise};
        $(
            $(#[$doc])*
            pub fn $name($($parameter: f64),*) -> Box<dyn Pointwise> {
                Box::new(Map(super::$type { $($parameter),* }))
            }
        )*
    }};
}

/// 1 where `mask` holds, as a number.
#[inline(always)]
fn one_if<T: Element>(mask: bool) -> T {
    if mask { <T as Float>::ONE } else { <T as Float>::ZERO }
}

#[inline(always)]
fn logistic<T: Element>(x: T) -> T {
    <T as Float>::ONE / (<T as Float>::ONE + Float::exp(-x))
}

#[inline(always)]
fn half_erfc<T: Element>(x: T) -> T {
    let half = <T as Float>::of(0.5);
    half + half * Float::erf(x * <T as Float>::of(std::f64::consts::FRAC_1_SQRT_2))
}

fn as_mask(mask: Tensor, like: &Tensor) -> Result<Tensor> {
    mask.to_dtype(like.dtype())
}

unary! {
    /// `max(x, 0)`. Gradient 0 at 0.
    relu() Relu: x => if x < <T as Float>::ZERO { <T as Float>::ZERO } else { x };
        x, y => one_if(x > <T as Float>::ZERO);
        x => x * as_mask(x.gt(0.0)?, x)?;
    /// `|x|`. Gradient 0 at 0.
    abs() Abs: x => Float::abs(x);
        x, y => one_if::<T>(x > <T as Float>::ZERO) - one_if::<T>(x < <T as Float>::ZERO);
        x => x * sign(x)?;
    /// `x` above 0, `slope x` else. Gradient `slope` at 0.
    leaky_relu(slope) LeakyRelu: x => if x > <T as Float>::ZERO { x } else { x * slope };
        x, y => if x > <T as Float>::ZERO { <T as Float>::ONE } else { slope };
        x => { let above = as_mask(x.gt(0.0)?, x)?; x * above.affine(1.0 - slope, slope)? };
    /// `min(max(x, 0), 6)`. Gradient 0 at 0 and at 6.
    relu6() Relu6: x => {
            let x = if x < <T as Float>::ZERO { <T as Float>::ZERO } else { x };
            if x > <T as Float>::of(6.0) { <T as Float>::of(6.0) } else { x }
        };
        x, y => one_if(x > <T as Float>::ZERO && x < <T as Float>::of(6.0));
        x => hardtanh(x, 0.0, 6.0);
    /// `x sigmoid(x)`.
    silu() Silu: x => x * logistic(x);
        x, y => { let s = logistic(x); s * (<T as Float>::ONE + x * (<T as Float>::ONE - s)) };
        x => x.silu();
    /// `x / 2 (1 + erf(x / sqrt 2))`: the exact form, not the `tanh` approximation.
    gelu() Gelu: x => x * half_erfc(x);
        x, y => {
            let density = Float::exp(x * x * <T as Float>::of(-0.5)) * <T as Float>::of(0.398_942_280_401_432_7);
            half_erfc(x) + x * density
        };
        x => x.gelu_erf();
    /// `1 / (1 + e^-x)`.
    sigmoid() Sigmoid: x => logistic(x);
        x, y => y * (<T as Float>::ONE - y);
        x => (x.neg()?.exp()? + 1.0)?.recip();
    /// Hyperbolic tangent.
    tanh() Tanh: x => Float::tanh(x);
        x, y => <T as Float>::ONE - y * y;
        x => x.tanh();
    /// `ln(1 + e^x)`, without overflow for any `x`.
    softplus() Softplus: x => {
            let top = if x > <T as Float>::ZERO { x } else { <T as Float>::ZERO };
            if x.is_nan() { x } else { top + Float::ln_1p(Float::exp(-Float::abs(x))) }
        };
        x, y => logistic(x);
        x => relu(x)? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?;
    /// `e^x`.
    exp() Exp: x => Float::exp(x);
        x, y => y;
        x => x.exp();
    /// Natural logarithm. Gradient `1 / x`: infinite at 0.
    log() Log: x => Float::ln(x);
        x, y => <T as Float>::ONE / x;
        x => x.log();
    /// Square root. Gradient `1 / (2 sqrt x)`: infinite at 0.
    sqrt() Sqrt: x => Float::sqrt(x);
        x, y => <T as Float>::of(0.5) / y;
        x => x.sqrt();
    /// `x^2`.
    square() Square: x => x * x;
        x, y => x + x;
        x => x.sqr();
    /// `1 / x`.
    recip() Recip: x => <T as Float>::ONE / x;
        x, y => -(y * y);
        x => x.recip();
    /// Error function `2 / sqrt(pi) * integral of e^-t^2 from 0 to x`.
    erf() Erf: x => Float::erf(x);
        x, y => Float::exp(-(x * x)) * <T as Float>::of(std::f64::consts::FRAC_2_SQRT_PI);
        x => x.erf();
    /// `-x`.
    neg() Neg: x => -x;
        x, y => -<T as Float>::ONE;
        x => x.neg();
    /// `mul x + add`. With `mul = 0` the gradient is zero, not missing.
    affine(mul, add) Affine: x => x * mul + add;
        x, y => mul;
        x => if mul == 0.0 { (x * x.zeros_like()?)? + add } else { x.affine(mul, add) };
    /// `x^exponent`. Gradient `exponent x^(exponent - 1)`, and 0 for an exponent of 0.
    pow(exponent) Pow: x => Float::powf(x, exponent);
        x, y => if exponent == <T as Float>::ZERO { exponent } else {
            exponent * Float::powf(x, exponent - <T as Float>::ONE)
        };
        x => if exponent == 0.0 { (x * x.zeros_like()?)? + 1.0 } else { x.powf(exponent) };
    /// `min(max(x, low), high)`. Gradient 1 inside and AT the bounds, 0 outside; see [`hardtanh`] for the open interval.
    clamp(low, high) Clamp: x => bounded(x, low, high);
        x, y => one_if(x >= low && x <= high);
        x => { let inside = (as_mask(x.ge(low)?, x)? * as_mask(x.le(high)?, x)?)?; between(x, inside, low, high) };
    /// `min(max(x, low), high)`, as [`clamp`], but with gradient 0 AT the bounds.
    hardtanh(low, high) Hardtanh: x => bounded(x, low, high);
        x, y => one_if(x > low && x < high);
        x => { let inside = (as_mask(x.gt(low)?, x)? * as_mask(x.lt(high)?, x)?)?; between(x, inside, low, high) };
    /// -1, 0 or 1. No gradient.
    sign() Sign smooth = false: x => one_if::<T>(x > <T as Float>::ZERO) - one_if::<T>(x < <T as Float>::ZERO);
        x, y => <T as Float>::ZERO;
        x => { let x = x.detach(); as_mask(x.gt(0.0)?, &x)? - as_mask(x.lt(0.0)?, &x)? };
    /// Largest whole number not above `x`. No gradient.
    floor() Floor smooth = false: x => Float::floor(x);
        x, y => <T as Float>::ZERO;
        x => x.floor();
    /// Nearest whole number, halves to the even one. No gradient.
    round() Round smooth = false: x => Float::round_even(x);
        x, y => <T as Float>::ZERO;
        x => {
            let ties = as_mask((x - x.floor()?)?.eq(0.5)?, x)?;
            let even = ((x * 0.5)?.round()? * 2.0)?;
            (&ties * even)? + (ties.affine(-1.0, 1.0)? * x.round()?)?
        };
}

/// Clamps, keeping NaN.
#[inline(always)]
fn bounded<T: Element>(x: T, low: T, high: T) -> T {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// The clamped value with the gradient of `x` where `inside` is 1.
fn between(x: &Tensor, inside: Tensor, low: f64, high: f64) -> Result<Tensor> {
    let clamped = x.detach().clamp(low, high)?;
    let outside = clamped.mul(&inside.affine(-1.0, 1.0)?)?;
    (x * inside)? + outside
}

/// `x`, detached from the tape: no gradient passes.
pub fn detach(x: &Tensor) -> Tensor {
    if super::record::is_tracked(x) { super::shape::apart(x) } else { x.detach() }
}

/// `x` itself; its gradient is multiplied by `factor` (negative: reversed).
///
/// # Errors
/// A dtype other than `f32` and `f64`.
pub fn scale_grad(x: &Tensor, factor: f64) -> Result<Tensor> {
    if !x.device().is_cpu() {
        let scaled = affine(x, factor, 0.0)?;
        return &scaled + (x - &scaled)?.detach();
    }
    if lies(&[x]) {
        return standing(&apply(ScaleGrad(factor), &[&lying(x)?])?);
    }
    apply(ScaleGrad(factor), &[x])
}

struct ScaleGrad(f64);

impl Node for ScaleGrad {
    fn name(&self) -> &'static str {
        "scale_grad"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        Ok((ins[0].data.to_vec(), ins[0].dims.to_vec()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let factor = <T as Float>::of(self.0);
        Ok(vec![Some(map(call.grad, |g| g * factor))])
    }
}
