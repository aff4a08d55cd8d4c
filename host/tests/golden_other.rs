//! Cases that no reference made: other shapes, sizes, reductions and hyperparameters, whose values plain loops in this file
//! compute. They hold the map to rules, rather than to the cases that it was written by.

mod support;

use serde_json::json;
use support::made::{Made, map, noise};
use support::naive::{self, Map};

#[test]
fn golden_other_kd_by_reduction_and_batch() {
    for (samples, classes) in [(5, 3), (1, 4)] {
        let (student, teacher) = (noise(samples * classes, 1, 3.0), noise(samples * classes, 2, 3.0));
        let raw = naive::divergence(&student, &teacher, classes, 2.5);
        let by_reduction =
            [("batchmean", samples as f64), ("mean", (samples * classes) as f64), ("sum", 1.0), ("none", 1.0)];
        for (reduction, count) in by_reduction {
            for (t_squared, factor) in [(true, 6.25), (false, 1.0)] {
                let settings =
                    json!({ "temperature": 2.5, "reduction": reduction, "t_squared": t_squared, "loss_weight": 0.7 });
                let made = Made::new("kd", "logit_kl", settings);
                let made = made.with("input.student.0", &[samples, classes], &student);
                made.with("input.teacher.0", &[samples, classes], &teacher).loss(0.7 * factor * raw / count).check();
            }
        }
    }
}

#[test]
fn golden_other_kd_total_weighs_both_terms() {
    let (student, teacher, labels) = (noise(12, 3, 2.0), noise(12, 4, 2.0), [2, 0, 1]);
    let (ce, kd) =
        (naive::cross_entropy(&student, &labels, 4), 2.25 * naive::divergence(&student, &teacher, 4, 1.5) / 3.0);
    let settings = json!({ "temperature": 1.5, "ce_weight": 0.35, "kd_weight": 1.2, "reduction": "batchmean" });
    let made = Made::new("kd", "ce_plus_kd", settings).with("input.student.0", &[3, 4], &student);
    let made = made.with("input.teacher.0", &[3, 4], &teacher).whole("input.target", &labels);
    let (ce, kd) = (0.35 * ce, 1.2 * kd);
    made.with("out.loss.ce", &[], &[ce]).with("out.loss.kd", &[], &[kd]).loss(ce + kd).check();
}

#[test]
fn golden_other_dkd_of_both_codes() {
    let (student, teacher, labels) =
        (noise(15, 5, 2.0), noise(15, 6, 2.0), [1, 0, 2, 4, 3].map(|label: i64| label % 3));
    let [label, rest] = naive::decoupled(&student, &teacher, &labels, 3, 2.0);
    let sum = 4.0 * (0.5 * label + 3.0 * rest);
    for (reduction, offset, wanted) in
        [("batchmean", true, sum / 5.0), ("mean", false, sum), ("batchmean", false, sum / 5.0)]
    {
        let mut settings = json!({ "alpha": 0.5, "beta": 3.0, "temperature": 2.0, "reduction": reduction });
        if offset {
            settings["gt_mask_offset"] = json!(1000.0);
        }
        let made = Made::new("dkd", "decoupled", settings).with("input.student.0", &[5, 3], &student);
        made.with("input.teacher.0", &[5, 3], &teacher).whole("input.target", &labels).loss(wanted).check();
    }
}

#[test]
fn golden_other_hints_pool_ragged_sizes() {
    let (student, teacher, kernel) = (map([2, 3, 7, 5], 1), map([2, 4, 3, 2], 2), map([4, 3, 1, 1], 3));
    let pooled = naive::pool(&student, [3, 2]);
    let plain = naive::conv(&pooled, &kernel, &[], 1, 0, [3, 2]);
    let settings =
        json!({ "regressor": "conv1x1", "bias": false, "reduction": "mean", "student_pool": "to the teacher's size" });
    let made = Made::new("fitnet", "hint_mse", settings.clone())
        .map("input.student.0", &student)
        .map("input.teacher.0", &teacher);
    let loss = naive::squares(&plain.values, &teacher.values) / 48.0;
    made.map("param.transform.weight", &kernel).map("out.regressed", &plain).loss(loss).check();
    let bias = noise(4, 8, 0.4);
    let shifted = naive::conv(&pooled, &kernel, &bias, 1, 0, [3, 2]);
    let made = Made::new("fitnet", "hint_half_sum", settings)
        .map("input.student.0", &student)
        .map("input.teacher.0", &teacher);
    let loss = 0.5 * naive::squares(&shifted.values, &teacher.values) / 2.0;
    made.with("param.other.weight", &[4, 3], &kernel.values).with("param.other.bias", &[4], &bias).loss(loss).check();
}

