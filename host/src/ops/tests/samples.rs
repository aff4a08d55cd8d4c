//! Calls of every operation.

use candle_core::{Device, Tensor};
use stillhouse_plugin::op::{DType, Meta, Op};

/// A call: the operation, its inputs (floats first, then whole numbers), the range of the floats, the bound of the others.
pub(super) struct Sample {
    pub(super) op: Op,
    pub(super) inputs: Vec<Meta>,
    pub(super) range: (f64, f64),
    pub(super) below: usize,
}

impl Sample {
    /// Values of an input: the same on each run, no two floats alike.
    pub(super) fn values(&self, input: usize) -> Vec<f64> {
        let meta = &self.inputs[input];
        let (low, high) = self.range;
        let value = |at: usize| {
            let spread = ((at * 37 + input * 11 + 5) as f64 * 0.618_033_988_75).fract();
            if meta.dtype.is_float() { low + (high - low) * spread } else { ((at * 5 + 1) % self.below) as f64 }
        };
        (0..meta.count()).map(value).collect()
    }

    pub(super) fn tensor(&self, input: usize) -> Tensor {
        let meta = &self.inputs[input];
        let tensor = Tensor::from_vec(self.values(input), meta.shape.as_slice(), &Device::Cpu).unwrap();
        tensor.to_dtype(super::super::to_candle_dtype(meta.dtype)).unwrap()
    }
}

fn of(op: Op, floats: &[&[usize]], range: (f64, f64)) -> Sample {
    let inputs = floats.iter().map(|shape| Meta::new(*shape, DType::F64)).collect();
    Sample { op, inputs, range, below: 1 }
}

/// The same with an input of whole numbers below a bound.
fn with(mut sample: Sample, shape: &[usize], below: usize) -> Sample {
    sample.inputs.push(Meta::new(shape, DType::I64));
    Sample { below, ..sample }
}

const ANY: (f64, f64) = (-2.0, 2.0);
const POSITIVE: (f64, f64) = (0.3, 2.0);

pub(super) fn all() -> Vec<Sample> {
    [pointwise(), shapes(), reductions(), indices(), networks(), maps()].into_iter().flatten().collect()
}

fn pointwise() -> Vec<Sample> {
    let two = || {
        let smooth = Op::SmoothL1 { beta: 0.7 };
        [Op::Add, Op::Sub, Op::Mul, Op::Maximum, Op::Minimum, Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge, smooth]
    };
    let one = || {
        let (leaky, affine) = (Op::LeakyRelu { slope: 0.2 }, Op::Affine { mul: -1.5, add: 0.25 });
        let (clamp, scale, cast) =
            (Op::Clamp { low: -0.8, high: 0.9 }, Op::ScaleGrad { factor: -0.5 }, Op::Cast { dtype: DType::F32 });
        let smooth = [Op::Sigmoid, Op::Tanh, Op::Silu, Op::Gelu, Op::Softplus, Op::Erf];
        let rest = [
            Op::Neg,
            Op::Exp,
            Op::Square,
            Op::Abs,
            Op::Relu,
            leaky,
            Op::Sign,
            Op::Floor,
            affine,
            clamp,
            Op::Detach,
            scale,
            cast,
        ];
        smooth.into_iter().chain(rest)
    };
    let positive = [Op::Log, Op::Sqrt, Op::Recip, Op::Pow { exponent: 2.5 }, Op::Pow { exponent: -1.0 }];
    let pairs: [[&[usize]; 2]; 3] = [[&[2, 1, 3], &[4, 1]], [&[2, 3], &[2, 3]], [&[], &[3]]];
    let mut all: Vec<Sample> = pairs.iter().flat_map(|pair| two().map(|op| of(op, pair, ANY))).collect();
    all.extend(pairs.iter().map(|pair| of(Op::Div, pair, POSITIVE)));
    let singles: [&[usize]; 2] = [&[2, 3], &[]];
    all.extend(singles.iter().flat_map(|shape| one().map(|op| of(op, &[shape], ANY))));
    all.extend(positive.map(|op| of(op, &[&[2, 3]], POSITIVE)));
    all.push(of(Op::Cast { dtype: DType::I64 }, &[&[3]], ANY));
    all.push(of(Op::Relu6, &[&[4, 5]], (-3.0, 9.0)));
    all.push(of(Op::Where, &[&[3], &[2, 1], &[2, 3]], ANY));
    all.push(of(Op::Where, &[&[2, 2], &[2, 2], &[]], ANY));
    all
}

