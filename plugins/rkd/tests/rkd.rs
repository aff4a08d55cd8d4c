//! Tests of the relational losses.
#![allow(missing_docs)]

use stillhouse_plugin::sdk::Loss;
use stillhouse_plugin::testing::{Bench, golden::Case, numbers, refused};
use stillhouse_rkd::{Rkd, RkdAngle, RkdDistance};

fn configured<T: Loss>(config: &str) -> Bench {
    Bench::loss::<T>(config).expect("a right configuration")
}

/// Four samples: of three features for the student, of two for the teacher.
fn bench<T: Loss>(config: &str) -> Bench {
    configured::<T>(config).input("student", &[4, 3], &numbers(1.0, 12)).input("teacher", &[4, 2], &numbers(2.0, 8))
}

fn student<T: Loss>(values: &[f64]) -> Bench {
    bench::<T>("{}").input("student", &[4, 3], values)
}

#[track_caller]
fn check_golden<T: Loss>(name: &str, config: &str, weight: f64) {
    let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
    // The weight of a term is the host's; here that of the case is applied by hand.
    let mut bench = configured::<T>(config)
        .array("student", case.array("input.student.0"))
        .array("teacher", case.array("input.teacher.0"))
        .cotangent("loss", &[weight]);
    let run = bench.run().expect("runs");
    case.assert_values("out.loss", &[run.loss()]);
    if name != "rkd_angle_duplicates_student_only" {
        case.assert_gradient("grad.input.student.0", run.grad("student"));
    }
}

