//! One, two and three operands.

use super::super::*;
use super::{assert_at, assert_differentiable, assert_near, gradients, random, row, values};
use candle_core::{DType, Device, Result, Tensor, Var};

const INFINITY: f64 = f64::INFINITY;

type Unary = fn(&Tensor) -> Result<Tensor>;

#[test]
fn smooth_unary_gradients_match_finite_differences() {
    let anywhere: [Unary; 14] = [
        relu,
        abs,
        |x| leaky_relu(x, 0.1),
        relu6,
        silu,
        gelu,
        sigmoid,
        tanh,
        softplus,
        exp,
        square,
        erf,
        |x| affine(x, -2.5, 0.5),
        |x| clamp(x, -0.5, 0.4),
    ];
    for (seed, f) in anywhere.into_iter().enumerate() {
        let x = (random(seed as u64, &[3, 7]) * 3.0).unwrap();
        assert_differentiable(&|x| f(&x[0]), &[x]);
    }
    let above_zero: [Unary; 6] = [log, sqrt, recip, neg, |x| pow(x, 2.5), |x| pow(x, -1.0)];
    for (seed, f) in above_zero.into_iter().enumerate() {
        let x = random(seed as u64, &[3, 7]).affine(0.4, 1.0).unwrap();
        assert_differentiable(&|x| f(&x[0]), &[x]);
    }
}

#[test]
fn unary_values_match_candle() {
    let x = (random(5, &[4, 33]) * 4.0).unwrap();
    let pairs: [(Unary, Unary); 8] = [
        (relu, |x| x.relu()),
        (abs, |x| x.abs()),
        (silu, |x| x.silu()),
        (gelu, |x| x.gelu_erf()),
        (tanh, |x| x.tanh()),
        (exp, |x| x.exp()),
        (erf, |x| x.erf()),
        (floor, |x| x.floor()),
    ];
    for (ours, stock) in pairs {
        assert_near(&ours(&x).unwrap(), &stock(&x).unwrap(), 1e-9);
    }
}

#[test]
fn kinks_have_the_documented_gradients() {
    assert_at(&relu, &[-1.0, 0.0, 2.0], &[0.0, 0.0, 2.0], &[0.0, 0.0, 1.0]);
    assert_at(&abs, &[-1.0, 0.0, 2.0], &[1.0, 0.0, 2.0], &[-1.0, 0.0, 1.0]);
    assert_at(&|x| leaky_relu(x, 0.25), &[-4.0, 0.0, 2.0], &[-1.0, 0.0, 2.0], &[0.25, 0.25, 1.0]);
    assert_at(&relu6, &[-1.0, 0.0, 3.0, 6.0, 7.0], &[0.0, 0.0, 3.0, 6.0, 6.0], &[0.0, 0.0, 1.0, 0.0, 0.0]);
    assert_at(
        &|x| clamp(x, -1.0, 1.0),
        &[-2.0, -1.0, 0.0, 1.0, 2.0],
        &[-1.0, -1.0, 0.0, 1.0, 1.0],
        &[0.0, 1.0, 1.0, 1.0, 0.0],
    );
    assert_at(
        &|x| hardtanh(x, -1.0, 1.0),
        &[-2.0, -1.0, 0.0, 1.0, 2.0],
        &[-1.0, -1.0, 0.0, 1.0, 1.0],
        &[0.0, 0.0, 1.0, 0.0, 0.0],
    );
    assert_at(&sqrt, &[0.0, 4.0], &[0.0, 2.0], &[INFINITY, 0.25]);
    assert_at(&|x| pow(x, 0.0), &[0.0, 3.0], &[1.0, 1.0], &[0.0, 0.0]);
    assert_at(&|x| pow(x, 2.0), &[0.0, -3.0], &[0.0, 9.0], &[0.0, -6.0]);
    assert_at(&|x| affine(x, 0.0, 2.0), &[1.0, 5.0], &[2.0, 2.0], &[0.0, 0.0]);
    assert_at(&|x| scale_grad(x, -3.0), &[1.0, 5.0], &[1.0, 5.0], &[-3.0, -3.0]);
}

