//! Recurrent layers over time: worked steps, finite differences, the tape against candle.

use super::tape::{family, gradients, objective};
use super::{assert_near, chain, kind, sample, spec, start};
use crate::exec::{Executor, Forward, Network, PassSpec};
use crate::graph::{Graph, GraphBuilder, Source};
use crate::ops::tests::flat;
use crate::ops::{ParamKind, ParamSet};
use candle_core::{DType as CandleType, Device, Tensor, Var};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

fn over_time(graph: Graph, float: CandleType) -> Network {
    let params = Rc::new(ParamSet::new("student", 5, float, &Device::Cpu));
    Network::new("student", graph, params, true, BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"))
}

/// Both executors, with the same parameters.
fn both(graph: &Graph) -> [Network; 2] {
    let fast = over_time(graph.clone(), CandleType::F32).run_by(Executor::Fast);
    let slow = over_time(graph.clone(), CandleType::F64);
    for (name, entry) in fast.params.entries() {
        slow.params.assign(&name, &entry.var.to_dtype(CandleType::F64).unwrap()).unwrap();
    }
    [fast, slow]
}

fn run(net: &Network, shape: &[usize], spec: &PassSpec) -> Forward {
    let x = sample(shape, 3).to_dtype(net.params.float()).unwrap();
    net.forward(&x, spec, &start()).unwrap_or_else(|error| panic!("{error}"))
}

/// Largest difference, by the largest of the wanted values.
fn difference(got: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(got.len(), wanted.len());
    let largest = wanted.iter().fold(1e-2f64, |largest, value| largest.max(value.abs()));
    got.iter().zip(wanted).map(|(got, wanted)| (got - wanted).abs() / largest).fold(0.0, f64::max)
}

/// Outputs, taps and every gradient, within a relative 1e-4.
#[track_caller]
fn agree(nets: &[Network; 2], shape: &[usize], taps: &[&str], frozen: &[&str], reverse_time: bool) {
    let graph = &nets[0].graph;
    let names = nets[0].params.names(ParamKind::Parameter);
    let is_frozen = |name: &&String| frozen.iter().any(|prefix| name.starts_with(prefix));
    let frozen: HashSet<String> = names.iter().filter(is_frozen).cloned().collect();
    let spec = PassSpec { training: true, track: true, reverse_time, frozen, ..spec(&nets[0], taps) };
    let found = nets.each_ref().map(|net| run(net, shape, &spec));
    assert!(found[0].tape.is_some() && found[1].tape.is_none(), "each on its own executor");
    let frames = shape[1] - usize::from(graph.given().is_some());
    for tap in taps {
        let [fast, slow] = [0, 1].map(|at| &found[at].taps[&graph.tap(tap).expect("a tap")]);
        assert_eq!((fast.len(), slow.len()), (frames, frames), "frames of {tap}");
        for (fast, slow) in fast.iter().zip(slow) {
            assert_eq!(fast.dims(), slow.dims(), "{tap}");
            assert!(difference(&flat(fast), &flat(slow)) < 1e-4, "{tap}");
        }
    }
    let [fast, slow] = [0, 1].map(|at| gradients(&nets[at], &found[at], taps));
    assert_eq!(fast.keys().collect::<Vec<_>>(), slow.keys().collect::<Vec<_>>(), "who has a gradient");
    assert!(!fast.is_empty());
    for (name, values) in &fast {
        let far = difference(values, &slow[name]);
        assert!(far < 1e-4, "{name}: {far}, {taps:?}, reversed {reverse_time}");
    }
    let again = gradients(&nets[0], &found[0], taps);
    assert_eq!(again, fast, "a second walk");
    // Without gradients nothing is kept, and the outputs are the same.
    let still = run(&nets[0], shape, &PassSpec { track: false, ..spec });
    for tap in taps {
        let point = graph.tap(tap).expect("a tap");
        let values = |found: &Forward| found.taps[&point].iter().map(flat).collect::<Vec<_>>();
        assert_eq!(values(&still), values(&found[0]), "{tap}");
    }
}

fn rows() -> Graph {
    let linear = |out: usize| json!({ "kind": "linear", "out": out });
    chain(
        &[3],
        &[
            ("in", linear(4)),
            ("low", json!({ "kind": "lstm", "hidden": 5 })),
            ("mid", json!({ "kind": "gru", "hidden": 17 })),
            ("high", json!({ "kind": "lstm", "hidden": 3 })),
            ("top", json!({ "kind": "lstm", "hidden": 4 })),
            ("out", linear(2)),
        ],
    )
}

#[test]
fn clip_has_the_same_bits_in_any_batch() {
    let linear = |out: usize| json!({ "kind": "linear", "out": out });
    let cells = [("low", json!({ "kind": "lstm", "hidden": 24 })), ("high", json!({ "kind": "gru", "hidden": 17 }))];
    let deep = chain(&[9], &[&[("in", linear(40))], &cells[..], &[("out", linear(10))]].concat());
    for (graph, frame) in [(deep, &[9][..]), (maps(), &[2, 4, 6])] {
        let net = over_time(graph, CandleType::F32).run_by(Executor::Fast);
        let x = sample(&[&[19, 3], frame].concat(), 3).to_dtype(CandleType::F32).unwrap();
        let spec = spec(&net, &["logits"]);
        let frames = |x: &Tensor| net.forward(x, &spec, &start()).unwrap().taps.remove(&spec.want[0]).unwrap();
        let whole = frames(&x);
        for (at, count) in [(0, 1), (18, 1), (5, 2), (2, 11)] {
            let part = frames(&x.narrow(0, at, count).unwrap());
            for (part, whole) in part.iter().zip(&whole) {
                assert_eq!(flat(part), flat(&whole.narrow(0, at, count).unwrap()), "{count} clips from {at}");
            }
        }
    }
}

fn maps() -> Graph {
    let mut net = GraphBuilder::new("maps", &[2, 4, 6]);
    let mut add =
        |path: &str, table: serde_json::Value, inputs: &[&Source]| net.layer(path, kind(&table), inputs).unwrap();
    let x = add("blocks", json!({ "kind": "space_to_depth", "block": 2 }), &[&Source::Input]);
    let x = add("stem", json!({ "kind": "conv", "out": 3, "kernel": 1, "bias": false }), &[&x]);
    let x = add("bn", json!({ "kind": "batch_norm" }), &[&x]);
    let x = add("act", json!({ "kind": "silu" }), &[&x]);
    let low = add("low", json!({ "kind": "conv_lstm", "hidden": 4, "kernel": 3, "forget_bias": 1.0 }), &[&x]);
    let high = add("high", json!({ "kind": "conv_lstm", "hidden": 5, "kernel": [1, 3] }), &[&low]);
    // Read by two: by the cell above, and past it.
    let x = add("both", json!({ "kind": "concat" }), &[&low, &high]);
    let x = add("last", json!({ "kind": "conv", "out": 4, "kernel": 1 }), &[&x]);
    let x = add("pixels", json!({ "kind": "depth_to_space", "block": 2 }), &[&x]);
    net.finish(&x).unwrap()
}

#[test]
fn cells_over_rows_equal_candle() {
    let nets = both(&rows());
    for taps in [&["logits"][..], &["low.cell"], &["top.cell", "mid.hidden"], &["low", "high.cell", "top", "logits"]] {
        for reverse_time in [false, true] {
            agree(&nets, &[4, 5, 3], taps, &[], reverse_time);
        }
    }
    agree(&nets, &[1, 3, 3], &["logits"], &[], false);
    agree(&nets, &[3, 1, 3], &["logits", "low.cell"], &[], false);
    for frozen in [&["low"][..], &["in", "low"], &["mid", "top"], &["high.weight", "low.bias_hh"]] {
        agree(&nets, &[2, 4, 3], &["logits"], frozen, false);
    }
}

#[test]
fn cells_over_maps_equal_candle() {
    let nets = both(&maps());
    for taps in [&["logits"][..], &["low.cell"], &["high.cell", "logits"], &["bn", "low", "low.cell", "high", "logits"]]
    {
        for reverse_time in [false, true] {
            agree(&nets, &[2, 4, 2, 4, 6], taps, &[], reverse_time);
        }
    }
    agree(&nets, &[1, 3, 2, 4, 6], &["logits"], &[], false);
    agree(&nets, &[3, 1, 2, 4, 6], &["logits", "high.cell"], &[], false);
    for frozen in [&["low"][..], &["stem", "bn", "low"], &["high"], &["low.weight", "high.bias"]] {
        agree(&nets, &[2, 3, 2, 4, 6], &["logits"], frozen, false);
    }
}

/// More frames than lie between kept cells; channels as wide as vectors.
#[test]
fn long_sequences_equal_candle() {
    let settings = json!({ "depth": 2, "hidden": 16, "kernel": 3, "patch": 2 });
    let nets = both(&family("conv_lstm", &settings, &[1, 8, 6]));
    for reverse_time in [false, true] {
        agree(&nets, &[2, 19, 1, 8, 6], &["cell_list.0.cell", "logits"], &[], reverse_time);
    }
    let nets = both(&family("lstm", &json!({ "hidden": 16, "depth": 2 }), &[5]));
    agree(&nets, &[3, 26, 5], &["logits"], &[], false);
}

/// Only the last frame's output has a gradient: the walk starts there, and goes on from the state alone.
#[test]
fn gradient_of_one_frame_goes_back_to_the_first() {
    for (graph, shape) in [(rows(), vec![2, 4, 3]), (maps(), vec![2, 4, 2, 4, 6])] {
        let [fast, slow] = both(&graph).map(|net| {
            let spec = PassSpec { track: true, ..spec(&net, &["logits"]) };
            let mut found = run(&net, &shape, &spec);
            found.taps.values_mut().for_each(|frames| drop(frames.drain(..3)));
            gradients(&net, &found, &["logits"])
        });
        assert_eq!(fast.keys().collect::<Vec<_>>(), slow.keys().collect::<Vec<_>>());
        fast.iter().for_each(|(name, values)| assert!(difference(values, &slow[name]) < 1e-4, "{name}"));
    }
}

#[test]
fn gradients_over_time_equal_finite_differences() {
    for (graph, shape) in [(rows(), vec![2, 3, 3]), (maps(), vec![2, 3, 2, 4, 6])] {
        let net = over_time(graph, CandleType::F64);
        let taps = ["logits", "low.cell", "high.cell"];
        let spec = PassSpec { track: true, ..spec(&net, &taps) };
        let x = Var::from_tensor(&sample(&shape, 3)).unwrap();
        let value = || objective(&net, &net.forward(&x, &spec, &start()).unwrap(), &taps);
        let (_, store) = value();
        let of_params = net.params.entries().into_iter().filter(|(_, entry)| entry.kind == ParamKind::Parameter);
        let vars = of_params.map(|(name, entry)| (name, entry.var)).chain([("input".to_owned(), x.clone())]);
        for (name, var) in vars.collect::<Vec<_>>() {
            let grad = flat(store.get(&var).unwrap_or_else(|| panic!("no gradient reaches `{name}`")));
            let largest = grad.iter().fold(1e-3f64, |largest, value| largest.max(value.abs()));
            let before = flat(&var);
            let moved = |at: usize, by: f64| {
                let mut values = before.clone();
                values[at] += by;
                var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu).unwrap()).unwrap();
                value().0
            };
            for at in (0..grad.len()).step_by(grad.len().div_ceil(6)) {
                let wanted = (moved(at, 1e-5) - moved(at, -1e-5)) / 2e-5;
                moved(at, 0.0);
                assert!(
                    (grad[at] - wanted).abs() <= 1e-5 * largest,
                    "{name}[{at}]: {}, differences {wanted}",
                    grad[at]
                );
            }
        }
    }
}

