//! Activations as types, so that the loop over values is compiled once for each.

use super::conv::lanes::Lanes;
use crate::Float;
use crate::float::exp_flushed;

/// A pointwise function and its derivative.
pub(crate) trait Curve: Copy {
    /// Whether it changes nothing.
    const IDENTITY: bool = false;

    /// The function at `x`.
    fn value(self, x: f32) -> f32;
    /// The derivative at `x`.
    fn slope(self, x: f32) -> f32;

    /// The function of each lane.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    unsafe fn vector<V: Lanes>(self, x: V) -> V {
        let mut values = [0.0; MOST_LANES];
        // SAFETY: the array has room for a vector.
        unsafe {
            x.store(values.as_mut_ptr());
            for value in values.iter_mut().take(V::N) {
                *value = self.value(*value);
            }
            V::load(values.as_ptr())
        }
    }

    /// `gradient` times the derivative at `x`, in each lane.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    unsafe fn backward<V: Lanes>(self, gradient: V, x: V) -> V {
        let mut slopes = [0.0; MOST_LANES];
        // SAFETY: the array has room for a vector.
        unsafe {
            x.store(slopes.as_mut_ptr());
            for slope in slopes.iter_mut().take(V::N) {
                *slope = self.slope(*slope);
            }
            gradient.mul(V::load(slopes.as_ptr()))
        }
    }
}

const MOST_LANES: usize = 16;

/// Binds the [`Curve`] of an [`super::Activation`] and evaluates the body once for that type.
macro_rules! with_curve {
    ($activation:expr, $curve:ident => $body:expr) => {
        match $activation {
            $crate::nhwc::Activation::None => with_curve!(@ $curve, Identity, $body),
            $crate::nhwc::Activation::Relu => with_curve!(@ $curve, Relu, $body),
            $crate::nhwc::Activation::Relu6 => with_curve!(@ $curve, Relu6, $body),
            $crate::nhwc::Activation::LeakyRelu(slope) => with_curve!(@ $curve, LeakyRelu(slope), $body),
            $crate::nhwc::Activation::Silu => with_curve!(@ $curve, Silu, $body),
            $crate::nhwc::Activation::HardSwish => with_curve!(@ $curve, HardSwish, $body),
            $crate::nhwc::Activation::Gelu => with_curve!(@ $curve, Gelu, $body),
            $crate::nhwc::Activation::Sigmoid => with_curve!(@ $curve, Sigmoid, $body),
            $crate::nhwc::Activation::Tanh => with_curve!(@ $curve, Tanh, $body),
        }
    };
    (@ $curve:ident, $name:ident $(($slope:ident))?, $body:expr) => {{
        let $curve = $crate::nhwc::curve::$name $(($slope))?;
        $body
    }};
}
pub(crate) use with_curve;

macro_rules! curve {
    ($name:ident $(($field:ident))?, $x:ident, $value:expr, $slope:expr $(, $special:item)*) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name $((pub(crate) curve!(@ $field f32)))?;

        impl Curve for $name {
            $($special)*
            #[inline(always)]
            fn value(self, $x: f32) -> f32 {
                $(let $field = self.0;)?
                $value
            }
            #[inline(always)]
            fn slope(self, $x: f32) -> f32 {
                $(let $field = self.0;)?
                $slope
            }
        }
    };
    (@ $field:ident $type:ty) => { $type };
}

curve!(
    Identity,
    x,
    x,
    {
        let _ = x;
        1.0
    },
    const IDENTITY: bool = true;,
    #[inline(always)]
    unsafe fn vector<V: Lanes>(self, x: V) -> V {
        x
    },
    #[inline(always)]
    unsafe fn backward<V: Lanes>(self, gradient: V, _: V) -> V {
        gradient
    }
);
curve!(
    Relu,
    x,
    if x < 0.0 { 0.0 } else { x },
    if x > 0.0 { 1.0 } else { 0.0 },
    #[inline(always)]
    unsafe fn vector<V: Lanes>(self, x: V) -> V {
        // SAFETY: the caller's contract.
        unsafe { V::splat(0.0).max(x) }
    },
    #[inline(always)]
    unsafe fn backward<V: Lanes>(self, gradient: V, x: V) -> V {
        // SAFETY: the caller's contract.
        unsafe { gradient.where_positive(x) }
    }
);
curve!(
    Relu6,
    x,
    {
        let x = if x < 0.0 { 0.0 } else { x };
        if x > 6.0 { 6.0 } else { x }
    },
    {
        let above = if x > 0.0 { 1.0 } else { 0.0 };
        if x < 6.0 { above } else { 0.0 }
    }
);
curve!(LeakyRelu(a), x, if x > 0.0 { x } else { a * x }, if x > 0.0 { 1.0 } else { a });
curve!(Silu, x, x * sigmoid(x), {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
});
curve!(HardSwish, x, x * Relu6.value(x + 3.0) * (1.0 / 6.0), {
    let inside = if x > -3.0 { x * (1.0 / 3.0) + 0.5 } else { 0.0 };
    if x < 3.0 { inside } else { 1.0 }
});
curve!(Gelu, x, 0.5 * x * (1.0 + Float::erf(x * std::f32::consts::FRAC_1_SQRT_2)), {
    const INV_SQRT_2PI: f32 = 0.398_942_3;
    let cdf = 0.5 * (1.0 + Float::erf(x * std::f32::consts::FRAC_1_SQRT_2));
    cdf + x * INV_SQRT_2PI * exp_flushed(-0.5 * x * x)
});
curve!(Sigmoid, x, sigmoid(x), {
    let s = sigmoid(x);
    s * (1.0 - s)
});
curve!(Tanh, x, Float::tanh(x), {
    let t = Float::tanh(x);
    1.0 - t * t
});

/// `1 / (1 + e^-x)`; 0 and 1 at the ends.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp_flushed(-x))
}