fn shapes() -> Vec<Sample> {
    let (f64, narrow) = (DType::F64, |dim, start, len| Op::Narrow { dim, start, len });
    vec![
        of(Op::Reshape { shape: vec![3, 4] }, &[&[2, 6]], ANY),
        of(Op::Reshape { shape: vec![] }, &[&[1, 1]], ANY),
        of(Op::Permute { dims: vec![2, 0, 1] }, &[&[2, 3, 4]], ANY),
        of(Op::Permute { dims: vec![0] }, &[&[3]], ANY),
        of(Op::BroadcastTo { shape: vec![4, 2, 3] }, &[&[2, 1]], ANY),
        of(Op::BroadcastTo { shape: vec![2, 2] }, &[&[]], ANY),
        of(narrow(1, 1, 2), &[&[2, 4, 3]], ANY),
        of(narrow(0, 2, 1), &[&[3]], ANY),
        of(Op::Concat { dim: 1 }, &[&[2, 1, 2], &[2, 3, 2], &[2, 2, 2]], ANY),
        of(Op::Concat { dim: 0 }, &[&[2], &[3]], ANY),
        of(Op::Concat { dim: 0 }, &[&[2, 2]], ANY),
        of(Op::Full { value: 1.5, dtype: f64, shape: vec![2, 3] }, &[], ANY),
        of(Op::Full { value: 3.0, dtype: DType::I64, shape: vec![] }, &[], ANY),
        of(Op::Eye { n: 3, dtype: f64 }, &[], ANY),
        of(Op::Arange { n: 4, dtype: f64 }, &[], ANY),
        of(Op::Arange { n: 3, dtype: DType::I64 }, &[], ANY),
    ]
}

fn reductions() -> Vec<Sample> {
    let sum = |keep, dims: &[usize]| Op::Sum { keep, dims: dims.into() };
    let mean = |keep, dims: &[usize]| Op::Mean { keep, dims: dims.into() };
    vec![
        of(sum(false, &[0, 2]), &[&[2, 3, 4]], ANY),
        of(sum(true, &[]), &[&[2, 3]], ANY),
        of(sum(false, &[]), &[&[]], ANY),
        of(mean(true, &[1]), &[&[2, 3, 4]], ANY),
        of(mean(false, &[]), &[&[2, 3]], ANY),
        of(mean(false, &[2, 3]), &[&[2, 3, 2, 2]], ANY),
        of(Op::Max { dim: 1, keep: false }, &[&[2, 3, 4]], ANY),
        of(Op::Max { dim: 0, keep: true }, &[&[3]], ANY),
        of(Op::Min { dim: 0, keep: true }, &[&[3, 2]], ANY),
        of(Op::ArgMax { dim: 1, keep: false }, &[&[2, 3, 2]], ANY),
        of(Op::ArgMax { dim: 1, keep: true }, &[&[2, 3]], ANY),
    ]
}

fn indices() -> Vec<Sample> {
    vec![
        of(Op::Matmul, &[&[2, 1, 3, 4], &[5, 4, 2]], ANY),
        of(Op::Matmul, &[&[3, 4], &[4, 2]], ANY),
        of(Op::Matmul, &[&[2, 3, 4], &[4, 2]], ANY),
        of(Op::Matmul, &[&[3, 4], &[2, 4, 2]], ANY),
        with(of(Op::Gather { dim: 1 }, &[&[2, 3, 2]], ANY), &[2, 4, 2], 3),
        with(of(Op::Gather { dim: 0 }, &[&[4, 3]], ANY), &[2, 2], 4),
        with(of(Op::IndexSelect { dim: 1 }, &[&[2, 3, 2]], ANY), &[5], 3),
        with(of(Op::IndexSelect { dim: 0 }, &[&[4]], ANY), &[2], 4),
        with(of(Op::OneHot { classes: 3, dtype: DType::F64 }, &[], ANY), &[2, 4], 3),
        with(of(Op::OneHot { classes: 2, dtype: DType::F32 }, &[], ANY), &[], 2),
    ]
}

