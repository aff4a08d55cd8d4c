//! Tests of the method and its loss.
#![allow(missing_docs)]

use stillhouse_plugin::testing::{Bench, Run, golden::Case};
use stillhouse_skd::{Skd, SkdMap};

/// `n` numbers between 0 and 1 that depend on `seed`.
fn numbers(seed: f64, n: usize) -> Vec<f64> {
    (0..n).map(|i| 0.5 + 0.5 * (seed + 1.7 * i as f64 + (0.61 * i as f64).cos()).sin()).collect()
}

fn method(config: &str) -> Bench {
    let bench = Bench::distiller::<Skd>(config).expect("a right configuration");
    let bench = bench.input("student", &[2, 1, 3, 2], &numbers(1.0, 12));
    bench.input("teacher", &[2, 1, 6, 4], &numbers(2.0, 48)).input("map", &[2, 1, 5, 3], &numbers(3.0, 30))
}

fn loss(config: &str) -> Bench {
    let bench = Bench::loss::<SkdMap>(config).expect("a right configuration");
    bench.input("student", &[2, 2, 3, 1], &numbers(1.0, 12)).input("map", &[2, 2, 3, 1], &numbers(3.0, 12))
}

#[track_caller]
fn ran(mut bench: Bench) -> Run {
    bench.run().expect("runs")
}

#[track_caller]
fn refusal(mut bench: Bench) -> String {
    bench.run().expect_err("refused").to_string()
}

