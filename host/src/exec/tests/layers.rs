//! Each kind of layer gives what its inference says.

use super::{kind, network, sample, spec, start, tap, training};
use crate::graph::{Graph, GraphBuilder, Source};
use candle_core::DType as CandleType;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Kind, shape of a sample, shape of the result.
fn cases() -> Vec<(Value, Vec<usize>, Vec<usize>)> {
    let map = || vec![4, 5, 7];
    let mut cases = vec![
        (
            json!({ "kind": "conv", "out": 6, "kernel": [3, 2], "stride": [2, 1], "padding": [1, 0], "groups": 2 }),
            map(),
            vec![6, 3, 6],
        ),
        (json!({ "kind": "conv", "out": 2, "kernel": 3, "dilation": 2, "bias": false }), map(), vec![2, 1, 3]),
        (json!({ "kind": "conv", "out": 4, "kernel": 3, "padding": 1, "groups": 4 }), map(), map()),
        (
            json!({ "kind": "conv_transpose", "out": 3, "kernel": 3, "stride": 2, "padding": 1, "output_padding": 1 }),
            map(),
            vec![3, 10, 14],
        ),
        (json!({ "kind": "conv_transpose", "out": 4, "kernel": 2, "groups": 2, "bias": false }), map(), vec![4, 6, 8]),
        (json!({ "kind": "linear", "out": 3 }), vec![5], vec![3]),
        (json!({ "kind": "linear", "out": 3, "bias": false }), map(), vec![4, 5, 3]),
        (json!({ "kind": "batch_norm" }), map(), map()),
        (json!({ "kind": "batch_norm", "eps": 1e-3, "momentum": 0.5 }), vec![5], vec![5]),
        (json!({ "kind": "layer_norm" }), map(), map()),
        (json!({ "kind": "layer_norm", "dims": 1 }), vec![3, 4], vec![3, 4]),
        (json!({ "kind": "max_pool", "kernel": 2 }), map(), vec![4, 2, 3]),
        (json!({ "kind": "max_pool", "kernel": 3, "stride": 2, "padding": 1 }), map(), vec![4, 3, 4]),
        (json!({ "kind": "avg_pool", "kernel": [2, 3], "stride": 1 }), map(), vec![4, 4, 5]),
        (json!({ "kind": "adaptive_avg_pool", "size": [2, 9] }), map(), vec![4, 2, 9]),
        (json!({ "kind": "global_avg_pool" }), map(), vec![4]),
        (json!({ "kind": "global_avg_pool" }), vec![3, 4], vec![3]),
        (json!({ "kind": "flatten" }), map(), vec![140]),
        (json!({ "kind": "flatten" }), vec![], vec![1]),
        (json!({ "kind": "reshape", "shape": [7, 20] }), map(), vec![7, 20]),
        (json!({ "kind": "resize", "size": 3, "filter": "bilinear" }), map(), vec![4, 3, 3]),
        (json!({ "kind": "resize", "size": [10, 14], "filter": "nearest" }), map(), vec![4, 10, 14]),
        (json!({ "kind": "dropout", "p": 0.5 }), map(), map()),
        (json!({ "kind": "leaky_relu", "slope": 0.2 }), map(), map()),
        (json!({ "kind": "softmax" }), map(), map()),
        (json!({ "kind": "slice", "start": 1, "len": 2 }), map(), vec![2, 5, 7]),
        (json!({ "kind": "slice", "start": 3, "len": 2 }), vec![5, 3], vec![2, 3]),
        (json!({ "kind": "channel_shuffle", "groups": 2 }), map(), map()),
        (json!({ "kind": "pad", "top": 1, "left": 2, "right": 3 }), map(), vec![4, 6, 12]),
        (json!({ "kind": "tokens" }), map(), vec![35, 4]),
        (json!({ "kind": "class_token" }), vec![5, 4], vec![6, 4]),
        (json!({ "kind": "position_embedding" }), vec![5, 4], vec![5, 4]),
        (json!({ "kind": "self_attention", "heads": 2 }), vec![5, 4], vec![5, 4]),
        (json!({ "kind": "lstm", "hidden": 3 }), vec![5], vec![3]),
        (json!({ "kind": "gru", "hidden": 3 }), vec![5], vec![3]),
        (json!({ "kind": "conv_lstm", "hidden": 3, "kernel": [3, 1] }), map(), vec![3, 5, 7]),
        (json!({ "kind": "space_to_depth", "block": 2 }), vec![3, 4, 6], vec![12, 2, 3]),
        (json!({ "kind": "depth_to_space", "block": 2 }), vec![12, 2, 3], vec![3, 4, 6]),
    ];
    let plain = ["relu", "relu6", "sigmoid", "tanh", "silu", "gelu", "hard_swish", "identity"];
    cases.extend(plain.iter().map(|name| (json!({ "kind": name }), vec![3], vec![3])));
    let joins = [("add", vec![4, 5, 7]), ("mul", vec![4, 5, 7]), ("concat", vec![8, 5, 7])];
    cases.extend(joins.map(|(name, shape)| (json!({ "kind": name }), map(), shape)));
    cases
}

