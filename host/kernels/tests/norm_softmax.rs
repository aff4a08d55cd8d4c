//! Normalisation, softmax and cross-entropy against their formulas.

mod common;

use common::{Cases, assert_close, assert_gradient, dot, double, single, with_threads};
use stillhouse_kernels::norm::{
    batch_norm_backward, batch_statistics, channel_affine, l2_normalize_backward, l2_normalize_forward,
    layer_norm_backward, layer_norm_forward, row_statistics,
};
use stillhouse_kernels::softmax::{
    cross_entropy_backward, cross_entropy_forward, log_softmax_backward, log_softmax_forward, softmax_backward,
    softmax_forward,
};

const EPS: f64 = 1e-5;

fn batch_norm(x: &[f64], dims: [usize; 3], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let channels = dims[1];
    let (mut mean, mut variance) = (vec![7.0; channels], vec![7.0; channels]);
    batch_statistics(x, dims, &mut mean, &mut variance);
    let scale: Vec<f64> = variance.iter().zip(weight).map(|(v, w)| w / (v + EPS).sqrt()).collect();
    let mut out = vec![7.0; x.len()];
    channel_affine(x, dims, [&mean, &scale, bias], &mut out);
    out
}

#[test]
fn batch_statistics_random_shapes_match_the_definition() {
    let mut cases = Cases::new(21);
    for _ in 0..100 {
        let dims = [cases.whole(1, 7), cases.whole(1, 19), cases.whole(1, 40)];
        let [batch, channels, plane] = dims;
        let x = cases.reals(batch * channels * plane);
        let (mut mean, mut variance) = (vec![7.0; channels], vec![7.0; channels]);
        batch_statistics(&x, dims, &mut mean, &mut variance);
        for c in 0..channels {
            let values: Vec<f64> = (0..x.len()).filter(|at| at / plane % channels == c).map(|at| x[at]).collect();
            let want = values.iter().sum::<f64>() / values.len() as f64;
            let spread = values.iter().map(|v| (v - want).powi(2)).sum::<f64>() / values.len() as f64;
            assert_close(&[mean[c], variance[c]], &[want, spread], 1e-12, "statistics");
        }
    }
}

#[test]
fn batch_norm_gradients_match_finite_differences() {
    let mut cases = Cases::new(22);
    for round in 0..15 {
        let dims = [cases.whole(2, 4), cases.whole(1, 3), cases.whole(1, 12)];
        let [batch, channels, plane] = dims;
        let x = cases.reals(batch * channels * plane);
        let (weight, bias) = (cases.reals(channels), cases.reals(channels));
        let weight = if round % 3 == 0 { vec![1.0; channels] } else { weight };
        let grad = cases.reals(x.len());
        let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
        batch_statistics(&x, dims, &mut mean, &mut variance);
        let rstd: Vec<f64> = variance.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
        let mut grad_x = vec![7.0; x.len()];
        let given = (round % 3 != 0).then_some(&weight[..]);
        let sums = batch_norm_backward([&x, &grad], dims, [&mean, &rstd], given, Some(&mut grad_x));
        let value = |x: &[f64], w: &[f64], b: &[f64]| dot(&batch_norm(x, dims, w, b), &grad);
        assert_gradient(&x, &grad_x, 2e-4, |x| value(x, &weight, &bias));
        assert_gradient(&weight, &sums.weight, 1e-6, |w| value(&x, w, &bias));
        assert_gradient(&bias, &sums.bias, 1e-6, |b| value(&x, &weight, b));
    }
}

#[test]
fn batch_statistics_far_from_zero_keep_precision() {
    let x: Vec<f32> = (0..64 * 1024).map(|i| 1000.0 + (i % 2) as f32).collect();
    let (mut mean, mut variance) = ([0f32], [0f32]);
    batch_statistics(&x, [64, 1, 1024], &mut mean, &mut variance);
    assert!((mean[0] - 1000.5).abs() < 1e-3 && (variance[0] - 0.25).abs() < 1e-4, "{mean:?} {variance:?}");
}

