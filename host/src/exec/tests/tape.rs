//! The fast executor against candle's in `f64`: values, gradients, statistics.

use super::{assert_near, chain, kind, network, sample, start};
use crate::exec::{Executor, Forward, Network, PassSpec};
use crate::graph::{Graph, GraphBuilder, Source};
use crate::model::{Frame, build_table};
use crate::ops::{ParamKind, Staged, native, tests::flat};
use candle_core::{DType as CandleType, Tensor};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

/// The same network on both executors, with scales and shifts that are not those of a fresh one.
pub(super) fn both(graph: &Graph) -> [Network; 2] {
    let fast = network(graph.clone(), CandleType::F32).run_by(Executor::Fast);
    let slow = network(graph.clone(), CandleType::F64);
    assert_eq!(slow.executor(), Executor::Candle);
    for (at, (name, entry)) in fast.params.entries().into_iter().enumerate() {
        if entry.var.rank() == 1 {
            fast.params.assign(&name, &sample(entry.var.dims(), at).affine(0.4, 1.0).unwrap()).unwrap();
        }
        slow.params.assign(&name, &fast.params.get(&name).unwrap().var.to_dtype(CandleType::F64).unwrap()).unwrap();
    }
    [fast, slow]
}

/// Sum of the taps, each element with its own factor, and its gradients.
pub(super) fn objective(net: &Network, found: &Forward, taps: &[&str]) -> (f64, native::Gradients) {
    let values = taps.iter().flat_map(|tap| &found.taps[&net.graph.tap(tap).expect("a tap")]);
    let mut record = native::Record::default();
    let term = |(at, value): (usize, &Tensor)| {
        record.watch(value);
        let factors = sample(value.dims(), 31 + at).to_dtype(value.dtype()).unwrap();
        let dims: Vec<usize> = (0..value.rank()).collect();
        record.during(|| native::sum(&native::mul(value, &factors).unwrap(), &dims, false)).unwrap()
    };
    let terms: Vec<Tensor> = values.enumerate().map(term).collect();
    let sum = terms.iter().map(|term| flat(term)[0]).sum();
    let start = |term: Tensor| (term.clone(), term.ones_like().unwrap());
    (sum, record.gradients(&terms.into_iter().map(start).collect::<Vec<_>>()).unwrap())
}

/// Gradients by parameter.
pub(super) fn gradients(net: &Network, found: &Forward, taps: &[&str]) -> BTreeMap<String, Vec<f64>> {
    let (_, store) = objective(net, found, taps);
    let of_tape = found.tape.iter().flat_map(|tape| tape.backward(&store).unwrap()).collect::<Vec<_>>();
    let mut sums: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut add = |name: String, value: Tensor| {
        let sum = sums.remove(&name).map_or_else(|| value.clone(), |sum| (sum + &value).unwrap());
        sums.insert(name, sum);
    };
    for (prefix, set) in net.sets() {
        let here = of_tape.iter().filter(|gradient| Rc::ptr_eq(&gradient.params, &set));
        here.for_each(|gradient| add(format!("{prefix}{}", gradient.name), gradient.value.clone()));
        for (name, entry) in set.entries().into_iter().filter(|(_, entry)| entry.kind == ParamKind::Parameter) {
            if let Some(gradient) = store.get(&entry.var) {
                add(format!("{prefix}{name}"), gradient.clone());
            }
        }
    }
    sums.into_iter().map(|(name, sum)| (name, flat(&sum))).collect()
}

fn statistics(found: &Forward) -> BTreeMap<String, Vec<f64>> {
    let value = |staged: &crate::exec::StagedIn| match &staged.change {
        Staged::Whole { name, value } => (name.clone(), flat(value)),
        Staged::Rows { name, .. } => panic!("rows of {name}"),
    };
    found.staged.iter().map(value).collect()
}

#[derive(Default)]
pub(super) struct Case<'a> {
    pub(super) reverse_time: bool,
    pub(super) taps: &'a [&'a str],
    pub(super) frozen: &'a [&'a str],
    pub(super) training: bool,
}

#[track_caller]
pub(super) fn compare(graph: &Graph, batch: usize, case: &Case<'_>) {
    let shape: Vec<usize> = std::iter::once(batch).chain(graph.input.iter().copied()).collect();
    compare_nets(&both(graph), &shape, case);
}

