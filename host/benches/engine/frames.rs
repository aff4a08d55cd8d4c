//! Networks over time: forward and backward of frames that are to be given again.

use super::Outcome;
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use std::collections::BTreeMap;
use std::rc::Rc;
use stillhouse::exec::{Executor, ModuleSlot, Network, ParamGrad, PassSpec};
use stillhouse::graph::{Graph, Source};
use stillhouse::model::{Frame, build_table};
use stillhouse::ops::native::{Record, squared_distance};
use stillhouse::ops::{BoundPart, Moment, ParamSet, host_api};
use stillhouse::plugin::Registry;
use stillhouse_plugin::desc::Kind;

/// `conv_lstm:<kernel>:<frames>`; `module:…` is the same with each cell a plugin's module.
#[derive(Clone, Copy)]
pub struct Clip<'a> {
    pub kind: &'a str,
    kernel: usize,
    frames: usize,
}

/// Side of a frame; channels of a state; cells.
const SIDE: usize = 64;
const HIDDEN: usize = 64;
const DEPTH: usize = 4;

/// A network, clips, and the frames that it is to give.
pub struct Frames {
    pub network: Network,
    /// `[B, T, 1, 64, 64]`.
    pub x: Tensor,
    targets: Vec<Tensor>,
    spec: PassSpec,
}

impl Frames {
    /// To give frames of noise again, of mean 1.
    pub fn new(clip: Clip<'_>, batch: usize, registry: &Registry) -> Outcome<Frames> {
        let network = clip.network(registry)?;
        let x = Tensor::randn(1f32, 1.0, (batch, clip.frames, 1, SIDE, SIDE), &Device::Cpu)?;
        let target = |at| x.narrow(1, at, 1)?.squeeze(1)?.contiguous();
        let targets = (0..clip.frames).map(target).collect::<candle_core::Result<_>>()?;
        let want = vec![Source::Layer(network.graph.output)];
        let spec = PassSpec { training: true, track: true, want, ..PassSpec::default() };
        Ok(Frames { network, x, targets, spec })
    }

    /// Forward and backward of the batch: the mean squared error of each frame, and the gradients of their sum.
    pub fn step(&self) -> Outcome<(Vec<Tensor>, Vec<ParamGrad>)> {
        let found = self.network.forward(&self.x, &self.spec, &Moment { training: true, ..Moment::default() })?;
        let mut record = Record::default();
        let mut term = |(x, y): (&Tensor, &Tensor)| {
            record.watch(x);
            let term = record.during(|| squared_distance(x, y, 1.0 / x.elem_count() as f64))?;
            Ok((term.clone(), term.ones_like()?))
        };
        let outputs = &found.taps[&self.spec.want[0]];
        let terms = outputs.iter().zip(&self.targets).map(&mut term).collect::<candle_core::Result<Vec<_>>>()?;
        let store = record.gradients(&terms)?;
        let gradients = found.tape.ok_or("ran on candle")?.spend(&store)?;
        Ok((terms.into_iter().map(|(term, _)| term).collect(), gradients))
    }
}

impl<'a> Clip<'a> {
    pub fn of(student: &'a str) -> Option<Clip<'a>> {
        let [kind, kernel, frames] = student.split(':').collect::<Vec<_>>()[..] else { return None };
        Some(Clip { kind, kernel: kernel.parse().ok()?, frames: frames.parse().ok()? })
    }

    fn network(self, registry: &Registry) -> Outcome<Network> {
        let settings = json!({ "depth": DEPTH, "hidden": HIDDEN, "kernel": self.kernel });
        let settings = settings.as_object().cloned().unwrap_or_default();
        let frame = Frame { input: vec![1, SIDE, SIDE], classes: 1 };
        let mut graph = build_table("conv_lstm", &settings, &frame).map_err(|error| error.message)?;
        let set = |owner: &str| Rc::new(ParamSet::new(owner, 1, DType::F32, &Device::Cpu));
        let modules = if self.kind == "module" { self.modules(registry, &mut graph)? } else { BTreeMap::new() };
        Ok(Network::new("student", graph, set("student"), true, modules)?.run_by(Executor::Fast))
    }

    fn modules(self, registry: &Registry, graph: &mut Graph) -> Outcome<BTreeMap<usize, ModuleSlot>> {
        let component = registry.find(Some(Kind::Module), "conv_lstm_cell").map_err(|error| error.to_string())?;
        let mut slots = BTreeMap::new();
        for at in 0..DEPTH {
            let index = graph.replace(&format!("cell_list.{at}")).ok_or("no cell")?;
            let config = format!(r#"{{"kernel": {}}}"#, self.kernel);
            let part = component.create(&config, host_api()).map_err(|error| error.to_string())?;
            let params = Rc::new(ParamSet::new(&format!("student.{at}"), 1, DType::F32, &Device::Cpu));
            let part = BoundPart::new("cell", component.desc.clone(), part, params);
            let replaced = vec![HIDDEN, SIDE / 4, SIDE / 4];
            slots.insert(index, ModuleSlot { part, replaced, state: vec![], values: vec![] });
        }
        Ok(slots)
    }
}
