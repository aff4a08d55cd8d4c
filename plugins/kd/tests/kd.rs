//! Tests of the soft-target loss.
#![allow(missing_docs)]

use stillhouse_kd::Kd;
use stillhouse_plugin::testing::{Bench, golden::Case, numbers};

fn bench(config: &str) -> Bench {
    Bench::loss::<Kd>(config).expect("a right configuration")
}

fn pair(config: &str, shape: &[usize]) -> Bench {
    let count = shape.iter().product();
    bench(config).input("student", shape, &numbers(1.0, count)).input("teacher", shape, &numbers(2.0, count))
}

#[test]
fn golden_kd_cases_match() {
    let cases = [
        "kd_t1",
        "kd_t4",
        "kd_t20",
        "kd_repdistiller_t4",
        "kd_identical_t4",
        "kd_large_logits_t1",
        "kd_nchw_batchmean_t4",
        "kd_reduction_batchmean_w3_t1",
        "kd_reduction_mean_t4",
        "kd_reduction_none_t20",
        "kd_reduction_sum_t1",
    ];
    for name in cases {
        let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
        let (temperature, reduction) = (case.hyperparameter("temperature"), case.hyperparameter("reduction"));
        let config = format!(r#"{{"temperature": {temperature}, "reduction": {reduction}}}"#);
        // The weight of a term is the host's; here the golden weight 3 is applied by hand.
        let weight = if name == "kd_reduction_batchmean_w3_t1" { 3.0 } else { 1.0 };
        let mut bench = bench(&config)
            .array("student", case.array("input.student.0"))
            .array("teacher", case.array("input.teacher.0"))
            .cotangent("loss", &[weight]);
        let run = bench.run().expect("runs");
        case.assert_values("out.loss", &[run.loss()]);
        case.assert_gradient("grad.input.student.0", run.grad("student"));
        if reduction == "none" {
            case.assert_values("out.elementwise", &run.emitted("elementwise").values);
        }
    }
}

#[test]
fn golden_kd_total_part_matches() {
    let case = Case::open("../../tests/golden/cases/kd_total_t4").expect("reads");
    let (student, teacher) = (case.array("input.student.0"), case.array("input.teacher.0"));
    let run = bench("{}").array("student", student).array("teacher", teacher).run().expect("runs");
    let weight = case.hyperparameter("kd_weight").as_f64().expect("a number");
    case.assert_values("out.loss.kd", &[weight * run.loss()]);
}

#[test]
fn kd_equal_logits_is_zero() {
    let logits = numbers(3.0, 12);
    let run = bench("{}").input("student", &[3, 4], &logits).input("teacher", &[3, 4], &logits).run().expect("runs");
    assert_eq!(run.loss(), 0.0);
    assert!(run.grad("student").iter().all(|grad| grad.abs() < 1e-15));
}

#[test]
fn kd_gradient_matches_closed_form() {
    let (student, teacher) = ([0.0, 0.0], [2.0 * 3f64.ln(), 0.0]);
    let run = bench(r#"{"temperature": 2.0}"#).input("student", &[1, 2], &student).input("teacher", &[1, 2], &teacher);
    let run = { run }.run().expect("runs");
    let wanted = [2.0 * (0.5 - 0.75), 2.0 * (0.5 - 0.25)];
    assert!(run.grad("student").iter().zip(wanted).all(|(grad, wanted)| (grad - wanted).abs() < 1e-14));
}

#[test]
fn kd_without_t_squared_is_smaller_by_t_squared() {
    let with = pair(r#"{"temperature": 3.0}"#, &[2, 5]).run().expect("runs").loss();
    let without = pair(r#"{"temperature": 3.0, "t_squared": false}"#, &[2, 5]).run().expect("runs").loss();
    assert!((with - 9.0 * without).abs() < 1e-12);
}

#[test]
fn kd_reductions_differ_by_their_counts() {
    let of = |reduction: &str| {
        pair(&format!(r#"{{"reduction": "{reduction}"}}"#), &[2, 3, 2, 2]).run().expect("runs").loss()
    };
    let sum = of("sum");
    for (reduction, count) in [("batchmean", 2.0), ("mean", 24.0), ("none", 1.0)] {
        assert!((of(reduction) * count - sum).abs() < 1e-12, "{reduction}");
    }
}

#[test]
fn prop_kd_is_not_negative_and_ignores_shifts() {
    for seed in 0..20 {
        let (student, teacher) = (numbers(f64::from(seed), 8), numbers(f64::from(seed) + 0.5, 8));
        let shifted: Vec<f64> = student.iter().map(|value| value + 7.0).collect();
        let of = |student: &[f64]| {
            let mut bench = bench("{}").input("student", &[2, 4], student).input("teacher", &[2, 4], &teacher);
            bench.run().expect("runs").loss()
        };
        assert!(of(&student) >= 0.0);
        assert!((of(&student) - of(&shifted)).abs() < 1e-10);
    }
}

#[test]
fn prop_kd_gradient_sums_to_zero_over_classes() {
    let run = pair("{}", &[4, 6]).run().expect("runs");
    assert!(run.grad("student").chunks(6).all(|row| row.iter().sum::<f64>().abs() < 1e-14));
}

#[test]
fn kd_gradient_matches_finite_differences() {
    for config in ["{}", r#"{"reduction": "mean", "temperature": 1.0}"#, r#"{"reduction": "none"}"#] {
        pair(config, &[2, 4]).check_gradients(1e-6).expect("gradients agree");
        pair(config, &[2, 3, 2, 1]).check_gradients(1e-6).expect("gradients agree");
    }
}

#[test]
fn kd_of_wrong_temperature_is_error() {
    for temperature in ["0", "-1"] {
        let error = Bench::loss::<Kd>(&format!(r#"{{"temperature": {temperature}}}"#)).err().expect("refused");
        assert_eq!(error.to_string(), format!("`temperature` must be finite and above 0, got {temperature}"));
    }
}

#[test]
fn kd_of_unknown_setting_is_error() {
    let error = Bench::loss::<Kd>(r#"{"temprature": 4}"#).err().expect("refused");
    assert!(error.to_string().contains("unknown field `temprature`, expected"), "{error}");
    let error = Bench::loss::<Kd>(r#"{"reduction": "median"}"#).err().expect("refused");
    assert!(error.to_string().contains("at `reduction`: unknown variant `median`"), "{error}");
}

#[test]
fn kd_of_logits_that_differ_is_error() {
    let of = |student: &[usize], teacher: &[usize]| {
        let zeros = |shape: &[usize]| vec![0.0; shape.iter().product()];
        let (ours, theirs) = (zeros(student), zeros(teacher));
        bench("{}")
            .input("student", student, &ours)
            .input("teacher", teacher, &theirs)
            .run()
            .expect_err("refused")
            .to_string()
    };
    assert_eq!(
        of(&[2, 3], &[2, 4]),
        "`kd` got logits that differ in classes (dim 1)\n  student: [2, 3]\n  teacher: [2, 4]\n\nhint: both networks must \
         score the same classes"
    );
    assert!(of(&[2, 3], &[3, 3]).starts_with("`kd` got logits that differ\n"));
    assert_eq!(of(&[3], &[3]), "`kd` wants logits [N, C, ...], got [3]");
    assert_eq!(of(&[0, 3], &[0, 3]), "`kd` got an empty batch: [0, 3]");
    assert_eq!(of(&[2, 0], &[2, 0]), "`kd` got logits without classes: [2, 0]");
}
