//! Maps that lie channels last: the same values and gradients as row-major ones, and no copy where there is a form for them.

use super::super::last::is_last;
use super::super::*;
use super::{assert_near, random};
use candle_core::{DType, Result, Tensor};

/// The same map, in memory as `[N, H, W, C]`.
fn lying(x: &Tensor) -> Tensor {
    x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap().permute((0, 3, 1, 2)).unwrap()
}

type Function<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Value, gradients of all inputs, and whether the result lies channels last.
fn run(function: Function<'_>, inputs: &[Tensor]) -> (Tensor, Vec<Tensor>, bool) {
    let mut record = Record::default();
    inputs.iter().for_each(|x| record.watch(x));
    let (y, lies) = record.during(|| {
        let y = function(inputs).unwrap();
        let lies = is_last(&y);
        (y, lies)
    });
    let cotangent = random(99, y.dims()).to_dtype(y.dtype()).unwrap();
    let found = record.gradients(&[(y.clone(), cotangent)]).unwrap();
    let zeros = |x: &Tensor| x.zeros_like().unwrap();
    (y, inputs.iter().map(|x| found.get(x).cloned().unwrap_or_else(|| zeros(x))).collect(), lies)
}

/// The first input's layout makes no difference; where `stays`, the result lies as it does.
#[track_caller]
fn assert_same(function: Function<'_>, inputs: &[Tensor], stays: bool) {
    for dtype in [DType::F64, DType::F32] {
        let tolerance = if dtype == DType::F64 { 1e-12 } else { 2e-5 };
        let rows: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(dtype).unwrap()).collect();
        let mut mixed = rows.clone();
        mixed[0] = lying(&rows[0]);
        let (wanted, wanted_grads, _) = run(function, &rows);
        let (got, grads, lies) = run(function, &mixed);
        assert_near(&got, &wanted, tolerance);
        for (got, wanted) in grads.iter().zip(&wanted_grads) {
            assert_near(got, wanted, tolerance);
        }
        assert!(!stays || dtype == DType::F64 || lies, "the result was made row-major");
    }
}

const MAP: [usize; 4] = [2, 3, 5, 4];

fn map(seed: u64) -> Tensor {
    random(seed, &MAP)
}

#[test]
fn elementwise_functions_keep_the_layout() {
    assert_same(&|x| exp(&square(&x[0])?), &[map(1)], true);
    assert_same(&|x| relu(&scale_grad(&affine(&x[0], -2.0, 0.3)?, 0.5)?), &[map(2)], true);
    assert_same(&|x| sub(&x[0], &mul(&x[1], &x[0])?), &[map(3), map(4)], true);
    for other in [&[3, 1, 1][..], &[1, 3, 1, 1], &[4], &[5, 1], &[], &[2, 1, 1, 1], &[2, 1, 5, 4]] {
        assert_same(&|x| mul(&x[0], &x[1]), &[map(5), random(6, other)], true);
        assert_same(&|x| sub(&x[1], &x[0]), &[map(5), random(6, other)], true);
    }
    assert_same(&|x| mul(&x[0], &x[1]), &[map(5), random(6, &[2, 1, 1, 1, 1])], false);
    assert_same(&|x| mul(&gt(&x[0], &x[1])?, &x[0]), &[map(7), map(8)], true);
}

#[test]
fn reductions_over_any_dims_are_the_same() {
    for over in [&[0, 1, 2, 3][..], &[2, 3], &[1], &[0], &[3], &[0, 2, 3], &[1, 2, 3], &[]] {
        for keep in [true, false] {
            assert_same(&|x| sum(&x[0], over, keep), &[map(9)], false);
            assert_same(&|x| mean(&square(&x[0])?, over, keep), &[map(10)], false);
        }
    }
    assert_same(&|x| sum(&x[0], &[1], true)?.clone().contiguous(), &[random(2, &[2, 3, 1, 1])], false);
}