fn assign(net: &Network, name: &str, shape: &[usize], values: &[f64]) {
    let value = Tensor::from_slice(values, shape, &Device::Cpu).unwrap().to_dtype(net.params.float()).unwrap();
    net.params.assign(name, &value).unwrap();
}

fn outputs(net: &Network, x: &Tensor, tap: &str) -> Vec<f64> {
    let x = x.to_dtype(net.params.float()).unwrap();
    let found = net.forward(&x, &spec(net, &[tap]), &start()).unwrap();
    found.taps[&net.graph.tap(tap).unwrap()].iter().flat_map(flat).collect()
}

/// One unit, two frames 1 and 0. With `x = 1`, `h = 0` the sums are the columns of `weight_ih` and the biases: gates
/// `sigmoid(0) = 1/2`, `sigmoid(ln 3) = 3/4`, `tanh(ln 3 / 2) = 1/2`, `sigmoid(-ln 3) = 1/4`, so `c = 1/4`,
/// `h = tanh(1/4) / 4`. Then with `x = 0` and recurrent weights of 0 the gates are those of the biases alone.
#[test]
fn lstm_step_by_hand() {
    let three = 3f64.ln();
    for net in both(&chain(&[1], &[("cell", json!({ "kind": "lstm", "hidden": 1 }))])) {
        assign(&net, "cell.weight_ih", &[4, 1], &[0.0, 0.0, three / 2.0, -three]);
        assign(&net, "cell.weight_hh", &[4, 1], &[0.0; 4]);
        assign(&net, "cell.bias_ih", &[4], &[0.0, three / 2.0, 0.0, 0.0]);
        assign(&net, "cell.bias_hh", &[4], &[0.0, three / 2.0, 0.0, 0.0]);
        let x = Tensor::new(&[[[1.0], [0.0]]], &Device::Cpu).unwrap();
        let first = 0.25f64;
        let second = 0.75 * first;
        assert_near("cell", &outputs(&net, &x, "cell.cell"), &[first, second], 1e-6);
        assert_near("hidden", &outputs(&net, &x, "cell"), &[first.tanh() / 4.0, second.tanh() / 2.0], 1e-6);
    }
}

