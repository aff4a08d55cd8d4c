//! Tests of the losses on pre-activations.
#![allow(missing_docs)]

use stillhouse_activation::{Ab, Ofd};
use stillhouse_plugin::sdk::Loss;
use stillhouse_plugin::testing::{Bench, Run, golden::Case, numbers};

/// Two samples of three channels with 2x2 places.
fn bench<T: Loss>(config: &str) -> Bench {
    let bench = Bench::loss::<T>(config).expect("a right configuration");
    bench.input("student", &[2, 3, 2, 2], &numbers(1.0, 24)).input("teacher", &[2, 3, 2, 2], &numbers(2.0, 24))
}

/// A bench with the maps of a case; weights of terms are applied by hand.
fn of_case<T: Loss>(case: &Case, weight: f64) -> Bench {
    let maps = |side: &str| {
        let prefix = format!("input.{side}.");
        let arrays = case.names().filter(|name| name.starts_with(&prefix)).map(|name| case.array(name));
        arrays.map(|array| (array.shape(), array.values.as_slice())).collect::<Vec<_>>()
    };
    let bench = Bench::loss::<T>("{}").expect("configured").cotangent("loss", &[weight]);
    bench.input_list("student", &maps("student")).input_list("teacher", &maps("teacher"))
}

#[track_caller]
fn check(case: &Case, bench: Bench) -> Run {
    let run = bench.ran();
    case.assert_values("out.loss", &[run.loss()]);
    for (at, name) in case.names().filter(|name| name.starts_with("grad.input.student.")).enumerate() {
        case.assert_gradient(name, run.grad_at("student", at));
    }
    run
}

fn case(name: &str) -> Case {
    Case::open(format!("../../tests/golden/cases/{name}")).expect("reads")
}

#[test]
fn golden_ab_cases_match() {
    let maps = case("ab_three_maps");
    let run = check(&maps, of_case::<Ab>(&maps, 1.0));
    maps.assert_values("out.loss.per_layer", &run.emitted("per_layer").values);
    let mmrazor = case("ab_mmrazor");
    check(&mmrazor, of_case::<Ab>(&mmrazor, 0.5));
}

#[test]
fn golden_ofd_cases_match() {
    let partial = case("ofd_partial_l2");
    check(&partial, of_case::<Ofd>(&partial, 1.0).array("margin", partial.array("input.margin")));
    let mmrazor = case("ofd_mmrazor");
    check(&mmrazor, of_case::<Ofd>(&mmrazor, 1e-3));
}

#[test]
fn golden_ofd_margins_match() {
    let case = case("ofd_partial_l2");
    let bench = of_case::<Ofd>(&case, 1.0)
        .array("scale", case.array("input.bn_weight"))
        .array("shift", case.array("input.bn_bias"));
    let run = bench.ran();
    // The official code keeps margins in single precision.
    let wanted = &case.array("input.margin").values;
    let close = |(got, wanted): (&f64, &f64)| (got - wanted).abs() <= 1e-6 * wanted.abs();
    assert!(run.emitted("margin.0").values.iter().zip(wanted).all(close), "{run:?}");
    assert!((run.loss() - case.array("out.loss").values[0]).abs() < 1e-5 * run.loss());
}

#[test]
fn ofd_margin_of_the_standard_normal_is_known() {
    let bench = |scale: &[f64], shift: &[f64]| {
        let run = bench::<Ofd>("{}").input("scale", &[3], scale).input("shift", &[3], shift).ran();
        run.emitted("margin.0").values.clone()
    };
    let half_normal = (2.0 / std::f64::consts::PI).sqrt();
    let got = bench(&[1.0, -2.0, 1.0], &[0.0, 0.0, 4.0]);
    let wanted = [-half_normal, -2.0 * half_normal, -3.0];
    assert!(got.iter().zip(wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-12), "{got:?}");
    let flat = bench(&[0.0; 3], &[0.0, -2.0, 2.0]);
    assert!(flat.iter().zip([0.0, -2.0, 0.0]).all(|(got, wanted)| (got - wanted).abs() < 1e-9), "{flat:?}");
}

#[test]
fn ab_last_tap_counts_most() {
    let values = numbers(1.0, 4);
    let teacher = numbers(2.0, 4);
    let one = Bench::loss::<Ab>("{}")
        .expect("configured")
        .input("student", &[2, 2], &values)
        .input("teacher", &[2, 2], &teacher)
        .ran();
    let three = Bench::loss::<Ab>("{}")
        .expect("configured")
        .input_list("student", &[(&[2, 2], &values), (&[2, 2], &values), (&[2, 2], &values)])
        .input_list("teacher", &[(&[2, 2], &teacher), (&[2, 2], &teacher), (&[2, 2], &teacher)])
        .ran();
    let wanted = [0.25, 0.5, 1.0].map(|factor| factor * one.loss());
    assert!(three.emitted("per_layer").values.iter().zip(wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-15));
}

