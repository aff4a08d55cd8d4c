//! Modules in the place of layers: state, time, taps.

use super::{assert_near, chain, commit, start};
use crate::exec::{ModuleSlot, Network, NetworkError, PassSpec};
use crate::graph::Source;
use crate::ops::tests::{flat, part};
use crate::ops::{Moment, ParamSet};
use candle_core::{DType as CandleType, Device, Tensor};
use serde_json::json;
use std::collections::BTreeMap;
use std::rc::Rc;
use stillhouse_plugin::Tensor as PluginTensor;
use stillhouse_plugin::prelude::*;
use stillhouse_plugin::sdk;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    what: String,
}

/// `sum = decay sum + x` from frame to frame, gives `scale sum`; counts its steps; can be tapped at `seen` (`10 x`).
struct Summing(String);

impl Component for Summing {
    type Config = Which;
    const NAME: &'static str = "summing";
    fn new(which: Which) -> Result<Self> {
        Ok(Summing(which.what))
    }
}

impl Module for Summing {
    fn bind(&mut self, cx: &BindCx, x: &PluginTensor, replaced: &PluginTensor) -> Result<()> {
        let (got, wanted) = (x.dims()?, replaced.dims()?);
        ensure!(got == wanted, "wants a layer that keeps the shape, got {got:?} to {wanted:?}");
        cx.add_param("decay", &[], &Init::Constant { value: 0.5 });
        cx.add_param("inner.scale", &[], &Init::Constant { value: 2.0 });
        cx.add_buffer("steps", &[], &Init::Zeros);
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &PluginTensor, state: &State) -> Result<Stepped> {
        let first = state.is_empty();
        let sum = match state.get("sum") {
            Some(before) => before * cx.param("decay") + x,
            None => x.clone(),
        };
        if cx.training() {
            cx.set("steps", &(cx.buffer("steps") + cx.moment().frame as f64 + 1.0));
        }
        match self.0.as_str() {
            "scalar" => return Ok(Stepped::new(sum.sum_all())),
            "growing" => return Ok(Stepped::new(x.clone()).state("sum", &sum.unsqueeze(0))),
            "later" if !first => return Ok(Stepped::new(sum.clone()).state("sum", &sum).state("more", &sum)),
            _ => {}
        }
        let gate = x * 10.0;
        Ok(Stepped::new(&sum * cx.param("inner.scale")).state("sum", &sum).value("seen", &gate))
    }
}

/// `before` (identity), then the module at `mid`, then `after` (identity); samples of two numbers.
fn summing(what: &str, over_time: bool) -> std::result::Result<Network, NetworkError> {
    summing_of(what, over_time, CandleType::F64)
}

