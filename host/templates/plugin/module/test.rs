//! A value worked by hand, gradients, and every error.

use stillhouse_plugin::testing::{Bench, numbers};
use template_name::TemplateName;

fn bench(from: &[usize], to: &[usize]) -> Bench {
    let count = |shape: &[usize]| shape.iter().product();
    Bench::module::<TemplateName>(r#"{"rank": 2}"#)
        .expect("right settings")
        .input("input", from, &numbers(1.0, count(from)))
        .input("replaced", to, &numbers(2.0, count(to)))
}

#[test]
fn output_and_gradients_match_hand_worked_case() {
    let run = Bench::module::<TemplateName>(r#"{"rank": 1}"#)
        .expect("right settings")
        .input("input", &[2, 2], &[1.0, 2.0, 0.0, -1.0])
        .input("replaced", &[2, 2], &[0.0; 4])
        .param("a.weight", &[1.0, 1.0])
        .param("b.weight", &[2.0, -1.0])
        .param("b.bias", &[0.5, 0.0])
        .ran();
    assert_eq!(run.output().values, [6.5, -3.0, -1.5, 1.0]);
    assert_eq!(run.result("inner").values, [3.0, -1.0]);
    assert_eq!(run.grad("input"), [1.0; 4]);
    assert_eq!(run.grad_param("b.weight"), [2.0, 2.0]);
}

#[test]
fn gradients_match_finite_differences() {
    bench(&[3, 5], &[3, 4]).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn output_has_the_shape_of_the_replaced_layer() {
    assert_eq!(bench(&[3, 5], &[3, 4]).ran().output().shape(), [3, 4]);
}

#[test]
fn wrong_settings_are_errors() {
    let error = Bench::module::<TemplateName>(r#"{"rank": 0}"#).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "`rank` must be at least 1, got 0");
}

#[test]
fn maps_are_errors() {
    let error = bench(&[3, 5, 2, 2], &[3, 4, 2, 2]).refusal();
    assert!(error.starts_with("`template_name` replaces a layer from [N, C] to [N, K]"), "{error}");
}
