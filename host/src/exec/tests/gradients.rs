//! Gradients of a whole network against finite differences, in `f64`.

use super::{kind, network, sample, start, tap, training};
use crate::exec::Network;
use crate::graph::{Graph, GraphBuilder, LayerKind, Source};
use crate::ops::{ParamKind, tests::flat};
use candle_core::{DType as CandleType, Device, Tensor, Var};
use serde_json::json;

/// Convolutions (strided, grouped, transposed), norms, a residual sum, pools, a resize, a gate, dropout, linear layers.
pub(super) fn everything() -> Graph {
    let mut net = GraphBuilder::new("everything", &[2, 6, 5]);
    let mut add =
        |path: &str, table: serde_json::Value, inputs: &[&Source]| net.layer(path, kind(&table), inputs).unwrap();
    let x =
        add("conv1", json!({ "kind": "conv", "out": 4, "kernel": 3, "padding": 1, "bias": false }), &[&Source::Input]);
    let x = add("bn1", json!({ "kind": "batch_norm" }), &[&x]);
    let stem = add("silu", json!({ "kind": "silu" }), &[&x]);
    let x = add(
        "conv2",
        json!({ "kind": "conv", "out": 4, "kernel": [3, 2], "stride": [2, 1], "padding": [1, 1], "groups": 2 }),
        &[&stem],
    );
    let x = add("up", json!({ "kind": "conv_transpose", "out": 4, "kernel": [2, 1], "stride": [2, 1] }), &[&x]);
    let x = add("fit", json!({ "kind": "resize", "size": [6, 5], "filter": "bilinear" }), &[&x]);
    let x = add("sum", json!({ "kind": "add" }), &[&x, &stem]);
    let x = add("relu", json!({ "kind": "relu" }), &[&x]);
    let gate = add("sigmoid", json!({ "kind": "sigmoid" }), &[&stem]);
    let x = add("gated", json!({ "kind": "mul" }), &[&x, &gate]);
    let pooled = add("max", json!({ "kind": "max_pool", "kernel": 2, "stride": 2, "padding": 1 }), &[&x]);
    let mean = add("mean", json!({ "kind": "adaptive_avg_pool", "size": [4, 3] }), &[&x]);
    let x = add("both", json!({ "kind": "concat" }), &[&pooled, &mean]);
    let x = add("ln", json!({ "kind": "layer_norm", "dims": 2 }), &[&x]);
    let x = add("drop", json!({ "kind": "dropout", "p": 0.2 }), &[&x]);
    let x = add("flat", json!({ "kind": "flatten" }), &[&x]);
    let x = add("fc1", json!({ "kind": "linear", "out": 5 }), &[&x]);
    let x = add("bn2", json!({ "kind": "batch_norm" }), &[&x]);
    let x = add("gelu", json!({ "kind": "gelu" }), &[&x]);
    let x = net.layer("fc2", LayerKind::linear(3), &[&x]).unwrap();
    net.finish(&x).unwrap()
}

fn objective(net: &Network, x: &Tensor) -> Tensor {
    let found = net.forward(x, &training(net, &["logits"]), &start()).unwrap();
    let y = tap(net, &found, "logits");
    let weights = sample(y.dims(), 77);
    (y.sqr().unwrap() * weights).unwrap().sum_all().unwrap()
}

/// Central difference by one element of a variable.
fn difference(net: &Network, x: &Tensor, var: &Var, at: usize) -> f64 {
    let before = flat(var);
    let step = 1e-5;
    let moved = |by: f64| {
        let mut values = before.clone();
        values[at] += by;
        var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu).unwrap()).unwrap();
        flat(&objective(net, x))[0]
    };
    let slope = (moved(step) - moved(-step)) / (2.0 * step);
    moved(0.0);
    slope
}

#[test]
fn gradient_of_a_whole_network_equals_finite_differences() {
    let net = network(everything(), CandleType::F64);
    // Norms whose scale is 1 and shift 0 hide mistakes.
    for (name, entry) in net.params.entries() {
        if ["bn1", "bn2", "ln"].iter().any(|norm| name.starts_with(norm)) {
            net.params.assign(&name, &sample(entry.var.dims(), name.len()).affine(0.4, 1.0).unwrap()).unwrap();
        }
    }
    let x = Var::from_tensor(&sample(&[3, 2, 6, 5], 2)).unwrap();
    let grads = objective(&net, &x).backward().unwrap();
    let mut vars: Vec<(String, Var)> = vec![("input".into(), x.clone())];
    vars.extend(
        net.params.entries().into_iter().filter(|(_, e)| e.kind == ParamKind::Parameter).map(|(name, e)| (name, e.var)),
    );
    assert_eq!(vars.len(), 1 + 15);
    for (name, var) in vars {
        let grad = flat(grads.get(&var).unwrap_or_else(|| panic!("no gradient reaches `{name}`")));
        let largest = grad.iter().fold(1e-3f64, |largest, value| largest.max(value.abs()));
        for at in (0..grad.len()).step_by(grad.len().div_ceil(12)) {
            let wanted = difference(&net, &x, &var, at);
            assert!(
                (grad[at] - wanted).abs() <= 1e-5 * largest,
                "{name}[{at}]: {}, differences give {wanted}",
                grad[at]
            );
        }
    }
    for (name, entry) in net.params.entries().into_iter().filter(|(_, entry)| entry.kind == ParamKind::Buffer) {
        assert!(grads.get(&entry.var).is_none(), "{name}");
    }
}
