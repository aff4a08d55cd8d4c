//! A loss that amplifies rounding: both executors beside the same training in `f64`.
#![allow(missing_docs)]

mod support;

use candle_core::{DType, Device, Tensor};
use stillhouse::train::{Fields, Stepper, view_field};
use support::small::{PAIR, moment, optimizers, planned, setup};

const DISTIL: &str = r#"optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9 }
terms.task = { use = "cross_entropy" }
terms.nst = { use = "nst", student = "LAYER", teacher = "LAYER", weight = 50 }
"#;

/// Batches of smooth pictures, the same on each run; `change` is by how much their pixels differ from them.
fn batches(views: &[String], count: usize, float: DType, change: f64) -> Vec<Fields> {
    let batch = |step: usize| {
        let pixel = |at: usize| {
            let (sample, place) = (at / 64 + 16 * step, at % 64);
            let exact =
                (sample as f64 * 1.7 + place as f64 * 0.37).sin() + (sample as f64 * 0.3 * (place / 8) as f64).cos();
            f64::from(exact as f32) + change * (at as f64).sin()
        };
        let x = Tensor::from_vec((0..16 * 64).map(pixel).collect(), (16, 1, 8, 8), &Device::Cpu);
        let x = x.and_then(|x| x.to_dtype(float)).expect("fits");
        let labels = Tensor::from_vec((0..16i64).map(|at| (at * 3 + step as i64) % 10).collect(), 16, &Device::Cpu);
        let views = views.iter().map(|view| (view_field(view), x.clone()));
        views.chain([("label".to_owned(), labels.expect("fits"))]).collect()
    };
    (0..count).map(batch).collect()
}

/// Norm of the gradient of the term `nst` at each step.
fn norms(layer: &str, executor: &str, float: DType, steps: usize, change: f64) -> Vec<f64> {
    let text = format!("{PAIR}{}[run]\nexecutor = \"{executor}\"\n", DISTIL.replace("LAYER", layer));
    let setup = setup(&text, &[1, 8, 8], 10, &[], float);
    let run = planned(&setup);
    let stage = &run.stages[1];
    let views: Vec<String> = stage.passes.values().map(|pass| pass.view.clone()).collect();
    let mut optimizers = optimizers(&setup, &run, 1);
    let mut stepper = Stepper::new(stage, &run.models, &mut optimizers);
    let step = |(at, fields): (usize, &Fields)| {
        let report = stepper.step(fields, &moment(stage, at), 1.0, true).expect("steps");
        report.terms[1].gradient_norm.expect("was asked for")
    };
    batches(&views, steps, float, change).iter().enumerate().map(step).collect()
}

/// Largest relative difference of two series.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max)
}

#[test]
fn gradients_of_one_step_are_those_of_f64_on_both_executors() {
    for layer in ["layer1", "layer2", "layer3"] {
        let exact = norms(layer, "candle", DType::F64, 1, 0.0);
        for executor in ["fast", "candle"] {
            let error = apart(&norms(layer, executor, DType::F32, 1, 0.0), &exact);
            assert!(error < 1e-4, "{layer}, {executor}: {error}");
        }
    }
}

#[test]
fn executors_part_no_further_than_f64_from_itself() {
    // The same training in f64 on pictures that are changed by as little as f32 rounds.
    let series = |layer: &str, executor: &str, float, change| norms(layer, executor, float, 8, change);
    for (layer, least, most) in [("layer1", 0.0, 1e-5), ("layer3", 1e-4, 1.0)] {
        let exact = series(layer, "candle", DType::F64, 0.0);
        let own = apart(&series(layer, "candle", DType::F64, 1e-6), &exact);
        assert!(own > least && own < most, "{layer}: f64 parts from itself by {own}");
        for executor in ["fast", "candle"] {
            let error = apart(&series(layer, executor, DType::F32, 0.0), &exact);
            println!("{layer}: f64 from itself {own:.1e}, {executor} {error:.1e}");
            assert!(error < most && error < 1e3 * own.max(1e-8), "{layer}, {executor}: {error}, f64 from itself {own}");
        }
    }
}
