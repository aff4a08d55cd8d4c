//! Whole networks against PyTorch in float64 (`tests/golden/networks.py`): outputs and gradients, on both executors.
#![allow(missing_docs)]

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use stillhouse::exec::{Executor, Forward, Network, PassSpec};
use stillhouse::model::{Frame, build_table};
use stillhouse::ops::native::{Gradients, Record, squared_distance};
use stillhouse::ops::{Moment, ParamSet, run_op};
use stillhouse_plugin::op::Op;

/// The formula of `networks.py`.
fn values(count: usize, seed: usize) -> Vec<f64> {
    let value = |at: usize| (at * 7919 + seed * 104_729 + 17) as f64 * 0.618_033_988_75;
    (0..count).map(|at| (value(at) - value(at).floor()) * 2.0 - 1.0).collect()
}

fn seed_of(name: &str) -> usize {
    name.bytes().map(usize::from).sum::<usize>() % 1000
}

fn tensor(shape: &[usize], values: Vec<f64>, float: DType) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).and_then(|tensor| tensor.to_dtype(float)).expect("a tensor")
}

fn fill(params: &ParamSet) {
    for (name, entry) in params.entries() {
        let shape = entry.var.dims();
        let inner: usize = shape.iter().skip(1).product();
        let scaled = values(shape.iter().product(), seed_of(&name)).into_iter().map(|value| match name.as_str() {
            name if name.ends_with("running_var") => 1.0 + 0.3 * value,
            name if name.ends_with("running_mean") || is_bias(name) => 0.1 * value,
            _ if shape.len() == 1 => 1.0 + 0.2 * value,
            _ => value * (3.0 / inner as f64).sqrt(),
        });
        params.assign(&name, &tensor(shape, scaled.collect(), params.float())).expect("fits");
    }
}

fn is_bias(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.starts_with("bias"))
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all()?.to_vec1()).expect("values")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
}

#[track_caller]
fn near(what: &str, got: &[f64], wanted: &[f64], scale: f64, tolerance: f64) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (got, wanted) in got.iter().zip(wanted) {
        assert!((got - wanted).abs() <= tolerance * scale, "{what}: {got}, PyTorch gives {wanted} (scale {scale})");
    }
}

fn gradients(net: &Network, found: &Forward, store: &Gradients) -> BTreeMap<String, Vec<f64>> {
    match &found.tape {
        Some(tape) => {
            tape.backward(store).expect("gradients").into_iter().map(|grad| (grad.name, flat(&grad.value))).collect()
        }
        None => {
            let entries = net.params.entries().into_iter();
            entries.filter_map(|(name, entry)| Some((name, flat(store.get(&entry.var)?)))).collect()
        }
    }
}

fn check(case: &Value, executor: Executor, float: DType, tolerance: f64) {
    let name = case["name"].as_str().expect("a name");
    let mut options = case["arch"].as_object().expect("an architecture").clone();
    let kind = options.remove("kind").and_then(|kind| kind.as_str().map(str::to_owned)).expect("a kind");
    let [size, batch] = ["size", "batch"].map(|key| case[key].as_u64().expect("a number") as usize);
    let graph = build_table(&kind, &options, &Frame { input: vec![3, size, size], classes: 10 });
    let graph = graph.unwrap_or_else(|error| panic!("{}", error.message));
    let output = stillhouse::graph::Source::Layer(graph.output);
    let params = Rc::new(ParamSet::new("student", 1, float, &Device::Cpu));
    let net = Network::new("student", graph, params, false, BTreeMap::new()).expect("fits").run_by(executor);
    assert_eq!(net.executor(), executor);
    fill(&net.params);
    let x = tensor(&[batch, 3, size, size], values(batch * 3 * size * size, 1), float);
    let run = |spec: &PassSpec| net.forward(&x, spec, &Moment { training: spec.training, ..Moment::default() });
    let spec = PassSpec { want: vec![output.clone()], ..PassSpec::default() };
    for (training, wanted) in [(false, &case["evaluated"]), (true, &case["logits"])] {
        let found = run(&PassSpec { training, track: training, ..spec.clone() }).expect("runs");
        let (logits, wanted) = (&found.taps[&output][0], numbers(wanted));
        let scale = wanted.iter().fold(1.0f64, |most, value| most.max(value.abs()));
        near(&format!("{name}: logits, training {training}"), &flat(logits), &wanted, scale, tolerance);
        if training {
            let labels = Tensor::from_vec((0..batch as i64).map(|at| at % 10).collect(), batch, &Device::Cpu);
            let mut record = Record::default();
            record.watch(logits);
            let loss = || {
                let op = Op::CrossEntropy { smoothing: 0.0 };
                let losses = run_op(&op, &[logits, labels.as_ref().expect("labels")], &Device::Cpu)?;
                run_op(&Op::Mean { keep: false, dims: vec![] }, &[&losses[0]], &Device::Cpu)
            };
            let loss = record.during(loss).expect("a loss").remove(0);
            let one = loss.ones_like().expect("a number");
            let store = record.gradients(&[(loss.clone(), one)]).expect("gradients");
            near(name, &flat(&loss), &[case["loss"].as_f64().expect("a loss")], 1.0, tolerance);
            // Single precision moves activations over corners: PyTorch's own error is the measure.
            let single = case["single"].as_f64().expect("a number");
            let allowed = if float == DType::F64 { tolerance } else { 4.0 * single };
            check_gradients(name, &gradients(&net, &found, &store), &case["gradients"], allowed);
        }
    }
}

