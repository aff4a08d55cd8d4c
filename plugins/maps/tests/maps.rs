//! Tests of the losses on feature maps.
#![allow(missing_docs)]

use stillhouse_maps::{At, Fsp, Nst, Vid};
use stillhouse_plugin::sdk::Loss;
use stillhouse_plugin::testing::{Bench, Run, golden::Case, numbers, refused};

/// Maps of two samples: 3x3 with two channels for the student, 2x4 with three for the teacher.
fn bench<T: Loss>(config: &str) -> Bench {
    let bench = Bench::loss::<T>(config).expect("a right configuration");
    bench.input("student", &[2, 2, 3, 3], &numbers(1.0, 36)).input("teacher", &[2, 3, 2, 4], &numbers(2.0, 48))
}

/// Three layers of two samples, of the same channels on both sides.
fn layers() -> Bench {
    let values: Vec<Vec<f64>> = (0..6).map(|seed| numbers(f64::from(seed), 32)).collect();
    Bench::loss::<Fsp>("{}")
        .expect("configured")
        .input_list(
            "student",
            &[(&[2, 2, 2, 2], &values[0][..16]), (&[2, 3, 1, 2], &values[1][..12]), (&[2, 1, 2, 1], &values[2][..4])],
        )
        .input_list(
            "teacher",
            &[(&[2, 2, 2, 4], &values[3]), (&[2, 3, 2, 2], &values[4][..24]), (&[2, 1, 1, 1], &values[5][..2])],
        )
}

#[track_caller]
fn check_golden<T: Loss>(name: &str, config: &str) -> (Case, Run) {
    let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
    let mut bench = case.given(Bench::loss::<T>(config).expect("configured"));
    for name in case.names().filter_map(|name| name.strip_prefix("param.")) {
        bench = bench.param(name, &case.array(&format!("param.{name}")).values);
    }
    let run = case.check(bench);
    (case, run)
}

#[test]
fn golden_map_cases_match() {
    for name in ["at_same_size", "at_pooled", "at_mmrazor"] {
        let (case, run) = check_golden::<At>(name, "{}");
        if name != "at_mmrazor" {
            case.assert_values("out.loss.per_layer", &run.emitted("per_layer").values);
        }
    }
    let (case, run) = check_golden::<Nst>("nst_pooled", "{}");
    case.assert_values("out.loss.per_layer", &run.emitted("per_layer").values);
    let (case, run) = check_golden::<Fsp>("fsp_three_maps", "{}");
    case.assert_values("out.loss.per_layer", &run.emitted("per_layer").values);
}

