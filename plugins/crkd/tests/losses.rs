//! Tests of the losses.
#![allow(missing_docs)]

use stillhouse_crkd::{CrkdMmd, CrkdPair, CrkdRad};
use stillhouse_plugin::sdk::Loss;
use stillhouse_plugin::testing::{Bench, golden::Case, numbers, refused};

/// Four samples of three features.
fn bench<T: Loss>(config: &str) -> Bench {
    let bench = Bench::loss::<T>(config).expect("a right configuration");
    bench.input("student", &[4, 3], &numbers(1.0, 12)).input("teacher", &[4, 3], &numbers(2.0, 12))
}

#[track_caller]
fn check_golden<T: Loss>(name: &str, config: &str) {
    let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
    let bench = Bench::loss::<T>(config).expect("configured");
    let run =
        bench.array("student", case.array("input.student.0")).array("teacher", case.array("input.teacher.0")).ran();
    case.assert_values("out.loss", &[run.loss()]);
    case.assert_gradient("grad.input.student.0", run.grad("student"));
}

#[test]
fn golden_crkd_losses_match() {
    check_golden::<CrkdRad>("crkd_rad", "{}");
    check_golden::<CrkdPair>("crkd_pair", "{}");
    check_golden::<CrkdMmd>("crkd_mmd_fixed", r#"{"sigma2": 4}"#);
    check_golden::<CrkdMmd>("crkd_mmd_adaptive", "{}");
}

#[test]
fn mmd_matches_plain_loops() {
    let (student, teacher) = (numbers(1.0, 12), numbers(2.0, 12));
    let rows: Vec<&[f64]> = student.chunks(3).chain(teacher.chunks(3)).collect();
    let square = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    let total: f64 = rows.iter().flat_map(|a| rows.iter().map(move |b| square(a, b))).sum();
    for (config, sigma2, kernels, factor) in [
        (r#"{"kernels": 3, "factor": 4}"#, total / 56.0, 3, 4.0f64),
        (r#"{"kernels": 2, "sigma2": 7}"#, 7.0, 2, 2.0),
        (r#"{"kernels": 1, "sigma2": 0.5}"#, 0.5, 1, 2.0),
    ] {
        let kernel = |a: &[f64], b: &[f64]| {
            let one = |u: i32| (-square(a, b) / (sigma2 * factor.powi(u - kernels / 2))).exp();
            (0..kernels).map(one).sum::<f64>()
        };
        let mean = |first: &[&[f64]], second: &[&[f64]]| {
            first.iter().flat_map(|a| second.iter().map(|b| kernel(a, b))).sum::<f64>() / 16.0
        };
        let (s, t) = rows.split_at(4);
        let wanted = mean(s, s) + mean(t, t) - 2.0 * mean(s, t);
        assert!((bench::<CrkdMmd>(config).ran().loss() - wanted).abs() < 1e-13, "{config}");
    }
}

#[test]
fn crkd_loss_gradients_match_finite_differences() {
    bench::<CrkdRad>(r#"{"temperature": 2}"#).check_gradients(1e-6).expect("gradients agree");
    bench::<CrkdPair>("{}").check_gradients(1e-6).expect("gradients agree");
    bench::<CrkdMmd>(r#"{"sigma2": 5, "kernels": 3}"#).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn mmd_ignores_order_and_common_shifts() {
    let student = numbers(1.0, 12);
    let turned: Vec<f64> = student.chunks(3).rev().flatten().copied().collect();
    let of = |student: &[f64], shift: f64| {
        let moved = |values: &[f64]| values.iter().map(|value| value + shift).collect::<Vec<_>>();
        let bench = bench::<CrkdMmd>("{}").input("student", &[4, 3], &moved(student));
        bench.input("teacher", &[4, 3], &moved(&numbers(2.0, 12))).ran().loss()
    };
    assert!((of(&student, 0.0) - of(&turned, 0.0)).abs() < 1e-14);
    assert!((of(&student, 0.0) - of(&student, 1e4)).abs() < 1e-10);
    assert!(of(&student, 0.0) > 0.0);
}

#[test]
fn crkd_losses_of_equal_features_are_zero() {
    fn check<T: Loss>() {
        let run = bench::<T>("{}").input("student", &[4, 3], &numbers(2.0, 12)).ran();
        assert!(run.loss().abs() < 1e-14 && run.grad("student").iter().all(|grad| grad.abs() < 1e-14));
    }
    check::<CrkdRad>();
    check::<CrkdPair>();
    check::<CrkdMmd>();
}

#[test]
fn crkd_losses_of_duplicates_zeros_and_extremes_are_finite() {
    fn check<T: Loss>() {
        let large: Vec<f64> = numbers(1.0, 12).iter().map(|value| value * 1e60).collect();
        for student in [vec![0.0; 12], vec![3.0; 12], large] {
            for teacher in [student.clone(), numbers(2.0, 12)] {
                let bench = bench::<T>("{}").input("student", &[4, 3], &student).input("teacher", &[4, 3], &teacher);
                assert!(bench.ran().grad("student").iter().all(|grad| grad.is_finite()));
            }
        }
        let one = bench::<T>("{}").input("student", &[1, 3], &[1.0; 3]).input("teacher", &[1, 3], &[1.0; 3]);
        assert!(one.ran().loss().abs() < 1e-14);
    }
    check::<CrkdRad>();
    check::<CrkdPair>();
    check::<CrkdMmd>();
}

#[test]
fn mmd_alone_is_coupled_over_the_batch() {
    assert!(bench::<CrkdMmd>("{}").desc().batch_coupled);
    assert!(!bench::<CrkdRad>("{}").desc().batch_coupled && !bench::<CrkdPair>("{}").desc().batch_coupled);
}

#[test]
fn crkd_losses_of_wrong_inputs_are_errors() {
    let features = bench::<CrkdPair>("{}").input("student", &[4, 2], &[0.0; 8]);
    assert!(features.refusal().starts_with("`crkd_pair` got features that differ\n  student: [4, 2]"));
    let features = bench::<CrkdMmd>("{}").input("student", &[4, 2], &[0.0; 8]);
    assert!(features.refusal().starts_with("`crkd_mmd` got features that differ\n  student: [4, 2]"));
    let classes = bench::<CrkdRad>("{}").input("student", &[4, 2], &[0.0; 8]);
    assert!(classes.refusal().starts_with("`crkd_rad` got logits that differ in classes (dim 1)"));
    let empty = bench::<CrkdMmd>("{}").input("student", &[0, 3], &[]).input("teacher", &[0, 3], &[]);
    assert_eq!(empty.refusal(), "`crkd_mmd` got an empty batch: [0, 3]");
    let maps = bench::<CrkdRad>("{}").input("student", &[1, 3, 2], &[0.0; 6]).input("teacher", &[1, 3, 2], &[0.0; 6]);
    assert_eq!(maps.refusal(), "`crkd_rad` wants logits [N, C], got [1, 3, 2]");
}

#[test]
fn crkd_losses_of_wrong_settings_are_errors() {
    assert_eq!(refused::<CrkdRad>(r#"{"temperature": 0}"#), "`temperature` must be finite and above 0, got 0");
    assert_eq!(refused::<CrkdMmd>(r#"{"kernels": 0}"#), "`kernels` must be between 1 and 64, got 0");
    assert_eq!(refused::<CrkdMmd>(r#"{"kernels": 65}"#), "`kernels` must be between 1 and 64, got 65");
    assert_eq!(refused::<CrkdMmd>(r#"{"sigma2": 0}"#), "`sigma2` must be finite and above 0, got 0");
    assert_eq!(refused::<CrkdMmd>(r#"{"factor": -1}"#), "`factor` must be finite and above 0, got -1");
    assert!(refused::<CrkdPair>(r#"{"weight": 1}"#).contains("unknown field `weight`"));
}
