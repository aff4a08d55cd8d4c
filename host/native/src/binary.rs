//! Elementwise functions of two or three tensors, with NumPy broadcasting: gradients are summed back to each input's shape.

use super::fusion::Pointwise;
use super::last::{lies, lying, standing};
use super::node::{Call, Element, Grads, Node, View, apply, apply_constant};
use candle_core::{DType, Error, Result, Shape, Tensor};
use stillhouse_kernels::broadcast::{Broadcast, sum_to};
use stillhouse_kernels::elementwise::{zip, zip3};
use stillhouse_kernels::fusion::{Back, Elementwise};
use stillhouse_kernels::{Float, simd};

/// A function of two numbers and the gradients of both.
trait Binary: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    /// Comparisons have no gradient.
    const SMOOTH: bool = true;
    /// Inputs whose gradient is that of the output.
    const PASSES: [bool; 2] = [false, false];

    fn value<T: Element>(&self, a: T, b: T) -> T;
    fn grads<T: Element>(&self, a: T, b: T, g: T) -> (T, T);
    /// The same from candle's own operations, for other devices.
    fn composed(&self, a: &Tensor, b: &Tensor) -> Result<Tensor>;
}

struct Pair<B> {
    function: B,
    same: [bool; 2],
}

fn meet(name: &'static str, a: &[usize], b: &[usize]) -> Result<Broadcast> {
    Broadcast::new(a, b).ok_or_else(|| {
        let (lhs, rhs) = (Shape::from(a), Shape::from(b));
        Error::ShapeMismatchBinaryOp { lhs, rhs, op: name }.bt()
    })
}

impl<B: Binary> Node for Pair<B> {
    fn name(&self) -> &'static str {
        B::NAME
    }

    fn passes(&self, index: usize) -> bool {
        B::PASSES[index] && self.same[index]
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let (a, b) = (&ins[0], &ins[1]);
        let plan = meet(B::NAME, a.dims, b.dims)?;
        if a.dims == b.dims {
            return Ok((zip(a.data, b.data, |a, b| self.function.value(a, b)), a.dims.to_vec()));
        }
        let mut out = vec![<T as Float>::ZERO; plan.len()];
        plan.zip(a.data, b.data, &mut out, |a, b| self.function.value(a, b));
        Ok((out, plan.dims().to_vec()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let (a, b) = (&call.ins[0], &call.ins[1]);
        let f = &self.function;
        if a.dims == b.dims && call.wanted != [true, true] {
            return Ok(if call.wanted[0] {
                vec![Some(zip3(a.data, b.data, call.grad, |a, b, g| f.grads(a, b, g).0)), None]
            } else {
                vec![None, Some(zip3(a.data, b.data, call.grad, |a, b, g| f.grads(a, b, g).1))]
            });
        }
        let mut first = vec![<T as Float>::ZERO; call.grad.len()];
        let mut second = first.clone();
        let plan = meet(B::NAME, a.dims, b.dims)?;
        plan.zip_two([a.data, b.data, call.grad], &mut first, &mut second, |a, b, g| f.grads(a, b, g));
        let back = |full: Vec<T>, to: &[usize]| if to == plan.dims() { full } else { sum_to(&full, plan.dims(), to) };
        Ok(vec![call.wanted[0].then(|| back(first, a.dims)), call.wanted[1].then(|| back(second, b.dims))])
    }
}

/// A function in a fusion.
struct Both<B>(B);

impl<T: Element, B: Binary> Elementwise<T> for Both<B> {
    fn arity(&self) -> usize {
        2
    }

    fn is_smooth(&self) -> bool {
        B::SMOOTH
    }

    fn value(&self, [a, b]: [&[T]; 2], out: &mut [T]) {
        simd(|| out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = self.0.value(*a, *b)));
    }

    fn slope(&self, which: usize, Back { ins: [a, b], grad, .. }: Back<'_, T>, to: &mut [T]) {
        let known = to.iter_mut().zip(a).zip(b).zip(grad);
        if which == 0 {
            simd(|| known.for_each(|(((to, a), b), g)| *to = self.0.grads(*a, *b, *g).0));
        } else {
            simd(|| known.for_each(|(((to, a), b), g)| *to = self.0.grads(*a, *b, *g).1));
        }
    }
}

impl<B: Binary> Pointwise for Both<B> {
    fn apply(&self, ins: &[&Tensor]) -> Result<Tensor> {
        let [a, b] = ins else { candle_core::bail!("`{}` takes two tensors, got {}", B::NAME, ins.len()) };
        run(self.0, a, b)
    }

