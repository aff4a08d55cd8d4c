//! Tests of attention-based feature distillation.
#![allow(missing_docs)]

use stillhouse_afd::Afd;
use stillhouse_plugin::testing::{Bench, golden::Case, numbers};

fn configured(config: &str) -> Bench {
    Bench::distiller::<Afd>(config).expect("a right configuration")
}

/// Three samples; two layers of the student, two of the teacher.
fn bench() -> Bench {
    let [a, b, c, d] = [1.0, 2.0, 3.0, 4.0].map(|seed| numbers(seed, 96));
    configured(r#"{"qk_dim": 3}"#)
        .input_list("student", &[(&[3, 2, 4, 4], &a), (&[3, 3, 2, 2], &b[..36])])
        .input_list("teacher", &[(&[3, 2, 3, 2], &c[..36]), (&[3, 4, 2, 2], &d[..48])])
}

/// The same, with parameters that are not small.
fn strong() -> Bench {
    let mut bench = bench();
    let layers = [("key.0", 2, 3), ("key.1", 3, 3), ("bilinear", 3, 6), ("query.0", 2, 3), ("query.1", 4, 3)];
    for (seed, (name, inputs, outputs)) in layers.into_iter().enumerate() {
        let seed = seed as f64;
        bench = bench
            .param(&format!("{name}.linear.weight"), &numbers(seed + 0.1, inputs * outputs))
            .param(
                &format!("{name}.bn.weight"),
                &numbers(seed + 0.2, outputs).iter().map(|v| 1.5 + v).collect::<Vec<_>>(),
            )
            .param(&format!("{name}.bn.bias"), &numbers(seed + 0.3, outputs));
    }
    bench.param("position_student", &numbers(7.0, 6)).param("position_teacher", &numbers(8.0, 6))
}

/// The official name of a parameter or buffer.
fn official(own: &str) -> String {
    let renamed = [
        ("position_student", "attention.p_s"),
        ("position_teacher", "attention.p_t"),
        ("key.", "attention.linear_trans_s.key_layer."),
        ("bilinear.", "attention.linear_trans_s.bilinear."),
        ("query.", "attention.linear_trans_t.query_layer."),
    ];
    renamed
        .iter()
        .find_map(|(from, to)| own.strip_prefix(from).map(|rest| format!("{to}{rest}")))
        .unwrap_or_else(|| own.to_owned())
}

/// Our name of a parameter or buffer.
fn own(name: &str) -> String {
    let all = ["position_student", "position_teacher", "key.", "bilinear.", "query."];
    all.iter()
        .find_map(|own| name.strip_prefix(&official(own)).map(|rest| format!("{own}{rest}")))
        .unwrap_or_else(|| panic!("no own name of `{name}`"))
}

#[test]
fn golden_afd_cases_match() {
    let cases = [
        "afd_qk128_train",
        "afd_s2_t2_train",
        "afd_s2_t3_shared_shape_eval",
        "afd_s3_t2_train",
        "afd_upsample_uneven_train",
    ];
    for name in cases {
        let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
        let maps = |side: &str| {
            let prefix = format!("input.{side}.");
            let arrays = case.names().filter(|name| name.starts_with(&prefix)).map(|name| case.array(name));
            arrays.map(|array| (array.shape(), array.values.as_slice())).collect::<Vec<_>>()
        };
        let mut bench = configured(&format!(r#"{{"qk_dim": {}}}"#, case.hyperparameter("qk_dim")))
            .input_list("student", &maps("student"))
            .input_list("teacher", &maps("teacher"))
            .training(!name.ends_with("_eval"));
        for kind in ["param.", "buffer."] {
            for name in case.names().filter_map(|name| name.strip_prefix(kind)) {
                bench = bench.param(&own(name), &case.array(&format!("{kind}{name}")).values);
            }
        }
        let run = bench.ran();
        case.assert_values("out.loss", &[run.term("afd")]);
        case.assert_values("out.attention", &run.emitted("attention").values);
        case.assert_values("out.loss.per_teacher", &run.emitted("per_teacher").values);
        for name in case.names() {
            if let Some(at) = name.strip_prefix("grad.input.student.") {
                case.assert_gradient(name, run.grad_at("student", at.parse().expect("a number")));
            } else if let Some(param) = name.strip_prefix("grad.param.") {
                case.assert_gradient(name, run.grad_param(&own(param)));
            } else if let Some(buffer) = name.strip_prefix("buffer_after.") {
                case.assert_values(name, run.buffer_after(&own(buffer)));
            }
        }
    }
}

#[test]
fn afd_attention_sums_to_one_over_students() {
    let run = strong().ran();
    let attention = &run.emitted("attention").values;
    assert_eq!(run.emitted("attention").shape(), [3, 2, 2]);
    assert!(attention.chunks(2).all(|pair| (pair[0] + pair[1] - 1.0).abs() < 1e-14 && pair[0] > 0.0));
    assert!(attention.chunks(2).any(|pair| (pair[0] - 0.5).abs() > 0.05));
}

#[test]
fn afd_of_no_matches_and_positions_is_the_mean_over_students() {
    // Queries of zero and positions of zero: every student layer counts alike.
    let zeroed = bench()
        .param("query.0.bn.weight", &[0.0; 3])
        .param("query.1.bn.weight", &[0.0; 3])
        .param("position_student", &[0.0; 6]);
    let run = zeroed.ran();
    assert!(run.emitted("attention").values.iter().all(|weight| (weight - 0.5).abs() < 1e-14));
    // By plain loops: responses, pooled and normalised.
    let response = |values: &[f64], channels: usize, n: usize, places: usize| -> Vec<f64> {
        let at = |place: usize| {
            (0..channels).map(|c| values[(n * channels + c) * places + place].powi(2)).sum::<f64>() / channels as f64
        };
        (0..places).map(at).collect()
    };
    let pool = |map: &[f64], [h, w]: [usize; 2], [th, tw]: [usize; 2]| -> Vec<f64> {
        let range = |k: usize, from: usize, to: usize| k * from / to..((k + 1) * from).div_ceil(to);
        let cell = |i: usize, j: usize| {
            let all: Vec<f64> = range(i, h, th).flat_map(|y| range(j, w, tw).map(move |x| map[y * w + x])).collect();
            all.iter().sum::<f64>() / all.len() as f64
        };
        (0..th).flat_map(|i| (0..tw).map(move |j| (i, j))).map(|(i, j)| cell(i, j)).collect()
    };
    let unit = |v: Vec<f64>| {
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.into_iter().map(|x| x / length).collect::<Vec<_>>()
    };
    let [a, b, c, d] = [1.0, 2.0, 3.0, 4.0].map(|seed| numbers(seed, 96));
    let mut wanted = 0.0;
    for (teacher, channels, size) in [(&c, 2, [3, 2]), (&d, 4, [2, 2])] {
        for n in 0..3 {
            let theirs = unit(response(teacher, channels, n, size[0] * size[1]));
            for (student, channels, own) in [(&a, 2, [4, 4]), (&b, 3, [2, 2])] {
                let ours = unit(pool(&response(student, channels, n, own[0] * own[1]), own, size));
                let squares: f64 = ours.iter().zip(&theirs).map(|(a, b)| (a - b) * (a - b)).sum();
                wanted += 0.5 * squares / theirs.len() as f64 / 3.0;
            }
        }
    }
    assert!((run.term("afd") - wanted).abs() < 1e-14, "{} {wanted}", run.term("afd"));
}

#[test]
fn afd_plan_is_one_term() {
    let plan = bench().plan().expect("plans");
    assert_eq!(plan.terms.iter().map(|term| term.name.as_str()).collect::<Vec<_>>(), ["afd"]);
    assert!(plan.stages.is_empty() && plan.phases.is_empty());
    assert!(bench().desc().batch_coupled);
}

#[test]
fn afd_default_has_the_published_size() {
    let values = numbers(1.0, 4);
    let bench = configured("{}").input("student", &[2, 2, 1, 1], &values).input("teacher", &[2, 2, 1, 1], &values);
    let run = bench.ran();
    assert_eq!(run.grad_param("position_student").len(), 128);
    assert_eq!(run.grad_param("bilinear.linear.weight").len(), 128 * 128);
}

#[test]
fn afd_gradients_match_finite_differences() {
    strong().check_gradients(1e-6).expect("gradients agree");
    strong().training(false).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn afd_teacher_maps_are_constant() {
    let run = strong().ran();
    assert!(run.grad_at("teacher", 0).iter().chain(run.grad_at("teacher", 1)).all(|grad| *grad == 0.0));
    assert!(run.grad_param("query.0.linear.weight").iter().any(|grad| *grad != 0.0));
}

#[test]
fn afd_of_equal_responses_is_zero() {
    let map = numbers(1.0, 24);
    let bench = configured("{}").input("student", &[2, 3, 2, 2], &map).input("teacher", &[2, 3, 2, 2], &map);
    let run = bench.ran();
    assert!(run.term("afd").abs() < 1e-15 && run.grad("student").iter().all(|grad| grad.abs() < 1e-14));
}

#[test]
fn afd_of_zeros_and_extremes_is_finite() {
    for scale in [0.0, 1e-12, 1e40] {
        let student: Vec<f64> = numbers(1.0, 24).iter().map(|value| value * scale).collect();
        let bench = configured(r#"{"qk_dim": 3}"#).input("student", &[2, 3, 2, 2], &student);
        let run = bench.input("teacher", &[2, 3, 2, 2], &numbers(2.0, 24)).ran();
        assert!(run.grad("student").iter().all(|grad| grad.is_finite()), "{scale}");
    }
    let one = || configured("{}").input("student", &[1, 1, 2, 2], &[1.0; 4]).input("teacher", &[1, 1, 2, 2], &[2.0; 4]);
    assert!(one().refusal().contains("one value a channel has no variance"));
    assert!(one().training(false).ran().term("afd").abs() < 1e-15);
}

#[test]
fn afd_of_wrong_inputs_and_settings_is_error() {
    let flat = bench().input("student", &[3, 4], &[0.0; 12]);
    assert_eq!(flat.refusal(), "`afd` wants feature maps [N, C, H, W], got [3, 4]");
    let batches = bench().input("teacher", &[2, 1, 1, 1], &[0.0; 2]);
    assert_eq!(batches.refusal(), "`afd` got batches that differ in samples (dim 0): 3, and [2, 1, 1, 1]");
    let empty = bench().input("student", &[0, 1, 1, 1], &[]);
    assert_eq!(empty.refusal(), "`afd` got an empty batch: [0, 1, 1, 1]");
    let none = bench().input_list("student", &[]);
    assert_eq!(none.refusal(), "`afd` wants a tap or more of each network, got 0 and 2");
    let error = Bench::distiller::<Afd>(r#"{"qk_dim": 0}"#).err().expect("refused").to_string();
    assert_eq!(error, "`qk_dim` must be at least 1");
    let error = Bench::distiller::<Afd>(r#"{"dim": 3}"#).err().expect("refused").to_string();
    assert!(error.contains("unknown field `dim`"), "{error}");
}
