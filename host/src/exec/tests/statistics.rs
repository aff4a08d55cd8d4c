//! Running statistics of batch normalisation.

use super::{assert_near, chain, commit, network, sample, spec, start, tap, training, value};
use crate::exec::{Network, PassSpec};
use crate::ops::ParamSet;
use crate::ops::tests::flat;
use candle_core::{DType as CandleType, Device, Tensor};
use serde_json::json;
use std::collections::BTreeMap;
use std::rc::Rc;

fn norm(over_time: bool) -> Network {
    let graph = chain(&[2, 1, 2], &[("bn", json!({ "kind": "batch_norm" }))]);
    let params = Rc::new(ParamSet::new("student", 5, CandleType::F64, &Device::Cpu));
    Network::new("student", graph, params, over_time, BTreeMap::new()).unwrap()
}

/// Channel 0 holds 1, 3, 5, 7 (mean 4, unbiased variance 20 / 3), channel 1 zeros.
fn batch() -> Tensor {
    Tensor::new(&[[[[1.0, 3.0]], [[0.0, 0.0]]], [[[5.0, 7.0]], [[0.0, 0.0]]]], &Device::Cpu).unwrap()
}

#[test]
fn statistics_move_as_pytorchs_and_after_the_commit_only() {
    let net = norm(false);
    let found = net.forward(&batch(), &training(&net, &["bn"]), &start()).unwrap();
    let y = flat(&tap(&net, &found, "bn"));
    let deviation = (5.0f64 + 1e-5).sqrt();
    assert_near("y", &y[..2], &[-3.0 / deviation, -1.0 / deviation], 1e-12);
    let statistics = || [value(&net, "bn.running_mean"), value(&net, "bn.running_var")].concat();
    assert_eq!(statistics(), [0.0, 0.0, 1.0, 1.0]);
    commit(&found);
    assert_near("after one", &statistics(), &[0.4, 0.0, 0.9 + 2.0 / 3.0, 0.9], 1e-12);
    commit(&net.forward(&batch(), &training(&net, &["bn"]), &start()).unwrap());
    assert_near("after two", &statistics(), &[0.76, 0.0, 0.9 * (0.9 + 2.0 / 3.0) + 2.0 / 3.0, 0.81], 1e-12);
    let evaluated = net.forward(&batch(), &spec(&net, &["bn"]), &start()).unwrap();
    assert!(evaluated.staged.is_empty());
    let wanted = (1.0 - 0.76) / (0.9 * (0.9 + 2.0 / 3.0) + 2.0 / 3.0 + 1e-5f64).sqrt();
    assert_near("evaluated", &flat(&tap(&net, &evaluated, "bn"))[..1], &[wanted], 1e-12);
}

#[test]
fn statistics_of_frames_move_once_a_frame() {
    let (net, single) = (norm(true), norm(false));
    let frames = [batch(), sample(&[2, 2, 1, 2], 3), sample(&[2, 2, 1, 2], 4)];
    let clip = Tensor::stack(&frames, 1).unwrap();
    for reverse_time in [false, true] {
        let spec = PassSpec { reverse_time, ..training(&net, &["bn"]) };
        commit(&net.forward(&clip, &spec, &start()).unwrap());
        for at in 0..3 {
            let frame = &frames[if reverse_time { 2 - at } else { at }];
            commit(&single.forward(frame, &training(&single, &["bn"]), &start()).unwrap());
        }
        for name in ["bn.running_mean", "bn.running_var"] {
            assert_near(name, &value(&net, name), &value(&single, name), 1e-12);
        }
    }
    let found = net.forward(&clip, &training(&net, &["bn"]), &start()).unwrap();
    assert_eq!(found.staged.len(), 2, "one change a buffer");
    assert!(found.staged.iter().all(|staged| match &staged.change {
        crate::ops::Staged::Whole { value, .. } => !value.track_op(),
        crate::ops::Staged::Rows { .. } => false,
    }));
}

#[test]
fn statistics_of_a_frozen_layer_stay_and_are_used() {
    let net = norm(false);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let frozen = PassSpec { frozen: names(&["bn.weight", "bn.bias"]), ..training(&net, &["bn"]) };
    let found = net.forward(&batch(), &frozen, &start()).unwrap();
    assert!(found.staged.is_empty());
    assert_near("y", &flat(&tap(&net, &found, "bn")), &flat(&batch()), 1e-4);
    let half = PassSpec { frozen: names(&["bn.weight"]), ..training(&net, &["bn"]) };
    assert_eq!(net.forward(&batch(), &half, &start()).unwrap().staged.len(), 2);
}

#[test]
fn statistics_of_one_value_a_channel_are_error() {
    let net = network(chain(&[3], &[("bn", json!({ "kind": "batch_norm" }))]), CandleType::F32);
    let x = sample(&[1, 3], 0).to_dtype(CandleType::F32).unwrap();
    let error = net.forward(&x, &training(&net, &["bn"]), &start()).unwrap_err().to_string();
    assert!(error.starts_with("layer `bn`: ") && error.contains("variance"), "{error}");
    assert!(net.forward(&x, &spec(&net, &["bn"]), &start()).is_ok());
}
