//! Tests of the losses on logits.
#![allow(missing_docs)]

use stillhouse_logits::{Dist, Wsld};
use stillhouse_plugin::sdk::Loss;
use stillhouse_plugin::testing::{Bench, golden::Case, numbers, refused};

fn dist(config: &str) -> Bench {
    let bench = Bench::loss::<Dist>(config).expect("a right configuration");
    bench.input("student", &[3, 4], &numbers(1.0, 12)).input("teacher", &[3, 4], &numbers(2.0, 12))
}

fn wsld(config: &str) -> Bench {
    let bench = Bench::loss::<Wsld>(config).expect("a right configuration");
    let bench = bench.input("student", &[3, 4], &numbers(1.0, 12)).input("teacher", &[3, 4], &numbers(2.0, 12));
    bench.labels("label", &[2, 0, 3])
}

#[track_caller]
fn check_golden<T: Loss>(name: &str, config: &str, weight: f64) {
    let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
    let mut bench = Bench::loss::<T>(config)
        .expect("configured")
        .array("student", case.array("input.student.0"))
        .array("teacher", case.array("input.teacher.0"))
        .cotangent("loss", &[weight]);
    if case.names().any(|name| name == "input.target") {
        bench = bench.array("label", case.array("input.target"));
    }
    let run = bench.ran();
    case.assert_values("out.loss", &[run.loss()]);
    case.assert_gradient("grad.input.student.0", run.grad("student"));
}

