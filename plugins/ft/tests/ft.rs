//! Tests of factor transfer.
#![allow(missing_docs)]

use stillhouse_ft::{Ft, FtDecoder, FtEncoder, FtFactor};
use stillhouse_plugin::testing::{Bench, golden::Case, numbers};

fn distiller(config: &str, stage: &str) -> Bench {
    let bench = Bench::distiller::<Ft>(config).expect("a right configuration").stage(stage);
    bench.input("student", &[2, 2, 3, 3], &numbers(1.0, 36)).input("teacher", &[2, 4, 2, 2], &numbers(2.0, 32))
}

fn factor(config: &str) -> Bench {
    let bench = Bench::loss::<FtFactor>(config).expect("a right configuration");
    bench.input("student", &[2, 2, 3, 3], &numbers(1.0, 36)).input("teacher", &[2, 3, 2, 2], &numbers(2.0, 24))
}

fn case(name: &str) -> Case {
    Case::open(format!("../../tests/golden/cases/{name}")).expect("reads")
}

/// Parameters and buffers of the case whose names start with `from`, under `to`.
fn with_params(case: &Case, mut bench: Bench, from: &str, to: &str) -> Bench {
    for kind in ["param.", "frozen.", "buffer."] {
        for name in case.names() {
            if let Some(rest) = name.strip_prefix(kind).and_then(|own| own.strip_prefix(from)) {
                bench = bench.param(&format!("{to}{rest}"), &case.array(name).values);
            }
        }
    }
    bench
}

