//! Operators and functions of [`Tensor`]. Gradient rules stand on the variants of [`Op`].

use super::tensor::Tensor;
use crate::op::{DType, Op};

macro_rules! binary_operator {
    ($($trait:ident :: $method:ident => $op:expr, $scalar:ident, $reversed:ident;)+) => { $(
        impl std::ops::$trait<&Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor { self.with(&$op, other) }
        }
        impl std::ops::$trait<Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor { self.with(&$op, &other) }
        }
        impl std::ops::$trait<&Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor { self.with(&$op, other) }
        }
        impl std::ops::$trait<Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor { self.with(&$op, &other) }
        }
        impl std::ops::$trait<f64> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, value: f64) -> Tensor { self.$scalar(value) }
        }
        impl std::ops::$trait<f64> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, value: f64) -> Tensor { self.$scalar(value) }
        }
        impl std::ops::$trait<&Tensor> for f64 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, tensor: &Tensor) -> Tensor { tensor.$reversed(self) }
        }
        impl std::ops::$trait<Tensor> for f64 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, tensor: Tensor) -> Tensor { tensor.$reversed(self) }
        }
    )+ };
}

binary_operator! {
    Add::add => Op::Add, plus, plus;
    Sub::sub => Op::Sub, minus, minus_from;
    Mul::mul => Op::Mul, times, times;
    Div::div => Op::Div, over, over_into;
}

/// Arithmetic with a number on either side.
impl Tensor {
    #[track_caller]
    fn plus(&self, value: f64) -> Tensor {
        self.affine(1.0, value)
    }
    #[track_caller]
    fn minus(&self, value: f64) -> Tensor {
        self.affine(1.0, -value)
    }
    #[track_caller]
    fn minus_from(&self, value: f64) -> Tensor {
        self.affine(-1.0, value)
    }
    #[track_caller]
    fn times(&self, value: f64) -> Tensor {
        self.affine(value, 0.0)
    }
    #[track_caller]
    fn over(&self, value: f64) -> Tensor {
        self.affine(1.0 / value, 0.0)
    }
    #[track_caller]
    fn over_into(&self, value: f64) -> Tensor {
        self.recip().affine(value, 0.0)
    }
}

impl std::ops::Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        self.one(&Op::Neg)
    }
}

impl std::ops::Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        self.one(&Op::Neg)
    }
}