#[track_caller]
fn compare_nets(nets: &[Network; 2], shape: &[usize], case: &Case<'_>) {
    let graph = &nets[0].graph;
    let want = case.taps.iter().map(|tap| graph.tap(tap).unwrap_or_else(|| panic!("no `{tap}`"))).collect();
    let names = nets[0].params.names(ParamKind::Parameter);
    let is_frozen = |name: &&String| case.frozen.iter().any(|prefix| name.starts_with(prefix));
    let frozen: HashSet<String> = names.iter().filter(is_frozen).cloned().collect();
    let reverse_time = case.reverse_time;
    let spec =
        PassSpec { training: case.training, track: true, want, frozen, reverse_time, bf16: false, sampling: None };
    let found = nets.each_ref().map(|net| {
        let x = sample(shape, 3).to_dtype(net.params.float()).unwrap();
        net.forward(&x, &spec, &start()).unwrap_or_else(|error| panic!("{error}"))
    });
    assert!(found[0].tape.is_some() && found[1].tape.is_none(), "each on its own executor");
    for tap in case.taps {
        let [fast, slow] = [0, 1].map(|at| &found[at].taps[&graph.tap(tap).expect("a tap")]);
        assert_eq!(fast.len(), slow.len(), "frames of {tap}");
        for (fast, slow) in fast.iter().zip(slow) {
            assert_eq!(fast.dims(), slow.dims(), "{tap}");
            assert_near(tap, &flat(fast), &flat(slow), 1e-4);
        }
    }
    let [fast, slow] = [0, 1].map(|at| statistics(&found[at]));
    assert_eq!(fast.keys().collect::<Vec<_>>(), slow.keys().collect::<Vec<_>>());
    fast.iter().for_each(|(name, values)| assert_near(name, values, &slow[name], 1e-4));
    let [fast, slow] = [0, 1].map(|at| gradients(&nets[at], &found[at], case.taps));
    assert_eq!(fast.keys().collect::<Vec<_>>(), slow.keys().collect::<Vec<_>>(), "who has a gradient");
    for (name, values) in &fast {
        // A bias in front of a batch norm has a gradient of 0, up to rounding.
        let largest = slow[name].iter().fold(0.3f64, |largest, value| largest.max(value.abs()));
        let scaled = |values: &[f64]| values.iter().map(|value| value / largest).collect::<Vec<_>>();
        assert_near(name, &scaled(values), &scaled(&slow[name]), 1e-4);
    }
}

