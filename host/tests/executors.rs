//! Trainings on both executors: the same losses, step by step.

mod support;

use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use stillhouse::exec::Network;
use stillhouse::model::{Frame, build_short, build_table};
use stillhouse::ops::ParamSet;
use stillhouse::train::{Fields, view_field};
use support::small::{PAIR, planned, setup, steps};

const DISTIL: &str = r#"optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9, weight_decay = 5e-4, nesterov = true }
terms.task = { use = "cross_entropy", weight = 0.2 }
terms.kd = { use = "kd", temperature = 4.0, weight = 0.8 }
terms.hint = { use = "mse", student = "layer2", teacher = "layer2", connector = "conv_regressor" }
"#;

/// Four batches, again and again: values in -1 to 1, the same on each run.
fn batches(passes: &[String], count: usize) -> Vec<Fields> {
    let value = |at: usize| ((at as f64 * 0.618_033_988_75).fract() * 2.0 - 1.0) as f32;
    let batch = |step: usize| {
        let len = 16 * 3 * 12 * 12;
        let x = (0..len).map(|at| value(at * 31 + step % 4 * 7919 + 17)).collect::<Vec<_>>();
        let x = Tensor::from_vec(x, (16, 3, 12, 12), &Device::Cpu).expect("fits");
        let labels = Tensor::from_vec((0..16i64).map(|at| (at * 3 + step as i64 % 4) % 10).collect(), 16, &Device::Cpu);
        let views = passes.iter().map(|view| (view_field(view), x.clone()));
        views.chain([("label".to_owned(), labels.expect("fits"))]).collect()
    };
    (0..count).map(batch).collect()
}

fn losses(executor: &str, threads: usize) -> Vec<f64> {
    let text = format!("{PAIR}{DISTIL}[run]\nexecutor = \"{executor}\"\n");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    pool.install(|| {
        let setup = setup(&text, &[3, 12, 12], 10, &[], DType::F32);
        let run = planned(&setup);
        let views: Vec<String> = run.stages[1].passes.values().map(|pass| pass.view.clone()).collect();
        steps(&setup, &run, 1, &run.models, &batches(&views, 50))
    })
}

#[test]
fn losses_of_fifty_steps_are_the_same_on_both_executors() {
    let (fast, candle) = (losses("fast", 2), losses("candle", 2));
    assert!(candle[49] < 0.7 * candle[0], "it learns: {candle:?}");
    let worst = fast.iter().zip(&candle).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max);
    // Each step enlarges what rounding begins: 5e-4 where there are no vectors.
    assert!(worst < 1e-3, "relative difference {worst}: {fast:?}, candle {candle:?}");
    assert!((fast[0] - candle[0]).abs() < 1e-5 * candle[0].abs());
}

#[test]
fn losses_do_not_depend_on_the_threads() {
    assert_eq!(losses("auto", 1), losses("fast", 3));
}

#[test]
fn networks_of_the_examples_have_a_kernel_for_every_layer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut models = 0;
    let entries = std::fs::read_dir(folder).expect("examples").flatten();
    for entry in entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "toml")) {
        let text = std::fs::read_to_string(entry.path()).expect("reads");
        let table: toml::Table = text.parse().expect("TOML");
        // A sweep has the networks of its manifest, and so has a manifest that extends another.
        let models_of = table.get("models").and_then(toml::Value::as_table);
        let has_others = table["manifest"].is_str() || table.contains_key("extends");
        assert!(models_of.is_some() || has_others, "{}", entry.path().display());
        for (name, model) in models_of.into_iter().flatten() {
            let arch: serde_json::Value = serde_json::to_value(&model["arch"]).expect("an architecture");
            let mut options = arch.as_object().expect("a table").clone();
            let kind = options.remove("kind").and_then(|kind| kind.as_str().map(str::to_owned)).expect("a kind");
            // Pictures, or two frames side by side.
            let channels = if kind == "two_stream" { 2 } else { 1 };
            let frame = Frame { input: vec![channels, 28, 28], classes: 10 };
            options.remove("classes");
            let graph = match options.is_empty() {
                true => build_short(&kind, &frame),
                false => build_table(&kind, &options, &frame),
            };
            let graph = graph.unwrap_or_else(|error| panic!("{}: {}", entry.path().display(), error.message));
            let params = Rc::new(ParamSet::new(name, 1, DType::F32, &Device::Cpu));
            let network = Network::new(name, graph, params, false, BTreeMap::new()).expect("fits");
            assert_eq!(network.fallbacks(), [""; 0], "{}: {name}", entry.path().display());
            models += 1;
        }
    }
    assert!(models >= 4);
}