#[test]
fn golden_factor_cases_match() {
    for (name, config) in [("ft_factor_loss", "{}"), ("ft_mmrazor", r#"{"flat": true}"#)] {
        let case = case(name);
        let bench = Bench::loss::<FtFactor>(config).expect("configured");
        let bench =
            bench.array("student", case.array("input.student.0")).array("teacher", case.array("input.teacher.0"));
        let run = bench.ran();
        case.assert_values("out.loss", &[run.loss()]);
        case.assert_gradient("grad.input.student.0", run.grad("student"));
    }
}

#[test]
fn golden_paraphraser_stage_matches() {
    let case = case("ft_stage1_paraphraser");
    let teacher = case.array("input.teacher.0");
    let bench = Bench::distiller::<Ft>("{}").expect("configured").stage("paraphraser");
    let bench = with_params(&case, bench.array("student", teacher).array("teacher", teacher), "", "paraphraser.");
    let run = bench.ran();
    case.assert_values("out.loss", &[run.term("paraphrase")]);
    for name in case.names().filter_map(|name| name.strip_prefix("grad.param.")) {
        case.assert_gradient(&format!("grad.param.{name}"), run.grad_param(&format!("paraphraser.{name}")));
    }
    assert!(run.grad("student").iter().all(|grad| *grad == 0.0));
}

#[test]
fn golden_connectors_of_the_paraphraser_match() {
    let case = case("ft_stage1_paraphraser");
    let teacher = case.array("input.teacher.0");
    let encoder = Bench::connector::<FtEncoder>(r#"{"batch_norm": false}"#).expect("configured");
    let encoder = with_params(&case, encoder.array("from", teacher).array("to", teacher), "encoder.", "encoder.");
    case.assert_values("out.factor", &encoder.ran().output().values);
    let decoder = Bench::connector::<FtDecoder>("{}").expect("configured");
    let decoder = decoder.array("from", case.array("out.factor")).array("to", teacher);
    let decoder = with_params(&case, decoder, "decoder.", "decoder.");
    case.assert_values("out.reconstruction", &decoder.ran().output().values);
}

#[test]
fn golden_translator_stage_matches() {
    let case = case("ft_stage2_translator");
    let bench = Bench::distiller::<Ft>("{}").expect("configured").stage("translator");
    let bench = bench.array("student", case.array("input.student.0")).array("teacher", case.array("input.teacher.0"));
    let run = with_params(&case, bench, "", "").ran();
    case.assert_values("out.loss", &[run.term("factor")]);
    case.assert_gradient("grad.input.student.0", run.grad("student"));
    for name in case.names().filter_map(|name| name.strip_prefix("grad.param.")) {
        case.assert_gradient(&format!("grad.param.{name}"), run.grad_param(name));
    }
    for name in case.names().filter_map(|name| name.strip_prefix("buffer_after.")) {
        case.assert_values(&format!("buffer_after.{name}"), run.buffer_after(name));
    }
    assert!(run.grad_param("paraphraser.encoder.0.weight").iter().all(|grad| *grad == 0.0));
}

#[test]
fn factor_powers_match_by_hand() {
    let of = |config: &str| {
        let bench = Bench::loss::<FtFactor>(config).expect("configured");
        bench.input("student", &[1, 1, 1, 2], &[-3.0, 4.0]).input("teacher", &[1, 1, 1, 2], &[1.0, 0.0]).ran().loss()
    };
    assert!((of(r#"{"p1": 1}"#) - 0.5 * (1.6 + 0.8)).abs() < 1e-14);
    assert!((of(r#"{"p1": 1, "p2": 2}"#) - 0.5 * (2.56 + 0.64)).abs() < 1e-14);
    let (a, b) = (-27.0, 64.0);
    let length = f64::hypot(a, b);
    assert!((of(r#"{"p1": 3, "p2": 3}"#) - 0.5 * ((1.0 - a / length).powi(3) + (b / length).powi(3))).abs() < 1e-13);
    assert!((of(r#"{"flat": true, "p2": 2}"#) - 0.5 * (2.56 + 0.64)).abs() < 1e-14);
}

#[test]
fn ft_plan_has_both_stages() {
    let plan = distiller(r#"{"paraphraser_epochs": 7}"#, "").plan().expect("plans");
    let [paraphraser, translator] = &plan.stages[..] else { panic!("stages: {:?}", plan.stages) };
    assert_eq!(
        (paraphraser.name.as_str(), paraphraser.epochs, paraphraser.with_others),
        ("paraphraser", Some(7.0), false)
    );
    assert_eq!(
        (paraphraser.freeze.as_slice(), paraphraser.terms.as_slice()),
        (&["**".to_owned()][..], &["paraphrase".to_owned()][..])
    );
    assert_eq!((translator.name.as_str(), translator.epochs, translator.with_others), ("translator", None, true));
    assert_eq!(translator.freeze_own, ["paraphraser.*"]);
    assert_eq!(plan.terms.iter().map(|term| term.weight.at(0.0, 0.0)).collect::<Vec<_>>(), [1.0, 200.0]);
    assert_eq!(distiller("{}", "").plan().expect("plans").stages[0].epochs, Some(30.0));
}

#[test]
fn ft_rate_gives_the_channels_of_the_factor() {
    let names = |config: &str| distiller(config, "translator").ran().grad_param("translator.encoder.6.bias").len();
    assert_eq!((names("{}"), names(r#"{"rate": 0.3}"#), names(r#"{"rate": 2}"#)), (2, 1, 8));
}

#[test]
fn ft_gradients_match_finite_differences() {
    for config in ["{}", r#"{"p1": 1, "p2": 2}"#, r#"{"p1": 3}"#] {
        factor(config).check_gradients(1e-6).expect("gradients agree");
    }
    factor(r#"{"flat": true}"#)
        .input("student", &[2, 3, 2, 2], &numbers(3.0, 24))
        .check_gradients(1e-6)
        .expect("gradients agree");
    let ends = |bench: Bench| {
        bench.input("from", &[2, 2, 2, 2], &numbers(3.0, 16)).input("to", &[2, 4, 1, 1], &numbers(4.0, 8))
    };
    for batch_norm in [false, true] {
        let config = format!(r#"{{"batch_norm": {batch_norm}}}"#);
        let encoder = ends(Bench::connector::<FtEncoder>(&config).expect("configured"));
        { encoder }.cotangent("output", &numbers(5.0, 16)).check_gradients(1e-5).expect("gradients agree");
        let decoder = ends(Bench::connector::<FtDecoder>(&config).expect("configured"));
        { decoder }.cotangent("output", &numbers(6.0, 32)).check_gradients(1e-5).expect("gradients agree");
    }
    distiller("{}", "paraphraser").check_gradients(1e-5).expect("gradients agree");
}

#[test]
fn factor_of_zeros_equals_and_extremes_is_finite() {
    for student in [vec![0.0; 36], numbers(1.0, 36).iter().map(|value| value * 1e60).collect()] {
        let run = factor("{}").input("student", &[2, 2, 3, 3], &student).ran();
        assert!(run.grad("student").iter().all(|grad| grad.is_finite()));
    }
    let same = factor("{}").input("teacher", &[2, 2, 3, 3], &numbers(1.0, 36));
    let run = same.ran();
    assert_eq!((run.loss(), run.grad("student")), (0.0, &[0.0; 36][..]));
    let dead = distiller("{}", "translator").input("student", &[2, 2, 3, 3], &[0.0; 36]).ran();
    assert!(dead.grad("student").iter().all(|grad| grad.is_finite()));
}

#[test]
fn ft_of_wrong_inputs_is_error() {
    assert_eq!(
        distiller("{}", "translator").input("student", &[2, 3], &[0.0; 6]).refusal(),
        "`ft` wants feature maps [N, C, H, W], got [2, 3]"
    );
    let batches = distiller("{}", "paraphraser").input("teacher", &[1, 4, 2, 2], &[0.0; 16]);
    assert!(batches.refusal().starts_with("`ft` got batches that differ in samples (dim 0)"));
    let thin = distiller(r#"{"rate": 0.2}"#, "translator");
    assert!(thin.refusal().starts_with("a factor of 0.2 times 4 channels has none"));
    assert_eq!(distiller("{}", "kd").refusal(), "`ft` has the stages `paraphraser` and `translator`, not `kd`");
    let shapes = factor(r#"{"flat": true}"#);
    assert!(shapes.refusal().starts_with("`ft_factor` got features that differ"));
}

#[test]
fn ft_of_wrong_settings_is_error() {
    let of = |config: &str| Bench::distiller::<Ft>(config).err().expect("refused").to_string();
    assert_eq!(of(r#"{"rate": 0}"#), "`rate` must be above 0 and at most 16, got 0");
    assert_eq!(of(r#"{"rate": 1e9}"#), "`rate` must be above 0 and at most 16, got 1000000000");
    assert_eq!(of(r#"{"paraphraser_epochs": 0}"#), "`paraphraser_epochs` must be finite and above 0, got 0");
    assert_eq!(of(r#"{"factor_weight": -1}"#), "`factor_weight` must be finite and not negative, got -1");
    assert_eq!(of(r#"{"factor": {"p2": 0}}"#), "`factor.p2` must be at least 1");
    assert!(of(r#"{"factor": {"p3": 1}}"#).contains("at `factor.p3`: unknown field `p3`"));
    let error = Bench::loss::<FtFactor>(r#"{"p1": 0}"#).err().expect("refused").to_string();
    assert_eq!(error, "`p1` must be at least 1");
    let error = Bench::connector::<FtEncoder>(r#"{"rate": -1}"#).err().expect("refused").to_string();
    assert_eq!(error, "`rate` must be above 0 and at most 16, got -1");
}