macro_rules! unary {
    ($($(#[doc = $doc:expr])+ $method:ident => $op:expr;)+) => {
        /// Pointwise functions of one tensor.
        impl Tensor { $( $(#[doc = $doc])+ #[track_caller] pub fn $method(&self) -> Tensor { self.one(&$op) } )+ }
    };
}

unary! {
    /// `e^x`.
    exp => Op::Exp;
    /// Natural logarithm.
    log => Op::Log;
    /// Square root; its gradient at 0 is infinite: [`clamp_min`](Tensor::clamp_min) first.
    sqrt => Op::Sqrt;
    /// `x^2`.
    square => Op::Square;
    /// `|x|`, gradient 0 at 0.
    abs => Op::Abs;
    /// `1/x`.
    recip => Op::Recip;
    /// `max(x, 0)`, gradient 0 at 0.
    relu => Op::Relu;
    /// `min(max(x, 0), 6)`.
    relu6 => Op::Relu6;
    /// `1 / (1 + e^-x)`.
    sigmoid => Op::Sigmoid;
    /// Hyperbolic tangent.
    tanh => Op::Tanh;
    /// `x sigmoid(x)`.
    silu => Op::Silu;
    /// `x Phi(x)`.
    gelu => Op::Gelu;
    /// `ln(1 + e^x)`, stable.
    softplus => Op::Softplus;
    /// Gauss error function.
    erf => Op::Erf;
    /// -1, 0 or 1; no gradient.
    sign => Op::Sign;
    /// Largest whole number not above; no gradient.
    floor => Op::Floor;
    /// The same values without gradient.
    detach => Op::Detach;
}

/// Pointwise functions with a number or a second tensor.
impl Tensor {
    /// `mul x + add`.
    #[track_caller]
    pub fn affine(&self, mul: f64, add: f64) -> Tensor {
        self.one(&Op::Affine { mul, add })
    }
    /// `x^exponent`.
    #[track_caller]
    pub fn pow(&self, exponent: f64) -> Tensor {
        self.one(&Op::Pow { exponent })
    }
    /// `x` above 0, else `slope x`.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        self.one(&Op::LeakyRelu { slope })
    }
    /// `min(max(x, low), high)`; clamped elements pass no gradient.
    #[track_caller]
    pub fn clamp(&self, low: f64, high: f64) -> Tensor {
        self.one(&Op::Clamp { low, high })
    }
    /// `max(x, low)`; clamped elements pass no gradient.
    #[track_caller]
    pub fn clamp_min(&self, low: f64) -> Tensor {
        self.clamp(low, f64::INFINITY)
    }
    /// `min(x, high)`; clamped elements pass no gradient.
    #[track_caller]
    pub fn clamp_max(&self, high: f64) -> Tensor {
        self.clamp(f64::NEG_INFINITY, high)
    }
    /// Larger of the two.
    #[track_caller]
    pub fn maximum(&self, other: &Tensor) -> Tensor {
        self.with(&Op::Maximum, other)
    }
    /// Smaller of the two.
    #[track_caller]
    pub fn minimum(&self, other: &Tensor) -> Tensor {
        self.with(&Op::Minimum, other)
    }
    /// 1 where equal, else 0.
    #[track_caller]
    pub fn eq(&self, other: &Tensor) -> Tensor {
        self.with(&Op::Eq, other)
    }
    /// 1 where different, else 0.
    #[track_caller]
    pub fn ne(&self, other: &Tensor) -> Tensor {
        self.with(&Op::Ne, other)
    }
    /// 1 where `self > other`, else 0.
    #[track_caller]
    pub fn gt(&self, other: &Tensor) -> Tensor {
        self.with(&Op::Gt, other)
    }
    /// 1 where `self >= other`, else 0.
    #[track_caller]
    pub fn ge(&self, other: &Tensor) -> Tensor {
        self.with(&Op::Ge, other)
    }
    /// 1 where `self < other`, else 0.
    #[track_caller]
    pub fn lt(&self, other: &Tensor) -> Tensor {
        self.with(&Op::Lt, other)
    }
    /// 1 where `self <= other`, else 0.
    #[track_caller]
    pub fn le(&self, other: &Tensor) -> Tensor {
        self.with(&Op::Le, other)
    }
    /// 1 where `self > value`, else 0.
    #[track_caller]
    pub fn gt_value(&self, value: f64) -> Tensor {
        self.gt(&self.full_like(value))
    }
    /// 1 where `self <= value`, else 0.
    #[track_caller]
    pub fn le_value(&self, value: f64) -> Tensor {
        self.le(&self.full_like(value))
    }
    /// `yes` where this mask is not 0, else `no`.
    #[track_caller]
    pub fn select(&self, yes: &Tensor, no: &Tensor) -> Tensor {
        self.apply(&Op::Where, &[yes, no])
    }
    /// A scalar of this tensor's type that broadcasts against it.
    fn full_like(&self, value: f64) -> Tensor {
        match self.known().and_then(|info| DType::from_code(info.dtype)) {
            Some(dtype) => {
                let [out] = Tensor::call(self.door, &Op::Full { value, dtype, shape: vec![] }, &[]);
                out
            }
            None => self.clone(),
        }
    }
    /// Smooth L1 distance, element by element.
    #[track_caller]
    pub fn smooth_l1(&self, other: &Tensor, beta: f64) -> Tensor {
        self.with(&Op::SmoothL1 { beta }, other)
    }
    /// The same values; the gradient is multiplied by `factor` (negative: reversed).
    #[track_caller]
    pub fn scale_grad(&self, factor: f64) -> Tensor {
        self.one(&Op::ScaleGrad { factor })
    }
    /// Another element type.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Tensor {
        self.one(&Op::Cast { dtype })
    }
}

/// Shapes.
impl Tensor {
    #[track_caller]
    fn along(&self, op: &str, dims: &[isize], build: impl FnOnce(Vec<usize>) -> Op) -> Tensor {
        match self.resolve(op, dims) {
            Ok(dims) => self.one(&build(dims)),
            Err(poisoned) => poisoned,
        }
    }
    /// The same elements in row-major order under another shape.
    #[track_caller]
    pub fn reshape(&self, shape: &[usize]) -> Tensor {
        self.one(&Op::Reshape { shape: shape.to_vec() })
    }
    /// Dimension `i` of the result is dimension `dims[i]` of this.
    #[track_caller]
    pub fn permute(&self, dims: &[usize]) -> Tensor {
        self.one(&Op::Permute { dims: dims.to_vec() })
    }
    /// Two dimensions exchanged.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        let Some(rank) = self.known_dims().map(|dims| dims.len()) else { return self.clone() };
        match self.resolve("transpose", &[a, b]) {
            Ok(pair) => {
                let mut dims: Vec<usize> = (0..rank).collect();
                dims.swap(pair[0], pair[1]);
                self.permute(&dims)
            }
            Err(poisoned) => poisoned,
        }
    }
    /// The last two dimensions exchanged.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        self.transpose(-1, -2)
    }
    /// Copies along dimensions of length 1, up to `shape`.
    #[track_caller]
    pub fn broadcast_to(&self, shape: &[usize]) -> Tensor {
        self.one(&Op::BroadcastTo { shape: shape.to_vec() })
    }
    /// Elements `start .. start + len` of a dimension.
    #[track_caller]
    pub fn narrow(&self, dim: isize, start: usize, len: usize) -> Tensor {
        self.along("narrow", &[dim], |d| Op::Narrow { dim: d[0], start, len })
    }
    /// Everything from dimension `start` on in one dimension.
    #[track_caller]
    pub fn flatten_from(&self, start: usize) -> Tensor {
        let Some(dims) = self.known_dims() else { return self.clone() };
        if start > dims.len() {
            return self.poisoned("flatten_from", &format!("{dims:?} has no dimension {start}"));
        }
        let mut shape = dims[..start].to_vec();
        shape.push(dims[start..].iter().product());
        self.reshape(&shape)
    }
    /// A new dimension of length 1 before `at`.
    #[track_caller]
    pub fn unsqueeze(&self, at: usize) -> Tensor {
        let Some(mut dims) = self.known_dims() else { return self.clone() };
        if at > dims.len() {
            return self.poisoned("unsqueeze", &format!("{dims:?} has no place {at}"));
        }
        dims.insert(at, 1);
        self.reshape(&dims)
    }
    /// Without the dimension `dim`, which must have length 1.
    #[track_caller]
    pub fn squeeze(&self, dim: isize) -> Tensor {
        let Some(mut dims) = self.known_dims() else { return self.clone() };
        match self.resolve("squeeze", &[dim]) {
            Ok(at) => {
                dims.remove(at[0]);
                self.reshape(&dims)
            }
            Err(poisoned) => poisoned,
        }
    }
    /// Tensors joined along a dimension. The list must not be empty.
    #[track_caller]
    pub fn concat(tensors: &[&Tensor], dim: isize) -> super::error::Result<Tensor> {
        let Some((first, others)) = tensors.split_first() else {
            return Err(super::error::Error::new("`concat` wants one tensor or more"));
        };
        Ok(match first.resolve("concat", &[dim]) {
            Ok(at) => first.apply(&Op::Concat { dim: at[0] }, others),
            Err(poisoned) => poisoned,
        })
    }
    /// Tensors of one shape joined along a new dimension.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], at: usize) -> super::error::Result<Tensor> {
        let mut raised: Vec<Tensor> = vec![];
        for tensor in tensors {
            raised.push(tensor.unsqueeze(at));
        }
        Tensor::concat(&raised.iter().collect::<Vec<_>>(), at as isize)
    }
}