fn check_gradients(name: &str, got: &BTreeMap<String, Vec<f64>>, wanted: &Value, tolerance: f64) {
    let wanted = wanted.as_object().expect("gradients");
    assert_eq!(got.len(), wanted.len(), "{name}: parameters with a gradient");
    for (parameter, values_of) in got {
        let wanted = numbers(&wanted[parameter]);
        let others = values(values_of.len(), seed_of(parameter) + 1);
        let norm = values_of.iter().map(|value| value * value).sum::<f64>().sqrt();
        let product: f64 = values_of.iter().zip(&others).map(|(a, b)| a * b).sum();
        // A product of vectors is as uncertain as their lengths.
        let scale = wanted[0].max(1e-3) * (values_of.len() as f64).sqrt().max(1.0) * 0.58;
        near(&format!("{name}: norm of {parameter}"), &[norm], &wanted[..1], wanted[0].max(1e-3), tolerance);
        near(&format!("{name}: gradient of {parameter}"), &[product], &wanted[1..], scale, tolerance);
    }
}

/// Length of a vector, and its product with values of the formula.
fn near_sketch(what: &str, got: &[f64], wanted: &Value, seed: usize, tolerance: f64) {
    let (wanted, others) = (numbers(wanted), values(got.len(), seed));
    let norm = got.iter().map(|value| value * value).sum::<f64>().sqrt();
    let product: f64 = got.iter().zip(&others).map(|(a, b)| a * b).sum();
    near(what, &[norm, product], &wanted, wanted[0].max(1e-3), tolerance);
}

fn check_sequence(case: &Value, executor: Executor, float: DType, tolerance: f64) {
    let name = case["name"].as_str().expect("a name");
    let mut options = case["arch"].as_object().expect("an architecture").clone();
    let kind = options.remove("kind").and_then(|kind| kind.as_str().map(str::to_owned)).expect("a kind");
    let frame: Vec<usize> = numbers(&case["frame"]).into_iter().map(|size| size as usize).collect();
    let shape = [&[3, 4], &frame[..]].concat();
    let graph = build_table(&kind, &options, &Frame { input: frame, classes: 3 }).expect("builds");
    let output = stillhouse::graph::Source::Layer(graph.output);
    let tap = graph.tap(case["tap"].as_str().expect("a tap")).expect("is there");
    let params = Rc::new(ParamSet::new("student", 1, float, &Device::Cpu));
    let net = Network::new("student", graph, params, true, BTreeMap::new()).expect("fits").run_by(executor);
    fill(&net.params);
    let x = tensor(&shape, values(shape.iter().product(), 1), float);
    let spec = PassSpec { training: true, track: true, want: vec![output.clone(), tap.clone()], ..PassSpec::default() };
    let found = net.forward(&x, &spec, &Moment { training: true, ..Moment::default() }).expect("runs");
    for (point, key, seed) in [(&output, "outputs", 5), (&tap, "memories", 6)] {
        for (at, value) in found.taps[point].iter().enumerate() {
            near_sketch(&format!("{name}: {key} {at}"), &flat(value), &case[key][at], seed, tolerance);
        }
    }
    let mut record = Record::default();
    let term = |(at, value): (usize, &Tensor)| {
        record.watch(value);
        let target = tensor(value.dims(), values(value.elem_count(), 2 + at), float);
        let term = record.during(|| squared_distance(value, &target, 1.0 / value.elem_count() as f64)).expect("a loss");
        (term.clone(), term.ones_like().expect("a number"))
    };
    let terms: Vec<_> = found.taps[&output].iter().enumerate().map(term).collect();
    let got = gradients(&net, &found, &record.gradients(&terms).expect("gradients"));
    assert_eq!(got.len(), case["gradients"].as_object().expect("gradients").len(), "{name}");
    for (parameter, values) in got {
        let seed = seed_of(&parameter) + 1;
        near_sketch(&format!("{name}: {parameter}"), &values, &case["gradients"][&parameter], seed, tolerance);
    }
}

#[test]
fn networks_over_time_equal_pytorch_in_outputs_memories_and_gradients() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/networks.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("is there")).expect("reads");
    let sequences = file["sequences"].as_array().expect("sequences");
    assert_eq!(sequences.len(), 4);
    for case in sequences {
        check_sequence(case, Executor::Candle, DType::F64, 1e-9);
        check_sequence(case, Executor::Fast, DType::F32, 1e-5);
    }
}

#[test]
fn networks_equal_pytorch_in_outputs_and_gradients() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/networks.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("is there")).expect("reads");
    for case in file["cases"].as_array().expect("cases") {
        check(case, Executor::Candle, DType::F64, 1e-9);
        check(case, Executor::Fast, DType::F32, 1e-4);
    }
}