fn networks() -> Vec<Sample> {
    let (c, map): (&[usize], &[usize]) = (&[3], &[2, 3, 2, 2]);
    let (train, eval) = (Op::BatchNormTrain { eps: 1e-3 }, Op::BatchNormEval { eps: 1e-3 });
    let norm = |eps, dims: &[usize]| Op::Normalize { eps, dims: dims.into() };
    vec![
        of(Op::Softmax { dim: 1 }, &[&[2, 3, 2]], ANY),
        of(Op::Softmax { dim: 0 }, &[&[3]], ANY),
        of(Op::LogSoftmax { dim: 0 }, &[&[4, 2]], ANY),
        with(of(Op::CrossEntropy { smoothing: 0.0 }, &[&[3, 4]], ANY), &[3], 4),
        with(of(Op::CrossEntropy { smoothing: 0.1 }, &[&[3, 4]], ANY), &[3], 4),
        of(norm(1e-12, &[1, 2]), &[&[2, 3, 2]], ANY),
        of(norm(1e-12, &[2, 0]), &[&[2, 3, 2]], ANY),
        of(norm(50.0, &[0]), &[&[3, 2]], ANY),
        of(norm(1e-12, &[]), &[&[2, 3]], ANY),
        of(train.clone(), &[map, c, c], ANY),
        of(train, &[&[4, 3], c, c], ANY),
        of(eval.clone(), &[map, c, c, c, c], POSITIVE),
        of(eval, &[&[4, 3], c, c, c, c], POSITIVE),
        of(Op::LayerNorm { dims: 2, eps: 1e-3 }, &[&[2, 3, 4], &[3, 4], &[3, 4]], ANY),
        of(Op::LayerNorm { dims: 1, eps: 1e-3 }, &[&[2, 4], &[4]], ANY),
        of(Op::LayerNorm { dims: 1, eps: 1e-3 }, &[&[2, 4]], ANY),
    ]
}

fn maps() -> Vec<Sample> {
    let (stride, padding) = ([2, 1], [1, 0]);
    let conv = |stride, padding, dilation, groups| Op::Conv2d { stride, padding, dilation, groups };
    let transposed = Op::ConvTranspose2d { stride, padding, output_padding: [1, 0], dilation: [1, 2], groups: 2 };
    let plain =
        Op::ConvTranspose2d { stride: [2; 2], padding: [0; 2], output_padding: [0; 2], dilation: [1; 2], groups: 1 };
    let average = |count_padding| Op::AvgPool2d { kernel: [3, 2], stride, padding: [1, 1], count_padding };
    let map: &[usize] = &[1, 2, 5, 4];
    vec![
        of(conv(stride, padding, [1, 2], 2), &[&[2, 4, 5, 6], &[6, 2, 3, 2], &[6]], ANY),
        of(conv([1; 2], [1; 2], [1; 2], 1), &[map, &[3, 2, 3, 3]], ANY),
        of(conv([2; 2], [0; 2], [1; 2], 2), &[map, &[2, 1, 1, 1]], ANY),
        of(transposed, &[&[2, 4, 3, 2], &[4, 3, 3, 2], &[6]], ANY),
        of(plain, &[map, &[2, 3, 2, 2]], ANY),
        of(Op::MaxPool2d { kernel: [3, 2], stride, padding: [1, 1] }, &[map], ANY),
        of(Op::MaxPool2d { kernel: [2; 2], stride: [2; 2], padding: [0; 2] }, &[map], ANY),
        of(average(true), &[map], ANY),
        of(average(false), &[map], ANY),
        of(Op::AdaptiveAvgPool2d { size: [3, 6] }, &[map], ANY),
        of(Op::ResizeBilinear { size: [3, 7] }, &[map], ANY),
        of(Op::ResizeNearest { size: [7, 3] }, &[map], ANY),
    ]
}