pub(super) fn trained<'a>(taps: &'a [&'a str]) -> Case<'a> {
    Case { taps, training: true, ..Case::default() }
}

pub(super) fn family(kind: &str, settings: &Value, input: &[usize]) -> Graph {
    let frame = Frame { input: input.to_vec(), classes: 5 };
    build_table(kind, settings.as_object().unwrap(), &frame).unwrap()
}

fn resnet() -> Graph {
    family("resnet", &json!({ "depth": 8, "width": 4 }), &[3, 9, 8])
}

#[test]
fn residual_network_equals_candle_at_the_output_and_at_taps() {
    let graph = resnet();
    compare(&graph, 5, &trained(&["logits"]));
    compare(&graph, 4, &trained(&["layer1", "layer2", "logits"]));
    // Raw outputs, norms before and behind their activation, a sum before its activation.
    let points: Vec<&str> = graph.layers.iter().map(|layer| layer.path.as_str()).collect();
    for point in &points {
        compare(&graph, 3, &trained(&[point, "logits"]));
    }
    compare(&graph, 3, &trained(&points));
}

#[test]
fn frozen_layers_keep_their_statistics_and_pass_gradients_on() {
    let graph = resnet();
    let frozen = |frozen| Case { frozen, ..trained(&["layer3", "logits"]) };
    compare(&graph, 4, &frozen(&["layer2"]));
    compare(&graph, 4, &frozen(&["conv1", "bn1", "layer1"]));
    compare(&graph, 4, &frozen(&["layer3.0.bn1.weight", "fc.bias"]));
    compare(&graph, 4, &Case { training: false, ..trained(&["logits"]) });
}

#[test]
fn other_families_equal_candle() {
    compare(&family("vgg", &json!({ "depth": 11, "width": 4 }), &[3, 32, 32]), 3, &trained(&["logits"]));
    compare(&family("mlp", &json!({ "hidden": [7, 6] }), &[2, 3, 4]), 4, &trained(&["logits"]));
}

#[test]
fn every_kind_of_layer_equals_candle() {
    compare(&super::gradients::everything(), 3, &trained(&["logits"]));
    compare(&super::gradients::everything(), 3, &trained(&["sum", "gated", "both", "logits"]));
    let convs = || ("conv", json!({ "kind": "conv", "out": 4, "kernel": 3, "padding": 1 }));
    let last = || ("last", json!({ "kind": "conv", "out": 2, "kernel": 1 }));
    for middle in [
        json!({ "kind": "conv", "out": 4, "kernel": 3, "padding": 2, "dilation": 2, "groups": 4 }),
        json!({ "kind": "conv_transpose", "out": 3, "kernel": 3, "stride": 2, "padding": 1, "output_padding": 1 }),
        json!({ "kind": "batch_norm", "momentum": 0.5, "eps": 1e-3 }),
        json!({ "kind": "layer_norm" }),
        json!({ "kind": "leaky_relu", "slope": 0.2 }),
        json!({ "kind": "relu6" }),
        json!({ "kind": "tanh" }),
        json!({ "kind": "softmax" }),
        json!({ "kind": "avg_pool", "kernel": [2, 3], "stride": 1, "padding": [1, 0] }),
        json!({ "kind": "max_pool", "kernel": 3, "stride": 2, "padding": 1 }),
        json!({ "kind": "adaptive_avg_pool", "size": [2, 9] }),
        json!({ "kind": "resize", "size": [3, 11], "filter": "nearest" }),
        json!({ "kind": "dropout", "p": 0.3 }),
        json!({ "kind": "identity" }),
        json!({ "kind": "linear", "out": 3 }),
    ] {
        let graph = chain(&[2, 6, 7], &[convs(), ("mid", middle), last()]);
        compare(&graph, 3, &trained(&["logits"]));
        compare(&graph, 2, &trained(&["conv", "mid", "logits"]));
    }
    let graph = chain(&[2, 6, 7], &[convs(), ("re", json!({ "kind": "reshape", "shape": [7, 4, 6] })), last()]);
    compare(&graph, 3, &trained(&["re", "logits"]));
}

#[test]
fn activation_of_a_sum_equals_candle_for_every_activation() {
    let activations = ["relu", "relu6", "leaky_relu", "silu", "gelu", "hard_swish", "sigmoid", "tanh"]
        .map(|name| json!({ "kind": name }));
    for activation in activations.into_iter().chain([json!({ "kind": "leaky_relu", "slope": -0.5 })]) {
        let mut net = GraphBuilder::new("sums", &[3, 5, 4]);
        let mut add = |path: &str, table: Value, inputs: &[&Source]| net.layer(path, kind(&table), inputs).unwrap();
        let conv = || json!({ "kind": "conv", "out": 3, "kernel": 3, "padding": 1, "bias": false });
        let a = add("a", conv(), &[&Source::Input]);
        let a = add("a.bn", json!({ "kind": "batch_norm" }), &[&a]);
        let b = add("b", conv(), &[&Source::Input]);
        let b = add("b.bn", json!({ "kind": "batch_norm" }), &[&b]);
        let c = add("c.tanh", json!({ "kind": "tanh" }), &[&b]);
        let normed = add("normed", json!({ "kind": "add" }), &[&a, &b]);
        let x = add("normed.act", activation.clone(), &[&normed]);
        let curved = add("curved", json!({ "kind": "add" }), &[&x, &c]);
        let y = add("curved.act", activation, &[&curved]);
        let twice = add("twice", json!({ "kind": "add" }), &[&y, &y]);
        let three = add("three", json!({ "kind": "add" }), &[&twice, &x, &c]);
        let graph = net.finish(&three).unwrap();
        compare(&graph, 3, &trained(&["logits"]));
        compare(&graph, 3, &trained(&["normed", "curved", "twice", "logits"]));
    }
}

/// The gradient goes past the activation in the pass of the convolution that hands on its last part, and the sums of the batch
/// norm before it, if there is one, are taken there.
#[test]
fn sum_that_a_convolution_reads_last_equals_candle() {
    let activations = ["relu", "relu6", "leaky_relu", "silu"].map(|name| json!({ "kind": name }));
    for (at, activation) in activations.into_iter().enumerate() {
        for norms in [[true, false], [false, true], [true, true], [false, false]] {
            let mut net = GraphBuilder::new("sums", &[3, 5, 4]);
            let mut add = |path: &str, table: Value, inputs: &[&Source]| net.layer(path, kind(&table), inputs).unwrap();
            let conv = |kernel: usize| json!({ "kind": "conv", "out": 3, "kernel": kernel, "padding": kernel / 2 });
            let terms = [("a", norms[0]), ("b", norms[1])].map(|(path, norm)| {
                let term = add(path, conv(3), &[&Source::Input]);
                if norm { add(&format!("{path}.bn"), json!({ "kind": "batch_norm" }), &[&term]) } else { term }
            });
            let sum = add("sum", json!({ "kind": "add" }), &[&terms[0], &terms[1]]);
            let sum = add("sum.act", activation.clone(), &[&sum]);
            let next = add("next", conv(3), &[&sum]);
            let next = add("next.bn", json!({ "kind": "batch_norm" }), &[&next]);
            let beside = add("beside", conv(1), &[&sum]);
            let inputs = if at % 2 == 0 { vec![&next, &beside] } else { vec![&next, &beside, &sum] };
            let out = add("out", json!({ "kind": "add" }), &inputs);
            let graph = net.finish(&out).unwrap();
            compare(&graph, 3, &trained(&["logits"]));
            compare(&graph, 3, &trained(&["sum.act", "logits"]));
        }
    }
}

#[test]
fn second_walk_over_a_tape_gives_the_same_gradients() {
    let [fast, _] = both(&resnet());
    let spec = super::training(&fast, &["logits"]);
    let x = sample(&[4, 3, 9, 8], 1).to_dtype(CandleType::F32).unwrap();
    let found = fast.forward(&x, &spec, &start()).unwrap();
    assert_eq!(gradients(&fast, &found, &["logits"]), gradients(&fast, &found, &["logits"]));
    let again = fast.forward(&x, &spec, &start()).unwrap();
    assert_eq!(
        gradients(&fast, &again, &["logits"]),
        gradients(&fast, &found, &["logits"]),
        "buffers come from the pool"
    );
    let (_, store) = objective(&fast, &found, &["logits"]);
    let tape = found.tape.expect("a tape");
    let [kept, spent] = [tape.backward(&store).unwrap(), tape.spend(&store).unwrap()]
        .map(|all| all.iter().map(|found| (found.name.clone(), flat(&found.value))).collect::<Vec<_>>());
    assert_eq!(kept, spent, "what layers kept goes while the walk is on");
    let error = tape.backward(&store).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("nothing is left to go back over"), "{error}");
}

