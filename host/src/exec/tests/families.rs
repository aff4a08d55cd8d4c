//! Families on the fast executor against candle's in `f64`.

use super::tape::{both, compare, family, trained};
use super::{assert_near, chain, sample, spec, start, tap};
use crate::graph::Graph;
use crate::model::small_families;
use crate::ops::tests::flat;
use serde_json::json;

fn small(kind: &str, input: &[usize]) -> Vec<Graph> {
    let of_kind = small_families().into_iter().filter(|(known, _)| *known == kind);
    of_kind.map(|(kind, settings)| family(kind, &settings, input)).collect()
}

#[test]
fn residual_families_equal_candle() {
    for graph in small("resnet_imagenet", &[3, 35, 34]) {
        compare(&graph, 4, &trained(&["layer2", "logits"]));
    }
    for graph in small("wrn", &[2, 9, 8]) {
        compare(&graph, 4, &trained(&["block1", "logits"]));
    }
}

#[test]
fn mobile_families_equal_candle() {
    for graph in small("mobilenet_v2", &[3, 66, 64]) {
        compare(&graph, 4, &trained(&["logits"]));
    }
    for graph in small("efficientnet_lite", &[3, 65, 62]) {
        compare(&graph, 4, &trained(&["blocks.2", "logits"]));
    }
}

#[test]
fn shuffled_families_equal_candle() {
    for graph in small("shufflenet_v1", &[3, 17, 16]) {
        compare(&graph, 4, &trained(&["layer1", "logits"]));
    }
    for graph in small("shufflenet_v2", &[3, 66, 64]) {
        compare(&graph, 4, &trained(&["logits"]));
    }
}

#[test]
fn encoder_and_decoder_equal_candle() {
    for graph in small("unet", &[2, 11, 9]) {
        compare(&graph, 3, &trained(&["down1", "logits"]));
    }
    for settings in [json!({ "width": 4 }), json!({ "width": 4, "branches": ["temporal"], "sigmoid": true })] {
        let graph = family("two_stream", &settings, &[4, 14, 9]);
        compare(&graph, 3, &trained(&["temporal", "logits"]));
        let frozen = &["temporal.conv1_1", "temporal.bn3"];
        compare(&graph, 3, &super::tape::Case { frozen, ..trained(&["logits"]) });
    }
}

#[test]
fn vision_transformer_equals_candle() {
    let settings = json!({ "patch": 3, "width": 6, "depth": 2, "heads": 3 });
    let graph = family("vit", &settings, &[2, 6, 9]);
    compare(&graph, 3, &trained(&["encoder", "logits"]));
    compare(&graph, 3, &super::tape::Case { frozen: &["conv_proj"], training: false, ..trained(&["encoder"]) });
    let attention = "encoder.layers.encoder_layer_0.self_attention";
    for frozen in ["in_proj_weight", "out_proj"].map(|name| format!("{attention}.{name}")) {
        let frozen = [frozen.as_str(), "encoder.pos_embedding", "class_token"];
        compare(&graph, 3, &super::tape::Case { frozen: &frozen, ..trained(&[attention, "encoder"]) });
    }
}

/// Every kind of layer that families brought, between two convolutions.
#[test]
fn moved_channels_and_padded_maps_equal_candle() {
    let conv = || ("conv", json!({ "kind": "conv", "out": 6, "kernel": 3, "padding": 1 }));
    let norm = || ("bn", json!({ "kind": "batch_norm" }));
    let last = || ("last", json!({ "kind": "conv", "out": 2, "kernel": 1 }));
    for middle in [
        json!({ "kind": "hard_swish" }),
        json!({ "kind": "slice", "start": 1, "len": 3 }),
        json!({ "kind": "channel_shuffle", "groups": 3 }),
        json!({ "kind": "channel_shuffle", "groups": 1 }),
        json!({ "kind": "pad", "top": 1, "right": 2 }),
        json!({ "kind": "pad", "bottom": 3, "left": 1 }),
    ] {
        let graph = chain(&[2, 6, 7], &[conv(), norm(), ("mid", middle), last()]);
        compare(&graph, 3, &trained(&["logits"]));
        compare(&graph, 2, &trained(&["conv", "bn", "mid", "logits"]));
    }
}

#[test]
fn token_layers_equal_candle() {
    let fixed = [
        ("conv", json!({ "kind": "conv", "out": 4, "kernel": 2, "stride": 2 })),
        ("tokens", json!({ "kind": "tokens" })),
        ("class", json!({ "kind": "class_token" })),
        ("places", json!({ "kind": "position_embedding" })),
    ];
    for middle in [
        json!({ "kind": "self_attention", "heads": 2 }),
        json!({ "kind": "layer_norm", "dims": 1 }),
        json!({ "kind": "layer_norm" }),
        json!({ "kind": "linear", "out": 3 }),
        json!({ "kind": "linear", "out": 5, "bias": false }),
        json!({ "kind": "slice", "start": 1, "len": 2 }),
        json!({ "kind": "channel_shuffle", "groups": 7 }),
        json!({ "kind": "gelu" }),
        json!({ "kind": "dropout", "p": 0.4 }),
    ] {
        let graph =
            chain(&[3, 5, 6], &[&fixed[..], &[("mid", middle), ("flat", json!({ "kind": "flatten" }))]].concat());
        compare(&graph, 3, &trained(&["logits"]));
        compare(&graph, 3, &trained(&["tokens", "class", "places", "mid", "logits"]));
    }
}

/// A family's network without gradients has its norms folded into its convolutions.
#[test]
fn folded_families_equal_candle() {
    for (kind, settings) in small_families() {
        let graph = family(kind, &settings, &[3, 37, 34]);
        let nets = both(&graph);
        for (at, (name, entry)) in nets[0].params.entries().into_iter().enumerate() {
            let values = sample(entry.var.dims(), at + 50).affine(0.3, 1.0).unwrap();
            if name.contains("running") {
                nets.iter().for_each(|net| net.params.assign(&name, &values).unwrap());
            }
        }
        let groups: Vec<&str> = graph.groups.iter().map(|group| group.path.as_str()).collect();
        let x = sample(&[2, 3, 37, 34], 9);
        for taps in [vec!["logits"], [&groups[..], &["logits"]].concat()] {
            let [fast, slow] = nets.each_ref().map(|net| {
                let x = x.to_dtype(net.params.float()).unwrap();
                let found = net.forward(&x, &spec(net, &taps), &start()).unwrap();
                taps.iter().map(|name| flat(&tap(net, &found, name))).collect::<Vec<_>>()
            });
            for (name, (fast, slow)) in taps.iter().zip(fast.iter().zip(&slow)) {
                let largest = slow.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
                let scaled = |values: &[f64]| values.iter().map(|value| value / largest).collect::<Vec<_>>();
                assert_near(&format!("{kind} {name}"), &scaled(fast), &scaled(slow), 3e-4);
            }
        }
    }
}
