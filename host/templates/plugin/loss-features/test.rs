//! A value worked by hand, gradients, and every error.

use stillhouse_plugin::testing::{Bench, numbers, refused};
use template_name::TemplateName;

fn bench(shape: &[usize]) -> Bench {
    let count = shape.iter().product();
    Bench::loss::<TemplateName>("{}")
        .expect("right settings")
        .input("student", shape, &numbers(1.0, count))
        .input("teacher", shape, &numbers(2.0, count))
}

#[test]
fn loss_and_gradient_match_hand_worked_case() {
    // Two samples that differ: with one a forgotten mean or a mixture of samples would not be seen.
    // u = (0.6, 0.8), v = (1, 0): |u - v|^2 = 0.8, d = u - v, u . d = 0.4, and u = v = (0, 1).
    let run = bench(&[2, 2])
        .input("student", &[2, 2], &[3.0, 4.0, 0.0, 2.0])
        .input("teacher", &[2, 2], &[1.0, 0.0, 0.0, 5.0])
        .ran();
    assert!((run.loss() - 0.4).abs() < 1e-12);
    let wanted = [-0.128, 0.096, 0.0, 0.0];
    assert!(run.grad("student").iter().zip(wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-12));
}

#[test]
fn gradient_matches_finite_differences() {
    for shape in [&[3, 5][..], &[2, 3, 2, 2]] {
        bench(shape).check_gradients(1e-6).expect("gradients agree");
    }
}

#[test]
fn length_does_not_matter() {
    let (base, longer) = (numbers(1.0, 10), numbers(1.0, 10).iter().map(|x| 7.0 * x).collect::<Vec<_>>());
    let run = bench(&[2, 5]).input("student", &[2, 5], &longer).input("teacher", &[2, 5], &base).ran();
    assert!(run.loss().abs() < 1e-12);
}

#[test]
fn features_without_length_stay_finite() {
    let run = bench(&[1, 2]).input("student", &[1, 2], &[0.0, 0.0]).finite();
    assert!((run.loss() - 1.0).abs() < 1e-12);
}

#[test]
fn wrong_settings_are_errors() {
    assert_eq!(
        refused::<TemplateName>(r#"{"eps": 0.0}"#),
        "`eps` must be finite and above 0, got 0"
    );
}

#[test]
fn wrong_shapes_are_errors() {
    let other = bench(&[2, 5]).input("teacher", &[2, 4], &numbers(2.0, 8));
    assert!(other.refusal().contains("template_name"));
    let vector = bench(&[2, 1]).input("student", &[2], &[0.0; 2]).input("teacher", &[2], &[0.0; 2]);
    assert_eq!(vector.refusal(), "`template_name` wants values [N, ...], got [2]");
}
