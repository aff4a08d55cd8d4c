//! Tests of contrastive representation distillation.
#![allow(missing_docs)]

use stillhouse_crd::Crd;
use stillhouse_plugin::testing::{Array, Bench, golden::Case, numbers};

fn configured(config: &str) -> Bench {
    Bench::loss::<Crd>(config).expect("a right configuration")
}

const SMALL: &str = r#"{"feat_dim": 2, "negatives": 3, "temperature": 0.5, "momentum": 0.25}"#;

/// Two samples with identity embeddings of two features, and memories of unit rows.
fn bench(samples: usize) -> Bench {
    let memory = |seed: f64| {
        numbers(seed, samples).iter().flat_map(|angle| [(3.0 * angle).cos(), (3.0 * angle).sin()]).collect::<Vec<_>>()
    };
    configured(SMALL)
        .samples(samples as u64)
        .input("student", &[2, 2], &[3.0, 4.0, 0.0, 2.0])
        .input("teacher", &[2, 2], &[1.0, 0.0, 0.5, 0.5])
        .labels("index", &[4, 1])
        .array("contrast_index", &Array::whole(&[2, 4], &[4, 0, 2, 3, 1, 3, 5, 5]))
        .param("embed_student.weight", &[1.0, 0.0, 0.0, 1.0])
        .param("embed_teacher.weight", &[1.0, 0.0, 0.0, 1.0])
        .param("embed_student.bias", &[0.0; 2])
        .param("embed_teacher.bias", &[0.0; 2])
        .buffer("memory_student", &memory(1.0))
        .buffer("memory_teacher", &memory(2.0))
}

