//! One call or more of every operation, for tests.

use super::{DType, Meta, Op};

/// A call: the operation, its inputs, and the range of their values.
pub(crate) struct Sample {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<Meta>,
    pub(crate) range: (f64, f64),
    /// Shape of the (first) result.
    pub(crate) shape: Vec<usize>,
}

fn sample(op: Op, inputs: &[&[usize]], range: (f64, f64), shape: &[usize]) -> Sample {
    let inputs = inputs.iter().map(|shape| Meta::new(*shape, DType::F64)).collect();
    Sample { op, inputs, range, shape: shape.to_vec() }
}

const ANY: (f64, f64) = (-2.0, 2.0);
const POSITIVE: (f64, f64) = (0.3, 2.0);

/// Samples of every operation.
pub(crate) fn samples() -> Vec<Sample> {
    let mut all = pointwise();
    all.extend(shapes());
    all.extend(reductions_and_indices());
    all.extend(networks());
    all.extend(convolutions());
    all
}

fn pointwise() -> Vec<Sample> {
    let two = [
        Op::Add,
        Op::Sub,
        Op::Mul,
        Op::Maximum,
        Op::Minimum,
        Op::Eq,
        Op::Ne,
        Op::Lt,
        Op::Le,
        Op::Gt,
        Op::Ge,
        Op::SmoothL1 { beta: 0.7 },
    ];
    let one = [
        Op::Neg,
        Op::Exp,
        Op::Square,
        Op::Abs,
        Op::Relu,
        Op::LeakyRelu { slope: 0.2 },
        Op::Sigmoid,
        Op::Tanh,
        Op::Silu,
        Op::Gelu,
        Op::Softplus,
        Op::Erf,
        Op::Sign,
        Op::Floor,
        Op::Affine { mul: -1.5, add: 0.25 },
        Op::Clamp { low: -0.8, high: 0.9 },
        Op::Detach,
        Op::ScaleGrad { factor: -0.5 },
        Op::Cast { dtype: DType::F64 },
    ];
    let positive = [Op::Log, Op::Sqrt, Op::Recip, Op::Pow { exponent: 2.5 }];
    let mut all: Vec<Sample> = two.map(|op| sample(op, &[&[2, 1, 3], &[4, 1]], ANY, &[2, 4, 3])).into();
    all.push(sample(Op::Div, &[&[3], &[2, 3]], POSITIVE, &[2, 3]));
    all.extend(one.map(|op| sample(op, &[&[2, 3]], ANY, &[2, 3])));
    all.extend(positive.map(|op| sample(op, &[&[2, 3]], POSITIVE, &[2, 3])));
    all.push(sample(Op::Relu6, &[&[4, 5]], (-3.0, 9.0), &[4, 5]));
    all.push(sample(Op::Where, &[&[3], &[2, 1], &[2, 3]], ANY, &[2, 3]));
    all
}

fn shapes() -> Vec<Sample> {
    vec![
        sample(Op::Reshape { shape: vec![3, 4] }, &[&[2, 6]], ANY, &[3, 4]),
        sample(Op::Permute { dims: vec![2, 0, 1] }, &[&[2, 3, 4]], ANY, &[4, 2, 3]),
        sample(Op::BroadcastTo { shape: vec![4, 2, 3] }, &[&[2, 1]], ANY, &[4, 2, 3]),
        sample(Op::Narrow { dim: 1, start: 1, len: 2 }, &[&[2, 4, 3]], ANY, &[2, 2, 3]),
        sample(Op::Concat { dim: 1 }, &[&[2, 1, 2], &[2, 3, 2], &[2, 2, 2]], ANY, &[2, 6, 2]),
        sample(Op::Full { value: 1.5, dtype: DType::F64, shape: vec![2, 3] }, &[], ANY, &[2, 3]),
        sample(Op::Eye { n: 3, dtype: DType::F64 }, &[], ANY, &[3, 3]),
        sample(Op::Arange { n: 4, dtype: DType::F64 }, &[], ANY, &[4]),
    ]
}

