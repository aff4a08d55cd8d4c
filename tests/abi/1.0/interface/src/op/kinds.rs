//! Every operation, with its code and its attributes, in one table.

use super::DType;
use super::codec::{Attribute, Encoded, Reader};

macro_rules! operations {
    ($( $(#[doc = $doc:expr])+ $code:literal $name:literal $variant:ident $({ $($(#[doc = $fdoc:expr])* $field:ident : $type:ty),+ })? ;)+) => {
        /// One operation with its attributes. See the variants for shapes and gradients.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op {
            $( $(#[doc = $doc])+ $variant $({ $( #[doc = concat!("Attribute `", stringify!($field), "`.")] $(#[doc = $fdoc])* $field: $type ),+ })? ),+
        }

        impl Op {
            /// Every code with its name, in the order of the table.
            pub const TABLE: &'static [(u32, &'static str)] = &[$( ($code, $name) ),+];

            /// Number by which the operation crosses the boundary.
            pub fn code(&self) -> u32 {
                match self { $( Op::$variant $({ $($field: _),+ })? => $code ),+ }
            }

            /// Name, for messages and for hosts that lack the code.
            pub fn name(&self) -> &'static str {
                match self { $( Op::$variant $({ $($field: _),+ })? => $name ),+ }
            }

            /// The attributes as numbers.
            pub fn encode(&self) -> Encoded {
                #[allow(unused_mut)]
                let mut to = Encoded::default();
                match self { $( Op::$variant $({ $($field),+ })? => { $($( $field.put(&mut to); )+)? } ),+ }
                to
            }

            /// The operation behind a code; `None` when the code is unknown or the numbers do not fit it.
            pub fn decode(code: u32, ints: &[i64], floats: &[f64]) -> Option<Op> {
                let mut from = Reader::new(ints, floats);
                let op = match code {
                    $( $code => Op::$variant $({ $($field: <$type as Attribute>::take(&mut from)?),+ })?, )+
                    _ => return None,
                };
                from.is_empty().then_some(op)
            }
        }
    };
}