#[test]
fn golden_vid_case_matches() {
    let (case, run) = check_golden::<Vid>("vid_same_size", r#"{"mid_channels": 6}"#);
    for name in ["log_scale", "regressor.0.weight", "regressor.2.weight", "regressor.4.weight"] {
        case.assert_gradient(&format!("grad.param.{name}"), run.grad_param(name));
    }
}

#[test]
fn at_of_other_powers_matches_by_hand() {
    let of = |p: u32| {
        let bench = Bench::loss::<At>(&format!(r#"{{"p": {p}}}"#)).expect("configured");
        let bench = bench.input("student", &[1, 1, 1, 2], &[1.0, -2.0]).input("teacher", &[1, 1, 1, 2], &[1.0, 0.0]);
        { bench }.run().expect("runs").loss()
    };
    for p in [1, 2, 3] {
        let (a, b) = (1.0, 2f64.powi(p));
        let length = (a * a + b * b).sqrt();
        assert!((of(p as u32) - ((a / length - 1.0).powi(2) + (b / length).powi(2)) / 2.0).abs() < 1e-14, "{p}");
    }
}

#[test]
fn nst_of_two_channels_matches_by_hand() {
    // Student channels (1, 0), (0, 1); teacher (1, 1) / sqrt 2: k = 1/2 across, (1 + 0 + 0 + 1) / 4 within, 1 for the teacher.
    let bench = Bench::loss::<Nst>("{}").expect("configured");
    let bench = bench.input("student", &[1, 2, 1, 2], &[4.0, 0.0, 0.0, 0.1]).input("teacher", &[1, 1, 2, 2], &[3.0; 4]);
    assert!((bench.ran().loss() - (1.0 + 0.5 - 1.0)).abs() < 1e-14);
}

#[test]
fn vid_starts_with_the_variance_that_is_set() {
    let bench = || bench::<Vid>(r#"{"init_pred_var": 3}"#).input("student", &[2, 2, 3, 3], &[0.0; 36]);
    let run = bench().input("teacher", &[2, 3, 2, 4], &[0.0; 48]).ran();
    // Prediction and target are 0: half of the logarithm is left.
    assert!((run.loss() - 0.5 * 3f64.ln()).abs() < 1e-12);
    let large = self::bench::<Vid>(r#"{"init_pred_var": 1000}"#).ran();
    assert!((large.loss() - 0.5 * 1000f64.ln()).abs() < 1e-2);
}

#[test]
fn map_gradients_match_finite_differences() {
    for config in ["{}", r#"{"p": 1}"#, r#"{"p": 3}"#] {
        bench::<At>(config).check_gradients(1e-6).expect("gradients agree");
    }
    bench::<Nst>("{}").check_gradients(1e-6).expect("gradients agree");
    layers().check_gradients(1e-6).expect("gradients agree");
    bench::<Vid>(r#"{"mid_channels": 2}"#)
        .param("regressor.0.weight", &numbers(5.0, 4))
        .param("regressor.2.weight", &numbers(6.0, 4))
        .param("regressor.4.weight", &numbers(7.0, 6))
        .param("log_scale", &numbers(8.0, 3))
        .check_gradients(1e-6)
        .expect("gradients agree");
}

#[test]
fn prop_at_and_nst_ignore_the_scale_of_the_features() {
    for seed in 0..10 {
        let student = numbers(f64::from(seed), 36);
        let scaled: Vec<f64> = student.iter().map(|value| value * 5.0).collect();
        let at = |values: &[f64]| bench::<At>("{}").input("student", &[2, 2, 3, 3], values).ran().loss();
        assert!(at(&student) >= 0.0 && (at(&student) - at(&scaled)).abs() < 1e-12);
        let nst = |values: &[f64]| bench::<Nst>("{}").input("student", &[2, 2, 3, 3], values).ran().loss();
        assert!(nst(&student) >= -1e-15 && (nst(&student) - nst(&scaled)).abs() < 1e-12);
    }
}

#[test]
fn map_losses_of_equal_maps_are_zero() {
    let values = numbers(3.0, 36);
    fn check<T: Loss>(values: &[f64]) {
        let bench = bench::<T>("{}").input("student", &[2, 2, 3, 3], values).input("teacher", &[2, 2, 3, 3], values);
        let run = bench.ran();
        assert!(run.loss().abs() < 1e-15 && run.grad("student").iter().all(|grad| grad.abs() < 1e-14));
    }
    check::<At>(&values);
    check::<Nst>(&values);
}

#[test]
fn map_losses_of_zeros_and_extremes_are_finite() {
    fn check<T: Loss>(scales: &[f64]) {
        let mut dead = numbers(1.0, 36);
        dead[9..18].fill(0.0);
        let extremes = scales.iter().map(|scale| numbers(1.0, 36).iter().map(|value| value * scale).collect());
        for student in [vec![0.0; 36], dead].into_iter().chain(extremes) {
            let run = bench::<T>("{}").input("student", &[2, 2, 3, 3], &student).ran();
            assert!(run.grad("student").iter().all(|grad| grad.is_finite()), "{run:?}");
        }
        let one =
            bench::<T>("{}").input("student", &[1, 2, 1, 1], &[0.0; 2]).input("teacher", &[1, 3, 1, 1], &[0.0; 3]);
        assert!(one.ran().grad("student").iter().all(|grad| grad.abs() < 1e-12));
    }
    check::<At>(&[1e-9, 1e60]);
    check::<Nst>(&[1e-9, 1e60]);
    check::<Vid>(&[1e-9, 1e30]);
}

#[test]
fn map_losses_couple_no_samples() {
    assert!(!bench::<At>("{}").desc().batch_coupled && !bench::<Nst>("{}").desc().batch_coupled);
    assert!(!layers().desc().batch_coupled && !bench::<Vid>("{}").desc().batch_coupled);
}

#[test]
fn map_losses_of_wrong_inputs_are_errors() {
    let flat = bench::<At>("{}").input("student", &[2, 3], &[0.0; 6]);
    assert_eq!(flat.refusal(), "`at` wants feature maps [N, C, H, W], got [2, 3]");
    let batches = bench::<Nst>("{}").input("student", &[1, 2, 3, 3], &[0.0; 18]);
    assert!(batches.refusal().starts_with("`nst` got batches that differ in samples (dim 0)"));
    let flat = bench::<Vid>("{}").input("teacher", &[2, 3], &[0.0; 6]);
    assert_eq!(flat.refusal(), "`vid` wants feature maps [N, C, H, W], got [2, 3]");
    let one = bench::<Fsp>("{}");
    assert_eq!(one.refusal(), "`fsp` wants two taps or more of each network, got 1");
    let (map, wide): (&[usize], &[usize]) = (&[1, 1, 1, 1], &[1, 2, 1, 1]);
    let channels = bench::<Fsp>("{}")
        .input_list("student", &[(map, &[1.0]), (wide, &[1.0; 2])])
        .input_list("teacher", &[(map, &[1.0]), (map, &[1.0])]);
    assert!(
        channels
            .refusal()
            .starts_with("`fsp` got channels that differ between taps 0 and 1\n  student: [1, 2]\n  teacher: [1, 1]")
    );
    let uneven = bench::<At>("{}").input_list("student", &[(map, &[1.0]), (map, &[1.0])]);
    assert_eq!(uneven.refusal(), "`at` pairs the values of `student` and `teacher` in order, and got 2 and 1 of them");
}

#[test]
fn map_losses_of_wrong_settings_are_errors() {
    assert_eq!(refused::<At>(r#"{"p": 0}"#), "`p` must be between 1 and 16, got 0");
    assert_eq!(refused::<At>(r#"{"p": 17}"#), "`p` must be between 1 and 16, got 17");
    assert!(refused::<Nst>(r#"{"p": 2}"#).contains("unknown field `p`"));
    assert_eq!(refused::<Vid>(r#"{"mid_channels": 0}"#), "`mid_channels` must be at least 1");
    assert_eq!(refused::<Vid>(r#"{"eps": 0}"#), "`eps` must be finite and above 0, got 0");
    assert_eq!(
        refused::<Vid>(r#"{"init_pred_var": 1e-6}"#),
        "`init_pred_var` must be finite and above `eps` (0.00001), got 0.000001"
    );
}