    fn single(&self) -> &dyn Elementwise<f32> {
        self
    }

    fn double(&self) -> &dyn Elementwise<f64> {
        self
    }
}

fn run<B: Binary>(function: B, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !a.device().is_cpu() {
        return if B::SMOOTH { function.composed(a, b) } else { function.composed(&a.detach(), &b.detach()) };
    }
    let plan = meet(B::NAME, a.dims(), b.dims())?;
    if lies(&[a, b]) {
        return standing(&run(function, &lying(a)?, &lying(b)?)?);
    }
    let same = [a.dims() == plan.dims(), b.dims() == plan.dims()];
    let node = Pair { function, same };
    if B::SMOOTH { apply(node, &[a, b]) } else { apply_constant(node, &[a, b]) }
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident($($parameter:ident),*) $type:ident $(passes = $passes:expr)?;
        $a:ident, $b:ident => $value:expr; $ga:ident, $gb:ident, $g:ident => $grads:expr;
        $ta:ident, $tb:ident => $composed:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $type { $($parameter: f64),* }

        impl Binary for $type {
            const NAME: &'static str = stringify!($name);
            $(const PASSES: [bool; 2] = $passes;)?

            #[inline(always)]
            fn value<T: Element>(&self, $a: T, $b: T) -> T {
                $(let $parameter = <T as Float>::of(self.$parameter);)*
                $value
            }

            #[inline(always)]
            fn grads<T: Element>(&self, $ga: T, $gb: T, $g: T) -> (T, T) {
                $(let $parameter = <T as Float>::of(self.$parameter);)*
                let _ = ($ga, $gb);
                $grads
            }

            fn composed(&self, $ta: &Tensor, $tb: &Tensor) -> Result<Tensor> {
                $(let $parameter = self.$parameter;)*
                $composed
            }
        }

        $(#[$doc])*
        ///
        /// `a` and `b` broadcast to a common shape, which is the result's.
        ///
        /// # Errors
        /// Shapes that do not broadcast, differing dtypes, a dtype other than `f32` and `f64`.
        pub fn $name(a: &Tensor, b: &Tensor, $($parameter: f64),*) -> Result<Tensor> {
            run($type { $($parameter),* }, a, b)
        }
    )*

    /// The functions themselves.
    pub mod functions {
        use super::{Both, Pointwise};
        $(
            $(#[$doc])*
            pub fn $name($($parameter: f64),*) -> Box<dyn Pointwise> {
                Box::new(Both(super::$type { $($parameter),* }))
            }
        )*
    }};
}

macro_rules! comparison {
    ($($name:ident $type:ident $operator:tt $composed:ident;)*) => {$(
        #[derive(Clone, Copy)]
        struct $type;

        impl Binary for $type {
            const NAME: &'static str = stringify!($name);
            const SMOOTH: bool = false;

            #[inline(always)]
            fn value<T: Element>(&self, a: T, b: T) -> T {
                if a $operator b { <T as Float>::ONE } else { <T as Float>::ZERO }
            }

            fn grads<T: Element>(&self, _: T, _: T, _: T) -> (T, T) {
                (<T as Float>::ZERO, <T as Float>::ZERO)
            }

            fn composed(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
                a.$composed(b)?.to_dtype(a.dtype())
            }
        }

        #[doc = concat!("1 where `a ", stringify!($operator), " b`, else 0, in the inputs' dtype. No gradient.")]
        ///
        /// `a` and `b` broadcast to a common shape, which is the result's.
        ///
        /// # Errors
        /// Shapes that do not broadcast, differing dtypes, a dtype other than `f32` and `f64`.
        pub fn $name(a: &Tensor, b: &Tensor) -> Result<Tensor> {
            run($type, a, b)
        }
    )*

    /// The comparisons themselves.
    pub mod comparisons {
        use super::{Both, Pointwise};
        $(
            #[doc = concat!("1 where `a ", stringify!($operator), " b`, else 0.")]
            pub fn $name() -> Box<dyn Pointwise> {
                Box::new(Both(super::$type))
            }
        )*
    }};
}

comparison! {
    eq Eq == broadcast_eq;
    ne Ne != broadcast_ne;
    gt Gt > broadcast_gt;
    ge Ge >= broadcast_ge;
    lt Lt < broadcast_lt;
    le Le <= broadcast_le;
}

/// Shares of a tie: all to the winner, half to each of equals.
#[inline(always)]
fn shares<T: Element>(first_wins: bool, tie: bool, g: T) -> (T, T) {
    let half = g * <T as Float>::of(0.5);
    let (win, lose) = (g, <T as Float>::ZERO);
    if tie {
        (half, half)
    } else if first_wins {
        (win, lose)
    } else {
        (lose, win)
    }
}

