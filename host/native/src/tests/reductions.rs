//! Sums, extremes, softmax, cross-entropy.

use super::super::*;
use super::{assert_at, assert_differentiable, assert_near, gradients, random, row, values};
use candle_core::{DType, Device, Tensor};

#[test]
fn sum_mean_and_var_gradients_match_finite_differences() {
    let x = random(1, &[2, 3, 4, 2]);
    let lists: [&[usize]; 8] = [&[], &[0], &[3], &[1, 2], &[0, 2], &[3, 0], &[0, 1, 2, 3], &[2, 3]];
    for dims in lists {
        for keepdim in [false, true] {
            assert_differentiable(&|x| sum(&x[0], dims, keepdim), &[x.clone()]);
            assert_differentiable(&|x| mean(&x[0], dims, keepdim), &[x.clone()]);
            if !dims.is_empty() {
                assert_differentiable(&|x| var(&x[0], dims, keepdim, true), &[x.clone()]);
            }
            let want = if keepdim || dims.is_empty() { x.sum_keepdim(dims).unwrap() } else { x.sum(dims).unwrap() };
            assert_near(&sum(&x, dims, keepdim).unwrap(), &want, 1e-12);
        }
    }
    assert_near(&var(&x, &[2], true, true).unwrap(), &x.var_keepdim(2).unwrap(), 1e-12);
    let biased = (x.var_keepdim(2).unwrap() * 0.75).unwrap();
    assert_near(&var(&x, &[2], true, false).unwrap(), &biased, 1e-12);
}

#[test]
fn sum_bad_dims_are_errors() {
    let x = random(1, &[2, 3]);
    assert!(sum(&x, &[2], false).is_err() && mean(&x, &[1, 1], false).is_err());
}

#[test]
fn extremes_give_all_to_the_first() {
    assert_at(&|x| max(x, 0, true), &[1.0, 3.0, 3.0], &[3.0], &[0.0, 1.0, 0.0]);
    assert_at(&|x| min(x, 0, true), &[1.0, 1.0, 3.0], &[1.0], &[1.0, 0.0, 0.0]);
    let x = random(4, &[3, 5, 2]);
    for dim in 0..3 {
        assert_differentiable(&|x| max(&x[0], dim, false), &[x.clone()]);
        assert_differentiable(&|x| min(&x[0], dim, true), &[x.clone()]);
        assert_near(&max(&x, dim, false).unwrap(), &x.max(dim).unwrap(), 0.0);
        assert_near(&argmax(&x, dim, true).unwrap(), &x.argmax_keepdim(dim).unwrap(), 0.0);
    }
    assert_eq!(argmax(&row(&[2.0, 5.0, 5.0]), 0, false).unwrap().to_scalar::<u32>().unwrap(), 1);
}

#[test]
fn l2_normalize_has_unit_length_and_flat_gradient_below_eps() {
    let x = random(2, &[3, 4, 2]);
    for dim in 0..3 {
        assert_differentiable(&|x| l2_normalize(&x[0], dim, 1e-12), &[x.clone()]);
        let length = sum(&square(&l2_normalize(&x, dim, 1e-12).unwrap()).unwrap(), &[dim], false).unwrap();
        assert!(values(&length).iter().all(|length| (length - 1.0).abs() < 1e-12));
    }
    assert_at(&|x| l2_normalize(x, 0, 0.5), &[0.0, 0.125], &[0.0, 0.25], &[2.0, 2.0]);
}

#[test]
fn softmax_gradients_match_finite_differences() {
    let x = random(3, &[3, 5, 4]);
    for dim in 0..3 {
        assert_differentiable(&|x| softmax(&x[0], dim), &[x.clone()]);
        assert_differentiable(&|x| log_softmax(&x[0], dim), &[x.clone()]);
        let by_hand = x.exp().unwrap();
        let by_hand = by_hand.broadcast_div(&by_hand.sum_keepdim(dim).unwrap()).unwrap();
        assert_near(&softmax(&x, dim).unwrap(), &by_hand, 1e-13);
        assert_near(&log_softmax(&x, dim).unwrap(), &by_hand.log().unwrap(), 1e-13);
    }
    assert!(softmax(&x, 3).is_err());
}

#[test]
fn cross_entropy_matches_its_composition() {
    let logits = random(4, &[6, 5]);
    let labels = Tensor::new(&[0u32, 4, 2, 2, 1, 3], &Device::Cpu).unwrap();
    for smoothing in [0.0, 0.1] {
        assert_differentiable(&|x| cross_entropy(&x[0], &labels, smoothing, Reduction::Mean), &[logits.clone()]);
        assert_differentiable(&|x| cross_entropy(&x[0], &labels, smoothing, Reduction::None), &[logits.clone()]);
    }
    let log = log_softmax(&logits, 1).unwrap();
    let picked = log.gather(&labels.unsqueeze(1).unwrap(), 1).unwrap().neg().unwrap();
    let labels = labels.to_dtype(DType::I64).unwrap();
    let mean = cross_entropy(&logits, &labels, 0.0, Reduction::Mean).unwrap();
    assert_near(&mean, &picked.mean_all().unwrap(), 1e-13);
    // Classes 2, logits 0: ln 2 at any label, smoothed or not.
    let flat = Tensor::zeros((1, 2), DType::F64, &Device::Cpu).unwrap();
    let one = Tensor::new(&[1i64], &Device::Cpu).unwrap();
    let loss = cross_entropy(&flat, &one, 0.3, Reduction::Mean).unwrap();
    assert!((loss.to_scalar::<f64>().unwrap() - std::f64::consts::LN_2).abs() < 1e-15);
}

#[test]
fn cross_entropy_bad_labels_are_errors() {
    let logits = random(4, &[2, 3]);
    let of = |labels: &[i64]| {
        let labels = Tensor::from_slice(labels, labels.len(), &Device::Cpu).unwrap();
        cross_entropy(&logits, &labels, 0.0, Reduction::Mean)
    };
    assert!(of(&[0, 3]).unwrap_err().to_string().contains("label 3 of sample 1"));
    assert!(of(&[-1, 0]).is_err() && of(&[0]).is_err());
    let real = random(1, &[2]);
    assert!(cross_entropy(&logits, &real, 0.0, Reduction::Mean).is_err());
}

#[test]
fn squared_distance_is_to_the_bit_what_the_parts_make() {
    for dims in [&[3, 4][..], &[70_001], &[1], &[2, 3, 40, 50], &[24, 1, 16, 16], &[1, 3, 1, 700]] {
        for dtype in [DType::F32, DType::F64] {
            let [a, b] = [1, 2].map(|seed| random(seed, dims).to_dtype(dtype).unwrap());
            let all: Vec<usize> = (0..dims.len()).collect();
            let scale = 1.0 / a.elem_count() as f64;
            let whole = |x: &[Tensor]| squared_distance(&x[0], &x[1], scale);
            let parts = |x: &[Tensor]| mean(&square(&sub(&x[0], &x[1])?)?, &all, false);
            let inputs = [a, b];
            let [(got, got_grads), (wanted, wanted_grads)] = [gradients(&whole, &inputs), gradients(&parts, &inputs)];
            assert_eq!(values(&got), values(&wanted));
            for (got, wanted) in got_grads.iter().zip(&wanted_grads) {
                assert_eq!(values(got), values(wanted));
            }
        }
    }
    let error = squared_distance(&random(1, &[2]), &random(2, &[3]), 1.0).unwrap_err().to_string();
    assert!(error.contains("[2]") && error.contains("[3]"), "{error}");
}
