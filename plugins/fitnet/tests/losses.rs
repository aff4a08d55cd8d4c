//! Tests of the losses.
#![allow(missing_docs)]

use stillhouse_fitnet::{Hint, HintDistance, Mse, SoftCrossEntropy};
use stillhouse_plugin::sdk::Loss;
use stillhouse_plugin::testing::{Bench, golden::Case, numbers, refused};

fn case(name: &str) -> Case {
    Case::open(format!("../../tests/golden/cases/{name}")).expect("reads")
}

fn bench<T: Loss>(config: &str, shape: &[usize]) -> Bench {
    let count = shape.iter().product();
    let bench = Bench::loss::<T>(config).expect("a right configuration");
    bench.input("student", shape, &numbers(1.0, count)).input("teacher", shape, &numbers(2.0, count))
}

fn value<T: Loss>(config: &str) -> f64 {
    bench::<T>(config, &[2, 3, 2, 1]).run().expect("runs").loss()
}

#[test]
fn golden_mmrazor_l2_cases_match() {
    for name in ["fitnet_mmrazor_l2_div_element", "fitnet_mmrazor_l2_normalised"] {
        let case = case(name);
        let of = |key: &str| case.hyperparameter(key);
        let (normalize, mult, div) = (of("normalize"), of("mult"), of("div_element"));
        let config = format!(r#"{{"half": false, "normalize": {normalize}, "mult": {mult}, "div_element": {div}}}"#);
        // The weight of a term is the host's; the golden value includes it.
        let mut bench = Bench::loss::<Hint>(&config)
            .expect("configured")
            .array("student", case.array("input.student.0"))
            .array("teacher", case.array("input.teacher.0"))
            .cotangent("loss", &[of("loss_weight").as_f64().expect("a number")]);
        let run = bench.run().expect("runs");
        case.assert_values("out.loss", &[run.loss()]);
        case.assert_gradient("grad.input.student.0", run.grad("student"));
    }
}

#[test]
fn golden_soft_term_matches() {
    let case = case("fitnet_stage2_kd");
    let config = format!(r#"{{"temperature": {}}}"#, case.hyperparameter("temperature"));
    let mut bench = Bench::loss::<SoftCrossEntropy>(&config).expect("configured");
    bench = bench.array("student", case.array("input.student.0")).array("teacher", case.array("input.teacher.0"));
    case.assert_values("out.loss.soft", &[bench.run().expect("runs").loss()]);
}

#[test]
fn golden_second_stage_gradient_is_hard_plus_lambda_soft() {
    let case = case("fitnet_stage2_kd");
    let lambda = case.hyperparameter("lambda_teach").as_f64().expect("a number");
    let student = case.array("input.student.0");
    let bench = Bench::loss::<SoftCrossEntropy>("{}").expect("configured");
    let soft = { bench.array("student", student).array("teacher", case.array("input.teacher.0")) }.run().expect("runs");
    // The hard part by its closed form: (softmax - onehot) / N.
    let (rows, classes) = (student.shape()[0], student.shape()[1]);
    let hard = student.values.chunks(classes).zip(&case.array("input.target").values).flat_map(|(row, label)| {
        let total: f64 = row.iter().map(|z| z.exp()).sum();
        row.iter().enumerate().map(move |(c, z)| (z.exp() / total - f64::from(c as f64 == *label)) / rows as f64)
    });
    let gradient: Vec<f64> = hard.zip(soft.grad("student")).map(|(hard, soft)| hard + lambda * soft).collect();
    case.assert_gradient("grad.input.student.0", &gradient);
}

#[test]
fn mse_reductions_differ_by_their_counts() {
    let sum = value::<Mse>(r#"{"reduction": "sum"}"#);
    assert!((value::<Mse>("{}") * 12.0 - sum).abs() < 1e-12);
    assert!((value::<Mse>(r#"{"reduction": "batchmean"}"#) * 2.0 - sum).abs() < 1e-12);
}

#[test]
fn hint_variants_differ_by_their_factors() {
    let sum = value::<Mse>(r#"{"reduction": "sum"}"#);
    assert!((value::<Hint>("{}") * 4.0 - sum).abs() < 1e-12);
    assert!((value::<Hint>(r#"{"half": false, "div_element": true}"#) * 12.0 - sum).abs() < 1e-12);
    assert!((value::<HintDistance>(r#"{"normalize": false}"#).powi(2) - sum).abs() < 1e-12);
    let normalised = value::<Hint>(r#"{"normalize": true}"#);
    assert!((value::<Hint>(r#"{"normalize": true, "mult": 3}"#) - 9.0 * normalised).abs() < 1e-12);
    assert!((value::<HintDistance>("{}").powi(2) - 4.0 * normalised).abs() < 1e-12);
}

#[test]
fn hint_distance_is_coupled_over_the_batch() {
    assert!(bench::<HintDistance>("{}", &[1, 1]).desc().batch_coupled);
    assert!(!bench::<Hint>("{}", &[1, 1]).desc().batch_coupled);
}

#[test]
fn hint_losses_of_equal_features_are_zero_without_gradient() {
    fn check<T: Loss>(config: &str, floor: f64) {
        let same = numbers(2.0, 4);
        let run = { bench::<T>(config, &[2, 2]).input("student", &[2, 2], &same) }.run().expect("runs");
        assert!(run.loss() <= floor);
        assert_eq!(run.grad("student"), [0.0; 4]);
    }
    check::<Mse>("{}", 0.0);
    check::<Hint>("{}", 0.0);
    check::<Hint>(r#"{"normalize": true}"#, 0.0);
    check::<HintDistance>("{}", 1e-12);
}

#[test]
fn hint_of_zeros_normalised_stays_finite() {
    let run =
        { bench::<Hint>(r#"{"normalize": true}"#, &[2, 2]).input("student", &[2, 2], &[0.0; 4]) }.run().expect("runs");
    assert!((run.loss() - 0.5).abs() < 1e-12);
    assert!(run.grad("student").iter().all(|grad| grad.is_finite()));
}

#[test]
fn prop_hint_normalised_ignores_the_scale_of_the_teacher() {
    let of = |scale: f64| {
        let teacher: Vec<f64> = numbers(2.0, 6).iter().map(|value| value * scale).collect();
        { bench::<Hint>(r#"{"normalize": true}"#, &[2, 3]).input("teacher", &[2, 3], &teacher) }
            .run()
            .expect("runs")
            .loss()
    };
    assert!([0.01, 3.0, 1e6].into_iter().all(|scale| (of(scale) - of(1.0)).abs() < 1e-12));
}

#[test]
fn soft_cross_entropy_gradient_matches_closed_form() {
    let bench = bench::<SoftCrossEntropy>(r#"{"temperature": 2}"#, &[1, 2]);
    let run = { bench.input("student", &[1, 2], &[0.0; 2]).input("teacher", &[1, 2], &[2.0 * 3f64.ln(), 0.0]) }
        .run()
        .expect("runs");
    assert!((run.loss() - 2f64.ln()).abs() < 1e-12);
    assert!(run.grad("student").iter().zip([-0.125, 0.125]).all(|(grad, wanted)| (grad - wanted).abs() < 1e-14));
}

#[test]
fn prop_soft_cross_entropy_is_least_at_a_match() {
    let teacher = numbers(2.0, 6);
    let of = |student: &[f64]| {
        { bench::<SoftCrossEntropy>("{}", &[2, 3]).input("student", &[2, 3], student) }.run().expect("runs").loss()
    };
    assert!((0..20).all(|seed| of(&numbers(f64::from(seed) + 0.3, 6)) >= of(&teacher)));
}

#[test]
fn loss_gradients_match_finite_differences() {
    for config in ["{}", r#"{"reduction": "sum"}"#, r#"{"reduction": "batchmean"}"#] {
        bench::<Mse>(config, &[2, 3]).check_gradients(1e-6).expect("gradients agree");
    }
    for config in ["{}", r#"{"normalize": true, "mult": 2}"#, r#"{"half": false, "div_element": true}"#] {
        bench::<Hint>(config, &[2, 3, 1, 2]).check_gradients(1e-6).expect("gradients agree");
    }
    for config in ["{}", r#"{"normalize": false}"#] {
        bench::<HintDistance>(config, &[2, 3]).check_gradients(1e-6).expect("gradients agree");
    }
    bench::<SoftCrossEntropy>("{}", &[3, 4]).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn loss_of_features_that_differ_is_error() {
    fn check<T: Loss>(name: &str) {
        let message = bench::<T>("{}", &[2, 3]).input("teacher", &[2, 4], &[0.0; 8]).refusal();
        assert!(
            message.starts_with(&format!("`{name}` got "))
                && message.contains("\n  student: [2, 3]\n  teacher: [2, 4]")
        );
        let message = bench::<T>("{}", &[0, 3]).refusal();
        assert_eq!(message, format!("`{name}` got an empty batch: [0, 3]"));
    }
    check::<Mse>("mse");
    check::<Hint>("hint");
    check::<HintDistance>("hint_distance");
    check::<SoftCrossEntropy>("soft_cross_entropy");
    assert_eq!(
        bench::<SoftCrossEntropy>("{}", &[2, 3, 1, 1]).refusal(),
        "`soft_cross_entropy` wants logits [N, C], got [2, 3, 1, 1]"
    );
}

#[test]
fn loss_of_wrong_settings_is_error() {
    assert!(
        refused::<Mse>(r#"{"reduction": "none"}"#)
            .contains("unknown variant `none`, expected one of `mean`, `sum`, `batchmean`")
    );
    assert_eq!(refused::<Hint>(r#"{"mult": 0}"#), "`mult` must be finite and above 0, got 0");
    assert_eq!(refused::<HintDistance>(r#"{"mult": -2}"#), "`mult` must be finite and above 0, got -2");
    assert_eq!(
        refused::<SoftCrossEntropy>(r#"{"temperature": -1}"#),
        "`temperature` must be finite and above 0, got -1"
    );
    assert!(refused::<Hint>(r#"{"dist": true}"#).contains("unknown field `dist`"));
}