#[test]
fn golden_distance_cases_match() {
    for name in ["rkd_distance_n4", "rkd_distance_n8", "rkd_distance_n32", "rkd_distance_duplicates"] {
        check_golden::<RkdDistance>(name, "{}", 1.0);
    }
    check_golden::<RkdDistance>("rkd_mmrazor_distance_l2norm", r#"{"normalize": true}"#, 25.0);
}

#[test]
fn golden_angle_cases_match() {
    let plain =
        ["rkd_angle_n4", "rkd_angle_n8", "rkd_angle_n32", "rkd_angle_duplicates", "rkd_angle_duplicates_student_only"];
    for name in plain {
        check_golden::<RkdAngle>(name, "{}", 1.0);
    }
    check_golden::<RkdAngle>("rkd_mmrazor_angle_l2norm", r#"{"normalize": true}"#, 50.0);
}

#[test]
fn golden_combined_cases_match() {
    check_golden::<Rkd>("rkd_combined_n8", "{}", 1.0);
    for name in ["rkd_repdistiller_n16", "rkd_feature_map_n4"] {
        check_golden::<Rkd>(name, r#"{"distance_weight": 25, "angle_weight": 50}"#, 1.0);
    }
    check_golden::<Rkd>("rkd_squared_n8", r#"{"distance_weight": 25, "angle_weight": 50, "squared": true}"#, 1.0);
}

#[test]
fn rkd_distance_gradient_of_three_points_matches_by_hand() {
    // Distances 1, 2, 3 by their mean m = 2, against 1 each: half of the squares, twice, over 9.
    let run = { configured::<RkdDistance>("{}").input("student", &[3, 1], &[0.0, 1.0, 3.0]) }
        .input("teacher", &[3, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
        .run()
        .expect("runs");
    // dL/dd = 2/9 ((d/m - 1) / m - s), where s = sum (d/m - 1) d / m^2 / 3 = (-1/2 + 0 + 3/2) / 12 moves the mean.
    let slope = |d: f64| 2.0 / 9.0 * ((d / 2.0 - 1.0) / 2.0 - 1.0 / 12.0);
    let wanted = [-slope(1.0) - slope(3.0), slope(1.0) - slope(2.0), slope(2.0) + slope(3.0)];
    assert!(run.grad("student").iter().zip(wanted).all(|(grad, wanted)| (grad - wanted).abs() < 1e-14));
}

#[test]
fn rkd_is_the_weighted_sum_of_its_parts() {
    let of = |run: stillhouse_plugin::testing::Run| (run.loss(), run.grad("student").to_vec());
    let (distance, along) = of(bench::<RkdDistance>("{}").run().expect("runs"));
    let (angle, turning) = of(bench::<RkdAngle>("{}").run().expect("runs"));
    let run = bench::<Rkd>(r#"{"distance_weight": 3, "angle_weight": 5}"#).run().expect("runs");
    assert!((run.loss() - 3.0 * distance - 5.0 * angle).abs() < 1e-14);
    assert!((run.emitted("angle").values[0] - angle).abs() < 1e-14);
    let sums = along.iter().zip(&turning).map(|(a, b)| 3.0 * a + 5.0 * b);
    assert!(sums.zip(run.grad("student")).all(|(sum, grad)| (sum - grad).abs() < 1e-14));
    assert!(run.grad("teacher").iter().all(|grad| *grad == 0.0));
}

#[test]
fn rkd_gradients_match_finite_differences() {
    for config in ["{}", r#"{"squared": true}"#, r#"{"normalize": true, "beta": 0.05}"#] {
        bench::<RkdDistance>(config).check_gradients(1e-6).expect("gradients agree");
        bench::<Rkd>(config).check_gradients(1e-6).expect("gradients agree");
    }
    for config in ["{}", r#"{"normalize": true}"#, r#"{"beta": 0.05}"#] {
        bench::<RkdAngle>(config).check_gradients(1e-6).expect("gradients agree");
    }
}

#[test]
fn prop_rkd_ignores_place_turn_and_scale() {
    for seed in 0..10 {
        let values = numbers(f64::from(seed), 12);
        // A turn in the first two features, a scale, a shift.
        let moved: Vec<f64> = values
            .chunks(3)
            .flat_map(|row| [0.6 * row[0] - 0.8 * row[1], 0.8 * row[0] + 0.6 * row[1], row[2]])
            .map(|value| 7.0 * value + 100.0)
            .collect();
        let of = |values: &[f64]| student::<Rkd>(values).run().expect("runs").loss();
        assert!((of(&values) - of(&moved)).abs() < 1e-9);
        assert!(of(&values) >= 0.0);
    }
}

#[test]
fn rkd_of_equal_relations_is_zero_without_gradient() {
    let values = numbers(1.0, 12);
    let run = { student::<Rkd>(&values).input("teacher", &[4, 3], &values) }.run().expect("runs");
    assert_eq!(run.loss(), 0.0);
    assert!(run.grad("student").iter().all(|grad| grad.abs() < 1e-15));
}

#[test]
fn rkd_of_coinciding_samples_is_finite() {
    let mut pair = numbers(1.0, 12);
    pair.copy_within(0..3, 3);
    for values in [pair.clone(), vec![0.0; 12], vec![1e-20; 12], vec![5.0; 12]] {
        for run in [student::<RkdDistance>(&values).run(), student::<RkdAngle>(&values).run()] {
            let run = run.expect("finite");
            assert!(run.grad("student").iter().all(|grad| grad.is_finite() && grad.abs() < 10.0), "{run:?}");
        }
    }
    // Rows that coincide do not push each other: all that acts on them comes from the others, alike.
    let run = student::<RkdDistance>(&pair).run().expect("runs");
    let zeros = { student::<Rkd>(&[0.0; 12]).input("teacher", &[4, 2], &[0.0; 8]) }.run().expect("finite");
    assert_eq!((zeros.loss(), zeros.grad("student")), (0.0, &[0.0; 12][..]));
    assert!(run.loss() > 0.0);
}

#[test]
fn rkd_angle_of_two_close_samples_matches_by_hand() {
    // Student: 0, one at 1e-11 from it under an angle of 2, and (1, 0). Teacher: 0, 1, -1. At the first point the cosines are
    // cos 2 and -1, at the second -cos 2 (nearly) and 1, at the third 1 (nearly) and 1.
    let far = 1e-11;
    let run = { configured::<RkdAngle>("{}") }
        .input("student", &[3, 2], &[0.0, 0.0, far * 2f64.cos(), far * 2f64.sin(), 1.0, 0.0])
        .input("teacher", &[3, 1], &[0.0, 1.0, -1.0])
        .run()
        .expect("runs");
    let off = 2f64.cos() + 1.0;
    assert!((run.loss() - 2.0 * off * off / 27.0).abs() < 1e-11, "{}", run.loss());
    // Both corners' slopes, of 2/27 each, turn the close side: (e_ik - cos 2 e_ij) / far.
    let across = [1.0 - 2f64.cos() * 2f64.cos(), -2f64.cos() * 2f64.sin()];
    let wanted = across.map(|across| 2.0 * 2.0 / 27.0 * off * across / far);
    let close = |grad: f64, wanted: f64| (grad - wanted).abs() < 1e-9 * (wanted.abs() + 1.0 / far);
    let grad = run.grad("student");
    assert!((0..2).all(|at| close(grad[2 + at], wanted[at]) && close(grad[at], -wanted[at])), "{grad:?} {wanted:?}");
    assert!(grad[4..].iter().all(|grad| grad.abs() < 1.0), "{grad:?}");
}

#[test]
fn rkd_angle_of_a_side_below_the_limit_matches_by_hand() {
    // On a line at 0, 3e-13 and 1: the short side's direction is 0.3 long. Teacher: 0, 1, -1.
    let run = { configured::<RkdAngle>("{}") }
        .input("student", &[3, 1], &[0.0, 3e-13, 1.0])
        .input("teacher", &[3, 1], &[0.0, 1.0, -1.0])
        .run()
        .expect("runs");
    // Cosines 0.3 for -1 and -0.3 for 1, twice each, and 0.09 for 1 on both ends of the side; the third corner's are right.
    let wanted = (4.0 * (1.3 - 0.5) + 2.0 * 0.5 * 0.91 * 0.91) / 27.0;
    assert!((run.loss() - wanted).abs() < 1e-12, "{} {wanted}", run.loss());
    // Slopes 1 and -1 (straight), and -0.91 by a square.
    let pull = (4.0 - 2.0 * 0.91 * 2.0 * 0.3) / 1e-12 / 27.0;
    let grad = run.grad("student");
    assert!((grad[1] - pull).abs() < 1e-9 * pull && (grad[0] + pull).abs() < 1e-9 * pull, "{grad:?} {pull}");
    assert!(grad[2].abs() < 1e-2, "{grad:?}");
}

#[test]
fn rkd_of_one_sample_is_zero_and_of_two_has_no_angle() {
    let one = { configured::<Rkd>("{}").input("student", &[1, 3], &[1.0; 3]) }.input("teacher", &[1, 2], &[1.0; 2]);
    let run = { one }.run().expect("runs");
    assert_eq!((run.loss(), run.grad("student")), (0.0, &[0.0; 3][..]));
    let two = { configured::<Rkd>("{}").input("student", &[2, 1], &[0.0, 4.0]) }.input("teacher", &[2, 1], &[1.0, 0.0]);
    let run = { two }.run().expect("runs");
    assert_eq!((run.loss(), run.grad("student")), (0.0, &[0.0; 2][..]));
}

#[test]
fn rkd_of_extreme_values_is_finite_or_an_error() {
    for scale in [1e-9, 1e12, 1e60] {
        let values: Vec<f64> = numbers(3.0, 12).iter().map(|value| value * scale).collect();
        for run in [student::<RkdDistance>(&values).run(), student::<RkdAngle>(&values).run()] {
            assert!(run.expect("finite").grad("student").iter().all(|grad| grad.is_finite()));
        }
    }
    let beyond: Vec<f64> = numbers(3.0, 12).iter().map(|value| value * 1e200).collect();
    assert!(student::<RkdDistance>(&beyond).refusal().starts_with("`rkd_distance` gave `loss` = NaN"));
    assert!(student::<RkdAngle>(&beyond).refusal().starts_with("`rkd_angle` gave `loss` = NaN"));
}

#[test]
fn rkd_losses_are_coupled_over_the_batch() {
    assert!(bench::<RkdDistance>("{}").desc().batch_coupled && bench::<RkdAngle>("{}").desc().batch_coupled);
    assert!(bench::<Rkd>("{}").desc().batch_coupled);
}

#[test]
fn rkd_of_wrong_settings_is_error() {
    assert_eq!(refused::<RkdDistance>(r#"{"beta": 0}"#), "`beta` must be finite and above 0, got 0");
    assert_eq!(refused::<RkdAngle>(r#"{"beta": -1}"#), "`beta` must be finite and above 0, got -1");
    assert_eq!(refused::<Rkd>(r#"{"angle_weight": -2}"#), "`angle_weight` must be finite and not negative, got -2");
    assert_eq!(
        refused::<Rkd>(r#"{"distance_weight": -2}"#),
        "`distance_weight` must be finite and not negative, got -2"
    );
    let both = refused::<Rkd>(r#"{"distance_weight": 0, "angle_weight": 0}"#);
    assert_eq!(both, "`distance_weight` or `angle_weight` must be above 0");
    assert!(refused::<RkdAngle>(r#"{"squared": true}"#).contains("unknown field `squared`"));
}

#[test]
fn rkd_of_wrong_inputs_is_error() {
    let batches = bench::<Rkd>("{}").input("teacher", &[3, 2], &[0.0; 6]);
    assert!(batches.refusal().starts_with("`rkd` got batches that differ in samples (dim 0)\n  student: [4, 3]"));
    let empty = bench::<RkdAngle>("{}").input("student", &[0, 3], &[]).input("teacher", &[0, 2], &[]);
    assert_eq!(empty.refusal(), "`rkd_angle` got an empty batch: [0, 3]");
    let flat = bench::<RkdDistance>("{}").input("student", &[4], &[0.0; 4]);
    assert_eq!(flat.refusal(), "`rkd_distance` wants values [N, ...], got [4]");
}
