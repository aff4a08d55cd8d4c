//! Tests of the losses between samples.
#![allow(missing_docs)]

use stillhouse_plugin::sdk::Loss;
use stillhouse_plugin::testing::{Bench, golden::Case, numbers};
use stillhouse_similarity::{Cc, Pkt, Sp};

/// Four samples of three features on both sides.
fn bench<T: Loss>(config: &str) -> Bench {
    let bench = Bench::loss::<T>(config).expect("a right configuration");
    bench.input("student", &[4, 3], &numbers(1.0, 12)).input("teacher", &[4, 3], &numbers(2.0, 12))
}

fn given<T: Loss>(student: &[f64], teacher: &[f64]) -> Bench {
    bench::<T>("{}").input("student", &[4, 3], student).input("teacher", &[4, 3], teacher)
}

#[track_caller]
fn check_golden<T: Loss>(name: &str) -> stillhouse_plugin::testing::Run {
    let case = Case::open(format!("../../tests/golden/cases/{name}")).expect("reads");
    let bench = Bench::loss::<T>("{}").expect("configured");
    case.check(case.given(bench))
}

#[test]
fn golden_similarity_cases_match() {
    let run = check_golden::<Sp>("sp_feature_map");
    assert_eq!(run.emitted("per_layer").values, [run.loss()]);
    check_golden::<Pkt>("pkt_n8");
    check_golden::<Cc>("cc_n6");
}

#[test]
fn sp_of_two_samples_matches_by_hand() {
    // Student rows (2, 0), (1, 1): G = (4, 2), (2, 2); teacher orthogonal: (1, 0), (0, 1).
    let run = { bench::<Sp>("{}").input("student", &[2, 2], &[2.0, 0.0, 1.0, 1.0]) }
        .input("teacher", &[2, 2], &[1.0, 0.0, 0.0, 1.0])
        .run()
        .expect("runs");
    let (a, b) = (20f64.sqrt(), 8f64.sqrt());
    let wanted = (4.0 / a - 1.0).powi(2) + (2.0 / a).powi(2) + (2.0 / b).powi(2) + (2.0 / b - 1.0).powi(2);
    assert!((run.loss() - wanted / 4.0).abs() < 1e-14);
}

#[test]
fn sp_of_several_taps_is_their_sum() {
    let [a, b] = [1.0, 5.0].map(|seed| numbers(seed, 12));
    let [c, d] = [2.0, 6.0].map(|seed| numbers(seed, 12));
    let of = |student: &[f64], teacher: &[f64]| given::<Sp>(student, teacher).run().expect("runs").loss();
    let both = { bench::<Sp>("{}").input_list("student", &[(&[4, 3], &a), (&[4, 3], &b)]) }
        .input_list("teacher", &[(&[4, 3], &c), (&[4, 3], &d)])
        .run()
        .expect("runs");
    assert!((both.loss() - of(&a, &c) - of(&b, &d)).abs() < 1e-14);
    assert_eq!(both.emitted("per_layer").values.len(), 2);
}

#[test]
fn pkt_of_two_samples_matches_by_hand() {
    // Cosine 0 of the student: k = (1, 1/2), q = (2/3, 1/3) up to 1e-7; cosine 1 of the teacher: p = (1/2, 1/2).
    let run = { bench::<Pkt>("{}").input("student", &[2, 2], &[3.0, 0.0, 0.0, 7.0]) }
        .input("teacher", &[2, 1], &[1.0, 1.0])
        .run()
        .expect("runs");
    let wanted = 0.25 * ((0.75f64).ln() + (1.5f64).ln());
    assert!((run.loss() - wanted).abs() < 1e-6);
}