binary! {
    /// `a + b`.
    add() Add passes = [true, true];
        a, b => a + b;
        a, b, g => (g, g);
        a, b => a.broadcast_add(b);
    /// `a - b`.
    sub() Sub passes = [true, false];
        a, b => a - b;
        a, b, g => (g, -g);
        a, b => a.broadcast_sub(b);
    /// `a b`.
    mul() Mul;
        a, b => a * b;
        a, b, g => (g * b, g * a);
        a, b => a.broadcast_mul(b);
    /// `a / b`.
    div() Div;
        a, b => a / b;
        a, b, g => (g / b, -(g * (a / b)) / b);
        a, b => a.broadcast_div(b);
    /// The larger of `a` and `b`; NaN if one is. Of equals, each gets half of the gradient.
    maximum() Maximum;
        a, b => if a > b || a.is_nan() { a } else { b };
        a, b, g => shares(a > b || a.is_nan(), a == b, g);
        a, b => a.broadcast_maximum(b);
    /// The smaller of `a` and `b`; NaN if one is. Of equals, each gets half of the gradient.
    minimum() Minimum;
        a, b => if a < b || a.is_nan() { a } else { b };
        a, b, g => shares(a < b || a.is_nan(), a == b, g);
        a, b => a.broadcast_minimum(b);
    /// Smooth L1 of `d = a - b`, by element: `d^2 / (2 beta)` where `|d| < beta`, else `|d| - beta / 2`.
    ///
    /// Gradient `d / beta` below, `sign(d)` from `beta` on; with `beta = 0` it is `|d|`, gradient 0 at 0.
    smooth_l1(beta) SmoothL1;
        a, b => {
            let d = Float::abs(a - b);
            let half = <T as Float>::of(0.5);
            if d < beta { half * d * d / beta } else { d - half * beta }
        };
        a, b, g => {
            let d = a - b;
            let sign = match d {
                d if d > <T as Float>::ZERO => <T as Float>::ONE,
                d if d < <T as Float>::ZERO => -<T as Float>::ONE,
                d => d,
            };
            let slope = if Float::abs(d) < beta { d / beta } else { sign };
            (g * slope, -(g * slope))
        };
        a, b => {
            let d = super::unary::abs(&a.broadcast_sub(b)?)?;
            let near = super::unary::clamp(&d, 0.0, beta)?;
            let square = if beta > 0.0 { (near.sqr()? / (2.0 * beta))? } else { near.zeros_like()? };
            (d - near)? + square
        };
}

/// `a` where `mask` is not 0, else `b`. The gradient goes where the value came from; none to the mask.
///
/// # Shapes
/// - `mask` of `u8` or the dtype of `a`; `a`, `b` of one float dtype; the three broadcast to the result's shape
///
/// # Errors
/// Shapes that do not broadcast, other dtypes.
pub fn where_cond(mask: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let name = "where_cond";
    let both = meet(name, a.dims(), b.dims())?;
    let dims = meet(name, mask.dims(), both.dims())?.dims().to_vec();
    if !matches!(mask.dtype(), DType::U8) && mask.dtype() != a.dtype() {
        let (lhs, rhs) = (mask.dtype(), a.dtype());
        return Err(Error::DTypeMismatchBinaryOp { lhs, rhs, op: name }.bt());
    }
    let spread = |t: &Tensor| if t.dims() == dims { Ok(t.clone()) } else { super::shape::broadcast_to(t, &dims) };
    let (mask, a, b) = (mask.detach(), spread(a)?, spread(b)?);
    if !a.device().is_cpu() {
        return spread(&mask.ne(0.0)?)?.where_cond(&a, &b);
    }
    apply(Where, &[&spread(&mask.to_dtype(a.dtype())?)?, &a, &b])
}

struct Where;

impl Node for Where {
    fn name(&self) -> &'static str {
        "where_cond"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let [mask, a, b] = [0, 1, 2].map(|at| ins[at].data);
        let out = zip3(mask, a, b, |mask, a, b| if mask != <T as Float>::ZERO { a } else { b });
        Ok((out, ins[0].dims.to_vec()))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let zero = <T as Float>::ZERO;
        let part =
            |keep: bool| zip(call.ins[0].data, call.grad, |mask, g| if (mask != zero) == keep { g } else { zero });
        Ok(vec![None, call.wanted[1].then(|| part(true)), call.wanted[2].then(|| part(false))])
    }
}
