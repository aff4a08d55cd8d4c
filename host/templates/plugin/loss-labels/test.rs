//! A value worked by hand, gradients, and every error.

use stillhouse_plugin::testing::{Bench, numbers, refused};
use template_name::TemplateName;

fn bench(config: &str, shape: &[usize; 2]) -> Bench {
    let count = shape[0] * shape[1];
    let labels: Vec<i64> = (0..shape[0]).map(|sample| (sample % shape[1]) as i64).collect();
    Bench::loss::<TemplateName>(config)
        .expect("right settings")
        .input("student", shape, &numbers(1.0, count))
        .input("teacher", shape, &numbers(2.0, count))
        .labels("label", &labels)
}

#[test]
fn loss_and_gradient_match_hand_worked_case() {
    // Two samples that differ: with one a forgotten mean or a mixture of samples would not be seen.
    // q = (1/2, 1/2), p = (3/4, 1/4), y = 0: d = (0, 1/4), sum q d = 1/8, and
    // q = (3/4, 1/4), p = (1/4, 3/4), y = 1: d = (1/2, 0), sum q d = 3/8: (1/16 + 1/4) / 2.
    let log = 3f64.ln();
    let run = Bench::loss::<TemplateName>("{}")
        .expect("right settings")
        .input("student", &[2, 2], &[0.0, 0.0, log, 0.0])
        .input("teacher", &[2, 2], &[log, 0.0, 0.0, log])
        .labels("label", &[0, 1])
        .ran();
    assert!((run.loss() - 0.15625).abs() < 1e-12);
    let wanted = [-0.0625, 0.0625, 0.09375, -0.09375];
    assert!(run.grad("student").iter().zip(wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-12));
}

#[test]
fn gradient_matches_finite_differences() {
    for config in ["{}", r#"{"temperature": 3.0}"#] {
        bench(config, &[3, 5]).check_gradients(1e-6).expect("gradients agree");
    }
}

#[test]
fn equal_logits_give_zero() {
    let same = numbers(1.0, 10);
    let run = bench("{}", &[2, 5]).input("teacher", &[2, 5], &same).ran();
    assert_eq!(run.loss(), 0.0);
}

#[test]
fn extreme_logits_stay_finite() {
    let run = bench("{}", &[1, 2]).input("student", &[1, 2], &[-1e4, 1e4]).finite();
    assert!(run.loss() > 0.0);
}

#[test]
fn wrong_settings_are_errors() {
    assert_eq!(
        refused::<TemplateName>(r#"{"temperature": 0.0}"#),
        "`temperature` must be finite and above 0, got 0"
    );
}

#[test]
fn wrong_shapes_are_errors() {
    let other = bench("{}", &[2, 5]).input("teacher", &[2, 4], &numbers(2.0, 8));
    assert!(other.refusal().contains("template_name"));
    let labels = bench("{}", &[2, 5]).labels("label", &[0, 1, 2]);
    assert_eq!(
        labels.refusal(),
        "`template_name` wants logits [N, C] and labels [N], got [2, 5] and [3]"
    );
}