#[test]
fn cc_with_embeddings_maps_both_sides() {
    let bench = Bench::loss::<Cc>(r#"{"embed_dim": 1}"#).expect("configured");
    let bench = bench
        .input("student", &[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0])
        .input("teacher", &[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
        .param("embed_student.weight", &[1.0, 1.0])
        .param("embed_student.bias", &[0.5])
        .param("embed_teacher.weight", &[2.0, 1.0, 1.0])
        .param("embed_teacher.bias", &[0.0]);
    // Student 3.5 and 7.5, teacher 2 and 2.
    let run = { bench }.run().expect("runs");
    assert_eq!((run.loss(), run.grad("student")), (8.25, &[5.5, 5.5, 1.5, 1.5][..]));
    assert_eq!(run.grad_param("embed_teacher.bias"), [-7.0]);
}

#[test]
fn similarity_gradients_match_finite_differences() {
    bench::<Sp>("{}").check_gradients(1e-6).expect("gradients agree");
    bench::<Pkt>("{}").check_gradients(1e-6).expect("gradients agree");
    bench::<Cc>("{}").check_gradients(1e-6).expect("gradients agree");
    bench::<Cc>(r#"{"embed_dim": 2}"#).check_gradients(1e-6).expect("gradients agree");
}

#[test]
fn prop_sp_and_pkt_ignore_the_scale_of_the_features() {
    for seed in 0..10 {
        let (student, teacher) = (numbers(f64::from(seed), 12), numbers(f64::from(seed) + 0.5, 12));
        let scaled: Vec<f64> = student.iter().map(|value| value * 9.0).collect();
        let sp = |student: &[f64]| given::<Sp>(student, &teacher).run().expect("runs").loss();
        assert!(sp(&student) >= 0.0 && (sp(&student) - sp(&scaled)).abs() < 1e-12);
        let pkt = |student: &[f64]| given::<Pkt>(student, &teacher).run().expect("runs").loss();
        assert!(pkt(&student) >= 0.0 && (pkt(&student) - pkt(&scaled)).abs() < 1e-6);
    }
}

#[test]
fn similarity_of_equal_features_is_zero() {
    fn check<T: Loss>(floor: f64) {
        let values = numbers(3.0, 12);
        let run = given::<T>(&values, &values).run().expect("runs");
        assert_eq!(run.loss(), 0.0);
        assert!(run.grad("student").iter().all(|grad| grad.abs() < floor));
    }
    check::<Sp>(1e-12);
    // The 1e-7 beside the probabilities moves the minimum that far.
    check::<Pkt>(1e-7);
    check::<Cc>(1e-12);
}

#[test]
fn similarity_of_zeros_duplicates_and_extremes_is_finite() {
    fn check<T: Loss>() {
        let teacher = numbers(2.0, 12);
        let mut one_dead = numbers(1.0, 12);
        one_dead[3..6].fill(0.0);
        let tiny: Vec<f64> = numbers(1.0, 12).iter().map(|value| value * 1e-30).collect();
        let large: Vec<f64> = numbers(1.0, 12).iter().map(|value| value * 1e60).collect();
        for student in [vec![0.0; 12], vec![2.0; 12], one_dead, tiny, large] {
            let run = given::<T>(&student, &teacher).run().expect("finite");
            let bound = 1e2 * student.iter().fold(1f64, |most, value| value.abs().max(most));
            assert!(run.grad("student").iter().all(|grad| grad.abs() < bound), "{run:?}");
        }
        let alone = { bench::<T>("{}").input("student", &[1, 3], &[1.0; 3]) }.input("teacher", &[1, 3], &[2.0; 3]);
        let run = { alone }.run().expect("finite");
        assert!(run.loss().abs() < 1e-12 && run.grad("student").iter().all(|grad| grad.abs() < 1e-12), "{run:?}");
    }
    check::<Sp>();
    check::<Pkt>();
    check::<Cc>();
}

#[test]
fn similarity_losses_are_coupled_over_the_batch() {
    assert!(bench::<Sp>("{}").desc().batch_coupled);
    assert!(bench::<Pkt>("{}").desc().batch_coupled && bench::<Cc>("{}").desc().batch_coupled);
}

#[test]
fn similarity_of_wrong_inputs_and_settings_is_error() {
    let batches = bench::<Sp>("{}").input("teacher", &[3, 3], &[0.0; 9]);
    assert!(batches.refusal().starts_with("`sp` got batches that differ in samples (dim 0)\n  student: [4, 3]"));
    let empty = bench::<Pkt>("{}").input("student", &[0, 3], &[]).input("teacher", &[0, 3], &[]);
    assert_eq!(empty.refusal(), "`pkt` got an empty batch: [0, 3]");
    let features = bench::<Cc>("{}").input("teacher", &[4, 2], &[0.0; 8]);
    assert!(features.refusal().starts_with("`cc` got features that differ\n  student: [4, 3]\n  teacher: [4, 2]"));
    let error = Bench::loss::<Cc>(r#"{"embed_dim": 0}"#).err().expect("refused").to_string();
    assert_eq!(error, "`embed_dim` must be at least 1");
    let error = Bench::loss::<Sp>(r#"{"eps": 1}"#).err().expect("refused").to_string();
    assert!(error.contains("unknown field `eps`"), "{error}");
}