#[test]
fn golden_crd_cases_match() {
    for name in ["crd_first_step", "crd_later_step"] {
        let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
        let samples = case.hyperparameter("n_data").as_u64().expect("a number");
        let mut bench = configured(r#"{"feat_dim": 5, "negatives": 7}"#)
            .samples(samples)
            .array("student", case.array("input.student.0"))
            .array("teacher", case.array("input.teacher.0"))
            .array("index", case.array("input.index"))
            .array("contrast_index", case.array("input.contrast_index"));
        let params = [("embed_student", "embed_s.linear"), ("embed_teacher", "embed_t.linear")];
        for (own, official) in params {
            for part in ["weight", "bias"] {
                bench = bench.param(&format!("{own}.{part}"), &case.array(&format!("param.{official}.{part}")).values);
            }
        }
        for buffer in ["memory_student", "memory_teacher", "z"] {
            bench = bench.buffer(buffer, &case.array(&format!("buffer.{buffer}")).values);
        }
        let run = bench.ran();
        case.assert_values("out.loss", &[run.loss()]);
        case.assert_gradient("grad.input.student.0", run.grad("student"));
        for (own, official) in params {
            for part in ["weight", "bias"] {
                let grad = run.grad_param(&format!("{own}.{part}"));
                case.assert_gradient(&format!("grad.param.{official}.{part}"), grad);
            }
        }
        case.assert_values("buffer_after.z", run.buffer_after("z"));
        for buffer in ["memory_student", "memory_teacher"] {
            case.assert_values(&format!("buffer_after.{buffer}"), run.buffer_after(buffer));
        }
    }
}

/// The loss by plain loops, with the normalisers that are given, or those of a first batch.
fn naive(samples: usize, z: Option<[f64; 2]>) -> (f64, [f64; 2]) {
    let embeddings = [[[0.6, 0.8], [0.0, 1.0]], [[1.0, 0.0], [0.5f64.sqrt(), 0.5f64.sqrt()]]];
    let memory = |seed: f64, row: usize| {
        let angle = 3.0 * numbers(seed, samples)[row];
        [angle.cos(), angle.sin()]
    };
    let rows = [[4, 0, 2, 3], [1, 3, 5, 5]];
    let (mut loss, mut normalisers) = (0.0, [0.0; 2]);
    for side in 0..2 {
        let raw: Vec<Vec<f64>> = (0..2)
            .map(|n| {
                let product = |row: usize| {
                    let (v, m) = (embeddings[side][n], memory(2.0 - side as f64, row));
                    ((v[0] * m[0] + v[1] * m[1]) / 0.5f64).exp()
                };
                rows[n].iter().map(|row| product(*row)).collect()
            })
            .collect();
        normalisers[side] =
            z.map_or_else(|| raw.concat().iter().sum::<f64>() / 8.0 * samples as f64, |given| given[side]);
        let c = 3.0 / samples as f64;
        for sample in &raw {
            let p: Vec<f64> = sample.iter().map(|value| value / normalisers[side]).collect();
            loss -= (p[0] / (p[0] + c + 1e-7)).ln() / 2.0;
            loss -= p[1..].iter().map(|p| (c / (p + c + 1e-7)).ln()).sum::<f64>() / 2.0;
        }
    }
    (loss, normalisers)
}

#[test]
fn crd_matches_plain_loops_whether_rows_are_gathered_or_not() {
    // Up to 64 times the rows that are read all similarities are computed; above, rows are gathered first.
    for samples in [6, 256, 257, 400] {
        let run = bench(samples).ran();
        let (loss, z) = naive(samples, None);
        assert!((run.loss() - loss).abs() < 1e-12 * loss.abs(), "{samples}: {} {loss}", run.loss());
        assert!(run.buffer_after("z").iter().zip(z).all(|(got, wanted)| (got - wanted).abs() < 1e-9 * wanted));
        let later = bench(samples).buffer("z", &[90.0, 70.0]).ran();
        assert!((later.loss() - naive(samples, Some([90.0, 70.0])).0).abs() < 1e-11);
        assert_eq!(later.buffer_after("z"), [90.0, 70.0]);
    }
}

#[test]
fn crd_memories_move_towards_the_embeddings() {
    let run = bench(6).ran();
    let old = numbers(1.0, 6).iter().map(|angle| [(3.0 * angle).cos(), (3.0 * angle).sin()]).collect::<Vec<_>>();
    let after = run.buffer_after("memory_student");
    for (row, before) in old.iter().enumerate() {
        let embedding = match row {
            4 => Some([0.6, 0.8]),
            1 => Some([0.0, 1.0]),
            _ => None,
        };
        let wanted = embedding.map_or(*before, |v| {
            let moved = [0.25 * before[0] + 0.75 * v[0], 0.25 * before[1] + 0.75 * v[1]];
            let length = moved[0].hypot(moved[1]);
            [moved[0] / length, moved[1] / length]
        });
        assert!((after[2 * row] - wanted[0]).abs() < 1e-14 && (after[2 * row + 1] - wanted[1]).abs() < 1e-14);
    }
}

#[test]
fn crd_normalisers_are_kept_from_step_to_step() {
    let mut bench = bench(6);
    let first = bench.run().expect("runs");
    bench.adopt(&first);
    let second = bench.run().expect("runs");
    assert_eq!(first.buffer_after("z"), second.buffer_after("z"));
    assert_ne!(first.loss(), second.loss());
}

/// Drawn negatives: a memory whose rows tell their place, and an embedding that does not matter.
fn drawn(labels: Option<&[i64]>, classes: Option<&[f64]>) -> Bench {
    let config = r#"{"feat_dim": 1, "negatives": 40, "momentum": 0.0}"#;
    let mut bench = configured(config).samples(4).labels("index", &[0, 1]);
    bench = bench.input("student", &[2, 1], &[1.0, 1.0]).input("teacher", &[2, 1], &[1.0, 1.0]);
    bench = bench.param("embed_student.weight", &[1.0]).param("embed_student.bias", &[0.0]);
    bench = bench.param("embed_teacher.weight", &[1.0]).param("embed_teacher.bias", &[0.0]);
    // Only row 3 has a similarity that counts: the loss tells how often it was drawn.
    let memory = [0.0, 0.0, 0.0, 5.0];
    bench = bench.buffer("memory_student", &memory).buffer("memory_teacher", &memory).buffer("z", &[1.0, 1.0]);
    if let Some(labels) = labels {
        bench = bench.labels("label", labels);
    }
    match classes {
        Some(classes) => bench.buffer("classes", classes),
        None => bench,
    }
}

/// How many of the 160 negatives were of row 3.
fn of_row_3(bench: Bench) -> f64 {
    let (c, far) = (10.0, (5.0f64 / 0.07).exp());
    let wrong = |p: f64| -(c / (p + c + 1e-7f64)).ln();
    let positive = 4.0 * -(1.0 / (1.0 + c + 1e-7f64)).ln() / 2.0;
    // 2 L = 2 positive + (160 - n) wrong(1) + n wrong(far)
    (2.0 * bench.ran().loss() - 2.0 * positive - 160.0 * wrong(1.0)) / (wrong(far) - wrong(1.0))
}

#[test]
fn crd_negatives_are_drawn_from_all_samples() {
    let count = of_row_3(drawn(None, None));
    assert!((count - count.round()).abs() < 1e-6, "{count}");
    assert!((25.0..55.0).contains(&count), "{count}");
    assert_eq!(of_row_3(drawn(None, None)), count);
    assert_ne!(of_row_3(drawn(None, None).step(1)), count);
}

#[test]
fn crd_negatives_of_the_own_class_are_drawn_again() {
    let free = of_row_3(drawn(Some(&[0, 0]), None));
    let known = of_row_3(drawn(Some(&[0, 0]), Some(&[0.0, 1.0, 1.0, 0.0])));
    // Row 3 is of the samples' own class, as half of the rows are: two draws more leave a quarter of it.
    assert!(known < free / 2.0 && known > 0.0, "{known} of {free}");
    let run = drawn(Some(&[7, 9]), None).ran();
    assert_eq!(run.buffer_after("classes"), [7.0, 9.0, -1.0, -1.0]);
}

#[test]
fn crd_gradients_match_finite_differences() {
    bench(6).buffer("z", &[9.0, 7.0]).check_gradients(1e-6).expect("gradients agree");
    bench(300).buffer("z", &[90.0, 70.0]).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn crd_of_zeros_duplicates_and_extremes_is_finite() {
    for student in [[0.0; 4], [1.0; 4], [1e60, -1e60, 1e-60, 0.0]] {
        let run = bench(6).input("student", &[2, 2], &student).ran();
        assert!(run.grad("student").iter().all(|grad| grad.is_finite()), "{run:?}");
        assert!(run.buffer_after("memory_student").iter().all(|value| value.is_finite()));
    }
    let one = bench(6)
        .input("student", &[1, 2], &[1.0, 2.0])
        .input("teacher", &[1, 2], &[1.0, 2.0])
        .labels("index", &[3])
        .array("contrast_index", &Array::whole(&[1, 2], &[3, 3]));
    assert!(one.ran().loss().is_finite());
}

#[test]
fn crd_starts_with_random_unit_sized_memories() {
    let bench = configured("{}").samples(50).labels("index", &[0]);
    let bench = bench.input("student", &[1, 3], &[1.0; 3]).input("teacher", &[1, 2], &[1.0; 2]);
    let run = bench.ran();
    let memory = run.buffer_after("memory_teacher");
    assert_eq!(memory.len(), 50 * 128);
    let largest = memory[128..].iter().fold(0f64, |most, value| value.abs().max(most));
    assert!(largest <= (3f64 / 128.0).sqrt() && largest > 0.9 * (3f64 / 128.0).sqrt());
    assert!(run.loss().is_finite());
}

#[test]
fn crd_of_wrong_inputs_is_error() {
    assert_eq!(bench(6).labels("index", &[1]).refusal(), "`crd` wants an index [2], one for each sample, got [1]");
    assert!(bench(5).refusal().contains("5 is outside 0..5"));
    let none = bench(6).array("contrast_index", &Array::whole(&[2, 1], &[4, 1]));
    assert_eq!(none.refusal(), "`crd` wants a contrast_index [2, 1 + K] with one negative or more, got [2, 1]");
    let no_set = configured("{}").labels("index", &[0]).input("student", &[1, 1], &[1.0]);
    assert_eq!(
        no_set.input("teacher", &[1, 1], &[1.0]).refusal(),
        "`crd` keeps a row for each sample of the training set, and it has none"
    );
    let batches = bench(6).input("teacher", &[3, 2], &[0.0; 6]);
    assert!(batches.refusal().starts_with("`crd` got batches that differ in samples (dim 0)"));
}

#[test]
fn crd_of_wrong_settings_is_error() {
    let of = |config: &str| Bench::loss::<Crd>(config).err().expect("refused").to_string();
    assert_eq!(of(r#"{"feat_dim": 0}"#), "`feat_dim` must be at least 1");
    assert_eq!(of(r#"{"negatives": 0}"#), "`negatives` must be at least 1");
    assert_eq!(of(r#"{"temperature": 0}"#), "`temperature` must be finite and above 0, got 0");
    assert_eq!(of(r#"{"momentum": 1}"#), "`momentum` must be at least 0 and below 1, got 1");
    assert!(of(r#"{"nce_k": 3}"#).contains("unknown field `nce_k`"));
}

#[test]
fn crd_of_absurd_numbers_of_negatives_is_refused_when_bound() {
    let of = |negatives: &str| {
        let bench = Bench::loss::<Crd>(&format!(r#"{{"feat_dim": 2, "negatives": {negatives}}}"#)).expect("configured");
        let bench =
            bench.samples(10).input("student", &[4, 3], &numbers(1.0, 12)).input("teacher", &[4, 3], &numbers(2.0, 12));
        bench.labels("index", &[0, 1, 2, 3])
    };
    assert_eq!(
        of("1000000000").refusal(),
        "`crd` got `negatives` = 1000000000: a batch of 4 would be held against 4000000004 rows a step, 32.0 GB for each list of \
         them\n\nhint: at this batch `negatives` may be up to 8388607; 16384 is published"
    );
    assert!(of("18446744073709551615").refusal().contains("hint: at this batch"));
    of("50").finite();
}
