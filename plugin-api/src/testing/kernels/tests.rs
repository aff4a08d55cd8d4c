//! Every operation against its inferred shape and against finite differences; values worked by hand.

use crate::op::{DType, Meta, Op, samples::Sample, samples::samples};
use crate::sdk::Rng;
use crate::testing::array::Array;
use crate::testing::store::rng;
use crate::testing::tape::Tape;

fn draw(sample: &Sample, rng: &mut Rng) -> Vec<Array> {
    let (low, high) = sample.range;
    let real = |rng: &mut Rng| low + (high - low) * rng.uniform();
    let array = |meta: &Meta| {
        let whole = meta.dtype == DType::I64;
        let values = (0..meta.count()).map(|_| if whole { rng.below(3) as f64 } else { real(rng) });
        Array::new(meta.clone(), values.collect())
    };
    sample.inputs.iter().map(array).collect()
}

/// Result, and gradients of the inputs for the weights given.
fn run(op: &Op, inputs: &[Array], weights: Option<&[f64]>) -> (Array, Vec<Option<Vec<f64>>>) {
    let mut tape = Tape::default();
    let nodes: Vec<_> = inputs.iter().map(|input| tape.leaf(input.meta.clone(), Some(input.clone()), true)).collect();
    let result = tape.op(op, &nodes, false).unwrap_or_else(|error| panic!("{}: {error}", op.name()))[0];
    let array = tape.array(result).expect("computed").as_ref().clone();
    let ones = vec![1.0; array.values.len()];
    let grads = tape.backward(&[(result, weights.unwrap_or(&ones).to_vec())]).expect("goes back");
    (array, nodes.into_iter().map(|node| grads[node].clone()).collect())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// True for inputs whose gradient differs from the derivative on purpose.
fn is_cut(op: &Op, input: usize) -> bool {
    match op {
        Op::Detach | Op::ScaleGrad { .. } => true,
        Op::BatchNormEval { .. } => input >= 3,
        _ => false,
    }
}

#[test]
fn op_results_have_inferred_shapes() {
    for sample in samples() {
        let (result, _) = run(&sample.op, &draw(&sample, &mut rng(&["shape"])), None);
        assert_eq!(result.shape(), sample.shape, "{}", sample.op.name());
        assert!(result.is_complete(), "{}", sample.op.name());
    }
}

#[test]
fn op_gradients_match_finite_differences() {
    for sample in samples() {
        let (op, mut rng) = (&sample.op, rng(&["gradient", sample.op.name()]));
        let inputs = draw(&sample, &mut rng);
        let weights: Vec<f64> = (0..sample.shape.iter().product()).map(|_| rng.uniform() - 0.5).collect();
        let (_, grads) = run(op, &inputs, Some(&weights));
        for (input, at) in
            inputs.iter().enumerate().flat_map(|(i, array)| (0..array.values.len()).map(move |at| (i, at)))
        {
            if inputs[input].meta.dtype == DType::I64 || is_cut(op, input) {
                continue;
            }
            let shifted = |by: f64| {
                let mut moved = inputs.clone();
                moved[input].values[at] += by;
                dot(&run(op, &moved, None).0.values, &weights)
            };
            let numeric = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
            let exact = grads[input].as_ref().map_or(0.0, |grad| grad[at]);
            assert!((exact - numeric).abs() < 1e-7, "{} input {input}[{at}]: {exact} and {numeric}", op.name());
        }
    }
}

#[track_caller]
fn assert_op(op: Op, inputs: &[Array], values: &[f64], grads: &[&[f64]]) {
    let (result, found) = run(&op, inputs, None);
    let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close(&result.values, values), "{}: {:?}", op.name(), result.values);
    for (grad, found) in grads.iter().zip(found) {
        let found = found.unwrap_or_default();
        assert!(close(grad, &found), "gradient of {}: {found:?}", op.name());
    }
}

fn row(values: &[f64]) -> Array {
    Array::real(&[values.len()], values)
}