#[test]
fn golden_logit_cases_match() {
    check_golden::<Dist>("dist_default", "{}", 1.0);
    check_golden::<Wsld>("wsld_t2", r#"{"temperature": 2}"#, 2.5);
}

#[test]
fn dist_of_three_samples_matches_by_hand() {
    // Probabilities of two classes, so that rows correlate by +-1, and both columns alike.
    let logit = |p: f64| [(p / (1.0 - p)).ln(), 0.0];
    let rows = |p: [f64; 3]| p.map(logit).concat();
    let bench = Bench::loss::<Dist>(r#"{"inter_weight": 2, "intra_weight": 3}"#).expect("configured");
    let bench =
        bench.input("student", &[3, 2], &rows([0.6, 0.7, 0.2])).input("teacher", &[3, 2], &rows([0.9, 0.2, 0.1]));
    // Rows 1, -1, 1. Columns: (0.1, 0.2, -0.3) and (0.5, -0.2, -0.3).
    let column = (0.05 - 0.04 + 0.09) / (0.14f64 * 0.38).sqrt();
    assert!((bench.ran().loss() - (2.0 * (1.0 - 1.0 / 3.0) + 3.0 * (1.0 - column))).abs() < 1e-6);
}

#[test]
fn dist_ignores_scale_and_shift_of_probabilities() {
    // Of two classes the probabilities of any teacher are a scaled and shifted copy along classes.
    let of = |teacher: &[f64]| {
        let bench = Bench::loss::<Dist>(r#"{"intra_weight": 0}"#).expect("configured");
        bench.input("student", &[2, 2], &[1.0, 0.0, 2.0, 0.0]).input("teacher", &[2, 2], teacher).ran().loss()
    };
    assert!(of(&[0.1, 0.0, 9.0, 0.0]).abs() < 1e-5);
    assert!((of(&[-0.1, 0.0, 9.0, 0.0]) - 1.0).abs() < 1e-5);
}

#[test]
fn wsld_weight_is_constant() {
    let run = wsld("{}").ran();
    // The gradient of soft targets is w (q - p) / N: it sums to 0 over classes, whatever the weights.
    assert!(run.grad("student").chunks(4).all(|row| row.iter().sum::<f64>().abs() < 1e-14));
    // A sample on which the student is sure of the label counts for nothing.
    let mut sure = numbers(1.0, 12);
    sure[..4].copy_from_slice(&[0.0, 0.0, 60.0, 0.0]);
    let run = wsld("{}").input("student", &[3, 4], &sure).ran();
    assert!(run.grad("student")[..4].iter().all(|grad| grad.abs() < 1e-15));
}

#[test]
fn logit_gradients_match_finite_differences() {
    for config in ["{}", r#"{"temperature": 3}"#, r#"{"inter_weight": 0}"#, r#"{"intra_weight": 0}"#] {
        dist(config).check_gradients(1e-6).expect("gradients agree");
    }
}

#[test]
fn wsld_gradient_matches_closed_form() {
    let run = wsld(r#"{"temperature": 2}"#).ran();
    let softmax = |row: &[f64], t: f64| {
        let total: f64 = row.iter().map(|z| (z / t).exp()).sum();
        row.iter().map(|z| (z / t).exp() / total).collect::<Vec<_>>()
    };
    let (student, teacher) = (numbers(1.0, 12), numbers(2.0, 12));
    for (row, label) in [2usize, 0, 3].into_iter().enumerate() {
        let (z, t) = (&student[4 * row..4 * row + 4], &teacher[4 * row..4 * row + 4]);
        let ratio = softmax(z, 1.0)[label].ln() / (softmax(t, 1.0)[label].ln() - 1e-7);
        let weight = 1.0 - (-ratio).exp();
        let (q, p) = (softmax(z, 2.0), softmax(t, 2.0));
        for class in 0..4 {
            let wanted = 2.0 * weight * (q[class] - p[class]) / 3.0;
            assert!((run.grad("student")[4 * row + class] - wanted).abs() < 1e-13);
        }
    }
}

#[test]
fn dist_of_equal_logits_is_near_zero() {
    // Probabilities that differ by some tenths, beside which the 1e-8 is small.
    let mild = numbers(2.0, 12);
    let run = dist("{}").input("student", &[3, 4], &mild).input("teacher", &[3, 4], &mild).ran();
    assert!(run.loss().abs() < 1e-5 && run.grad("student").iter().all(|grad| grad.abs() < 1e-5));
}

#[test]
fn logit_losses_of_degenerate_and_extreme_logits_are_finite() {
    for student in [vec![0.0; 12], vec![60.0; 12], numbers(1.0, 12).iter().map(|value| value * 1e4).collect()] {
        for run in [dist("{}"), wsld("{}")].map(|bench| bench.input("student", &[3, 4], &student).ran()) {
            assert!(run.grad("student").iter().all(|grad| grad.is_finite()), "{run:?}");
        }
        let alike = dist("{}").input("student", &[3, 4], &student).input("teacher", &[3, 4], &student);
        assert!(alike.ran().grad("student").iter().all(|grad| grad.is_finite()));
    }
    let sure: Vec<f64> = (0..12).map(|at| if [2, 4, 11].contains(&at) { 1e4 } else { 0.0 }).collect();
    let run = wsld("{}").input("teacher", &[3, 4], &sure).ran();
    assert!(run.loss().is_finite() && run.grad("student").iter().all(|grad| grad.is_finite()));
    let one = Bench::loss::<Dist>("{}").expect("configured");
    let run = one.input("student", &[1, 2], &[1.0, 0.0]).input("teacher", &[1, 2], &[3.0, 0.0]).ran();
    // Nothing varies between samples: that part is 1, without gradient.
    assert!((run.loss() - 1.0).abs() < 1e-6 && run.grad("student").iter().all(|grad| grad.abs() < 1e-6));
}

#[test]
fn dist_alone_is_coupled_over_the_batch() {
    assert!(dist("{}").desc().batch_coupled && !wsld("{}").desc().batch_coupled);
}

#[test]
fn logit_losses_of_wrong_inputs_are_errors() {
    let wanted = "`dist` got logits that differ in classes (dim 1)\n  student: [3, 4]\n  teacher: [3, 2]\n\nhint: both networks must \
         score the same classes";
    assert_eq!(dist("{}").input("teacher", &[3, 2], &[0.0; 6]).refusal(), wanted);
    let maps = dist("{}").input("student", &[1, 3, 1, 1], &[0.0; 3]).input("teacher", &[1, 3, 1, 1], &[0.0; 3]);
    assert_eq!(maps.refusal(), "`dist` wants logits [N, C], got [1, 3, 1, 1]");
    assert!(wsld("{}").labels("label", &[0, 1]).refusal().contains("wants logits [N, C] and labels [N]"));
    assert!(wsld("{}").labels("label", &[0, 4, 1]).refusal().contains("4 is outside 0..4"));
    let empty = wsld("{}").input("student", &[0, 4], &[]).input("teacher", &[0, 4], &[]).labels("label", &[]);
    assert_eq!(empty.refusal(), "`wsld` got an empty batch: [0, 4]");
}

#[test]
fn logit_losses_of_wrong_settings_are_errors() {
    assert_eq!(refused::<Dist>(r#"{"temperature": 0}"#), "`temperature` must be finite and above 0, got 0");
    assert_eq!(refused::<Dist>(r#"{"inter_weight": -1}"#), "`inter_weight` must be finite and not negative, got -1");
    assert_eq!(refused::<Dist>(r#"{"intra_weight": -1}"#), "`intra_weight` must be finite and not negative, got -1");
    let both = refused::<Dist>(r#"{"inter_weight": 0, "intra_weight": 0}"#);
    assert_eq!(both, "`inter_weight` or `intra_weight` must be above 0");
    assert_eq!(refused::<Wsld>(r#"{"temperature": -2}"#), "`temperature` must be finite and above 0, got -2");
    assert!(refused::<Wsld>(r#"{"tau": 2}"#).contains("unknown field `tau`"));
}
