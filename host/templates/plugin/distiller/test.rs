//! Values worked by hand, gradients, the plan, and every error.

use stillhouse_plugin::testing::{Bench, numbers};
use template_name::TemplateName;

fn bench() -> Bench {
    Bench::distiller::<TemplateName>("{}")
        .expect("right settings")
        .input("student", &[3, 4], &numbers(1.0, 12))
        .input("teacher", &[3, 2], &numbers(2.0, 6))
        .input("student_logits", &[3, 5], &numbers(3.0, 15))
        .input("teacher_logits", &[3, 5], &numbers(4.0, 15))
}

#[test]
fn terms_and_gradients_match_hand_worked_case() {
    let log = 3f64.ln();
    let run = Bench::distiller::<TemplateName>(r#"{"temperature": 1.0}"#)
        .expect("right settings")
        .input("student", &[2, 1], &[3.0, 0.0])
        .input("teacher", &[2, 1], &[1.0, 1.0])
        .input("student_logits", &[2, 2], &[0.0, 0.0, log, 0.0])
        .input("teacher_logits", &[2, 2], &[log, 0.0, 0.0, log])
        .param("map.weight", &[1.0])
        .param("map.bias", &[0.0])
        .ran();
    assert_eq!(run.term("features"), 2.5);
    assert!((run.term("classes") - 0.3125).abs() < 1e-12);
    assert_eq!((run.grad("student"), run.grad_param("map.weight")), (&[2.0, -1.0][..], &[6.0][..]));
    assert!((run.grad("student_logits")[0] + 0.125).abs() < 1e-12);
}

#[test]
fn gradients_match_finite_differences() {
    bench().check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn weight_of_features_falls_to_zero() {
    let plan = bench().plan().expect("a plan");
    let weights = |epoch: f64| [0, 1].map(|term: usize| plan.terms[term].weight.at(epoch, 0.0));
    assert_eq!((weights(0.0), weights(2.5), weights(5.0)), ([1.0, 1.0], [0.5, 1.0], [0.0, 1.0]));
}

#[test]
fn wrong_settings_are_errors() {
    let error = Bench::distiller::<TemplateName>(r#"{"temperature": -1.0}"#).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "`temperature` must be finite and above 0, got -1");
}

#[test]
fn wrong_shapes_are_errors() {
    let maps = bench().input("student", &[3, 4, 1, 1], &numbers(1.0, 12)).refusal();
    assert!(maps.starts_with("`template_name` compares vectors [N, D]"), "{maps}");
    let classes = bench().input("teacher_logits", &[3, 4], &numbers(4.0, 12)).refusal();
    assert!(classes.contains("template_name"), "{classes}");
}
