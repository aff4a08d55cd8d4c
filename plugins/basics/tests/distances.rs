//! Tests of the plain distances.
#![allow(missing_docs)]

use stillhouse_basics::{Cosine, L1};
use stillhouse_plugin::sdk::Loss;
use stillhouse_plugin::testing::{Bench, numbers};

fn bench<T: Loss>(config: &str) -> Bench {
    let bench = Bench::loss::<T>(config).expect("a right configuration");
    bench.input("student", &[3, 2, 2, 1], &numbers(1.0, 12)).input("teacher", &[3, 2, 2, 1], &numbers(2.0, 12))
}

#[test]
fn l1_reductions_differ_by_their_counts() {
    let of = |config: &str| bench::<L1>(config).ran().loss();
    let sum: f64 = numbers(1.0, 12).iter().zip(numbers(2.0, 12)).map(|(a, b)| (a - b).abs()).sum();
    assert!((of("{}") * 12.0 - sum).abs() < 1e-12);
    assert!((of(r#"{"reduction": "sum"}"#) - sum).abs() < 1e-12);
    assert!((of(r#"{"reduction": "batchmean"}"#) * 3.0 - sum).abs() < 1e-12);
}

#[test]
fn cosine_gradient_matches_closed_form() {
    let bench = Bench::loss::<Cosine>("{}").expect("configured");
    let run = bench.input("student", &[1, 2], &[3.0, 4.0]).input("teacher", &[1, 2], &[5.0, 0.0]).ran();
    // -1/5 ((1, 0) - 0.6 (0.6, 0.8))
    assert!(run.grad("student").iter().zip([-0.128, 0.096]).all(|(grad, wanted)| (grad - wanted).abs() < 1e-14));
}

#[test]
fn distance_gradients_match_finite_differences() {
    bench::<Cosine>("{}").check_gradients(1e-6).expect("gradients agree");
    for config in ["{}", r#"{"reduction": "sum"}"#, r#"{"reduction": "batchmean"}"#] {
        bench::<L1>(config).check_gradients(1e-6).expect("gradients agree");
    }
}

#[test]
fn prop_cosine_ignores_lengths_and_stays_between_0_and_2() {
    for seed in 0..10 {
        let student = numbers(f64::from(seed) + 0.2, 12);
        let scaled: Vec<f64> = student.iter().map(|value| value * 40.0).collect();
        let of = |values: &[f64]| bench::<Cosine>("{}").input("student", &[3, 2, 2, 1], values).ran().loss();
        assert!((0.0..=2.0).contains(&of(&student)) && (of(&student) - of(&scaled)).abs() < 1e-12);
    }
    let opposite: Vec<f64> = numbers(2.0, 12).iter().map(|value| -3.0 * value).collect();
    let run = bench::<Cosine>("{}").input("student", &[3, 2, 2, 1], &opposite).ran();
    assert!((run.loss() - 2.0).abs() < 1e-12);
}

#[test]
fn distances_of_equal_features_are_zero() {
    let same = numbers(2.0, 12);
    let run = bench::<L1>("{}").input("student", &[3, 2, 2, 1], &same).ran();
    assert_eq!((run.loss(), run.grad("student")), (0.0, &[0.0; 12][..]));
    let run = bench::<Cosine>("{}").input("student", &[3, 2, 2, 1], &same).ran();
    assert!(run.loss().abs() < 1e-15 && run.grad("student").iter().all(|grad| grad.abs() < 1e-15));
}

#[test]
fn distances_of_zeros_and_extremes_are_finite() {
    let run = bench::<Cosine>("{}").input("student", &[3, 2, 2, 1], &[0.0; 12]).ran();
    assert_eq!((run.loss(), run.grad("student")), (1.0, &[0.0; 12][..]));
    let large: Vec<f64> = numbers(1.0, 12).iter().map(|value| value * 1e60).collect();
    for run in [bench::<Cosine>("{}"), bench::<L1>("{}")].map(|b| b.input("student", &[3, 2, 2, 1], &large).ran()) {
        assert!(run.grad("student").iter().all(|grad| grad.is_finite()));
    }
}

#[test]
fn distances_of_wrong_inputs_and_settings_are_errors() {
    fn check<T: Loss>(name: &str) {
        let wide = { bench::<T>("{}").input("student", &[3, 5], &[0.0; 15]) }.run().expect_err("refused").to_string();
        let wanted = format!("`{name}` got features that differ\n  student: [3, 5]\n  teacher: [3, 2, 2, 1]");
        assert!(wide.starts_with(&wanted), "{wide}");
        let empty = bench::<T>("{}").input("student", &[0, 2], &[]).input("teacher", &[0, 2], &[]);
        assert_eq!({ empty }.run().expect_err("refused").to_string(), format!("`{name}` got an empty batch: [0, 2]"));
        assert!(Bench::loss::<T>(r#"{"scale": 1}"#).err().expect("refused").to_string().contains("unknown field"));
    }
    check::<L1>("l1");
    check::<Cosine>("cosine");
    let error = Bench::loss::<L1>(r#"{"reduction": "max"}"#).err().expect("refused").to_string();
    assert!(error.contains("at `reduction`: unknown variant `max`"), "{error}");
}
