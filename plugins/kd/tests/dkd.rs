//! Tests of the decoupled soft-target loss.
#![allow(missing_docs)]

use stillhouse_kd::{Dkd, Kd};
use stillhouse_plugin::testing::{Bench, golden::Case, numbers};

fn bench(config: &str) -> Bench {
    Bench::loss::<Dkd>(config).expect("a right configuration")
}

fn given(config: &str) -> Bench {
    let bench = bench(config).input("student", &[3, 4], &numbers(1.0, 12)).input("teacher", &[3, 4], &numbers(2.0, 12));
    bench.labels("label", &[0, 3, 1])
}

#[test]
fn golden_dkd_cases_match() {
    for name in ["dkd_default", "dkd_t1", "dkd_mmrazor_batchmean"] {
        let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
        let settings = ["alpha", "beta", "temperature", "reduction"];
        let settings = settings.map(|key| format!(r#""{key}": {}"#, case.hyperparameter(key)));
        let mut bench = bench(&format!("{{{}}}", settings.join(", ")))
            .array("student", case.array("input.student.0"))
            .array("teacher", case.array("input.teacher.0"))
            .array("label", case.array("input.target"));
        let run = bench.run().expect("runs");
        case.assert_values("out.loss", &[run.loss()]);
        case.assert_gradient("grad.input.student.0", run.grad("student"));
    }
}

#[test]
fn dkd_of_two_classes_is_kd() {
    let (student, teacher) = ([0.0, 0.0], [2.0 * 3f64.ln(), 0.0]);
    for label in [0, 1] {
        let bench =
            bench(r#"{"temperature": 2.0}"#).input("student", &[1, 2], &student).input("teacher", &[1, 2], &teacher);
        let run = bench.labels("label", &[label]).run().expect("runs");
        assert!((run.loss() - 4.0 * (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() < 1e-12);
    }
}

#[test]
fn dkd_with_matching_factors_is_kd() {
    let (student, teacher) = (numbers(1.0, 4), numbers(2.0, 4));
    let total: f64 = teacher.iter().map(|z| z.exp()).sum();
    let others = 1.0 - teacher[2].exp() / total;
    let config = format!(r#"{{"alpha": 1, "beta": {others:?}, "temperature": 1}}"#);
    let bench =
        bench(&config).input("student", &[1, 4], &student).input("teacher", &[1, 4], &teacher).labels("label", &[2]);
    let kd = Bench::loss::<Kd>(r#"{"temperature": 1}"#).expect("configured");
    let kd = kd.input("student", &[1, 4], &student).input("teacher", &[1, 4], &teacher).run().expect("runs");
    assert!(({ bench }.run().expect("runs").loss() - kd.loss()).abs() < 1e-12);
}

#[test]
fn dkd_equal_logits_is_zero() {
    let logits = numbers(2.0, 12);
    let run = given("{}").input("student", &[3, 4], &logits).run().expect("runs");
    assert_eq!(run.loss(), 0.0);
    assert!(run.grad("student").iter().all(|grad| grad.abs() < 1e-15));
}

#[test]
fn dkd_large_logits_stay_finite() {
    for scale in [60.0, 1e4] {
        let mut logits = vec![-scale; 12];
        [0, 5, 11].into_iter().for_each(|at| logits[at] = scale);
        let run = given(r#"{"temperature": 0.5}"#).input("student", &[3, 4], &logits).run().expect("finite");
        assert!(run.grad("student").iter().all(|grad| grad.is_finite()));
    }
}

#[test]
fn dkd_reductions_differ_by_their_counts() {
    let of = |part: &str, reduction: &str| {
        let (alpha, beta) = if part == "label" { (1, 0) } else { (0, 1) };
        given(&format!(r#"{{"alpha": {alpha}, "beta": {beta}, "reduction": "{reduction}"}}"#))
            .run()
            .expect("runs")
            .loss()
    };
    for (part, mean) in [("label", 6.0), ("rest", 12.0)] {
        assert!((of(part, "sum") - 3.0 * of(part, "batchmean")).abs() < 1e-12);
        assert!((of(part, "sum") - mean * of(part, "mean")).abs() < 1e-12);
    }
}

#[test]
fn prop_dkd_is_not_negative_and_ignores_shifts() {
    for seed in 0..20 {
        let student = numbers(f64::from(seed), 12);
        let shifted: Vec<f64> = student.iter().map(|value| value - 5.0).collect();
        let of = |student: &[f64]| given("{}").input("student", &[3, 4], student).run().expect("runs").loss();
        assert!(of(&student) >= 0.0);
        assert!((of(&student) - of(&shifted)).abs() < 1e-10);
    }
}

#[test]
fn dkd_gradient_matches_finite_differences() {
    for config in
        ["{}", r#"{"reduction": "mean", "temperature": 1}"#, r#"{"alpha": 0}"#, r#"{"beta": 0, "reduction": "sum"}"#]
    {
        given(config).check_gradients(1e-6).expect("gradients agree");
    }
}

#[test]
fn dkd_of_wrong_settings_is_error() {
    let of = |config: &str| Bench::loss::<Dkd>(config).err().expect("refused").to_string();
    assert_eq!(of(r#"{"alpha": -1}"#), "`alpha` must be finite and not negative, got -1");
    assert_eq!(of(r#"{"beta": -0.5}"#), "`beta` must be finite and not negative, got -0.5");
    assert_eq!(of(r#"{"alpha": 0, "beta": 0}"#), "`alpha` or `beta` must be above 0");
    assert_eq!(of(r#"{"temperature": 0}"#), "`temperature` must be finite and above 0, got 0");
    assert!(of(r#"{"reduction": "none"}"#).contains("unknown variant `none`"));
    assert!(of(r#"{"gamma": 1}"#).contains("unknown field `gamma`"));
}

#[test]
fn dkd_of_wrong_inputs_is_error() {
    let of = |bench: Bench| { bench }.run().expect_err("refused").to_string();
    assert_eq!(of(given("{}").labels("label", &[0, 1])), "`dkd` wants labels [3], one for each sample, got [2]");
    assert!(of(given("{}").labels("label", &[0, 4, 1])).contains("index 4 is outside 0..4"));
    assert!(of(given("{}").input("label", &[3], &[0.0, 1.0, 2.0])).contains("wants an i64 tensor"));
    assert!(
        of(given("{}").input("teacher", &[3, 2], &[0.0; 6]))
            .starts_with("`dkd` got logits that differ in classes (dim 1)")
    );
    let maps = given("{}").input("student", &[1, 3, 2, 2], &[0.0; 12]).input("teacher", &[1, 3, 2, 2], &[0.0; 12]);
    assert_eq!(of(maps), "`dkd` wants logits [N, C], got [1, 3, 2, 2]");
    let one = given("{}").input("student", &[3, 1], &[0.0; 3]).input("teacher", &[3, 1], &[0.0; 3]);
    assert_eq!(of(one), "`dkd` wants two classes or more, got 1");
}
