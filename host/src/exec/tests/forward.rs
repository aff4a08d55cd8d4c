//! Whole forwards: against plain loops; what runs, what is kept, what is tracked.

use super::{assert_near, chain, network, sample, spec, start, tap, training, value};
use crate::exec::pass::last_readers;
use crate::exec::{Network, NetworkError, PassSpec};
use crate::graph::{GraphBuilder, LayerKind, Source};
use crate::model::{Frame, build_table};
use crate::ops::tests::flat;
use candle_core::{DType as CandleType, Tensor, Var};
use serde_json::json;

/// A map `[N, C, H, W]` (or `[N, C]`) of plain numbers.
#[derive(Clone)]
struct Plain {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Plain {
    fn at(&self, n: usize, c: usize, y: isize, x: isize) -> f64 {
        let [height, width] = [self.shape[2], self.shape[3]];
        let inside = y >= 0 && x >= 0 && (y as usize) < height && (x as usize) < width;
        if inside { self.values[((n * self.shape[1] + c) * height + y as usize) * width + x as usize] } else { 0.0 }
    }

    /// Each value by a function of its channel.
    fn by_channel(&self, f: impl Fn(usize, f64) -> f64) -> Plain {
        let plane: usize = self.shape[2..].iter().product();
        let values = self.values.iter().enumerate().map(|(at, value)| f(at / plane % self.shape[1], *value)).collect();
        Plain { shape: self.shape.clone(), values }
    }
}

fn conv(x: &Plain, weight: &[f64], out: usize, kernel: usize, stride: usize, padding: usize) -> Plain {
    let size = [2, 3].map(|d| (x.shape[d] + 2 * padding - kernel) / stride + 1);
    let channels = x.shape[1];
    let mut values = vec![];
    for at in 0..x.shape[0] * out * size[0] * size[1] {
        let (n, o, row, column) =
            (at / (out * size[0] * size[1]), at / (size[0] * size[1]) % out, at / size[1] % size[0], at % size[1]);
        let mut sum = 0.0;
        for k in 0..channels * kernel * kernel {
            let (c, i, j) = (k / (kernel * kernel), k / kernel % kernel, k % kernel);
            let place = |at: usize, tap: usize| (at * stride + tap) as isize - padding as isize;
            sum += weight[o * channels * kernel * kernel + k] * x.at(n, c, place(row, i), place(column, j));
        }
        values.push(sum);
    }
    Plain { shape: vec![x.shape[0], out, size[0], size[1]], values }
}

/// The layers of a residual network in evaluation, one after the other, by plain loops.
fn plain(net: &Network, input: &Tensor) -> Vec<Plain> {
    let input = Plain { shape: input.dims().to_vec(), values: flat(input) };
    let mut made: Vec<Plain> = vec![];
    for layer in &net.graph.layers {
        let read = |at: usize| layer.inputs[at].layer().map_or(&input, |index| &made[index]);
        let of = |suffix: &str| value(net, &format!("{}.{suffix}", layer.path));
        let x = read(0);
        let y = match &layer.kind {
            LayerKind::Conv { out, kernel, stride, padding, .. } => {
                conv(x, &of("weight"), *out, kernel.0[0], stride.0[0], padding.0[0])
            }
            LayerKind::BatchNorm { eps, .. } => {
                let (scale, shift, mean, variance) = (of("weight"), of("bias"), of("running_mean"), of("running_var"));
                x.by_channel(|c, value| (value - mean[c]) / (variance[c] + eps).sqrt() * scale[c] + shift[c])
            }
            LayerKind::Relu => x.by_channel(|_, value| value.max(0.0)),
            LayerKind::Add => {
                let values = x.values.iter().zip(&read(1).values).map(|(a, b)| a + b).collect();
                Plain { shape: x.shape.clone(), values }
            }
            LayerKind::GlobalAvgPool => {
                let plane: usize = x.shape[2..].iter().product();
                let values = x.values.chunks(plane).map(|chunk| chunk.iter().sum::<f64>() / plane as f64).collect();
                Plain { shape: x.shape[..2].to_vec(), values }
            }
            LayerKind::Linear { out, .. } => {
                let (weight, bias, features) = (of("weight"), of("bias"), x.shape[1]);
                let dot = |row: &[f64], o: usize| {
                    row.iter().zip(&weight[o * features..]).map(|(a, b)| a * b).sum::<f64>() + bias[o]
                };
                let values = x
                    .values
                    .chunks(features)
                    .flat_map(|row| (0..*out).map(|o| dot(row, o)).collect::<Vec<_>>())
                    .collect();
                Plain { shape: vec![x.shape[0], *out], values }
            }
            other => panic!("{other:?}"),
        };
        made.push(y);
    }
    made
}

fn resnet8(float: CandleType) -> Network {
    let settings = json!({ "depth": 8, "width": 2 });
    let frame = Frame { input: vec![2, 7, 6], classes: 3 };
    let net = network(build_table("resnet", settings.as_object().unwrap(), &frame).unwrap(), float);
    // Statistics that are not those of a fresh network.
    for (name, entry) in net.params.entries() {
        let fresh = sample(entry.var.dims(), name.len());
        if name.ends_with("running_mean") || name.ends_with("bn2.bias") {
            net.params.assign(&name, &fresh).unwrap();
        } else if name.ends_with("running_var") || name.ends_with("bn1.weight") {
            net.params.assign(&name, &fresh.affine(0.5, 1.0).unwrap()).unwrap();
        }
    }
    net
}

#[test]
fn forward_of_resnet8_equals_plain_loops_at_every_layer() {
    for (float, tolerance) in [(CandleType::F64, 1e-11), (CandleType::F32, 1e-4)] {
        let net = resnet8(float);
        let x = sample(&[3, 2, 7, 6], 1).to_dtype(float).unwrap();
        let spec = PassSpec { want: (0..net.graph.layers.len()).map(Source::Layer).collect(), ..PassSpec::default() };
        let found = net.forward(&x, &spec, &start()).unwrap();
        for (index, wanted) in plain(&net, &x).iter().enumerate() {
            let got = &found.taps[&Source::Layer(index)][0];
            assert_eq!(got.dims(), wanted.shape);
            assert_near(&net.graph.layers[index].path, &flat(got), &wanted.values, tolerance);
        }
        assert!(found.staged.is_empty(), "evaluation changes nothing");
    }
}

#[test]
fn forward_runs_the_needed_layers_only() {
    let layers = [
        ("a", json!({ "kind": "relu" })),
        ("b", json!({ "kind": "reshape", "shape": [2, 2] })),
        ("c", json!({ "kind": "relu" })),
    ];
    let net = network(chain(&[4], &layers), CandleType::F64);
    let short = sample(&[1, 3], 0); // `b` cannot take it
    let found = net.forward(&short, &spec(&net, &["a", "input"]), &start()).unwrap();
    assert_eq!((tap(&net, &found, "a").dims(), flat(&tap(&net, &found, "input"))), (&[1, 3][..], flat(&short)));
    assert_eq!(found.taps.len(), 2, "what nobody wants is not kept");
    let error = net.forward(&short, &spec(&net, &["c"]), &start()).unwrap_err();
    assert!(matches!(&error, NetworkError::Layer { path, .. } if path == "b"), "{error}");
    assert!(error.to_string().starts_with("layer `b`: "), "{error}");
}

#[test]
fn values_are_dropped_behind_their_last_reader() {
    let mut net = GraphBuilder::new("net", &[4]);
    let a = net.layer("a", LayerKind::Relu, &[&Source::Input]).unwrap();
    let b = net.layer("b", LayerKind::Relu, &[&a]).unwrap();
    let c = net.layer("c", LayerKind::Add, &[&b, &a]).unwrap();
    let d = net.layer("d", LayerKind::Add, &[&c, &c]).unwrap();
    let e = net.layer("e", LayerKind::Add, &[&d, &b]).unwrap();
    let graph = net.finish(&e).unwrap();
    let last = |point: &Source| {
        let mut pairs: Vec<(usize, usize)> = last_readers(&graph, &graph.needed([point])).into_iter().collect();
        pairs.sort_unstable();
        pairs
    };
    assert_eq!(last(&e), [(0, 2), (1, 4), (2, 3), (3, 4)]);
    assert_eq!(last(&c), [(0, 2), (1, 2)]);
    let net = network(graph, CandleType::F64);
    let x = sample(&[1, 4], 0).abs().unwrap();
    let found = net.forward(&x, &spec(&net, &["e", "a"]), &start()).unwrap();
    assert_near("e", &flat(&tap(&net, &found, "e")), &flat(&x).iter().map(|x| 5.0 * x).collect::<Vec<_>>(), 1e-12);
    assert_eq!(flat(&tap(&net, &found, "a")), flat(&x), "a wanted value stays");
}

#[test]
fn gradient_is_tracked_where_it_is_wanted() {
    let net = network(
        chain(&[3], &[("a", json!({ "kind": "linear", "out": 2 })), ("b", json!({ "kind": "linear", "out": 2 }))]),
        CandleType::F64,
    );
    let x = Var::from_tensor(&sample(&[2, 3], 0)).unwrap();
    let run = |spec: &PassSpec| tap(&net, &net.forward(&x, spec, &start()).unwrap(), "logits");
    assert!(!run(&spec(&net, &["logits"])).track_op(), "nothing is tracked, not even the input");
    assert!(!run(&PassSpec { training: true, ..spec(&net, &["logits"]) }).track_op());
    let frozen = ["a.weight", "a.bias", "b.bias"].map(String::from).into_iter().collect();
    let grads = run(&PassSpec { frozen, ..training(&net, &["logits"]) }).sum_all().unwrap().backward().unwrap();
    for (name, entry) in net.params.entries() {
        assert_eq!(grads.get(&entry.var).is_some(), name == "b.weight", "{name}");
    }
    assert!(grads.get(&x).is_some());
}