#[test]
fn op_gradients_at_kinks_follow_the_documentation() {
    assert_op(Op::Relu, &[row(&[-1.0, 0.0, 2.0])], &[0.0, 0.0, 2.0], &[&[0.0, 0.0, 1.0]]);
    assert_op(Op::Relu6, &[row(&[0.0, 6.0, 3.0])], &[0.0, 6.0, 3.0], &[&[0.0, 0.0, 1.0]]);
    assert_op(Op::LeakyRelu { slope: 0.1 }, &[row(&[0.0])], &[0.0], &[&[0.1]]);
    assert_op(Op::Abs, &[row(&[0.0, -3.0])], &[0.0, 3.0], &[&[0.0, -1.0]]);
    assert_op(Op::Clamp { low: 1.0, high: 2.0 }, &[row(&[1.0, 2.0, 3.0])], &[1.0, 2.0, 2.0], &[&[1.0, 1.0, 0.0]]);
    assert_op(Op::Maximum, &[row(&[1.0, 2.0]), row(&[1.0, 0.0])], &[1.0, 2.0], &[&[0.5, 1.0], &[0.5, 0.0]]);
    assert_op(Op::Minimum, &[row(&[1.0, 2.0]), row(&[1.0, 0.0])], &[1.0, 0.0], &[&[0.5, 0.0], &[0.5, 1.0]]);
    assert_op(Op::Max { dim: 0, keep: false }, &[row(&[2.0, 5.0, 5.0])], &[5.0], &[&[0.0, 1.0, 0.0]]);
    assert_op(Op::Min { dim: 0, keep: false }, &[row(&[2.0, 2.0, 5.0])], &[2.0], &[&[1.0, 0.0, 0.0]]);
    assert_op(Op::ArgMax { dim: 0, keep: true }, &[row(&[2.0, 5.0, 5.0])], &[1.0], &[]);
    assert_op(Op::Detach, &[row(&[2.0])], &[2.0], &[&[]]);
    assert_op(Op::ScaleGrad { factor: -2.0 }, &[row(&[3.0])], &[3.0], &[&[-2.0]]);
}

#[test]
fn op_values_match_hand_worked_ones() {
    assert_op(
        Op::SmoothL1 { beta: 2.0 },
        &[row(&[1.0, 5.0]), row(&[0.0, 0.0])],
        &[0.25, 4.0],
        &[&[0.5, 1.0], &[-0.5, -1.0]],
    );
    assert_op(Op::Softplus, &[row(&[800.0, -800.0])], &[800.0, 0.0], &[&[1.0, 0.0]]);
    assert_op(Op::Erf, &[row(&[0.5, -7.0])], &[0.520_499_877_813_046_5, -1.0], &[]);
    assert_op(Op::Normalize { eps: 1e-12, dims: vec![0] }, &[row(&[0.0, 0.0])], &[0.0, 0.0], &[&[1e12, 1e12]]);
    let map = Array::real(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let bilinear = [1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3.0, 3.25, 3.75, 4.0];
    assert_op(Op::ResizeBilinear { size: [4, 4] }, std::slice::from_ref(&map), &bilinear, &[&[4.0; 4]]);
    assert_op(Op::AdaptiveAvgPool2d { size: [1, 3] }, std::slice::from_ref(&map), &[2.0, 2.5, 3.0], &[]);
    let (stride, padding) = ([1; 2], [0; 2]);
    let conv = Op::Conv2d { stride, padding, dilation: [1; 2], groups: 1 };
    assert_op(conv, &[map.clone(), map.clone()], &[30.0], &[&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0, 4.0]]);
    let transposed = Op::ConvTranspose2d { stride, padding, output_padding: [0; 2], dilation: [1; 2], groups: 1 };
    assert_op(
        transposed,
        &[map.clone(), map],
        &[1.0, 4.0, 4.0, 6.0, 20.0, 16.0, 9.0, 24.0, 16.0],
        &[&[10.0; 4], &[10.0; 4]],
    );
}

#[test]
fn batch_norm_statistics_are_mean_and_unbiased_variance() {
    let x = Array::real(&[4, 1], &[1.0, 2.0, 3.0, 6.0]);
    let (one, zero) = (row(&[1.0]), row(&[0.0]));
    let results = super::norm::batch_norm_train(0.0, &[&x, &one, &zero]);
    assert_eq!(results[1], [3.0]);
    assert!((results[2][0] - 14.0 / 3.0).abs() < 1e-12);
}

#[test]
fn index_out_of_range_is_error() {
    for (op, x) in [(Op::IndexSelect { dim: 0 }, row(&[1.0, 2.0])), (Op::Gather { dim: 0 }, row(&[1.0, 2.0]))] {
        let mut tape = Tape::default();
        let index = Array::whole(&[1], &[2]);
        let nodes = [x, index].map(|array| tape.leaf(array.meta.clone(), Some(array), false));
        assert_eq!(tape.op(&op, &nodes, false), Err("index 2 is outside 0..2".into()));
    }
}
