//! The components in process, in f64.
#![allow(missing_docs)]

use general::{ConvLstmCell, EveryFrame, FusedFour, GatedCell, ParameterPull, ReadsValue, ReadsWithoutSaying, RowBank};
use stillhouse_plugin::Result;
use stillhouse_plugin::testing::Bench;

#[test]
fn fused_four_gradients_equal_finite_differences() -> Result<()> {
    let student = [0.3, -1.2, 0.7, 0.1, 2.0, -0.4];
    let teacher = [0.5, 0.25, -0.75, 1.5, 1.0, 0.0];
    let mut bench = Bench::loss::<FusedFour>("{}")?
        .input("student", &[2, 3], &student)
        .input("teacher", &[2, 3], &teacher)
        .param("scale", &[1.5, -0.5, 0.8])
        .param("shift", &[0.1, 0.2, -0.3]);
    let run = bench.run()?;
    let square = |at: usize| {
        let (scale, shift) = ([1.5, -0.5, 0.8][at % 3], [0.1, 0.2, -0.3][at % 3]);
        (scale * student[at] + shift - teacher[at]) * (scale * student[at] + shift - teacher[at])
    };
    let wanted = (0..6).map(square).sum::<f64>() / 6.0;
    assert!((run.loss() - wanted).abs() < 1e-12, "{} {wanted}", run.loss());
    assert_eq!(run.grad("teacher"), [0.0; 6]);
    bench.check_gradients(1e-6)
}

#[test]
fn gated_cell_gradients_through_three_frames_equal_finite_differences() -> Result<()> {
    let frames: [&[f64]; 3] = [&[0.5, -0.25], &[1.0, 0.3], &[-0.7, 0.9]];
    let mut bench = Bench::module::<GatedCell>("{}")?
        .series("input", &[1, 2], &frames)
        .input("replaced", &[1, 2], &[0.0, 0.0])
        .param("forget.bias", &[0.4, -0.2]);
    let run = bench.run()?;
    let gate = run.result_at("gate", 0).values[0];
    assert!(gate > 0.0 && gate < 1.0, "{gate}");
    assert_ne!(run.result_at("output", 0).values, run.output().values);
    bench.check_gradients(1e-6)
}

#[test]
fn every_frame_is_the_mean_over_frames() -> Result<()> {
    let frames: [&[f64]; 2] = [&[1.0, 3.0], &[0.0, 2.0]];
    let run = Bench::loss::<EveryFrame>(r#"{"target": 1.0}"#)?.series("student", &[1, 2], &frames).run()?;
    assert_eq!((run.loss(), run.grad_at("student", 0)), (1.5, &[0.0, 1.0][..]));
    assert_eq!(run.logged().len(), 1);
    Ok(())
}

#[test]
fn parameter_pull_remembers_the_start() -> Result<()> {
    let first = |values: &[f64]| {
        Ok::<_, stillhouse_plugin::Error>(Bench::loss::<ParameterPull>(r#"{"to_teacher": 2.0}"#)?.input(
            "own",
            &[2],
            values,
        ))
    };
    let run = first(&[3.0, 1.0])?.input("other", &[2], &[1.0, 1.0]).run()?;
    assert_eq!((run.loss(), run.grad("own"), run.buffer_after("start")), (4.0, &[4.0, 0.0][..], &[3.0, 1.0][..]));
    let later = first(&[3.0, 1.0])?.buffer("start", &[1.0, 1.0]).step(1).run()?;
    assert_eq!((later.loss(), later.grad("own")), (2.0, &[2.0, 0.0][..]));
    Ok(())
}

#[test]
fn row_bank_first_sight_stores_and_later_sight_pulls() -> Result<()> {
    let bench = || Bench::loss::<RowBank>(r#"{"momentum": 0.75}"#);
    let mut first = bench()?.samples(3).input("student", &[1, 2], &[4.0, 0.0]).labels("index", &[2]);
    let run = first.run()?;
    assert_eq!((run.loss(), run.buffer_after("seen")), (0.0, &[0.0, 0.0, 1.0][..]));
    assert_eq!(run.buffer_after("rows"), [0.0, 0.0, 0.0, 0.0, 4.0, 0.0]);
    let mut second = bench()?.samples(3).input("student", &[1, 2], &[0.0, 0.0]).labels("index", &[2]);
    second.adopt(&run);
    let run = second.run()?;
    assert_eq!((run.loss(), run.grad("student")), (8.0, &[-4.0, 0.0][..]));
    assert_eq!(run.buffer_after("rows")[4..], [3.0, 0.0]);
    Ok(())
}

#[test]
fn reads_value_leaves_large_losses_out() -> Result<()> {
    let logits = [0.0, 0.0, 0.0, 50.0];
    let bench = |threshold: f64| {
        let bench = Bench::loss::<ReadsValue>(&format!(r#"{{"threshold": {threshold}}}"#))?;
        bench.input("student", &[2, 2], &logits).labels("label", &[0, 0]).run()
    };
    assert!((bench(1.0)?.loss() - 2f64.ln()).abs() < 1e-12);
    assert_eq!(bench(1.0)?.grad("student")[2..], [0.0, 0.0]);
    assert_eq!(bench(0.1)?.loss(), 0.0);
    Ok(())
}

#[test]
fn reads_without_saying_is_refused() -> Result<()> {
    let run = Bench::loss::<ReadsWithoutSaying>("{}")?.input("student", &[1, 1], &[1.0]).run();
    assert!(run.err().is_some_and(|error| error.message().contains("dynamic")));
    Ok(())
}

#[test]
fn conv_lstm_cell_gradients_through_three_frames_equal_finite_differences() -> Result<()> {
    let frames: [&[f64]; 3] = [&[0.5, -0.25, 0.1, 0.8], &[1.0, 0.3, -0.6, 0.2], &[-0.7, 0.9, 0.4, -0.1]];
    let mut bench = Bench::module::<ConvLstmCell>(r#"{"kernel": 3}"#)?.series("input", &[1, 1, 2, 2], &frames).input(
        "replaced",
        &[1, 2, 2, 2],
        &[0.0; 8],
    );
    let run = bench.run()?;
    assert_ne!(run.result_at("output", 0).values, run.output().values);
    assert_eq!(run.result_at("cell", 0).values.len(), 8);
    bench.check_gradients(1e-6)
}

#[test]
fn conv_lstm_cell_of_an_even_kernel_is_error() {
    let error = Bench::module::<ConvLstmCell>(r#"{"kernel": 2}"#).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("`kernel` must be odd, got 2")));
}