operations! {
    // Pointwise, two inputs: shapes broadcast as in NumPy; the gradient of a broadcast input is summed over the copies.
    /// `a + b`.
    1 "add" Add;
    /// `a - b`.
    2 "sub" Sub;
    /// `a * b`.
    3 "mul" Mul;
    /// `a / b`.
    4 "div" Div;
    /// Larger of the two; at a tie each side receives half of the gradient.
    5 "maximum" Maximum;
    /// Smaller of the two; at a tie each side receives half of the gradient.
    6 "minimum" Minimum;
    /// 1 where `a == b`, else 0, in the type of `a`; no gradient.
    7 "eq" Eq;
    /// 1 where `a != b`, else 0; no gradient.
    8 "ne" Ne;
    /// 1 where `a < b`, else 0; no gradient.
    9 "lt" Lt;
    /// 1 where `a <= b`, else 0; no gradient.
    10 "le" Le;
    /// 1 where `a > b`, else 0; no gradient.
    11 "gt" Gt;
    /// 1 where `a >= b`, else 0; no gradient.
    12 "ge" Ge;

    // Pointwise, one input.
    /// `-x`.
    20 "neg" Neg;
    /// `e^x`.
    21 "exp" Exp;
    /// Natural logarithm; gradient `1/x`.
    22 "log" Log;
    /// Square root; the gradient at 0 is infinite: clamp first.
    23 "sqrt" Sqrt;
    /// `x^2`.
    24 "square" Square;
    /// `|x|`; gradient 0 at 0.
    25 "abs" Abs;
    /// `1/x`.
    26 "recip" Recip;
    /// `max(x, 0)`; gradient 0 at 0.
    27 "relu" Relu;
    /// `min(max(x, 0), 6)`; gradient 0 at 0 and at 6.
    28 "relu6" Relu6;
    /// `x` above 0, else `slope x`; gradient `slope` at 0.
    29 "leaky_relu" LeakyRelu { slope: f64 };
    /// `1 / (1 + e^-x)`.
    30 "sigmoid" Sigmoid;
    /// Hyperbolic tangent.
    31 "tanh" Tanh;
    /// `x sigmoid(x)`.
    32 "silu" Silu;
    /// `x Phi(x)` with the exact normal distribution function.
    33 "gelu" Gelu;
    /// `ln(1 + e^x)`, stable for any `x`.
    34 "softplus" Softplus;
    /// Gauss error function.
    35 "erf" Erf;
    /// -1, 0 or 1; no gradient.
    36 "sign" Sign;
    /// Largest whole number not above `x`; no gradient.
    37 "floor" Floor;
    /// `mul x + add`.
    38 "affine" Affine { mul: f64, add: f64 };
    /// `x^exponent`.
    39 "pow" Pow { exponent: f64 };
    /// `min(max(x, low), high)`; the gradient passes where `low <= x <= high`, bounds included, and is 0 outside.
    40 "clamp" Clamp { low: f64, high: f64 };

    // Choice.
    /// `a` where the first input is not 0, else `b` (inputs: mask, a, b; all broadcast); the mask has no gradient.
    50 "where" Where;

    // Shape.
    /// Same elements in row-major order under another shape.
    60 "reshape" Reshape { shape: Vec<usize> };
    /// Dimension `i` of the result is dimension `dims[i]` of the input.
    61 "permute" Permute { dims: Vec<usize> };
    /// Repeats dimensions of length 1 (and missing leading ones) up to `shape`.
    62 "broadcast_to" BroadcastTo { shape: Vec<usize> };
    /// Elements `start .. start + len` of dimension `dim`.
    63 "narrow" Narrow { dim: usize, start: usize, len: usize };
    /// Joins any number of inputs along `dim`.
    64 "concat" Concat { dim: usize };
    /// Another element type; a gradient passes between float types.
    65 "cast" Cast { dtype: DType };

    // Reduction.
    /// Sum over `dims` (all when empty).
    70 "sum" Sum { keep: bool, dims: Vec<usize> };
    /// Mean over `dims` (all when empty).
    71 "mean" Mean { keep: bool, dims: Vec<usize> };
    /// Largest along `dim`; the gradient goes to the first that reaches it.
    72 "max" Max { dim: usize, keep: bool };
    /// Smallest along `dim`; the gradient goes to the first that reaches it.
    73 "min" Min { dim: usize, keep: bool };
    /// Index of the largest along `dim`, the first at a tie, `i64`; no gradient.
    74 "argmax" ArgMax { dim: usize, keep: bool };

    // Products and indices.
    /// Matrix product over the last two dimensions; leading ones broadcast.
    80 "matmul" Matmul;
    /// Elements of `x` along `dim` at `index` (inputs: x, index `i64` of the same rank).
    81 "gather" Gather { dim: usize };
    /// Slices of `x` along `dim` at `index` (inputs: x, index `i64` `[K]`).
    82 "index_select" IndexSelect { dim: usize };
    /// `[..., classes]` with 1 at the label, in the float type given; no gradient.
    83 "one_hot" OneHot { classes: usize, dtype: DType };

    // Making.
    /// A tensor of one value. No input.
    90 "full" Full { value: f64, dtype: DType, shape: Vec<usize> };
    /// Identity matrix `[n, n]`. No input.
    91 "eye" Eye { n: usize, dtype: DType };
    /// `0, 1, ..., n - 1`. No input.
    92 "arange" Arange { n: usize, dtype: DType };

    // Networks. Maps are `[N, C, H, W]`.
    /// Softmax along `dim`.
    100 "softmax" Softmax { dim: usize };
    /// Logarithm of the softmax along `dim`, stable.
    101 "log_softmax" LogSoftmax { dim: usize };
    /// Cross-entropy a sample (inputs: logits `[N, C]`, labels `i64` `[N]`) -> `[N]`, nats; `smoothing` spreads that share
    /// of the label evenly over all classes.
    102 "cross_entropy" CrossEntropy { smoothing: f64 };
    /// Huber-like loss of `a - b`: `0.5 d^2 / beta` below `beta`, else `|d| - 0.5 beta`.
    103 "smooth_l1" SmoothL1 { beta: f64 };
    /// `v / max(|v|_2, eps)` along `dims` (all when empty) together; where the norm is below `eps` the gradient is that of `v / eps`.
    104 "normalize" Normalize { eps: f64, dims: Vec<usize> };
    /// Cross-correlation (inputs: x `[N, C, H, W]`, weight `[O, C / groups, kH, kW]`, optional bias `[O]`).
    110 "conv2d" Conv2d { stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2], groups: usize };
    /// Transposed convolution (inputs: x, weight `[C, O / groups, kH, kW]`, optional bias `[O]`).
    111 "conv_transpose2d" ConvTranspose2d { stride: [usize; 2], padding: [usize; 2], output_padding: [usize; 2], dilation: [usize; 2], groups: usize };
    /// Largest of each window; padding never wins; the gradient goes to the first that reaches it.
    112 "max_pool2d" MaxPool2d { kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2] };
    /// Mean of each window; padding counts as zeros when `count_padding`.
    113 "avg_pool2d" AvgPool2d { kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], count_padding: bool };
    /// Mean over windows `floor(k L / l) .. ceil((k + 1) L / l)`.
    114 "adaptive_avg_pool2d" AdaptiveAvgPool2d { size: [usize; 2] };
    /// Bilinear resize, half-pixel centres, borders clamped, no antialiasing.
    115 "resize_bilinear" ResizeBilinear { size: [usize; 2] };
    /// Nearest neighbour at `floor(k L / l)`.
    116 "resize_nearest" ResizeNearest { size: [usize; 2] };
    /// Normalisation by the statistics of the batch over every dimension but 1 (inputs: x, scale `[C]`, shift `[C]`).
    /// Outputs: y; batch mean `[C]`; unbiased batch variance `[C]` (the last two without gradient).
    120 "batch_norm_train" BatchNormTrain { eps: f64 };
    /// Normalisation by given statistics (inputs: x, scale, shift, mean, variance, each `[C]`); the statistics receive no
    /// gradient.
    121 "batch_norm_eval" BatchNormEval { eps: f64 };
    /// Normalisation over the trailing `dims` dimensions (inputs: x, optional scale and shift of the trailing shape).
    122 "layer_norm" LayerNorm { dims: usize, eps: f64 };

    // Gradients.
    /// The same values, no gradient.
    130 "detach" Detach;
    /// The same values; the gradient is multiplied by `factor` (negative: reversal).
    131 "scale_grad" ScaleGrad { factor: f64 };
}

impl Op {
    /// How many tensors the operation gives.
    pub fn outputs(&self) -> usize {
        match self {
            Op::BatchNormTrain { .. } => 3,
            _ => 1,
        }
    }

    /// The name of a code, where it is known.
    pub fn name_of(code: u32) -> Option<&'static str> {
        Op::TABLE.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
    }
}