/// One unit, two frames 1 and 0: `r = 1/4`, `z = 3/4`, `n = tanh(ln 3 / 2 + r 2 ln 3) = tanh(ln 3) = 4/5` with a recurrent
/// bias of `2 ln 3`, so `h = (1 - z) n = 1/5`. Then `r = z = 1/2`, `n = tanh(ln 3 + h / 2)`.
#[test]
fn gru_step_by_hand() {
    let three = 3f64.ln();
    for net in both(&chain(&[1], &[("cell", json!({ "kind": "gru", "hidden": 1 }))])) {
        assign(&net, "cell.weight_ih", &[3, 1], &[-three, three, three / 2.0]);
        assign(&net, "cell.weight_hh", &[3, 1], &[0.0, 0.0, 1.0]);
        assign(&net, "cell.bias_ih", &[3], &[0.0; 3]);
        assign(&net, "cell.bias_hh", &[3], &[0.0, 0.0, 2.0 * three]);
        let x = Tensor::new(&[[[1.0], [0.0]]], &Device::Cpu).unwrap();
        let first = 0.2f64;
        let second = 0.5 * (three + 0.5 * first).tanh() + 0.5 * first;
        assert_near("hidden", &outputs(&net, &x, "cell.hidden"), &[first, second], 1e-6);
    }
}

