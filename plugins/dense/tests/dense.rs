//! Tests of the losses on maps of one shape.
#![allow(missing_docs)]

use stillhouse_dense::{Cwd, Pkd, ReviewkdHcl};
use stillhouse_plugin::sdk::Loss;
use stillhouse_plugin::testing::{Bench, golden::Case, numbers, refused};

/// Maps of two samples with two channels of 5x3.
fn bench<T: Loss>(config: &str) -> Bench {
    let bench = Bench::loss::<T>(config).expect("a right configuration");
    bench.input("student", &[2, 2, 5, 3], &numbers(1.0, 60)).input("teacher", &[2, 2, 5, 3], &numbers(2.0, 60))
}

#[track_caller]
fn check_golden<T: Loss>(name: &str, config: &str) {
    let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
    case.check(case.given(Bench::loss::<T>(config).expect("configured")));
}

#[test]
fn golden_dense_cases_match() {
    check_golden::<Cwd>("cwd_tau1", "{}");
    check_golden::<Pkd>("pkd_two_maps", "{}");
    check_golden::<ReviewkdHcl>("reviewkd_hcl", "{}");
}

#[test]
fn cwd_gradient_matches_closed_form() {
    let bench = Bench::loss::<Cwd>(r#"{"temperature": 2}"#).expect("configured");
    let bench =
        bench.input("student", &[1, 1, 2, 1], &[0.0; 2]).input("teacher", &[1, 1, 2, 1], &[2.0 * 3f64.ln(), 0.0]);
    let run = bench.ran();
    assert!((run.loss() - 4.0 * (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() < 1e-12);
    assert!(run.grad("student").iter().zip([-0.5, 0.5]).all(|(grad, wanted)| (grad - wanted).abs() < 1e-14));
}

#[test]
fn pkd_is_one_minus_the_correlation() {
    let (student, teacher) = (numbers(4.0, 8), numbers(5.0, 8));
    let bench = Bench::loss::<Pkd>("{}").expect("configured");
    let run = bench.input("student", &[2, 1, 2, 2], &student).input("teacher", &[2, 1, 2, 2], &teacher).ran();
    let centred = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / 8.0;
        values.iter().map(|value| value - mean).collect::<Vec<_>>()
    };
    let (a, b) = (centred(&student), centred(&teacher));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let correlation = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
    // Unbiased deviations over a biased mean: 7/8.
    assert!((run.loss() - 7.0 / 8.0 * (1.0 - correlation)).abs() < 1e-5);
}

#[test]
fn pkd_resizes_the_side_that_is_set() {
    // A student's place beside two of the teacher's: as many copies, or the mean of the teacher's.
    let given = |config: &str| {
        let bench = Bench::loss::<Pkd>(config).expect("configured");
        bench.input("student", &[2, 1, 1, 1], &[1.0, 2.0]).input("teacher", &[2, 1, 1, 2], &[1.0, 3.0, 5.0, 7.0])
    };
    let as_large = Bench::loss::<Pkd>("{}").expect("configured");
    let as_large = as_large.input("student", &[2, 1, 1, 2], &[1.0, 1.0, 2.0, 2.0]).input(
        "teacher",
        &[2, 1, 1, 2],
        &[1.0, 3.0, 5.0, 7.0],
    );
    assert!((given("{}").ran().loss() - as_large.ran().loss()).abs() < 1e-12);
    assert!(given(r#"{"resize_student": false}"#).ran().loss() < 1e-9);
}

#[test]
fn reviewkd_hcl_levels_are_those_below_the_height() {
    let of = |config: &str| bench::<ReviewkdHcl>(config).ran().loss();
    assert_eq!(of(r#"{"levels": [7, 5, 4, 2, 1]}"#), of("{}"));
    let mean = {
        let squares = numbers(1.0, 60).iter().zip(numbers(2.0, 60)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        squares / 60.0
    };
    assert!((of(r#"{"levels": []}"#) - mean).abs() < 1e-14);
    assert!((of(r#"{"levels": [9]}"#) - mean).abs() < 1e-14);
    // Two taps count alike.
    let maps = [numbers(1.0, 4), numbers(2.0, 4)];
    let list: &[(&[usize], &[f64])] = &[(&[1, 1, 2, 2], &maps[0]), (&[1, 1, 2, 2], &maps[1])];
    let other: &[(&[usize], &[f64])] = &[(&[1, 1, 2, 2], &maps[1]), (&[1, 1, 2, 2], &maps[0])];
    let run = bench::<ReviewkdHcl>("{}").input_list("student", list).input_list("teacher", other).ran();
    let [a, b] = run.emitted("per_layer").values[..] else { panic!("two taps") };
    assert!((a - b).abs() < 1e-14 && (run.loss() - a - b).abs() < 1e-14);
}

#[test]
fn dense_gradients_match_finite_differences() {
    for config in ["{}", r#"{"temperature": 3}"#] {
        bench::<Cwd>(config).check_gradients(1e-6).expect("gradients agree");
    }
    bench::<Pkd>("{}").check_gradients(1e-6).expect("gradients agree");
    bench::<Pkd>("{}")
        .input("student", &[2, 2, 2, 2], &numbers(3.0, 16))
        .check_gradients(1e-6)
        .expect("gradients agree through the resize");
    bench::<ReviewkdHcl>(r#"{"level_weight": 0.7}"#).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn dense_losses_of_equal_maps_are_zero_and_never_negative() {
    fn check<T: Loss>() {
        let same = numbers(2.0, 60);
        let run = bench::<T>("{}").input("student", &[2, 2, 5, 3], &same).ran();
        assert!(run.loss() == 0.0 && run.grad("student").iter().all(|grad| grad.abs() < 1e-15));
        for seed in 0..10 {
            let other = numbers(f64::from(seed) + 0.3, 60);
            assert!(bench::<T>("{}").input("student", &[2, 2, 5, 3], &other).ran().loss() > 0.0);
        }
    }
    check::<Cwd>();
    check::<Pkd>();
    check::<ReviewkdHcl>();
}

#[test]
fn dense_losses_of_constants_and_extremes_are_finite() {
    fn check<T: Loss>() {
        let mut half = numbers(1.0, 60);
        half[..30].fill(3.0);
        let large: Vec<f64> = numbers(1.0, 60).iter().map(|value| value * 1e60).collect();
        for student in [vec![0.0; 60], vec![7.0; 60], half, large] {
            let run = bench::<T>("{}").input("student", &[2, 2, 5, 3], &student).ran();
            assert!(run.grad("student").iter().all(|grad| grad.is_finite()), "{run:?}");
        }
        let one =
            bench::<T>("{}").input("student", &[1, 2, 1, 1], &[1.0; 2]).input("teacher", &[1, 2, 1, 1], &[1.0; 2]);
        assert_eq!(one.ran().loss(), 0.0);
    }
    check::<Cwd>();
    check::<Pkd>();
    check::<ReviewkdHcl>();
}

#[test]
fn pkd_alone_is_coupled_over_the_batch() {
    assert!(bench::<Pkd>("{}").desc().batch_coupled);
    assert!(!bench::<Cwd>("{}").desc().batch_coupled && !bench::<ReviewkdHcl>("{}").desc().batch_coupled);
}

#[test]
fn dense_losses_of_wrong_inputs_are_errors() {
    fn check<T: Loss>(name: &str) {
        let channels = bench::<T>("{}").input("student", &[2, 3, 5, 3], &[0.0; 90]);
        let wanted = format!("`{name}` got features that differ\n  student: [2, 3, 5, 3]\n  teacher: [2, 2, 5, 3]");
        assert!(channels.refusal().starts_with(&wanted));
        let flat = bench::<T>("{}").input("student", &[2, 3], &[0.0; 6]);
        assert_eq!(flat.refusal(), format!("`{name}` wants feature maps [N, C, H, W], got [2, 3]"));
        let empty = bench::<T>("{}").input("student", &[2, 0, 1, 1], &[]);
        assert_eq!(empty.refusal(), format!("`{name}` got an empty batch: [2, 0, 1, 1]"));
    }
    check::<Cwd>("cwd");
    check::<Pkd>("pkd");
    check::<ReviewkdHcl>("reviewkd_hcl");
}

#[test]
fn dense_losses_of_wrong_settings_are_errors() {
    assert_eq!(refused::<Cwd>(r#"{"temperature": 0}"#), "`temperature` must be finite and above 0, got 0");
    assert_eq!(refused::<ReviewkdHcl>(r#"{"levels": [4, 0]}"#), "`levels` must each be at least 1, got [4, 0]");
    assert_eq!(refused::<ReviewkdHcl>(r#"{"level_weight": 0}"#), "`level_weight` must be finite and above 0, got 0");
    assert!(
        refused::<Pkd>(r#"{"resize_stu": true}"#).contains("unknown field `resize_stu`, expected `resize_student`")
    );
}
