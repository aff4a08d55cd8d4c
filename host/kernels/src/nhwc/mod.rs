//! Kernels over channels-last `f32`: value `(n, y, x, c)` at `((n * H + y) * W + x) * C + c`.
//!
//! A convolution stores its raw output; the batch norm after it is two vectors, and its activation is applied when the next
//! layer reads the value ([`Load`]). In backward the gradient of the raw output is formed when it is read ([`Grad`]).
//!
//! | module | kernels |
//! |---|---|
//! | [`conv`] | convolution and transposed convolution, all gradients |
//! | [`norm`] | batch norm over lazy values, forward and backward; sums of channels |
//! | [`activation`] | activations, sums, products, gates of channels as passes of their own |
//! | [`layer_norm`], [`group_norm`], [`softmax`] | over the last dim, over groups of channels |
//! | [`pool`], [`resize`] | max and average pooling; bilinear and nearest resizing |
//! | [`linear`] | fully connected layers |
//! | [`layout`] | from and to `[N, C, H, W]` |

pub mod activation;
pub mod conv;
pub mod group_norm;
pub mod layer_norm;
pub mod layout;
pub mod linear;
pub mod norm;
pub mod pool;
pub mod resize;
pub mod softmax;

pub(crate) mod across;
mod apply;
mod average;
mod curve;
mod level;
mod mask;
mod rows;
mod sums;
mod turn;

pub(crate) use curve::{Curve, sigmoid, with_curve};
pub use level::Level;

/// A pointwise function between layers. At its corners the derivative is PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Activation {
    /// `x`.
    #[default]
    None,
    /// `max(x, 0)`; derivative 0 at 0.
    Relu,
    /// `min(max(x, 0), 6)`; derivative 0 at 0 and at 6.
    Relu6,
    /// `x` above 0, else `x` times this slope, which is the derivative at 0.
    LeakyRelu(f32),
    /// `x sigmoid(x)`.
    Silu,
    /// `x relu6(x + 3) / 6`; derivative 0 at -3, 1 at 3.
    HardSwish,
    /// `x (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// What it gave tells its derivative.
    pub fn is_told_by_output(self) -> bool {
        match self {
            Self::None | Self::Relu | Self::Relu6 => true,
            Self::LeakyRelu(slope) => slope > 0.0,
            _ => false,
        }
    }

    /// The function at `x`.
    pub fn apply(self, x: f32) -> f32 {
        with_curve!(self, curve => curve.value(x))
    }

    /// Its derivative at the pre-activation `x`.
    pub fn slope(self, x: f32) -> f32 {
        with_curve!(self, curve => curve.slope(x))
    }
}

/// A value as it is read: `activation(x * scale + shift)`, per channel; plain when `affine` is None.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// Raw values, channels last.
    pub values: &'a [f32],
    /// Scale and shift, `[C]` each.
    pub affine: Option<[&'a [f32]; 2]>,
    /// Applied last; also when `affine` is None.
    pub activation: Activation,
}

impl<'a> Load<'a> {
    /// The values as they are.
    pub fn plain(values: &'a [f32]) -> Self {
        Self { values, affine: None, activation: Activation::None }
    }

    /// Whether reading is copying.
    pub(crate) fn is_plain(&self) -> bool {
        self.affine.is_none() && self.activation == Activation::None
    }

    /// The lengths of the values and of the vectors of the affine map.
    pub(crate) fn check(&self, len: usize, channels: usize) {
        assert_eq!(self.values.len(), len, "loaded value: length");
        let vectors = self.affine.iter().flatten();
        vectors.for_each(|vector| assert_eq!(vector.len(), channels, "loaded value: length of scale or shift"));
    }
}

/// The gradient of a raw output: `dz`, or per channel `k[0]*dz + k[1]*y + k[2]`.
#[derive(Debug, Clone, Copy)]
pub struct Grad<'a> {
    /// Gradient behind the batch norm, the activation's derivative already applied.
    pub dz: &'a [f32],
    /// The raw output `y` and the coefficients `k`, `[C]` each.
    pub norm: Option<(&'a [f32], [&'a [f32]; 3])>,
}

impl<'a> Grad<'a> {
    /// `dz` is the gradient.
    pub fn plain(dz: &'a [f32]) -> Self {
        Self { dz, norm: None }
    }

    /// The lengths of the values and of the coefficients.
    pub(crate) fn check(&self, len: usize, channels: usize) {
        assert_eq!(self.dz.len(), len, "gradient: length");
        if let Some((y, coefficients)) = self.norm {
            assert_eq!(y.len(), len, "gradient: length of the raw output");
            coefficients.iter().for_each(|k| assert_eq!(k.len(), channels, "gradient: length of a coefficient"));
        }
    }
}