#[test]
fn activation_gradients_match_finite_differences() {
    for config in ["{}", r#"{"margin": 0.4}"#] {
        bench::<Ab>(config).check_gradients(1e-6).expect("gradients agree");
    }
    bench::<Ofd>("{}").check_gradients(1e-6).expect("gradients agree");
    let margins = bench::<Ofd>("{}").input("scale", &[3], &[1.0, 0.5, 2.0]).input("shift", &[3], &[0.3, -0.2, 0.0]);
    { margins }.check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn activation_losses_at_the_goal_are_zero() {
    let teacher = numbers(2.0, 24);
    let beyond: Vec<f64> = teacher.iter().map(|value| 1.5 * value.signum()).collect();
    let run = bench::<Ab>("{}").input("student", &[2, 3, 2, 2], &beyond).ran();
    assert_eq!((run.loss(), run.grad("student")), (0.0, &[0.0; 24][..]));
    // Anything below a negative value will do.
    let below: Vec<f64> = teacher.iter().map(|value| if *value > 0.0 { *value } else { value - 7.0 }).collect();
    let run = bench::<Ofd>("{}").input("student", &[2, 3, 2, 2], &below).ran();
    assert_eq!((run.loss(), run.grad("student")), (0.0, &[0.0; 24][..]));
}

#[test]
fn activation_losses_of_zeros_and_extremes_are_finite() {
    fn check<T: Loss>() {
        for student in [vec![0.0; 24], numbers(1.0, 24).iter().map(|value| value * 1e60).collect()] {
            for teacher in [vec![0.0; 24], student.clone()] {
                let bench = bench::<T>("{}").input("student", &[2, 3, 2, 2], &student);
                let run = bench.input("teacher", &[2, 3, 2, 2], &teacher).ran();
                assert!(run.grad("student").iter().all(|grad| grad.is_finite()), "{run:?}");
            }
        }
        let one = bench::<T>("{}").input("student", &[1, 1], &[3.0]).input("teacher", &[1, 1], &[3.0]);
        assert_eq!(one.ran().loss(), 0.0);
    }
    check::<Ab>();
    check::<Ofd>();
}

#[test]
fn activation_losses_of_wrong_inputs_are_errors() {
    fn check<T: Loss>(name: &str) {
        let shapes = bench::<T>("{}").input("student", &[2, 3, 1, 1], &[0.0; 6]);
        let wanted = format!("`{name}` got features that differ\n  student: [2, 3, 1, 1]\n  teacher: [2, 3, 2, 2]");
        assert!(shapes.refusal().starts_with(&wanted));
        let empty = bench::<T>("{}").input("student", &[0, 3], &[]).input("teacher", &[0, 3], &[]);
        assert_eq!(empty.refusal(), format!("`{name}` got an empty batch: [0, 3]"));
    }
    check::<Ab>("ab");
    check::<Ofd>("ofd");
    let half = bench::<Ofd>("{}").input("scale", &[3], &[1.0; 3]);
    assert_eq!(half.refusal(), "`ofd` wants both `scale` and `shift` of the teacher's batch normalisation, or neither");
    let short = bench::<Ofd>("{}").input("margin", &[2], &[-1.0; 2]);
    assert_eq!(short.refusal(), "`ofd` wants a margin for each of the 3 channels, got [2]");
    let two = bench::<Ofd>("{}").input_list("margin", &[(&[3], &[-1.0; 3]), (&[3], &[-1.0; 3])]);
    assert_eq!(two.refusal(), "`ofd` wants one value of `margin` for each of the 1 taps, got 2");
}

#[test]
fn activation_losses_of_wrong_settings_are_errors() {
    let of = |config: &str| Bench::loss::<Ab>(config).err().expect("refused").to_string();
    assert_eq!(of(r#"{"margin": 0}"#), "`margin` must be finite and above 0, got 0");
    assert!(of(r#"{"margins": 1}"#).contains("unknown field `margins`"));
    let error = Bench::loss::<Ofd>(r#"{"margin": 1}"#).err().expect("refused").to_string();
    assert!(error.contains("unknown field `margin`"), "{error}");
}
