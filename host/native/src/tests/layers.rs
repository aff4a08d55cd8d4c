//! Convolution, pooling, resizing, normalisation.

use super::super::*;
use super::{assert_at, assert_differentiable, assert_near, gradients, random, values};
use candle_core::Tensor;

#[test]
fn conv2d_gradients_match_finite_differences() {
    let cases: [([usize; 4], [usize; 4], Conv2d); 5] = [
        ([2, 3, 5, 4], [4, 3, 3, 3], Conv2d { padding: [1, 1], ..Conv2d::default() }),
        ([2, 4, 6, 5], [6, 2, 3, 2], Conv2d { stride: [2, 1], padding: [1, 0], groups: 2, ..Conv2d::default() }),
        ([1, 4, 5, 6], [4, 1, 3, 3], Conv2d { padding: [2, 2], dilation: [2, 2], groups: 4, ..Conv2d::default() }),
        ([3, 3, 4, 4], [2, 3, 1, 1], Conv2d::default()),
        ([3, 3, 5, 4], [2, 3, 1, 1], Conv2d { stride: [2, 2], ..Conv2d::default() }),
    ];
    for (x, w, options) in cases {
        let bias = random(3, &[w[0]]);
        let inputs = [random(1, &x), random(2, &w), bias];
        assert_differentiable(&|x| conv2d(&x[0], &x[1], Some(&x[2]), &options), &inputs);
        assert_differentiable(&|x| conv2d(&x[0], &x[1], None, &options), &inputs[..2]);
    }
}

#[test]
fn conv2d_matches_candle_where_candle_is_right() {
    let inputs = [random(1, &[3, 4, 7, 7]), random(2, &[6, 4, 3, 3])];
    let options = Conv2d { padding: [1, 1], ..Conv2d::default() };
    let (ours, our_grads) = gradients(&|x| conv2d(&x[0], &x[1], None, &options), &inputs);
    let (stock, stock_grads) = gradients(&|x| x[0].conv2d(&x[1], 1, 1, 1, 1), &inputs);
    assert_near(&ours, &stock, 1e-12);
    our_grads.iter().zip(&stock_grads).for_each(|(ours, stock)| assert_near(ours, stock, 1e-12));
}

#[test]
fn conv_transpose2d_gradients_match_finite_differences() {
    let base = ConvTranspose2d::default();
    let cases: [([usize; 4], [usize; 4], ConvTranspose2d); 4] = [
        ([2, 3, 3, 4], [3, 2, 3, 3], base),
        (
            [2, 3, 3, 4],
            [3, 2, 4, 3],
            ConvTranspose2d { stride: [2, 2], padding: [1, 1], output_padding: [1, 0], ..base },
        ),
        ([1, 4, 3, 3], [4, 1, 2, 2], ConvTranspose2d { stride: [2, 2], groups: 2, ..base }),
        ([1, 2, 3, 3], [2, 3, 2, 3], ConvTranspose2d { dilation: [2, 2], output_padding: [1, 1], ..base }),
    ];
    for (x, w, options) in cases {
        let inputs = [random(1, &x), random(2, &w), random(3, &[w[1] * options.groups])];
        assert_differentiable(&|x| conv_transpose2d(&x[0], &x[1], Some(&x[2]), &options), &inputs);
    }
    let (x, w) = (random(1, &[2, 3, 4, 4]), random(2, &[3, 2, 3, 3]));
    let options = ConvTranspose2d { stride: [2, 2], padding: [1, 1], output_padding: [1, 1], ..base };
    let stock = x.conv_transpose2d(&w, 1, 1, 2, 1).unwrap();
    assert_near(&conv_transpose2d(&x, &w, None, &options).unwrap(), &stock, 1e-12);
}

#[test]
fn convolutions_that_do_not_fit_are_errors() {
    let x = random(1, &[1, 3, 4, 4]);
    let message = |w: &[usize], options: Conv2d| conv2d(&x, &random(2, w), None, &options).unwrap_err().to_string();
    assert!(message(&[4, 2, 3, 3], Conv2d::default()).contains("they expect 2 channels"));
    assert!(message(&[4, 3, 5, 5], Conv2d::default()).contains("a window of 5 does not fit"));
    assert!(message(&[4, 3, 3, 3], Conv2d { groups: 2, ..Conv2d::default() }).contains("2 groups"));
    let w = random(2, &[4, 3, 3, 3]);
    assert!(conv2d(&x, &w, Some(&random(3, &[3])), &Conv2d::default()).is_err());
}

#[test]
fn pooling_gradients_match_finite_differences() {
    let x = random(1, &[2, 3, 7, 6]);
    let overlapping = Pool2d { kernel: [3, 2], stride: [2, 1], padding: [1, 1] };
    for options in [Pool2d::tiled([2, 2]), overlapping] {
        assert_differentiable(&|x| max_pool2d(&x[0], &options), &[x.clone()]);
        assert_differentiable(&|x| avg_pool2d(&x[0], &options, true), &[x.clone()]);
        assert_differentiable(&|x| avg_pool2d(&x[0], &options, false), &[x.clone()]);
    }
    for size in [[1, 1], [3, 2], [7, 6], [9, 4]] {
        assert_differentiable(&|x| adaptive_avg_pool2d(&x[0], size), &[x.clone()]);
    }
    let tiled = Pool2d::tiled([2, 2]);
    assert_near(&max_pool2d(&x, &tiled).unwrap(), &x.max_pool2d(2).unwrap(), 0.0);
    assert_near(&avg_pool2d(&x, &tiled, true).unwrap(), &x.avg_pool2d(2).unwrap(), 1e-14);
    assert_near(&adaptive_avg_pool2d(&x, [1, 1]).unwrap(), &x.mean_keepdim((2, 3)).unwrap(), 1e-14);
}