#[test]
fn changed_weights_are_packed_anew() {
    let [fast, _] = both(&resnet());
    let x = sample(&[2, 3, 9, 8], 1).to_dtype(CandleType::F32).unwrap();
    let logits =
        || flat(&super::tap(&fast, &fast.forward(&x, &super::spec(&fast, &["logits"]), &start()).unwrap(), "logits"));
    let before = logits();
    let weight = fast.params.get("conv1.weight").unwrap().var;
    fast.params.assign("conv1.weight", &weight.affine(2.0, 0.1).unwrap()).unwrap();
    assert_ne!(before, logits());
}

#[test]
fn batch_of_one_value_is_refused_in_training() {
    let graph = chain(&[3, 1, 1], &[("bn", json!({ "kind": "batch_norm" }))]);
    let [fast, _] = both(&graph);
    let x = sample(&[1, 3, 1, 1], 1).to_dtype(CandleType::F32).unwrap();
    let error = fast.forward(&x, &super::training(&fast, &["logits"]), &start()).expect_err("one value").to_string();
    assert!(error.contains("layer `bn`") && error.contains("two values a channel or more"), "{error}");
}

#[test]
fn folded_network_equals_candle_at_the_output_and_at_taps() {
    for graph in
        [resnet(), family("vgg", &json!({ "depth": 11, "width": 4 }), &[3, 32, 32]), super::gradients::everything()]
    {
        let [fast, slow] = both(&graph);
        for (at, (name, entry)) in fast.params.entries().into_iter().enumerate() {
            let values = sample(entry.var.dims(), at + 50).affine(0.3, 1.0).unwrap();
            if name.contains("running") {
                [&fast, &slow].into_iter().for_each(|net| net.params.assign(&name, &values).unwrap());
            }
        }
        let shape: Vec<usize> = std::iter::once(3).chain(graph.input.iter().copied()).collect();
        let x = sample(&shape, 9);
        let points: Vec<&str> = graph.layers.iter().map(|layer| layer.path.as_str()).collect();
        let wanted = points.iter().map(|point| vec![*point, "logits"]).chain([vec!["logits"], points.clone()]);
        for taps in wanted {
            let values = [&fast, &slow].map(|net| {
                let x = x.to_dtype(net.params.float()).unwrap();
                let found = net.forward(&x, &super::spec(net, &taps), &start()).unwrap();
                taps.iter().map(|tap| flat(&super::tap(net, &found, tap))).collect::<Vec<_>>()
            });
            let [fast, slow] = values;
            taps.iter().zip(fast.iter().zip(&slow)).for_each(|(tap, (fast, slow))| assert_near(tap, fast, slow, 1e-4));
        }
    }
}