#[test]
fn softplus_and_sigmoid_far_out_are_exact() {
    assert_at(&softplus, &[800.0, -800.0], &[800.0, 0.0], &[1.0, 0.0]);
    assert_eq!(values(&sigmoid(&row(&[800.0, -800.0])).unwrap()), [1.0, 0.0]);
    assert!(values(&softplus(&row(&[f64::NAN])).unwrap())[0].is_nan());
}

#[test]
fn step_functions_carry_no_gradient() {
    let x = Var::from_tensor(&row(&[-1.5, -0.5, 0.0, 0.5, 1.5, 2.5])).unwrap();
    assert_eq!(values(&sign(&x).unwrap()), [-1.0, -1.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(values(&floor(&x).unwrap()), [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]);
    assert_eq!(values(&round(&x).unwrap()), [-2.0, 0.0, 0.0, 0.0, 2.0, 2.0]);
    let step = (sign(&x).unwrap() + floor(&x).unwrap()).unwrap();
    let mixed = (step + round(&x).unwrap()).unwrap();
    let mixed = (mixed + gt(&x, &row(&[0.0])).unwrap()).unwrap();
    assert!(!mixed.track_op() && !detach(&x).track_op());
    let grads = (mixed * x.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&x).is_some());
}

type BinaryFn = fn(&Tensor, &Tensor) -> Result<Tensor>;

#[test]
fn binary_gradients_with_broadcasting_match_finite_differences() {
    let functions: [BinaryFn; 8] =
        [add, sub, mul, div, maximum, minimum, |a, b| smooth_l1(a, b, 0.7), |a, b| smooth_l1(a, b, 0.0)];
    let shapes: [(&[usize], &[usize]); 6] = [
        (&[3, 4], &[3, 4]),
        (&[3, 4], &[4]),
        (&[2, 1, 3], &[4, 1]),
        (&[], &[2, 3]),
        (&[2, 3, 2, 2], &[1, 3, 1, 1]),
        (&[1], &[1]),
    ];
    for f in functions {
        for (a, b) in shapes {
            let (a, b) = (random(1, a), random(2, b).affine(1.0, 2.5).unwrap());
            let a = (a * 3.0).unwrap();
            assert_differentiable(&|x| f(&x[0], &x[1]), &[a.clone(), b.clone()]);
            assert_differentiable(&|x| f(&x[0], &b.to_dtype(x[0].dtype())?), &[a.clone()]);
            assert_differentiable(&|x| f(&a.to_dtype(x[0].dtype())?, &x[0]), &[b.clone()]);
        }
    }
}

#[test]
fn binary_of_itself_adds_both_gradients() {
    assert_at(&|x| mul(x, x), &[3.0], &[9.0], &[6.0]);
    assert_at(&|x| add(x, x), &[3.0], &[6.0], &[2.0]);
    assert_at(&|x| sub(x, x), &[3.0], &[0.0], &[0.0]);
}

#[test]
fn ties_split_and_kinks_of_pairs_are_as_documented() {
    let a = row(&[1.0, 2.0, 3.0]);
    assert_at(&|x| maximum(x, &a), &[1.0, 3.0, 2.0], &[1.0, 3.0, 3.0], &[0.5, 1.0, 0.0]);
    assert_at(&|x| minimum(x, &a), &[1.0, 3.0, 2.0], &[1.0, 2.0, 2.0], &[0.5, 0.0, 1.0]);
    let zero = row(&[0.0]);
    assert_at(&|x| smooth_l1(x, &zero, 1.0), &[-2.0, -1.0, 0.0, 0.5], &[1.5, 0.5, 0.0, 0.125], &[-1.0, -1.0, 0.0, 0.5]);
    assert_at(&|x| smooth_l1(x, &zero, 0.0), &[-2.0, 0.0, 0.5], &[2.0, 0.0, 0.5], &[-1.0, 0.0, 1.0]);
}

#[test]
fn extremes_of_what_is_no_number_are_none_and_it_takes_the_gradient() {
    let (nan, one) = (row(&[f64::NAN]), row(&[1.0]));
    for f in [maximum as BinaryFn, minimum] {
        for (inputs, shares) in [([&nan, &one], [1.0, 0.0]), ([&one, &nan], [0.0, 1.0])] {
            let [a, b] = inputs.map(|x| Var::from_tensor(x).unwrap());
            let y = f(&a, &b).unwrap();
            assert!(values(&y)[0].is_nan());
            let grads = y.backward().unwrap();
            assert_eq!([&a, &b].map(|x| values(grads.get(x).unwrap())[0]), shares);
        }
    }
}

#[test]
fn comparisons_are_numbers_and_broadcast() {
    let (a, b) = (row(&[1.0, 2.0, 3.0]), row(&[2.0]));
    let all: [(BinaryFn, [f64; 3]); 6] = [
        (eq, [0.0, 1.0, 0.0]),
        (ne, [1.0, 0.0, 1.0]),
        (gt, [0.0, 0.0, 1.0]),
        (ge, [0.0, 1.0, 1.0]),
        (lt, [1.0, 0.0, 0.0]),
        (le, [1.0, 1.0, 0.0]),
    ];
    for (f, want) in all {
        assert_eq!(values(&f(&a, &b).unwrap()), want);
        assert_eq!(f(&a, &b).unwrap().dtype(), DType::F64);
    }
}

#[test]
fn where_cond_gradient_follows_the_value() {
    let mask = row(&[1.0, 0.0, 1.0]);
    assert_differentiable(
        &|x| where_cond(&mask.to_dtype(x[0].dtype())?, &x[0], &x[1]),
        &[random(1, &[2, 3]), random(2, &[1])],
    );
    let mask = mask.to_dtype(DType::U8).unwrap();
    let (y, grads) = gradients(&|x| where_cond(&mask, &x[0], &x[1]), &[random(1, &[3]), random(2, &[3])]);
    assert_eq!(values(&y)[1], values(&random(2, &[3]))[1]);
    assert_eq!((values(&grads[0])[1], values(&grads[1])[0]), (0.0, 0.0));
}

#[test]
fn strided_operands_match_contiguous_ones() {
    let x = random(3, &[4, 5]);
    assert_differentiable(&|x| mul(&relu(&x[0].t()?)?, &x[0].t()?), &[x.clone()]);
    assert_differentiable(&|x| add(&x[0].narrow(1, 1, 3)?, &x[0].narrow(1, 0, 1)?), &[x]);
}

#[test]
fn pairs_that_do_not_fit_are_errors() {
    let (a, b) = (random(1, &[2, 3]), random(2, &[4]));
    assert!(add(&a, &b).unwrap_err().to_string().contains("add"));
    let single = b.to_dtype(DType::F32).unwrap();
    assert!(mul(&b, &single).is_err());
    let whole = Tensor::new(&[1u32, 2], &Device::Cpu).unwrap();
    assert!(relu(&whole).unwrap_err().to_string().contains("relu"));
}

#[test]
fn empty_tensors_stay_empty() {
    let x = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(relu(&x).unwrap().dims(), [0, 3]);
    assert_eq!(add(&x, &x).unwrap().dims(), [0, 3]);
    assert_eq!(softmax(&x, 1).unwrap().dims(), [0, 3]);
    assert_eq!(values(&sum(&x, &[0], false).unwrap()), [0.0; 3]);
}

#[test]
fn piece_of_a_tensor_without_elements_is_read() {
    let empty = Tensor::zeros((0, 4), DType::F64, &Device::Cpu).expect("made");
    // It begins at the third of no values.
    let piece = empty.narrow(1, 2, 2).expect("a piece");
    assert_eq!(crate::mul(&piece, &piece).expect("computes").dims(), [0, 2]);
}
