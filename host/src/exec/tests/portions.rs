//! A batch that a frozen network runs in portions: each sample gets what it gets alone.

use super::tape::{both, family};
use super::{sample, spec, start, tap};
use crate::exec::PassSpec;
use crate::ops::tests::flat;
use serde_json::json;

/// With 16 channels, maps of 147 kB: 16 samples a portion.
const INPUT: [usize; 3] = [3, 48, 48];

#[test]
fn samples_of_any_portion_equal_those_alone_bit_for_bit() {
    let graph = family("resnet", &json!({ "depth": 8, "width": 16 }), &INPUT);
    let [net, _] = both(&graph);
    let taps = ["input", "layer1", "layer3.0.conv1", "layer3", "logits"];
    let x = sample(&[37, INPUT[0], INPUT[1], INPUT[2]], 3).to_dtype(net.params.float()).unwrap();
    let whole = net.forward(&x, &spec(&net, &taps), &start()).unwrap();
    for at in [0, 15, 16, 31, 32, 36] {
        let alone = net.forward(&x.narrow(0, at, 1).unwrap(), &spec(&net, &taps), &start()).unwrap();
        for name in taps {
            let value = tap(&net, &whole, name);
            assert_eq!(value.dim(0).unwrap(), 37);
            assert_eq!(flat(&value.narrow(0, at, 1).unwrap()), flat(&tap(&net, &alone, name)), "{name} of sample {at}");
        }
    }
}

#[test]
fn only_networks_that_nothing_is_trained_in_run_in_portions() {
    let graph = family("resnet", &json!({ "depth": 8, "width": 16 }), &INPUT);
    let [net, _] = both(&graph);
    let evaluated = spec(&net, &["logits"]);
    assert_eq!(super::super::tape::portion(&net, &evaluated), Some(16));
    let trained = PassSpec { track: true, ..evaluated.clone() };
    assert_eq!(super::super::tape::portion(&net, &trained), None);
    let statistics = PassSpec { training: true, ..evaluated };
    assert_eq!(super::super::tape::portion(&net, &statistics), None, "statistics of the whole batch");
}
