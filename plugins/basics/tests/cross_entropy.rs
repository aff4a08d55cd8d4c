//! Tests of the task loss.
#![allow(missing_docs)]

use stillhouse_basics::CrossEntropy;
use stillhouse_plugin::testing::{Bench, golden::Case};

fn bench(config: &str) -> Bench {
    let logits = [0.3, -1.2, 2.0, 0.0, 0.7, 0.1];
    let bench = Bench::loss::<CrossEntropy>(config).expect("a right configuration");
    bench.input("student", &[2, 3], &logits).labels("label", &[2, 0])
}

#[test]
fn golden_task_part_of_kd_total_matches() {
    let case = Case::open("../../tests/golden/cases/kd_total_t4").expect("reads");
    let mut bench =
        bench("{}").array("student", case.array("input.student.0")).array("label", case.array("input.target"));
    let weight = case.hyperparameter("ce_weight").as_f64().expect("a number");
    case.assert_values("out.loss.ce", &[weight * bench.run().expect("runs").loss()]);
}

#[test]
fn golden_hard_part_of_fitnet_stage_matches() {
    let case = Case::open("../../tests/golden/cases/fitnet_stage2_kd").expect("reads");
    let mut bench =
        bench("{}").array("student", case.array("input.student.0")).array("label", case.array("input.target"));
    case.assert_values("out.loss.hard", &[bench.run().expect("runs").loss()]);
}

#[test]
fn cross_entropy_of_equal_logits_is_log_of_classes() {
    let run = bench(r#"{"smoothing": 0.3}"#).input("student", &[2, 3], &[1.0; 6]).run().expect("runs");
    assert!((run.loss() - 3f64.ln()).abs() < 1e-12);
}

#[test]
fn cross_entropy_gradient_matches_closed_form_with_smoothing() {
    let run = bench(r#"{"smoothing": 0.3}"#).input("student", &[2, 3], &[0.0; 6]).run().expect("runs");
    // q = 1/3 everywhere; t = 0.8 at the label and 0.1 elsewhere; N = 2.
    let (other, label) = ((1.0 / 3.0 - 0.1) / 2.0, (1.0 / 3.0 - 0.8) / 2.0);
    let wanted = [other, other, label, label, other, other];
    assert!(run.grad("student").iter().zip(wanted).all(|(grad, wanted)| (grad - wanted).abs() < 1e-14));
}

#[test]
fn prop_cross_entropy_ignores_shifts() {
    let of = |by: f64| {
        let logits = [0.3, -1.2, 2.0, 0.0, 0.7, 0.1].map(|value| value + by);
        bench("{}").input("student", &[2, 3], &logits).run().expect("runs").loss()
    };
    assert!([-800.0, 3.0, 800.0].into_iter().all(|by| (of(by) - of(0.0)).abs() < 1e-10));
}

#[test]
fn cross_entropy_gradient_matches_finite_differences() {
    bench("{}").check_gradients(1e-6).expect("gradients agree");
    bench(r#"{"smoothing": 0.1}"#).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn cross_entropy_of_wrong_settings_is_error() {
    for smoothing in ["1", "-0.1"] {
        let error = Bench::loss::<CrossEntropy>(&format!(r#"{{"smoothing": {smoothing}}}"#)).err().expect("refused");
        assert_eq!(error.to_string(), format!("`smoothing` must be at least 0 and below 1, got {smoothing}"));
    }
}

#[test]
fn cross_entropy_of_wrong_inputs_is_error() {
    let of = |bench: Bench| { bench }.run().expect_err("refused").to_string();
    assert!(of(bench("{}").labels("label", &[0])).contains("wants logits [N, C] and labels [N]"));
    assert!(of(bench("{}").labels("label", &[0, 3])).contains("index 3 is outside 0..3"));
    assert!(of(bench("{}").input("student", &[2, 3, 1, 1], &[0.0; 6])).contains("wants logits [N, C]"));
    assert_eq!(
        of(bench("{}").input("student", &[0, 3], &[]).labels("label", &[])),
        "`cross_entropy` got an empty batch: [0, 3]"
    );
}