#[test]
fn layer_norm_gradients_match_finite_differences() {
    let mut cases = Cases::new(23);
    for round in 0..20 {
        let (rows, width) = (cases.whole(1, 5), cases.whole(2, 37));
        let (x, grad) = (cases.reals(rows * width), cases.reals(rows * width));
        let (weight, bias) = (cases.reals(width), cases.reals(width));
        let given = (round % 3 != 0).then_some(&weight[..]);
        let forward = |x: &[f64], weight: Option<&[f64]>, bias: &[f64]| {
            let mut out = vec![7.0; x.len()];
            layer_norm_forward(x, width, &row_statistics(x, width, EPS), weight, Some(bias), &mut out);
            out
        };
        let mut grad_x = vec![7.0; x.len()];
        let statistics = row_statistics(&x, width, EPS);
        let sums = layer_norm_backward([&x, &grad], width, &statistics, given, Some(&mut grad_x), true).expect("sums");
        assert_gradient(&x, &grad_x, 2e-4, |x| dot(&forward(x, given, &bias), &grad));
        assert_gradient(&weight, &sums.weight, 1e-6, |w| dot(&forward(&x, Some(w), &bias), &grad));
        assert_gradient(&bias, &sums.bias, 1e-6, |b| dot(&forward(&x, given, b), &grad));
    }
}

#[test]
fn l2_normalize_gradients_match_finite_differences_on_both_sides_of_eps() {
    let mut cases = Cases::new(24);
    for eps in [1e-12, 100.0] {
        for _ in 0..10 {
            let dims = [cases.whole(1, 3), cases.whole(1, 6), cases.whole(1, 4)];
            let len = dims.iter().product();
            let (x, grad) = (cases.reals(len), cases.reals(len));
            let mut grad_x = vec![7.0; len];
            l2_normalize_backward([&x, &grad], dims, eps, &mut grad_x);
            assert_gradient(&x, &grad_x, 1e-3, |x| {
                let mut out = vec![0.0; len];
                l2_normalize_forward(x, dims, eps, &mut out);
                dot(&out, &grad)
            });
        }
    }
}

fn naive_log_softmax(x: &[f64], [outer, dim, inner]: [usize; 3]) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    for o in 0..outer {
        for i in 0..inner {
            let at = |d: usize| (o * dim + d) * inner + i;
            let total = (0..dim).map(|d| x[at(d)].exp()).sum::<f64>().ln();
            (0..dim).for_each(|d| out[at(d)] = x[at(d)] - total);
        }
    }
    out
}

#[test]
fn softmax_random_shapes_match_the_definition() {
    let mut cases = Cases::new(25);
    for _ in 0..100 {
        let dims = [cases.whole(1, 5), cases.whole(1, 40), cases.whole(1, 9)];
        let x: Vec<f64> = cases.reals(dims.iter().product()).iter().map(|x| x * 8.0).collect();
        let want = naive_log_softmax(&x, dims);
        let (mut log, mut log_f32) = (vec![7.0; x.len()], vec![7f32; x.len()]);
        let (mut soft, mut soft_f32) = (log.clone(), log_f32.clone());
        log_softmax_forward(&x, dims, &mut log);
        log_softmax_forward(&single(&x), dims, &mut log_f32);
        softmax_forward(&x, dims, &mut soft);
        softmax_forward(&single(&x), dims, &mut soft_f32);
        assert_close(&log, &want, 1e-13, "log_softmax");
        assert_close(&double(&log_f32), &want, 2e-6, "log_softmax in f32");
        let want: Vec<f64> = want.iter().map(|x| x.exp()).collect();
        assert_close(&soft, &want, 1e-13, "softmax");
        assert_close(&double(&soft_f32), &want, 2e-6, "softmax in f32");
    }
}