#[test]
fn golden_other_hint_of_equal_shapes_needs_no_regressor() {
    let (student, teacher) = (map([1, 2, 3, 1], 4), map([1, 2, 3, 1], 5));
    let squares = naive::squares(&student.values, &teacher.values);
    let made = |variant, settings| {
        Made::new("fitnet", variant, settings).map("input.student.0", &student).map("input.teacher.0", &teacher)
    };
    made("hint_mse", json!({ "regressor": "identity", "reduction": "sum" })).loss(squares).check();
    made("hint_half_sum", json!({ "regressor": "identity" })).loss(0.5 * squares).check();
    let flat = json!({ "normalize": false, "dist": true, "loss_weight": 2.0 });
    made("l2_mmrazor", flat).loss(2.0 * squares.sqrt()).check();
    let by_element = json!({ "normalize": false, "mult": 1.0, "div_element": true, "dist": false });
    made("l2_mmrazor", by_element).loss(squares / 6.0).check();
}

/// A regressor with batch statistics, from `student` through `conv`.
#[track_caller]
fn check_regressor(student: &Map, kernel: &Map, conv: &Map) {
    let channels = conv.dims[1];
    let (scale, shift, teacher) = (noise(channels, 9, 1.5), noise(channels, 10, 0.5), map(conv.dims, 11));
    let (regressed, means, variances) = naive::normalised(conv, &scale, &shift);
    let (old_mean, old_variance) = (noise(channels, 12, 0.2), vec![0.8; channels]);
    let moved =
        |old: &[f64], new: &[f64]| old.iter().zip(new).map(|(old, new)| 0.9 * old + 0.1 * new).collect::<Vec<_>>();
    let norm = json!({ "eps": 1e-5, "momentum": 0.1 });
    let settings = json!({ "regressor": "conv", "batch_norm": norm, "relu": true, "reduction": "mean" });
    let mut made =
        Made::new("fitnet", "hint_convreg", settings).map("input.student.0", student).map("input.teacher.0", &teacher);
    made.mode = json!("train");
    let wide = [channels];
    made.map("param.conv.weight", kernel)
        .with("param.conv.bias", &wide, &bias(channels))
        .with("param.bn.weight", &wide, &scale)
        .with("param.bn.bias", &wide, &shift)
        .with("buffer.bn.running_mean", &wide, &old_mean)
        .with("buffer.bn.running_var", &wide, &old_variance)
        .with("buffer_after.bn.running_mean", &wide, &moved(&old_mean, &means))
        .with("buffer_after.bn.running_var", &wide, &moved(&old_variance, &variances))
        .map("out.regressed", &regressed)
        .loss(naive::squares(&regressed.values, &teacher.values) / regressed.values.len() as f64)
        .check();
}

fn bias(channels: usize) -> Vec<f64> {
    noise(channels, 13, 0.3)
}

#[test]
fn golden_other_regressors_follow_the_sizes() {
    let (student, kernel) = (map([2, 3, 6, 8], 6), map([4, 3, 3, 3], 7));
    check_regressor(&student, &kernel, &naive::conv(&student, &kernel, &bias(4), 2, 1, [3, 4]));
    let (student, kernel) = (map([2, 3, 2, 3], 6), map([3, 5, 4, 4], 7));
    check_regressor(&student, &kernel, &naive::doubled(&student, &kernel, &bias(5)));
    let (student, kernel) = (map([1, 2, 5, 6], 6), map([3, 2, 4, 3], 7));
    check_regressor(&student, &kernel, &naive::conv(&student, &kernel, &bias(3), 1, 0, [2, 4]));
}

#[test]
fn golden_other_second_stage_and_its_schedule() {
    let (student, teacher, labels) = (noise(8, 14, 2.0), noise(8, 15, 2.0), [3, 1]);
    let hard = naive::cross_entropy(&student, &labels, 4);
    let rows = student.chunks(4).zip(teacher.chunks(4));
    let cross = |(s, t): (&[f64], &[f64])| -> f64 {
        let (p, q) = (naive::log_softmax(t, 2.5), naive::log_softmax(s, 2.5));
        p.iter().zip(&q).map(|(p, q)| -p.exp() * q).sum()
    };
    let soft = rows.map(cross).sum::<f64>() / 2.0;
    let settings = json!({ "temperature": 2.5, "lambda_teach": 1.75, "lambda_target": 0.5 });
    let made = Made::new("fitnet", "stage2_soft_ce", settings).with("input.student.0", &[2, 4], &student);
    let made = made.with("input.teacher.0", &[2, 4], &teacher).whole("input.target", &labels);
    made.with("out.loss.hard", &[], &[hard]).with("out.loss.soft", &[], &[soft]).loss(0.5 * hard + 1.75 * soft).check();
    let (epochs, wanted) = ([0, 4, 5, 6, 7, 8, 100], [4.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0]);
    let settings = json!({ "start": 5, "saturate": 8, "initial": 4.0, "final": 0.0 });
    let made = Made::new("fitnet", "lambda_schedule", settings).whole("input.epoch", &epochs);
    made.with("out.lambda", &[7], &wanted).loss(wanted.iter().sum()).check();
}