fn graph(table: &Value, input: &[usize]) -> Graph {
    let mut net = GraphBuilder::new("one", input);
    let inputs = [&Source::Input, &Source::Input];
    let count = if matches!(table["kind"].as_str(), Some("add" | "mul" | "concat")) { 2 } else { 1 };
    let x = net.layer("x", kind(table), &inputs[..count]).unwrap_or_else(|error| panic!("{table}: {error}"));
    net.finish(&x).unwrap()
}

#[test]
fn layer_of_each_kind_gives_the_inferred_shape() {
    for (table, input, wanted) in cases() {
        for float in [CandleType::F32, CandleType::F64] {
            let net = network(graph(&table, &input), float);
            let x = sample(&[&[2], &input[..]].concat(), 1).to_dtype(float).unwrap();
            for spec in [spec(&net, &["x"]), training(&net, &["x"])] {
                let found =
                    net.forward(&x, &spec, &start()).unwrap_or_else(|error| panic!("{table} {input:?}: {error}"));
                let y = tap(&net, &found, "x");
                assert_eq!((&y.dims()[1..], y.dtype()), (&wanted[..], float), "{table} {input:?}");
                assert_eq!((y.dims()[0], &net.shapes[0]), (2, &wanted), "{table} {input:?}");
            }
        }
    }
}

#[test]
fn layers_tested_are_all_there_are() {
    let error = crate::graph::LayerKind::read(json!({ "kind": "none" }).as_object().unwrap()).unwrap_err().message;
    let known: BTreeSet<&str> = error.split('`').skip(3).step_by(2).collect();
    let cases = cases();
    let tested: BTreeSet<&str> = cases.iter().filter_map(|(table, ..)| table["kind"].as_str()).collect();
    assert_eq!(tested, known);
}

#[test]
fn dropout_is_seeded_scaled_and_off_in_evaluation() {
    let net = network(graph(&json!({ "kind": "dropout", "p": 0.25 }), &[4000]), CandleType::F64);
    let x = sample(&[1, 4000], 0).affine(0.0, 3.0).unwrap();
    let drop = |training: bool, moment: &crate::ops::Moment| {
        let spec = crate::exec::PassSpec { training, ..spec(&net, &["x"]) };
        crate::ops::tests::flat(&tap(&net, &net.forward(&x, &spec, moment).unwrap(), "x"))
    };
    let first = drop(true, &start());
    assert!(first.iter().all(|value| *value == 0.0 || (value - 4.0).abs() < 1e-6));
    let kept = first.iter().filter(|value| **value > 0.0).count() as f64 / 4000.0;
    assert!((kept - 0.75).abs() < 0.03, "{kept}");
    assert_eq!(first, drop(true, &start()));
    for moment in [
        crate::ops::Moment { step: 1, ..start() },
        crate::ops::Moment { seed: 2, ..start() },
        crate::ops::Moment { phase: "b".into(), ..start() },
    ] {
        assert_ne!(first, drop(true, &moment));
    }
    assert!(drop(false, &start()).iter().all(|value| *value == 3.0));
}
