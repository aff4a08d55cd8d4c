//! Networks run, against plain loops and finite differences.

mod families;
mod forward;
mod gradients;
mod layers;
mod modules;
mod portions;
mod published;
mod recurrent;
mod statistics;
mod tape;

use super::{Forward, Network, PassSpec};
use crate::graph::{Graph, GraphBuilder, LayerKind, Source};
use crate::ops::tests::flat;
use crate::ops::{Moment, ParamSet};
use candle_core::{DType as CandleType, Device, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

fn kind(table: &Value) -> LayerKind {
    LayerKind::read(table.as_object().expect("a table")).unwrap_or_else(|error| panic!("{table}: {error:?}"))
}

/// Layers that each read the one before.
fn chain(input: &[usize], layers: &[(&str, Value)]) -> Graph {
    let mut net = GraphBuilder::new("chain", input);
    let mut x = Source::Input;
    for (path, table) in layers {
        x = net.layer(path, kind(table), &[&x]).unwrap_or_else(|error| panic!("{error}"));
    }
    net.finish(&x).expect("a layer")
}

fn network(graph: Graph, float: CandleType) -> Network {
    let params = Rc::new(ParamSet::new("student", 5, float, &Device::Cpu));
    Network::new("student", graph, params, false, BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"))
}

/// Values in -1 to 1, the same on each run.
fn sample(shape: &[usize], seed: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let value = |at: usize| (((at * 7919 + seed * 104_729 + 17) as f64) * 0.618_033_988_75).fract() * 2.0 - 1.0;
    Tensor::from_vec((0..count).map(value).collect::<Vec<f64>>(), shape, &Device::Cpu).unwrap()
}

fn spec(net: &Network, taps: &[&str]) -> PassSpec {
    let want = taps.iter().map(|tap| net.graph.tap(tap).unwrap_or_else(|| panic!("no `{tap}`"))).collect();
    PassSpec { want, ..PassSpec::default() }
}

fn training(net: &Network, taps: &[&str]) -> PassSpec {
    PassSpec { training: true, track: true, ..spec(net, taps) }
}

/// The value of a tap of a network without time.
fn tap(net: &Network, found: &Forward, tap: &str) -> Tensor {
    let values = &found.taps[&net.graph.tap(tap).expect("a tap")];
    assert_eq!(values.len(), 1);
    values[0].clone()
}

fn value(net: &Network, name: &str) -> Vec<f64> {
    flat(&net.params.value(name).unwrap_or_else(|| panic!("no `{name}`")))
}

fn commit(found: &Forward) {
    found.staged.iter().try_for_each(|staged| staged.change.commit(&staged.params)).expect("commits");
}

#[track_caller]
fn assert_near(what: &str, got: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let near = |(got, wanted): (&f64, &f64)| (got - wanted).abs() <= tolerance * (1.0 + wanted.abs());
    assert!(got.iter().zip(wanted).all(near), "{what}: {got:?}, expected {wanted:?}");
}

fn start() -> Moment {
    Moment { seed: 11, training: true, ..Moment::default() }
}
