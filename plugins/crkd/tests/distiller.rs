//! Tests of the method.
#![allow(missing_docs)]

use stillhouse_crkd::Crkd;
use stillhouse_plugin::testing::{Bench, Run, golden::Case, numbers};

fn configured(config: &str) -> Bench {
    Bench::distiller::<Crkd>(config).expect("a right configuration")
}

const ADVERSARY: &str = r#""rad_weight": 0, "pair_weight": 0, "mmd_weight": 0, "adv_weight": 1"#;

/// Three samples of two features and four classes.
fn bench(phase: &str) -> Bench {
    configured(r#"{"hidden": 3, "mmd": {"sigma2": 3}}"#)
        .input("student", &[3, 2], &numbers(1.0, 6))
        .input("teacher", &[3, 2], &numbers(2.0, 6))
        .input("student_logits", &[3, 4], &numbers(3.0, 12))
        .input("teacher_logits", &[3, 4], &numbers(4.0, 12))
        .param("discriminator.hidden.weight", &numbers(5.0, 6))
        .param("discriminator.hidden.bias", &numbers(6.0, 3))
        .param("discriminator.out.weight", &numbers(7.0, 3))
        .phase(phase)
}

fn case(name: &str) -> Case {
    Case::open(format!("../../tests/golden/cases/{name}")).expect("reads")
}

const LAYERS: [(&str, &str); 2] = [("discriminator.hidden", "disc.0"), ("discriminator.out", "disc.1")];

/// The discriminator of a case.
fn with_discriminator(case: &Case, mut bench: Bench, kind: &str) -> Bench {
    for (own, name) in LAYERS {
        for part in ["weight", "bias"] {
            bench = bench.param(&format!("{own}.{part}"), &case.array(&format!("{kind}.{name}.{part}")).values);
        }
    }
    bench
}

#[track_caller]
fn check_discriminator(case: &Case, run: &Run) {
    for (own, name) in LAYERS {
        for part in ["weight", "bias"] {
            case.assert_gradient(&format!("grad.param.{name}.{part}"), run.grad_param(&format!("{own}.{part}")));
        }
    }
}

#[test]
fn golden_adversary_cases_match() {
    let of = |name: &str, kind: &str, phase: &str, more: &str| {
        let case = case(name);
        let bench = configured(&format!(r#"{{{ADVERSARY}, "hidden": 5{more}}}"#)).phase(phase);
        let bench =
            bench.array("student", case.array("input.student.0")).array("teacher", case.array("input.teacher.0"));
        let run = with_discriminator(&case, bench, kind).ran();
        (case, run)
    };
    let (case, run) = of("crkd_discriminator", "param", "discriminator", "");
    case.assert_values("out.loss", &[run.term("discriminator")]);
    check_discriminator(&case, &run);
    assert!(run.grad("student").iter().all(|grad| *grad == 0.0));
    let (case, run) = of("crkd_adversary", "frozen", "student", "");
    case.assert_values("out.loss", &[run.term("adv")]);
    case.assert_gradient("grad.input.student.0", run.grad("student"));
    let (case, run) = of("crkd_gradient_reversal", "param", "student", r#", "adversary": "reversal", "reversal": 0.5"#);
    case.assert_values("out.loss", &[run.term("adv")]);
    case.assert_gradient("grad.input.student.0", run.grad("student"));
    check_discriminator(&case, &run);
}

#[test]
fn golden_student_phase_matches() {
    let case = case("crkd_student_total");
    let weights = [("rad", 1.0), ("pair", 0.1), ("mmd", 0.5), ("adv", 0.1)];
    let mut bench = configured(r#"{"hidden": 5, "mmd": {"sigma2": 5}}"#)
        .array("student", case.array("input.student.0"))
        .array("teacher", case.array("input.teacher.0"))
        .array("student_logits", case.array("input.student.1"))
        .array("teacher_logits", case.array("input.teacher.1"))
        .phase("student");
    for (name, weight) in weights {
        bench = bench.cotangent(name, &[weight]);
    }
    let run = with_discriminator(&case, bench, "frozen").ran();
    for (name, _) in weights {
        case.assert_values(&format!("out.loss.{name}"), &[run.term(name)]);
    }
    case.assert_gradient("grad.input.student.0", run.grad("student"));
}

#[test]
fn crkd_plan_alternates_by_default() {
    let plan = bench("").plan().expect("plans");
    let phases: Vec<(&str, &[String], bool)> =
        plan.phases.iter().map(|phase| (phase.name.as_str(), phase.updates.as_slice(), phase.with_others)).collect();
    assert_eq!(
        phases,
        [("discriminator", &["discriminator".to_owned()][..], false), ("student", &["student".to_owned()][..], true)]
    );
    assert_eq!(plan.phases[1].terms, ["rad", "pair", "mmd", "adv"]);
    let weights: Vec<f64> = plan.terms.iter().map(|term| term.weight.at(0.0, 0.0)).collect();
    assert_eq!(weights, [1.0, 0.1, 0.5, 0.1, 1.0]);
    let optimizer = plan.groups[0].optimizer.clone().expect("an own optimizer");
    assert_eq!((optimizer["kind"].as_str(), optimizer["lr"].as_f64()), (Some("adam"), Some(1e-3)));
    assert_eq!(optimizer["betas"][0].as_f64(), Some(0.5));
}

#[test]
fn crkd_plan_of_reversal_has_one_phase() {
    let plan = configured(r#"{"adversary": "reversal"}"#).plan().expect("plans");
    assert_eq!(plan.phases.len(), 1);
    assert_eq!(
        (plan.phases[0].updates.as_slice(), plan.phases[0].with_others),
        (&["student".to_owned(), "discriminator".to_owned()][..], true)
    );
    assert_eq!(plan.terms.iter().map(|term| term.name.as_str()).collect::<Vec<_>>(), ["rad", "pair", "mmd", "adv"]);
}

#[test]
fn crkd_parts_of_weight_zero_are_left_out() {
    let ports = |config: &str| {
        let plan = configured(config).plan().expect("plans");
        (plan.ports.into_iter().map(|port| port.name).collect::<Vec<_>>(), plan.terms.len(), plan.phases.len())
    };
    let all = ["student", "teacher", "student_logits", "teacher_logits"].map(str::to_owned);
    assert_eq!(ports("{}"), (all.to_vec(), 5, 2));
    assert_eq!(ports(r#"{"rad_weight": 0}"#), (all[..2].to_vec(), 4, 2));
    assert_eq!(ports(r#"{"adv_weight": 0}"#), (all.to_vec(), 3, 0));
    assert_eq!(ports(r#"{"adv_weight": 0, "pair_weight": 0, "mmd_weight": 0}"#), (all[2..].to_vec(), 1, 0));
    let soft = configured(r#"{"adv_weight": 0, "pair_weight": 0, "mmd_weight": 0}"#)
        .input("student_logits", &[3, 4], &numbers(3.0, 12))
        .input("teacher_logits", &[3, 4], &numbers(4.0, 12));
    assert_eq!(soft.ran().names(), ["rad"]);
}

#[test]
fn crkd_without_adversary_runs_in_any_phase() {
    let without = |phase: &str| {
        { configured(r#"{"adv_weight": 0, "mmd": {"sigma2": 3}}"#) }
            .input("student", &[3, 2], &numbers(1.0, 6))
            .input("teacher", &[3, 2], &numbers(2.0, 6))
            .input("student_logits", &[3, 4], &numbers(3.0, 12))
            .input("teacher_logits", &[3, 4], &numbers(4.0, 12))
            .phase(phase)
            .ran()
    };
    let alone = without("");
    for phase in ["a", "student", "discriminator"] {
        let run = without(phase);
        assert_eq!(run.names(), ["rad", "pair", "mmd"], "{phase}");
        assert!(run.names().iter().all(|name| run.term(name) == alone.term(name)), "{phase}");
    }
}

#[test]
fn crkd_gradients_match_finite_differences() {
    bench("student").check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn crkd_discriminator_phase_leaves_the_student_alone() {
    let run = bench("discriminator").ran();
    assert_eq!(run.names(), ["discriminator"]);
    assert!(run.grad("student").iter().all(|grad| *grad == 0.0));
    assert!(run.grad_param("discriminator.out.weight").iter().any(|grad| *grad != 0.0));
}

#[test]
fn crkd_reversal_turns_the_gradient_of_the_student_alone() {
    let of = |reversal: f64| {
        let config = format!(r#"{{{ADVERSARY}, "hidden": 3, "adversary": "reversal", "reversal": {reversal}}}"#);
        let bench = configured(&config).input("student", &[3, 2], &numbers(1.0, 6));
        let bench = bench.input("teacher", &[3, 2], &numbers(2.0, 6)).phase("student");
        bench.param("discriminator.hidden.weight", &numbers(5.0, 6)).ran()
    };
    let (one, two) = (of(1.0), of(2.0));
    assert_eq!(one.loss(), two.loss());
    assert!(one.grad("student").iter().zip(two.grad("student")).all(|(a, b)| (2.0 * a - b).abs() < 1e-15));
    assert_eq!(one.grad_param("discriminator.out.weight"), two.grad_param("discriminator.out.weight"));
}

#[test]
fn crkd_of_extreme_features_is_finite() {
    for scale in [0.0, 1e3, 1e50] {
        let student: Vec<f64> = numbers(1.0, 6).iter().map(|value| value * scale).collect();
        for phase in ["student", "discriminator"] {
            let run = bench(phase).input("student", &[3, 2], &student).ran();
            assert!(run.grad("student").iter().all(|grad| grad.is_finite()));
            assert!(run.grad_param("discriminator.hidden.weight").iter().all(|grad| grad.is_finite()));
        }
    }
}

#[test]
fn crkd_of_wrong_inputs_is_error() {
    let features = bench("student").input("teacher", &[3, 3], &[0.0; 9]);
    assert!(features.refusal().starts_with("`crkd` got features that differ\n  student: [3, 2]\n  teacher: [3, 3]"));
    let classes = bench("student").input("teacher_logits", &[3, 2], &[0.0; 6]);
    assert!(classes.refusal().starts_with("`crkd` got logits that differ in classes (dim 1)"));
    assert_eq!(bench("judge").refusal(), "`crkd` has no phase `judge` with these settings");
}

#[test]
fn crkd_of_wrong_settings_is_error() {
    let of = |config: &str| Bench::distiller::<Crkd>(config).err().expect("refused").to_string();
    assert_eq!(of(r#"{"rad_weight": -1}"#), "`rad_weight` must be finite and not negative, got -1");
    assert_eq!(
        of(r#"{"rad_weight": 0, "pair_weight": 0, "mmd_weight": 0, "adv_weight": 0}"#),
        "one of the four weights must be above 0"
    );
    assert_eq!(of(r#"{"hidden": 0}"#), "`hidden` must be at least 1");
    assert_eq!(of(r#"{"reversal": 0}"#), "`reversal` must be finite and above 0, got 0");
    assert_eq!(of(r#"{"discriminator_lr": 0}"#), "`discriminator_lr` must be finite and above 0, got 0");
    assert_eq!(of(r#"{"mmd": {"kernels": 0}}"#), "`mmd.kernels` must be between 1 and 64, got 0");
    assert_eq!(of(r#"{"temperature": -1}"#), "`temperature` must be finite and above 0, got -1");
    assert!(of(r#"{"adversary": "both"}"#).contains("at `adversary`: unknown variant `both`"));
}
