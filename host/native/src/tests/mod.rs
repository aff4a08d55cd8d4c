//! Gradients against finite differences, values at kinks, candle's own operations where they are right.

#![allow(clippy::cloned_ref_to_slice_refs)] // one input reads like several

mod elementwise;
mod fusion;
mod last;
mod layers;
mod packs;
mod products;
mod record;
mod reductions;
mod tape;

use candle_core::{DType, Device, Result, Tensor, Var};

/// SplitMix64 in -1 to 1: the same values on each run.
pub(super) fn reals(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64 * 2.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

pub(super) fn random(seed: u64, dims: &[usize]) -> Tensor {
    Tensor::from_vec(reals(seed, dims.iter().product()), dims, &Device::Cpu).unwrap()
}

pub(super) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn row(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
}

#[track_caller]
pub(super) fn assert_near(got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims());
    for (index, (got, want)) in values(got).iter().zip(values(want)).enumerate() {
        let error = (got - want).abs();
        assert!(error <= tolerance * (1.0 + want.abs()), "element {index} is {got}, expected {want}");
    }
}

/// `sum of f(x) * weights`, differentiated by candle's tape, for each input.
pub(super) fn gradients(f: &dyn Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> (Tensor, Vec<Tensor>) {
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = f(&tensors).unwrap();
    let cotangent = random(99, y.dims()).to_dtype(y.dtype()).unwrap();
    let total = y.mul(&cotangent).unwrap().sum_all().unwrap();
    let grads = total.backward().unwrap();
    let zeros = |var: &Var| var.zeros_like().unwrap();
    (y, vars.iter().map(|var| grads.get(var).cloned().unwrap_or_else(|| zeros(var))).collect())
}

/// Central differences of `f` in `f64` at each input, and the `f32` results beside the `f64` ones.
#[track_caller]
pub(super) fn assert_differentiable(f: &dyn Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) {
    let (y, grads) = gradients(f, inputs);
    let cotangent = values(&random(99, y.dims()));
    let scalar =
        |inputs: &[Tensor]| -> f64 { values(&f(inputs).unwrap()).iter().zip(&cotangent).map(|(y, c)| y * c).sum() };
    for (which, grad) in grads.iter().enumerate() {
        assert_eq!(grad.dims(), inputs[which].dims());
        let base = values(&inputs[which]);
        for (at, got) in values(grad).into_iter().enumerate() {
            let moved = |step: f64| {
                let mut data = base.clone();
                data[at] += step;
                let mut inputs = inputs.to_vec();
                inputs[which] = Tensor::from_vec(data, inputs[which].dims(), &Device::Cpu).unwrap();
                scalar(&inputs)
            };
            let want = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            let error = (got - want).abs();
            assert!(error <= 2e-5 * (1.0 + want.abs()), "input {which} element {at}: {got}, differences give {want}");
        }
    }
    let single: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(DType::F32).unwrap()).collect();
    let (y_single, grads_single) = gradients(f, &single);
    assert_near(&y_single, &y, 1e-4);
    for (single, double) in grads_single.iter().zip(&grads) {
        assert_near(single, double, 1e-3);
    }
}

/// Values and gradients (with a gradient of one) of an elementwise function at `points`.
#[track_caller]
pub(super) fn assert_at(f: &dyn Fn(&Tensor) -> Result<Tensor>, points: &[f64], want: &[f64], want_grad: &[f64]) {
    let x = Var::from_tensor(&row(points)).unwrap();
    let y = f(&x).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(values(&y), want);
    assert_eq!(values(grads.get(&x).unwrap()), want_grad);
}