/// Reductions, products, indices and functions of networks.
impl Tensor {
    /// Sum over dimensions, which disappear.
    #[track_caller]
    pub fn sum(&self, dims: &[isize]) -> Tensor {
        self.along("sum", dims, |dims| Op::Sum { keep: false, dims })
    }
    /// Sum over dimensions, which keep length 1.
    #[track_caller]
    pub fn sum_keep(&self, dims: &[isize]) -> Tensor {
        self.along("sum", dims, |dims| Op::Sum { keep: true, dims })
    }
    /// Sum of all elements: a scalar.
    #[track_caller]
    pub fn sum_all(&self) -> Tensor {
        self.one(&Op::Sum { keep: false, dims: vec![] })
    }
    /// Mean over dimensions, which disappear.
    #[track_caller]
    pub fn mean(&self, dims: &[isize]) -> Tensor {
        self.along("mean", dims, |dims| Op::Mean { keep: false, dims })
    }
    /// Mean over dimensions, which keep length 1.
    #[track_caller]
    pub fn mean_keep(&self, dims: &[isize]) -> Tensor {
        self.along("mean", dims, |dims| Op::Mean { keep: true, dims })
    }
    /// Mean of all elements: a scalar.
    #[track_caller]
    pub fn mean_all(&self) -> Tensor {
        self.one(&Op::Mean { keep: false, dims: vec![] })
    }
    /// Largest along a dimension.
    #[track_caller]
    pub fn max(&self, dim: isize, keep: bool) -> Tensor {
        self.along("max", &[dim], |d| Op::Max { dim: d[0], keep })
    }
    /// Smallest along a dimension.
    #[track_caller]
    pub fn min(&self, dim: isize, keep: bool) -> Tensor {
        self.along("min", &[dim], |d| Op::Min { dim: d[0], keep })
    }
    /// Index of the largest along a dimension.
    #[track_caller]
    pub fn argmax(&self, dim: isize, keep: bool) -> Tensor {
        self.along("argmax", &[dim], |d| Op::ArgMax { dim: d[0], keep })
    }
    /// Matrix product over the last two dimensions.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        self.with(&Op::Matmul, other)
    }
    /// Elements along a dimension at indices of the same rank.
    #[track_caller]
    pub fn gather(&self, dim: isize, index: &Tensor) -> Tensor {
        match self.resolve("gather", &[dim]) {
            Ok(d) => self.with(&Op::Gather { dim: d[0] }, index),
            Err(poisoned) => poisoned,
        }
    }
    /// Slices along a dimension at indices `[K]`.
    #[track_caller]
    pub fn index_select(&self, dim: isize, index: &Tensor) -> Tensor {
        match self.resolve("index_select", &[dim]) {
            Ok(d) => self.with(&Op::IndexSelect { dim: d[0] }, index),
            Err(poisoned) => poisoned,
        }
    }
    /// Labels to rows with a 1 at the label.
    #[track_caller]
    pub fn one_hot(&self, classes: usize, dtype: DType) -> Tensor {
        self.one(&Op::OneHot { classes, dtype })
    }
    /// Softmax along a dimension.
    #[track_caller]
    pub fn softmax(&self, dim: isize) -> Tensor {
        self.along("softmax", &[dim], |d| Op::Softmax { dim: d[0] })
    }
    /// Logarithm of the softmax along a dimension.
    #[track_caller]
    pub fn log_softmax(&self, dim: isize) -> Tensor {
        self.along("log_softmax", &[dim], |d| Op::LogSoftmax { dim: d[0] })
    }
    /// Cross-entropy a sample of logits `[N, C]` with labels `[N]`, `[N]` in nats.
    #[track_caller]
    pub fn cross_entropy(&self, labels: &Tensor, smoothing: f64) -> Tensor {
        self.with(&Op::CrossEntropy { smoothing }, labels)
    }
    /// `v / max(|v|_2, eps)` along dimensions together.
    #[track_caller]
    pub fn normalize(&self, dims: &[isize], eps: f64) -> Tensor {
        self.along("normalize", dims, |dims| Op::Normalize { eps, dims })
    }
    /// Mean over windows, to a size.
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, size: [usize; 2]) -> Tensor {
        self.one(&Op::AdaptiveAvgPool2d { size })
    }
    /// Mean of windows; padding counts as zeros.
    #[track_caller]
    pub fn avg_pool2d(&self, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Tensor {
        self.one(&Op::AvgPool2d { kernel, stride, padding, count_padding: true })
    }
    /// Largest of windows.
    #[track_caller]
    pub fn max_pool2d(&self, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Tensor {
        self.one(&Op::MaxPool2d { kernel, stride, padding })
    }
    /// Bilinear resize.
    #[track_caller]
    pub fn resize_bilinear(&self, size: [usize; 2]) -> Tensor {
        self.one(&Op::ResizeBilinear { size })
    }
    /// Nearest-neighbour resize.
    #[track_caller]
    pub fn resize_nearest(&self, size: [usize; 2]) -> Tensor {
        self.one(&Op::ResizeNearest { size })
    }
    /// Mean over height and width: `[N, C, H, W]` to `[N, C]`.
    #[track_caller]
    pub fn global_avg_pool(&self) -> Tensor {
        self.mean(&[2, 3])
    }
}