#[test]
fn folded_network_in_bf16_stays_within_its_rounding() {
    let [fast, _] = both(&resnet());
    let shape: Vec<usize> = std::iter::once(3).chain(fast.graph.input.iter().copied()).collect();
    let run = |bf16: bool| {
        let spec = PassSpec { bf16, ..super::spec(&fast, &["logits"]) };
        let x = sample(&shape, 9).to_dtype(CandleType::F32).unwrap();
        let found = fast.forward(&x, &spec, &start()).unwrap();
        flat(&super::tap(&fast, &found, "logits"))
    };
    let [single, rounded, again] = [run(false), run(true), run(false)];
    assert_eq!(single, again, "the weights are packed anew for each");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let error = norm(&mut single.iter().zip(&rounded).map(|(a, b)| a - b)) / norm(&mut single.iter().copied());
    assert!(error < 0.02, "{error}");
    assert_eq!(error > 0.0, stillhouse_kernels::nhwc::conv::has_bf16(), "rounds where the processor multiplies bf16");
}

#[test]
fn module_over_time_equals_candle_in_both_directions() {
    let made = |float| super::modules::summing_of("", true, float).expect("fits");
    let nets = || [made(CandleType::F32).run_by(Executor::Fast), made(CandleType::F64)];
    for taps in [&["logits"][..], &["mid.seen"], &["before", "mid.seen", "mid", "logits"]] {
        for reverse_time in [false, true] {
            compare_nets(&nets(), &[2, 4, 2], &Case { reverse_time, ..trained(taps) });
        }
        compare_nets(&nets(), &[2, 1, 2], &trained(taps));
    }
}

#[test]
fn statistics_over_time_equal_candle() {
    let graph = chain(&[2], &[("bn", json!({ "kind": "batch_norm" })), ("fc", json!({ "kind": "linear", "out": 3 }))]);
    let made = |float| {
        let params = Rc::new(crate::ops::ParamSet::new("student", 5, float, &candle_core::Device::Cpu));
        Network::new("student", graph.clone(), params, true, BTreeMap::new()).unwrap()
    };
    let nets = [made(CandleType::F32).run_by(Executor::Fast), made(CandleType::F64)];
    compare_nets(&nets, &[5, 3, 2], &trained(&["bn", "logits"]));
}

#[test]
fn numbers_do_not_depend_on_the_threads() {
    let gradients_on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let [fast, _] = both(&family("resnet", &json!({ "depth": 8, "width": 16 }), &[3, 16, 16]));
            let x = sample(&[32, 3, 16, 16], 4).to_dtype(CandleType::F32).unwrap();
            let found = fast.forward(&x, &super::training(&fast, &["logits"]), &start()).unwrap();
            (flat(&super::tap(&fast, &found, "logits")), gradients(&fast, &found, &["logits"]))
        })
    };
    let one = gradients_on(1);
    assert_eq!(gradients_on(2), one);
    assert_eq!(gradients_on(3), one);
}