#[test]
fn layers_keep_the_layout() {
    let stride = Conv2d { stride: [2, 1], padding: [1, 0], ..Conv2d::default() };
    let weights = [random(11, &[6, 3, 3, 2]), random(12, &[6])];
    let with = |x: Tensor, more: &[Tensor]| [&[x][..], more].concat();
    assert_same(&|x| conv2d(&x[0], &x[1], Some(&x[2]), &stride), &with(map(13), &weights), true);
    assert_same(&|x| conv2d(&x[0], &x[1], None, &stride), &with(map(13), &weights[..1]), true);
    let up = ConvTranspose2d { stride: [2, 2], padding: [1, 1], ..ConvTranspose2d::default() };
    let weights = [random(14, &[3, 4, 4, 4]), random(15, &[4])];
    assert_same(&|x| conv_transpose2d(&x[0], &x[1], Some(&x[2]), &up), &with(map(16), &weights), true);
    let parameters = [random(17, &[3]), random(18, &[3])];
    let train = |x: &[Tensor]| Ok(batch_norm_train(&x[0], Some(&x[1]), Some(&x[2]), 1e-5)?.y);
    assert_same(&train, &with(map(19), &parameters), true);
    assert_same(&|x| Ok(batch_norm_train(&x[0], None, None, 1e-5)?.y), &[map(19)], true);
    let (mean, variance) = (random(20, &[3]), square(&random(21, &[3])).unwrap());
    let eval = |x: &[Tensor]| {
        let [mean, variance] = [&mean, &variance].map(|given| given.to_dtype(x[0].dtype()).unwrap());
        batch_norm_eval(&x[0], &mean, &variance, Some(&x[1]), Some(&x[2]), 1e-5)
    };
    assert_same(&eval, &with(map(22), &parameters), true);
    assert_same(&|x| adaptive_avg_pool2d(&x[0], [2, 3]), &[map(23)], true);
    assert_same(
        &|x| avg_pool2d(&x[0], &Pool2d { kernel: [2, 2], stride: [2, 1], padding: [1, 1] }, true),
        &[map(24)],
        true,
    );
    assert_same(&|x| max_pool2d(&x[0], &Pool2d::tiled([2, 2])), &[map(25)], false);
    assert_same(&|x| resize_bilinear(&x[0], [7, 3]), &[map(26)], true);
    assert_same(&|x| resize_nearest(&x[0], [3, 8]), &[map(27)], true);
}

#[test]
fn moves_and_products_take_any_layout() {
    assert_same(&|x| reshape(&x[0], &[2, 60]), &[map(28)], false);
    assert_same(&|x| reshape(&x[0], &MAP), &[map(28)], true);
    assert_same(&|x| permute(&x[0], &[3, 1, 0, 2]), &[map(29)], false);
    for (dim, size) in MAP.into_iter().enumerate() {
        assert_same(&|x| narrow(&x[0], dim, 1, 1), &[map(30)], false);
        assert_same(&|x| concat(&[&x[0], &x[1]], dim), &[map(31), map(32)], true);
        // Parts that overlap, a whole, and the value itself.
        let parts = |x: &[Tensor]| {
            let [a, b] = [0, 1].map(|start| narrow(&x[0], dim, start, size - 1).unwrap());
            add(&mul(&a, &square(&b)?)?, &narrow(&exp(&x[0])?, dim, 0, size - 1)?)
        };
        assert_same(&parts, &[map(30)], size > 2);
    }
    assert_same(&|x| narrow(&x[0], 1, 1, 2), &[map(30)], true);
    assert_same(&|x| matmul(&reshape(&x[0], &[2, 3, 20])?, &x[1]), &[map(33), random(34, &[20, 2])], false);
    assert_same(&|x| softmax(&x[0], 1), &[map(35)], false);
    assert_same(&|x| l2_normalize(&x[0], 1, 1e-12), &[map(36)], false);
    assert_same(&|x| where_cond(&gt(&x[0], &x[1])?, &x[0], &x[1]), &[map(37), map(38)], false);
}

#[test]
fn batch_statistics_equal_those_of_row_major_maps() {
    let x = map(40).to_dtype(DType::F32).unwrap();
    let rows = batch_norm_train(&x, None, None, 1e-5).unwrap();
    let last = Record::default().during(|| batch_norm_train(&lying(&x), None, None, 1e-5)).unwrap();
    assert_near(&last.mean, &rows.mean, 1e-6);
    assert_near(&last.var_unbiased, &rows.var_unbiased, 1e-6);
}

#[test]
fn mistakes_are_told_in_the_shapes_that_were_given() {
    let x = lying(&map(41));
    let error = Record::default().during(|| mul(&x, &random(1, &[2, 3, 5, 3]))).unwrap_err().to_string();
    assert!(error.contains("[2, 3, 5, 4]"), "{error}");
}
