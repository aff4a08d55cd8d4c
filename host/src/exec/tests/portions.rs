//! A batch that a frozen network runs in portions: each sample gets what it gets alone.

use super::super::tape::{Portions, portions};
use super::tape::{both, family};
use super::{network, sample, spec, start, tap};
use crate::exec::{Executor, PassSpec};
use crate::model::{Frame, build_short, small_families};
use crate::ops::tests::flat;
use candle_core::{DType, Tensor};
use serde_json::json;

/// With 16 channels, maps of 147 kB: 28 samples a portion.
const INPUT: [usize; 3] = [3, 48, 48];

#[test]
fn samples_of_any_portion_equal_those_alone_bit_for_bit() {
    let graph = family("resnet", &json!({ "depth": 8, "width": 16 }), &INPUT);
    let [net, _] = both(&graph);
    let taps = ["input", "layer1", "layer3.0.conv1", "layer3", "logits"];
    let x = sample(&[37, INPUT[0], INPUT[1], INPUT[2]], 3).to_dtype(net.params.float()).unwrap();
    let whole = net.forward(&x, &spec(&net, &taps), &start()).unwrap();
    for at in [0, 15, 27, 28, 36] {
        let alone = net.forward(&x.narrow(0, at, 1).unwrap(), &spec(&net, &taps), &start()).unwrap();
        for name in taps {
            let value = tap(&net, &whole, name);
            assert_eq!(value.dim(0).unwrap(), 37);
            assert_eq!(flat(&value.narrow(0, at, 1).unwrap()), flat(&tap(&net, &alone, name)), "{name} of sample {at}");
        }
    }
}

/// What a cache of a teacher's values stands on: they do not depend on what else was in the batch, or how much.
#[test]
fn sample_of_every_family_has_the_same_bits_in_any_batch() {
    let others = [("mlp", json!({ "hidden": [100] })), ("resnet", json!({ "depth": 8, "width": 16 }))];
    for (kind, settings) in small_families().into_iter().chain(others) {
        let net = network(family(kind, &settings, &[3, 37, 34]), DType::F32).run_by(Executor::Fast);
        let x = sample(&[43, 3, 37, 34], 5).to_dtype(DType::F32).unwrap();
        let logits = |x: &Tensor| tap(&net, &net.forward(x, &spec(&net, &["logits"]), &start()).unwrap(), "logits");
        let whole = logits(&x);
        for (at, count) in [(0, 1), (42, 1), (3, 2), (20, 7), (11, 29)] {
            let part = logits(&x.narrow(0, at, count).unwrap());
            assert_eq!(flat(&part), flat(&whole.narrow(0, at, count).unwrap()), "{kind}: {count} samples from {at}");
        }
    }
}

/// Of a network with many weights, its beginning: up to a block that two layers read, or a pooling.
#[test]
fn samples_of_large_networks_equal_those_alone_bit_for_bit() {
    let points = [
        ("ResNet50", "layer2.3.relu3", ["layer1", "layer2", "layer3.1.conv2"]),
        ("vgg8", "pool2", ["block1", "block2", "block3.0"]),
    ];
    for (name, end, [first, second, inner]) in points {
        let graph = build_short(name, &Frame { input: vec![3, 16, 16], classes: 10 }).unwrap();
        let net = network(graph, DType::F32).run_by(Executor::Fast);
        let of = portions(&net, &spec(&net, &["logits"])).expect("its beginning runs in portions");
        assert_eq!(net.graph.layers[of.end.expect("not all of it does")].path, end);
        let names = ["input", first, second, inner, "logits"];
        let x = sample(&[of.samples + 21, 3, 16, 16], 3).to_dtype(DType::F32).unwrap();
        for taps in [&names[..], &["logits"], &[first], &[second, inner]] {
            let whole = net.forward(&x, &spec(&net, taps), &start()).unwrap();
            assert_eq!(whole.taps.len(), taps.len());
            for at in [0, of.samples - 1, of.samples, of.samples + 20] {
                let alone = net.forward(&x.narrow(0, at, 1).unwrap(), &spec(&net, taps), &start()).unwrap();
                for name in taps {
                    let value = tap(&net, &whole, name);
                    assert_eq!(value.dim(0).unwrap(), of.samples + 21);
                    assert_eq!(
                        flat(&value.narrow(0, at, 1).unwrap()),
                        flat(&tap(&net, &alone, name)),
                        "{name} of {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn only_networks_that_nothing_is_trained_in_run_in_portions() {
    let graph = family("resnet", &json!({ "depth": 8, "width": 16 }), &INPUT);
    let [net, _] = both(&graph);
    let evaluated = spec(&net, &["logits"]);
    assert_eq!(portions(&net, &evaluated), Some(Portions { samples: 28, end: None }));
    let trained = PassSpec { track: true, ..evaluated.clone() };
    assert_eq!(portions(&net, &trained), None);
    let statistics = PassSpec { training: true, ..evaluated };
    assert_eq!(portions(&net, &statistics), None, "statistics of the whole batch");
}
