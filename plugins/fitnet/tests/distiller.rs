//! Tests of the method in its two stages.
#![allow(missing_docs)]

use stillhouse_fitnet::Fitnet;
use stillhouse_plugin::desc::Unit;
use stillhouse_plugin::testing::{Bench, golden::Case, numbers};

fn configured(config: &str) -> Bench {
    Bench::distiller::<Fitnet>(config).expect("a right configuration")
}

/// A distiller with a student's map of 2x4x4, a teacher's of 3x2x2, and logits of 5 classes.
fn bench(config: &str) -> Bench {
    configured(config)
        .input("student", &[2, 2, 4, 4], &numbers(1.0, 64))
        .input("teacher", &[2, 3, 2, 2], &numbers(2.0, 24))
        .input("student_logits", &[2, 5], &numbers(3.0, 10))
        .input("teacher_logits", &[2, 5], &numbers(4.0, 10))
}

#[test]
fn golden_lambda_of_the_paper_matches() {
    let case = Case::open("../../tests/golden/cases/fitnet_lambda_cifar").expect("reads");
    let of = |key: &str| case.hyperparameter(key);
    let (initial, last, start, saturate) = (of("initial"), of("final"), of("start"), of("saturate"));
    let config =
        format!(r#"{{"lambda": {{"initial": {initial}, "final": {last}, "start": {start}, "saturate": {saturate}}}}}"#);
    let plan = configured(&config).plan().expect("plans");
    let epochs = case.array("input.epoch").values.iter();
    // Half an epoch later nothing has changed: the weight is stepped.
    let values: Vec<f64> = epochs.map(|epoch| plan.terms[1].weight.at(epoch + 0.5, 0.0)).collect();
    case.assert_values("out.lambda", &values);
    case.assert_values("out.loss", &[values.iter().sum()]);
}

#[test]
fn golden_hint_with_a_one_by_one_regressor_matches() {
    for (name, param) in
        [("fitnet_conv1x1", "transform"), ("fitnet_pool_uneven", "transform"), ("fitnet_paper_half_sum", "regressor")]
    {
        let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
        let paper = name == "fitnet_paper_half_sum";
        let reduction = if paper { "half_sum" } else { "mean" };
        let config = format!(
            r#"{{"hint_reduction": "{reduction}", "regressor": {{"kind": "pool", "bias": {paper}, "relu": false}}}}"#
        );
        let mut bench = bench(&config)
            .array("student", case.array("input.student.0"))
            .array("teacher", case.array("input.teacher.0"))
            .param("regressor.conv.weight", &case.array(&format!("param.{param}.weight")).values)
            .stage("hint");
        if paper {
            bench = bench.param("regressor.conv.bias", &case.array(&format!("param.{param}.bias")).values);
        }
        let run = bench.run().expect("runs");
        case.assert_values("out.loss", &[run.term("hint")]);
        case.assert_gradient("grad.input.student.0", run.grad("student"));
        case.assert_gradient(&format!("grad.param.{param}.weight"), run.grad_param("regressor.conv.weight"));
    }
}

#[test]
fn golden_soft_term_matches() {
    let case = Case::open("../../tests/golden/cases/fitnet_stage2_kd").expect("reads");
    let bench = bench("{}")
        .array("student_logits", case.array("input.student.0"))
        .array("teacher_logits", case.array("input.teacher.0"))
        .stage("kd");
    case.assert_values("out.loss.soft", &[{ bench }.run().expect("runs").term("soft")]);
}

#[test]
fn fitnet_plan_has_both_stages() {
    let plan = configured(r#"{"hint_epochs": 7, "hint_patience": 3}"#).plan().expect("plans");
    let [hint, kd] = &plan.stages[..] else { panic!("stages: {:?}", plan.stages) };
    assert_eq!((hint.name.as_str(), hint.upto_port.as_deref(), hint.with_others), ("hint", Some("student"), false));
    assert_eq!((hint.epochs, hint.patience, hint.terms.as_slice()), (Some(7.0), Some(3), &["hint".to_owned()][..]));
    assert_eq!((kd.name.as_str(), kd.with_others, kd.epochs, kd.keep_optimizer), ("kd", true, None, false));
    assert_eq!(
        (kd.freeze_own.as_slice(), kd.terms.as_slice()),
        (&["regressor.*".to_owned()][..], &["soft".to_owned()][..])
    );
    assert!(plan.terms[1].weight.stepped);
}

#[test]
fn fitnet_lambda_in_steps_counts_updates() {
    let lambda = r#"{"lambda": {"start": 1, "saturate": 3, "unit": "steps"}}"#;
    let weight = &configured(lambda).plan().expect("plans").terms[1].weight;
    assert_eq!(weight.unit, Unit::Steps);
    assert_eq!([0.0, 1.0, 2.0, 3.0, 9.0].map(|step| weight.at(0.0, step)), [4.0, 3.0, 2.0, 1.0, 1.0]);
}

#[test]
fn fitnet_stages_give_their_own_term() {
    let hint = { bench("{}").stage("hint") }.run().expect("runs");
    assert_eq!(hint.names(), ["hint"]);
    assert!(hint.grad("student_logits").iter().all(|grad| *grad == 0.0));
    let kd = { bench("{}").stage("kd") }.run().expect("runs");
    assert_eq!(kd.names(), ["soft"]);
    assert!(kd.grad("student").iter().chain(kd.grad_param("regressor.conv.weight")).all(|grad| *grad == 0.0));
}

#[test]
fn fitnet_without_regressor_takes_features_of_one_shape() {
    let config = r#"{"regressor": {"kind": "none"}}"#;
    let same = || bench(config).input("student", &[2, 3, 2, 2], &numbers(2.0, 24)).stage("hint");
    assert_eq!(same().run().expect("runs").term("hint"), 0.0);
    assert!(configured(config).plan().expect("plans").stages[1].freeze_own.is_empty());
    assert!(bench(config).stage("hint").refusal().starts_with("`fitnet` got features that differ"));
}

#[test]
fn prop_fitnet_reductions_differ_by_half_of_the_elements() {
    let of = |reduction: &str| {
        let config = format!(r#"{{"hint_reduction": "{reduction}"}}"#);
        { bench(&config).stage("hint") }.run().expect("runs").term("hint")
    };
    assert!((of("half_sum") - 0.5 * 12.0 * of("mean")).abs() < 1e-12);
}

#[test]
fn fitnet_gradients_match_finite_differences() {
    for config in
        [r#"{"regressor": {"relu": false}}"#, r#"{"regressor": {"kind": "pool", "batch_norm": true, "relu": false}}"#]
    {
        { bench(config).stage("hint") }.check_gradients(1e-6).expect("gradients agree");
    }
    { bench("{}").stage("kd") }.check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn fitnet_of_wrong_inputs_is_error() {
    let larger = bench("{}").input("teacher", &[2, 3, 7, 7], &[0.0; 294]).stage("hint");
    assert!(larger.refusal().starts_with("`fitnet` cannot bring a map of 4x4 to 7x7"));
    let classes = bench("{}").input("teacher_logits", &[2, 6], &[0.0; 12]).stage("kd");
    assert!(classes.refusal().starts_with("`fitnet` got logits that differ"));
    assert_eq!(bench("{}").stage("main").refusal(), "`fitnet` has the stages `hint` and `kd`, not `main`");
}

#[test]
fn fitnet_of_wrong_settings_is_error() {
    let of = |config: &str| Bench::distiller::<Fitnet>(config).err().expect("refused").to_string();
    assert_eq!(of(r#"{"temperature": 0}"#), "`temperature` must be finite and above 0, got 0");
    assert_eq!(of(r#"{"hint_epochs": 0}"#), "`hint_epochs` must be finite and above 0, got 0");
    assert_eq!(of(r#"{"lambda": {"initial": -1}}"#), "`lambda.initial` must be finite and not negative, got -1");
    assert_eq!(of(r#"{"lambda": {"final": -1}}"#), "`lambda.final` must be finite and not negative, got -1");
    assert_eq!(of(r#"{"lambda": {"saturate": 4}}"#), "`lambda.saturate` (4) must not be before `lambda.start` (5)");
    assert!(of(r#"{"regressor": {"kind": "mlp"}}"#).contains("at `regressor.kind`: unknown variant `mlp`"));
    assert!(of(r#"{"lambda": {"end": 4}}"#).contains("at `lambda.end`: unknown field `end`"));
}