pub(super) fn summing_of(what: &str, over_time: bool, float: CandleType) -> std::result::Result<Network, NetworkError> {
    let identity = || json!({ "kind": "identity" });
    let mut graph = chain(&[2], &[("before", identity()), ("mid", json!({ "kind": "relu" })), ("after", identity())]);
    let index = graph.replace("mid").expect("replaced");
    let set = |owner: &str| Rc::new(ParamSet::new(owner, 3, float, &Device::Cpu));
    let part = part(&sdk::module_entry::<Summing>(), &format!(r#"{{"what": "{what}"}}"#), set("student.mid"));
    let slot = ModuleSlot { part, replaced: vec![2], state: vec![], values: vec![] };
    Network::new("student", graph, set("student"), over_time, BTreeMap::from([(index, slot)]))
}

fn clip() -> Tensor {
    Tensor::new(&[[[1.0, -1.0], [2.0, 0.0], [4.0, 1.0]]], &Device::Cpu).unwrap() // [1, 3, 2]
}

fn spec(net: &Network, taps: &[&str]) -> PassSpec {
    PassSpec { reverse_time: false, ..super::training(net, taps) }
}

fn frames(net: &Network, found: &crate::exec::Forward, tap: &str) -> Vec<Vec<f64>> {
    found.taps[&net.graph.tap(tap).unwrap()].iter().map(flat).collect()
}

#[test]
fn module_hands_its_state_from_frame_to_frame() {
    let net = summing("", true).expect("fits");
    let slot = &net.modules[&1];
    assert_eq!((slot.state.as_slice(), slot.values[0].0.as_str()), (&["sum".to_owned()][..], "seen"));
    let found = net.forward(&clip(), &spec(&net, &["logits", "mid.seen", "before"]), &start()).unwrap();
    assert_eq!(frames(&net, &found, "logits"), [[2.0, -2.0], [5.0, -1.0], [10.5, 1.5]]);
    assert_eq!(frames(&net, &found, "mid.seen"), [[10.0, -10.0], [20.0, 0.0], [40.0, 10.0]]);
    assert_eq!(frames(&net, &found, "before"), [[1.0, -1.0], [2.0, 0.0], [4.0, 1.0]]);
    let again = net.forward(&clip(), &spec(&net, &["logits"]), &start()).unwrap();
    assert_eq!(frames(&net, &again, "logits"), frames(&net, &found, "logits"), "a forward starts without state");
    let last = found.taps[&net.graph.tap("logits").unwrap()][2].sum_all().unwrap();
    let grads = last.backward().unwrap();
    let param = |name: &str| net.modules[&1].part.params().get(name).unwrap().var;
    // y = 2 (x2 + d (x1 + d x0)), summed over both numbers: dy/dd = 2 (x1 + 2 d x0).
    assert_near("decay", &flat(grads.get(&param("decay")).unwrap()), &[4.0], 1e-12);
}

#[test]
fn module_in_reversed_time_gives_taps_in_the_order_of_the_data() {
    let net = summing("", true).expect("fits");
    let spec = PassSpec { reverse_time: true, ..spec(&net, &["logits", "mid.seen", "input"]) };
    let found = net.forward(&clip(), &spec, &start()).unwrap();
    assert_eq!(frames(&net, &found, "input"), [[1.0, -1.0], [2.0, 0.0], [4.0, 1.0]]);
    assert_eq!(frames(&net, &found, "mid.seen"), [[10.0, -10.0], [20.0, 0.0], [40.0, 10.0]]);
    assert_eq!(frames(&net, &found, "logits"), [[6.0, -1.5], [8.0, 1.0], [8.0, 2.0]]);
}

#[test]
fn module_buffers_change_once_after_the_commit() {
    let net = summing("", true).expect("fits");
    let steps = || flat(&net.modules[&1].part.params().value("steps").unwrap());
    let found = net.forward(&clip(), &spec(&net, &["logits"]), &start()).unwrap();
    assert_eq!((steps(), found.staged.len()), (vec![0.0], 1));
    commit(&found);
    assert_eq!(steps(), [3.0], "the last frame's change counts");
    let evaluated = PassSpec { training: false, ..spec(&net, &["logits"]) };
    assert!(net.forward(&clip(), &evaluated, &start()).unwrap().staged.is_empty());
}

#[test]
fn module_frozen_runs_as_in_evaluation_and_keeps_its_buffers() {
    let net = summing("", false).expect("fits");
    let x = Tensor::new(&[[1.0, 2.0]], &Device::Cpu).unwrap();
    let frozen = |names: &[&str]| PassSpec {
        frozen: names.iter().map(|name| (*name).into()).collect(),
        ..spec(&net, &["logits"])
    };
    let staged = |spec: &PassSpec| net.forward(&x, spec, &start()).unwrap().staged.len();
    assert_eq!(staged(&frozen(&["mid.decay"])), 1);
    assert_eq!(staged(&frozen(&["mid.decay", "mid.inner.scale"])), 0);
}

#[test]
fn module_without_tracking_has_no_gradient() {
    let net = summing("", false).expect("fits");
    let x = Tensor::new(&[[1.0, 2.0]], &Device::Cpu).unwrap();
    let untracked = PassSpec { track: false, ..spec(&net, &["logits", "mid.seen"]) };
    let found = net.forward(&x, &untracked, &Moment::default()).unwrap();
    assert!(found.taps.values().flatten().all(|value| !value.track_op()));
}

#[test]
fn module_parameters_and_shapes_are_found_by_path() {
    let net = summing("", false).expect("fits");
    let sets: Vec<(String, usize)> =
        net.sets().into_iter().map(|(prefix, set)| (prefix, set.parameter_count())).collect();
    assert_eq!(sets, [(String::new(), 0), ("mid.".into(), 2)]);
    assert_eq!(net.parameters_behind([&Source::Layer(2)]), ["mid.decay", "mid.inner.scale"]);
    assert!(net.parameters_behind([&Source::Layer(0)]).is_empty());
    let shape = |tap: &str| net.graph.tap(tap).and_then(|point| net.shape(&point));
    assert_eq!((shape("mid"), shape("mid.seen"), shape("mid.other")), (Some(vec![2]), Some(vec![2]), None));
    assert!(!net.couples_batch());
}

#[test]
fn module_that_does_not_fit_its_place_is_refused() {
    for (what, wanted) in [
        ("scalar", "must keep the batch in front, gave [] f64 for [2, 2] f64"),
        ("growing", "gave state `sum` [1, 2, 2] f64 at the first frame and [1, 1, 2, 2] f64 at the next"),
        ("later", "gave other state or values at the second frame than at the first"),
    ] {
        let said = summing(what, true).err().expect(what).to_string();
        assert!(said.ends_with(wanted), "{what}: {said}");
    }
}

#[test]
fn module_missing_is_error_that_names_the_layer() {
    let mut graph = chain(&[2], &[("mid", json!({ "kind": "relu" }))]);
    graph.replace("mid").expect("replaced");
    let params = Rc::new(ParamSet::new("student", 3, CandleType::F64, &Device::Cpu));
    let net = Network::new("student", graph, params, false, BTreeMap::new()).expect("a graph");
    let x = Tensor::new(&[[1.0, 2.0]], &Device::Cpu).unwrap();
    let error = net.forward(&x, &spec(&net, &["mid"]), &start()).unwrap_err().to_string();
    assert_eq!(error, "layer `mid`: its module is missing");
}