#[test]
fn softmax_gradients_match_finite_differences() {
    let mut cases = Cases::new(26);
    for _ in 0..20 {
        let dims = [cases.whole(1, 3), cases.whole(1, 7), cases.whole(1, 4)];
        let len = dims.iter().product();
        let (x, grad) = (cases.reals(len), cases.reals(len));
        let (mut y, mut grad_x) = (vec![0.0; len], vec![7.0; len]);
        softmax_forward(&x, dims, &mut y);
        softmax_backward([&y, &grad], dims, &mut grad_x);
        assert_gradient(&x, &grad_x, 1e-6, |x| {
            let mut out = vec![0.0; len];
            softmax_forward(x, dims, &mut out);
            dot(&out, &grad)
        });
        log_softmax_forward(&x, dims, &mut y);
        log_softmax_backward([&y, &grad], dims, &mut grad_x);
        assert_gradient(&x, &grad_x, 1e-6, |x| dot(&naive_log_softmax(x, dims), &grad));
    }
}

#[test]
fn softmax_huge_logits_do_not_overflow() {
    let mut out = [0f32; 3];
    softmax_forward(&[1e30, 1e30, -1e30], [1, 3, 1], &mut out);
    assert_eq!(out, [0.5, 0.5, 0.0]);
    log_softmax_forward(&[1e4, 0.0, -1e4], [1, 3, 1], &mut out);
    assert_eq!(out, [0.0, -1e4, -2e4]);
    let mut out = [7f32; 6];
    softmax_forward(&[1e30, -1e30, 1e30, 2.0, -1e30, 2.0], [1, 3, 2], &mut out);
    assert_eq!(out, [0.5, 0.0, 0.5, 0.5, 0.0, 0.5]);
    log_softmax_forward(&[1e4, 0.0, 0.0, 1e4, -1e4, -1e4], [1, 3, 2], &mut out);
    assert_eq!(out, [0.0, -1e4, -1e4, 0.0, -2e4, -2e4]);
}

#[test]
fn cross_entropy_random_rows_match_the_definition() {
    let mut cases = Cases::new(27);
    for smoothing in [0.0, 0.1, 1.0] {
        for _ in 0..20 {
            let (batch, classes) = (cases.whole(1, 40), cases.whole(1, 30));
            let logits = cases.reals(batch * classes);
            let labels: Vec<u32> = (0..batch).map(|_| cases.whole(0, classes - 1) as u32).collect();
            let log = naive_log_softmax(&logits, [batch, classes, 1]);
            let want: Vec<f64> = log
                .chunks_exact(classes)
                .zip(&labels)
                .map(|(row, label)| {
                    let mean = row.iter().sum::<f64>() / classes as f64;
                    -(1.0 - smoothing) * row[*label as usize] - smoothing * mean
                })
                .collect();
            let mut losses = vec![7.0; batch];
            cross_entropy_forward(&logits, &labels, smoothing, &mut losses);
            assert_close(&losses, &want, 1e-12, "cross_entropy");
            let grad = cases.reals(batch);
            let mut grad_logits = vec![7.0; logits.len()];
            cross_entropy_backward(&logits, &labels, smoothing, &grad, &mut grad_logits);
            assert_gradient(&logits, &grad_logits, 1e-6, |logits| {
                let mut losses = vec![0.0; batch];
                cross_entropy_forward(logits, &labels, smoothing, &mut losses);
                dot(&losses, &grad)
            });
        }
    }
}

#[test]
fn norms_one_and_two_threads_give_the_same_bits() {
    let mut cases = Cases::new(28);
    let dims = [32, 24, 100];
    let (x, grad) = (single(&cases.reals(32 * 2400)), single(&cases.reals(32 * 2400)));
    let run = || {
        let (mut mean, mut variance) = (vec![0f32; 24], vec![0f32; 24]);
        batch_statistics(&x, dims, &mut mean, &mut variance);
        let mut grad_x = vec![0f32; x.len()];
        let sums = batch_norm_backward([&x, &grad], dims, [&mean, &variance], None, Some(&mut grad_x));
        let rows = row_statistics(&x, 100, 1e-5);
        let layer = layer_norm_backward([&x, &grad], 100, &rows, None, None, true).expect("sums");
        let mut soft = vec![0f32; x.len()];
        softmax_forward(&x, dims, &mut soft);
        (mean, variance, grad_x, sums.weight, layer.weight, soft)
    };
    assert_eq!(with_threads(1, run), with_threads(2, run));
}