#[test]
fn max_pool2d_tie_gives_all_to_the_first() {
    let pool = |x: &Tensor| max_pool2d(&x.reshape((1, 1, 2, 2))?, &Pool2d::tiled([2, 2]))?.flatten_all();
    assert_at(&pool, &[1.0, 5.0, 5.0, 2.0], &[5.0], &[0.0, 1.0, 0.0, 0.0]);
    let wide = Pool2d { kernel: [2, 2], stride: [1, 1], padding: [2, 0] };
    assert!(max_pool2d(&random(1, &[1, 1, 4, 4]), &wide).unwrap_err().to_string().contains("half the window"));
}

#[test]
fn resizing_gradients_match_finite_differences() {
    let x = random(1, &[2, 2, 4, 3]);
    for size in [[8, 6], [5, 7], [2, 3], [1, 1], [4, 3]] {
        assert_differentiable(&|x| resize_bilinear(&x[0], size), &[x.clone()]);
        assert_differentiable(&|x| resize_nearest(&x[0], size), &[x.clone()]);
    }
    assert_near(&resize_nearest(&x, [8, 6]).unwrap(), &x.upsample_nearest2d(8, 6).unwrap(), 0.0);
    assert_near(&resize_bilinear(&x, [4, 3]).unwrap(), &x, 0.0);
    let stock = x.upsample_bilinear2d(7, 9, false).unwrap();
    assert_near(&resize_bilinear(&x, [7, 9]).unwrap(), &stock, 1e-12);
}

#[test]
fn batch_norm_train_gradients_match_finite_differences() {
    for dims in [&[4, 3, 3, 2][..], &[5, 3], &[3, 2, 9]] {
        let channels = dims[1];
        let inputs = [random(1, dims), random(2, &[channels]), random(3, &[channels])];
        let of = |x: &[Tensor]| batch_norm_train(&x[0], x.get(1), x.get(2), 1e-3);
        assert_differentiable(&|x| Ok(of(x)?.y), &inputs);
        assert_differentiable(&|x| Ok(of(x)?.y), &inputs[..1]);
        assert_differentiable(&|x| Ok(batch_norm_train(&x[0], None, Some(&x[1]), 1e-3)?.y), &inputs[..2]);
        let made = of(&inputs).unwrap();
        let over: Vec<usize> = (0..dims.len()).filter(|dim| *dim != 1).collect();
        assert_near(&made.mean, &mean(&inputs[0], &over, false).unwrap(), 1e-12);
        assert_near(&made.var_unbiased, &var(&inputs[0], &over, false, true).unwrap(), 1e-12);
        assert!(!made.mean.track_op() && !made.var_unbiased.track_op());
    }
    let error = batch_norm_train(&random(1, &[1, 3]), None, None, 1e-3).unwrap_err().to_string();
    assert!(error.contains("more than one value a channel"), "{error}");
}

#[test]
fn batch_norm_eval_is_an_affine_map_with_its_gradients() {
    let statistics = (random(4, &[3]), random(5, &[3]).affine(0.4, 1.0).unwrap());
    let inputs = [random(1, &[2, 3, 4]), random(2, &[3]), random(3, &[3])];
    let of = |x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>| {
        batch_norm_eval(x, &statistics.0, &statistics.1, w, b, 1e-3)
    };
    assert_differentiable(&|x| of(&x[0], Some(&x[1]), Some(&x[2])), &inputs);
    assert_differentiable(&|x| of(&x[0], None, None), &inputs[..1]);
    assert_differentiable(&|x| of(&x[0], None, Some(&x[1])), &inputs[..2]);
    let by_channel = |t: &Tensor| t.reshape((1, 3, 1)).unwrap();
    let centred = inputs[0].broadcast_sub(&by_channel(&statistics.0)).unwrap();
    let deviation = (&statistics.1 + 1e-3).unwrap().sqrt().unwrap();
    assert_near(&of(&inputs[0], None, None).unwrap(), &centred.broadcast_div(&by_channel(&deviation)).unwrap(), 1e-12);
}

#[test]
fn layer_norm_gradients_match_finite_differences() {
    let x = random(1, &[3, 4, 5]);
    for dims in 1..=3 {
        let trailing = &x.dims()[3 - dims..];
        let inputs = [x.clone(), random(2, trailing), random(3, trailing)];
        assert_differentiable(&|x| layer_norm(&x[0], dims, x.get(1), x.get(2), 1e-3), &inputs);
        assert_differentiable(&|x| layer_norm(&x[0], dims, None, None, 1e-3), &inputs[..1]);
    }
    let y = layer_norm(&x, 1, None, None, 0.0).unwrap();
    assert!(values(&mean(&y, &[2], false).unwrap()).iter().all(|mean| mean.abs() < 1e-12));
    assert!(layer_norm(&x, 4, None, None, 1e-3).is_err());
}
