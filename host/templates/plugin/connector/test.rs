//! A value worked by hand, gradients, and every error.

use stillhouse_plugin::testing::{Bench, numbers};
use template_name::TemplateName;

fn bench(from: &[usize], to: &[usize]) -> Bench {
    let count = |shape: &[usize]| shape.iter().product();
    Bench::connector::<TemplateName>(r#"{"width": 4}"#)
        .expect("right settings")
        .input("from", from, &numbers(1.0, count(from)))
        .input("to", to, &numbers(2.0, count(to)))
}

#[test]
fn output_and_gradients_match_hand_worked_case() {
    let run = Bench::connector::<TemplateName>(r#"{"width": 1}"#)
        .expect("right settings")
        .input("from", &[2, 2], &[1.0, 2.0, 0.0, -1.0])
        .input("to", &[2, 1], &[0.0, 0.0])
        .param("inner.weight", &[3.0, 1.0])
        .param("inner.bias", &[-1.0])
        .param("outer.weight", &[2.0])
        .param("outer.bias", &[0.5])
        .ran();
    // The second sample is cut off by the ReLU.
    assert_eq!(run.output().values, [8.5, 0.5]);
    assert_eq!(run.grad("from"), [6.0, 2.0, 0.0, 0.0]);
    assert_eq!(run.grad_param("inner.weight"), [2.0, 4.0]);
    assert_eq!(run.grad_param("outer.weight"), [4.0]);
}

#[test]
fn gradients_match_finite_differences() {
    bench(&[3, 5], &[3, 2]).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn output_has_the_shape_of_the_other_end() {
    assert_eq!(bench(&[3, 5], &[3, 2]).ran().output().shape(), [3, 2]);
}

#[test]
fn wrong_settings_are_errors() {
    let error = Bench::connector::<TemplateName>(r#"{"width": 0}"#).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "`width` must be at least 1, got 0");
}

#[test]
fn maps_are_errors() {
    let error = bench(&[3, 5, 1, 1], &[3, 2]).refusal();
    assert!(error.starts_with("`template_name` connects vectors [N, C]"), "{error}");
}