/// A student of a golden case, by the numbers of its map and of the teacher's.
fn of_case(case: &Case, mu: f64, at: usize) -> Run {
    let mut bench = Bench::distiller::<Skd>(&format!(r#"{{"mu": {mu:?}}}"#)).expect("configured");
    let inputs = [
        ("student", format!("input.student.{at}")),
        ("teacher", format!("input.teacher.{at}")),
        ("map", "input.ground".into()),
    ];
    for (port, name) in inputs {
        let array = case.array(&name);
        bench = bench.input(port, array.shape(), &array.values);
    }
    ran(bench)
}

#[test]
fn golden_students_match() {
    for (name, mu) in [("skd_spatial_student", 0.5), ("skd_student_same_size", 0.5), ("skd_fusion_hard_only", 0.0)] {
        let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
        let run = of_case(&case, mu, 0);
        let (soft, hard) = (run.term("soft"), run.term("hard"));
        case.assert_values("out.loss.soft", &[soft]);
        case.assert_values("out.loss.hard", &[hard]);
        case.assert_values("out.loss", &[mu * soft + (1.0 - mu) * hard]);
    }
}

#[test]
fn golden_students_side_by_side_match() {
    let case = Case::open("../../tests/golden/cases/skd_two_students").expect("reads");
    let sums = [0, 1].map(|at| {
        let run = of_case(&case, 0.5, at);
        0.5 * (run.term("soft") + run.term("hard"))
    });
    case.assert_values("out.loss.spatial", &[sums[0]]);
    case.assert_values("out.loss.temporal", &[sums[1]]);
    case.assert_values("out.loss", &[sums[0] + sums[1]]);
}

#[test]
fn golden_true_map_alone_matches() {
    let case = Case::open("../../tests/golden/cases/skd_fusion_hard_only").expect("reads");
    let (student, ground) = (case.array("input.student.0"), case.array("input.ground"));
    let bench = Bench::loss::<SkdMap>("{}").expect("configured");
    let run =
        ran(bench.input("student", student.shape(), &student.values).input("map", ground.shape(), &ground.values));
    case.assert_values("out.loss", &[run.loss()]);
    case.assert_gradient("grad.input.student.0", run.grad("student"));
}

#[test]
fn skd_plans_both_terms_with_mu() {
    let weights = |config: &str| {
        let plan = method(config).plan().expect("plans");
        plan.terms.iter().map(|term| (term.name.clone(), term.weight.at(0.0, 0.0))).collect::<Vec<_>>()
    };
    assert_eq!(weights("{}"), [("soft".to_owned(), 0.5), ("hard".to_owned(), 0.5)]);
    assert_eq!(weights(r#"{"mu": 0.75}"#), [("soft".to_owned(), 0.75), ("hard".to_owned(), 0.25)]);
}

#[test]
fn skd_gradient_reaches_the_student_alone() {
    let run = ran(method("{}"));
    assert!(run.grad("student").iter().any(|grad| grad.abs() > 1e-3));
    assert!(run.grad("teacher").iter().chain(run.grad("map")).all(|grad| *grad == 0.0));
    // Halved sizes: with half-pixel centres each place is the mean of four.
    let bench = Bench::distiller::<Skd>("{}").expect("configured").input("student", &[1, 1, 1, 1], &[0.0]);
    let bench = bench.input("teacher", &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 6.0]).input("map", &[1, 1, 1, 1], &[1.0]);
    let run = ran(bench);
    assert_eq!((run.term("soft"), run.term("hard")), (9.0, 1.0));
}

#[test]
fn lengths_are_means_over_the_batch() {
    // Differences (3, 4) and (0, 0): 5 and 0; nothing pulls where the maps agree.
    let bench = Bench::loss::<SkdMap>(r#"{"norm": "l2"}"#).expect("configured");
    let bench = bench.input("student", &[2, 1, 1, 2], &[3.0, 4.0, 7.0, 8.0]);
    let run = ran(bench.input("map", &[2, 1, 1, 2], &[0.0, 0.0, 7.0, 8.0]));
    assert!((run.loss() - 2.5).abs() < 1e-11);
    let wanted = [0.3, 0.4, 0.0, 0.0];
    assert!(run.grad("student").iter().zip(wanted).all(|(grad, wanted)| (grad - wanted).abs() < 1e-12));
}

#[test]
fn gradients_match_finite_differences() {
    for config in ["{}", r#"{"mu": 0.9}"#, r#"{"norm": "l2"}"#] {
        method(config).check_gradients(1e-6).expect("gradients agree");
    }
    for config in ["{}", r#"{"norm": "l2"}"#] {
        loss(config).check_gradients(1e-6).expect("gradients agree");
        let resized = loss(config).input("map", &[2, 2, 2, 4], &numbers(4.0, 32));
        { resized }.check_gradients(1e-6).expect("gradients agree through the resize");
    }
}

#[test]
fn samples_are_not_coupled() {
    assert!(!method("{}").desc().batch_coupled && !loss("{}").desc().batch_coupled);
}

#[test]
fn wrong_inputs_are_errors() {
    let wanted = "`skd` got maps that differ in samples or channels\n  student: [2, 1, 3, 2]\n  ";
    let teacher = method("{}").input("teacher", &[1, 1, 6, 4], &numbers(2.0, 24));
    assert_eq!(refusal(teacher), format!("{wanted}teacher: [1, 1, 6, 4]"));
    let map = method("{}").input("map", &[2, 3, 1, 1], &numbers(2.0, 6));
    assert_eq!(refusal(map), format!("{wanted}map: [2, 3, 1, 1]"));
    let flat = method("{}").input("student", &[2, 3], &numbers(2.0, 6));
    assert_eq!(refusal(flat), "`skd` wants feature maps [N, C, H, W], got [2, 3]");
    let empty = loss("{}").input("student", &[0, 1, 2, 2], &[]).input("map", &[0, 1, 2, 2], &[]);
    assert_eq!(refusal(empty), "`skd_map` got an empty batch: [0, 1, 2, 2]");
}

#[test]
fn wrong_settings_are_errors() {
    let of = |config: &str| Bench::distiller::<Skd>(config).err().expect("refused").to_string();
    assert_eq!(of(r#"{"mu": 1.5}"#), "`mu` must be from 0 to 1, got 1.5");
    assert_eq!(of(r#"{"nu": 0.5}"#), "unknown field `nu`, expected `mu`, `norm`");
    let of = |config: &str| Bench::loss::<SkdMap>(config).err().expect("refused").to_string();
    assert!(of(r#"{"norm": "l1"}"#).contains("unknown variant `l1`, expected `mse` or `l2`"));
}