fn reductions_and_indices() -> Vec<Sample> {
    let mut gather = sample(Op::Gather { dim: 1 }, &[&[2, 3, 2], &[2, 4, 2]], ANY, &[2, 4, 2]);
    let mut select = sample(Op::IndexSelect { dim: 1 }, &[&[2, 3, 2], &[5]], ANY, &[2, 5, 2]);
    let mut one_hot = sample(Op::OneHot { classes: 3, dtype: DType::F64 }, &[&[2, 4]], ANY, &[2, 4, 3]);
    gather.inputs[1].dtype = DType::I64;
    select.inputs[1].dtype = DType::I64;
    one_hot.inputs[0].dtype = DType::I64;
    vec![
        sample(Op::Sum { keep: false, dims: vec![0, 2] }, &[&[2, 3, 4]], ANY, &[3]),
        sample(Op::Sum { keep: true, dims: vec![] }, &[&[2, 3]], ANY, &[1, 1]),
        sample(Op::Mean { keep: true, dims: vec![1] }, &[&[2, 3, 4]], ANY, &[2, 1, 4]),
        sample(Op::Mean { keep: false, dims: vec![] }, &[&[2, 3]], ANY, &[]),
        sample(Op::Max { dim: 1, keep: false }, &[&[2, 3, 4]], ANY, &[2, 4]),
        sample(Op::Min { dim: 0, keep: true }, &[&[3, 2]], ANY, &[1, 2]),
        sample(Op::ArgMax { dim: 1, keep: false }, &[&[2, 3, 2]], ANY, &[2, 2]),
        sample(Op::Matmul, &[&[2, 1, 3, 4], &[5, 4, 2]], ANY, &[2, 5, 3, 2]),
        gather,
        select,
        one_hot,
    ]
}

fn networks() -> Vec<Sample> {
    let mut entropy = sample(Op::CrossEntropy { smoothing: 0.1 }, &[&[3, 4], &[3]], ANY, &[3]);
    entropy.inputs[1].dtype = DType::I64;
    let (c, map): (&[usize], &[usize]) = (&[3], &[2, 3, 2, 2]);
    vec![
        sample(Op::Softmax { dim: 1 }, &[&[2, 3, 2]], ANY, &[2, 3, 2]),
        sample(Op::LogSoftmax { dim: 0 }, &[&[4, 2]], ANY, &[4, 2]),
        entropy,
        sample(Op::Normalize { eps: 1e-12, dims: vec![1, 2] }, &[&[2, 3, 2]], ANY, &[2, 3, 2]),
        sample(Op::Normalize { eps: 50.0, dims: vec![0] }, &[&[3, 2]], ANY, &[3, 2]),
        sample(Op::BatchNormTrain { eps: 1e-3 }, &[map, c, c], ANY, map),
        sample(Op::BatchNormEval { eps: 1e-3 }, &[map, c, c, c, c], POSITIVE, map),
        sample(Op::LayerNorm { dims: 2, eps: 1e-3 }, &[&[2, 3, 4], &[3, 4], &[3, 4]], ANY, &[2, 3, 4]),
        sample(Op::LayerNorm { dims: 1, eps: 1e-3 }, &[&[2, 4]], ANY, &[2, 4]),
    ]
}

fn convolutions() -> Vec<Sample> {
    let (stride, padding) = ([2, 1], [1, 0]);
    let conv = Op::Conv2d { stride, padding, dilation: [1, 2], groups: 2 };
    let transposed = Op::ConvTranspose2d { stride, padding, output_padding: [1, 0], dilation: [1, 2], groups: 2 };
    let map: &[usize] = &[1, 2, 5, 4];
    vec![
        sample(conv, &[&[2, 4, 5, 6], &[6, 2, 3, 2], &[6]], ANY, &[2, 6, 3, 4]),
        sample(transposed, &[&[2, 4, 3, 2], &[4, 3, 3, 2], &[6]], ANY, &[2, 6, 6, 4]),
        sample(Op::MaxPool2d { kernel: [3, 2], stride, padding: [1, 1] }, &[map], ANY, &[1, 2, 3, 5]),
        sample(
            Op::AvgPool2d { kernel: [3, 2], stride, padding: [1, 1], count_padding: true },
            &[map],
            ANY,
            &[1, 2, 3, 5],
        ),
        sample(
            Op::AvgPool2d { kernel: [3, 2], stride, padding: [1, 1], count_padding: false },
            &[map],
            ANY,
            &[1, 2, 3, 5],
        ),
        sample(Op::AdaptiveAvgPool2d { size: [3, 6] }, &[map], ANY, &[1, 2, 3, 6]),
        sample(Op::ResizeBilinear { size: [3, 7] }, &[map], ANY, &[1, 2, 3, 7]),
        sample(Op::ResizeNearest { size: [7, 3] }, &[map], ANY, &[1, 2, 7, 3]),
    ]
}