/// A 1x1 kernel over one pixel is an LSTM, its gates `i, f, o, g`; the forget gate's own bias comes on top.
#[test]
fn conv_lstm_of_one_pixel_is_an_lstm() {
    let three = 3f64.ln();
    let cell = json!({ "kind": "conv_lstm", "hidden": 1, "kernel": 1, "forget_bias": three });
    for net in both(&chain(&[1, 1, 1], &[("cell", cell)])) {
        assign(&net, "cell.weight", &[4, 2, 1, 1], &[0.0, 0.0, 0.0, 0.0, -three, 0.0, three / 2.0, 0.0]);
        assign(&net, "cell.bias", &[4], &[0.0; 4]);
        let x = Tensor::new(&[1.0, 0.0], &Device::Cpu).unwrap().reshape((1, 2, 1, 1, 1)).unwrap();
        let (first, second) = (0.25f64, 0.1875f64);
        assert_near("cell", &outputs(&net, &x, "cell.cell"), &[first, second], 1e-6);
        assert_near("hidden", &outputs(&net, &x, "cell"), &[first.tanh() / 4.0, second.tanh() / 2.0], 1e-6);
    }
}

/// Of a block the pixels row by row, of a pixel its channels.
#[test]
fn blocks_go_to_channels_and_back_in_the_order_of_tensorflow() {
    let blocks = || ("blocks", json!({ "kind": "space_to_depth", "block": 2 }));
    let x = Tensor::arange(0.0, 16.0, &Device::Cpu).unwrap().reshape((1, 1, 2, 2, 4)).unwrap();
    let wanted = [0.0, 2.0, 8.0, 10.0, 1.0, 3.0, 9.0, 11.0, 4.0, 6.0, 12.0, 14.0, 5.0, 7.0, 13.0, 15.0];
    for net in both(&chain(&[2, 2, 4], &[blocks(), ("pixels", json!({ "kind": "depth_to_space", "block": 2 }))])) {
        assert_eq!(outputs(&net, &x, "blocks"), wanted);
        assert_eq!(outputs(&net, &x, "pixels"), flat(&x));
    }
}

#[test]
fn frames_in_reverse_are_those_of_the_turned_clip() {
    let graph = family("lstm", &json!({ "hidden": 4 }), &[2]);
    let x = sample(&[2, 5, 2], 1);
    let turned = Tensor::cat(&(0..5).rev().map(|at| x.narrow(1, at, 1).unwrap()).collect::<Vec<_>>(), 1).unwrap();
    for net in both(&graph) {
        let [x, turned] = [&x, &turned].map(|x| x.to_dtype(net.params.float()).unwrap());
        let frames = |x: &Tensor, reverse_time: bool| {
            let found = net.forward(x, &PassSpec { reverse_time, ..spec(&net, &["logits"]) }, &start()).unwrap();
            found.taps[&net.graph.tap("logits").unwrap()].iter().map(flat).collect::<Vec<_>>()
        };
        let mut back = frames(&turned, false);
        back.reverse();
        assert_eq!(frames(&x, true), back);
        assert_ne!(frames(&x, false), back);
    }
}

#[test]
fn numbers_over_time_do_not_depend_on_the_threads() {
    let graphs = [
        (family("conv_lstm", &json!({ "depth": 2, "hidden": 32, "kernel": 5 }), &[1, 32, 32]), vec![4, 3, 1, 32, 32]),
        (family("lstm", &json!({ "hidden": 128 }), &[64]), vec![64, 3, 64]),
        (family("lstm", &json!({ "hidden": 128, "cell": "gru" }), &[64]), vec![64, 3, 64]),
    ];
    for (graph, shape) in &graphs {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let [fast, _] = both(graph);
                let found = run(&fast, shape, &PassSpec { track: true, ..spec(&fast, &["logits"]) });
                let logits: Vec<_> = found.taps[&fast.graph.tap("logits").unwrap()].iter().map(flat).collect();
                (logits, gradients(&fast, &found, &["logits"]))
            })
        };
        let one = on(1);
        assert!(on(2) == one && on(3) == one, "{}", graph.name);
    }
}

#[test]
fn predictor_that_reads_its_predictions_equals_candle_in_both_directions() {
    let settings = json!({ "depth": 2, "hidden": [5, 4], "kernel": 3, "patch": 2 });
    let mut graph = family("conv_lstm", &settings, &[2, 4, 6]);
    graph.predict(2, &[2, 4, 6]).unwrap();
    let nets = both(&graph);
    for reverse_time in [false, true] {
        agree(&nets, &[3, 6, 2, 4, 6], &["logits", "cell_list.0.cell"], &[], reverse_time);
    }
    agree(&nets, &[3, 6, 2, 4, 6], &["logits", "frames"], &["cell_list.0"], false);
    assert!(graph.clone().predict(1, &[1, 4, 6]).is_err() && graph.predict(1, &[2, 4, 6]).is_err());
}

#[test]
fn predictor_reads_true_frames_where_the_mask_says_so() {
    let net = |given| {
        let mut graph = chain(&[1, 1, 2], &[("half", json!({ "kind": "conv", "out": 1, "kernel": 1, "bias": false }))]);
        graph.predict(given, &[1, 1, 2]).unwrap();
        let net = over_time(graph, CandleType::F64);
        net.params.assign("half.weight", &Tensor::full(0.5f64, (1, 1, 1, 1), &Device::Cpu).unwrap()).unwrap();
        net
    };
    let frames: Vec<f64> = (0..16).map(f64::from).collect(); // two clips of four frames
    let x = Tensor::from_vec(frames, (2, 4, 1, 1, 2), &Device::Cpu).unwrap();
    let mask = Tensor::from_vec(vec![1.0f32, 0.0, 1.0, 1.0, 1.0, 0.0], (2, 3), &Device::Cpu).unwrap();
    let net = net(1);
    let sampled = PassSpec {
        sampling: Some(crate::exec::Sampling::new(&mask).unwrap()),
        ..spec(&net, &["frames", "frames.next"])
    };
    let found = net.forward(&x, &sampled, &start()).unwrap();
    let values = |tap: &str| found.taps[&net.graph.tap(tap).unwrap()].iter().map(flat).collect::<Vec<_>>();
    assert_eq!(values("frames"), [[0., 1., 8., 9.], [0., 0.5, 10., 11.], [4., 5., 5., 5.5]]);
    assert_eq!(values("frames.next"), [[2., 3., 10., 11.], [4., 5., 12., 13.], [6., 7., 14., 15.]]);
    let backward = PassSpec { reverse_time: true, ..spec(&net, &["frames", "frames.next"]) };
    let found = net.forward(&x, &backward, &start()).unwrap();
    let values = |tap: &str| found.taps[&net.graph.tap(tap).unwrap()].iter().map(flat).collect::<Vec<_>>();
    // In the order of the data: the frame behind is read, the frame itself is to be predicted.
    assert_eq!(values("frames.next"), [[0., 1., 8., 9.], [2., 3., 10., 11.], [4., 5., 12., 13.]]);
    assert_eq!(values("frames"), [[1.5, 1.75, 3.5, 3.75], [3., 3.5, 7., 7.5], [6., 7., 14., 15.]]);
}
