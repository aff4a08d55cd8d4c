//! A graph with its parameters.

use super::tape::Packs;
use crate::graph::{Graph, Layer, LayerKind, Source, parameter_name};
use crate::ops::{BoundPart, Moment, OpError, ParamSet, TracePort};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use stillhouse_plugin::abi::role;
use stillhouse_plugin::op::{DType, Meta};

/// Why a network cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A layer does not fit what comes before it.
    #[error("layer `{path}`: {message}")]
    Layer {
        /// The layer.
        path: String,
        /// What does not fit.
        message: String,
    },
    /// A module refused its place.
    #[error(transparent)]
    Part(#[from] OpError),
    /// candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A module in the place of a layer.
pub struct ModuleSlot {
    /// The module.
    pub part: BoundPart,
    /// Shape of one sample that the replaced layer gave.
    pub replaced: Vec<usize>,
    /// Names of its state tensors.
    pub state: Vec<String>,
    /// Names and shapes of the inner values that it offers.
    pub values: Vec<(String, Meta)>,
}

/// A graph with its parameters and modules.
pub struct Network {
    /// Name in the manifest.
    pub name: String,
    /// The layers.
    pub graph: Graph,
    /// Parameters and buffers of the layers, `<path>.weight`. A module has its own.
    pub params: Rc<ParamSet>,
    /// Modules by layer.
    pub modules: BTreeMap<usize, ModuleSlot>,
    /// True when a sample is a sequence of frames and the graph runs once a frame.
    pub over_time: bool,
    /// Shape of each layer's output for one sample.
    pub shapes: Vec<Vec<usize>>,
    /// How many numbers the parameters and buffers of each layer are, without those of modules.
    pub(super) sizes: Vec<usize>,
    /// What runs it.
    executor: Executor,
    packs: RefCell<AllPacks>,
}

/// Packed weights by layer and, where it has some, by convolution.
type AllPacks = HashMap<(usize, usize), Rc<RefCell<Packs>>>;

/// What runs a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// candle, on any device.
    Candle,
    /// The tape of [`super::tape`], on the CPU in `f32`.
    Fast,
}

/// Samples in a trace: more than one, since a batch of one has no variance.
const TRACE_BATCH: usize = 2;

impl Network {
    /// Makes the parameters of every layer, in order; modules see their inputs and make theirs.
    ///
    /// # Errors
    /// A layer does not fit, or a module refuses its place.
    pub fn new(
        name: &str,
        graph: Graph,
        params: Rc<ParamSet>,
        over_time: bool,
        mut modules: BTreeMap<usize, ModuleSlot>,
    ) -> Result<Network, NetworkError> {
        let float = if params.float() == candle_core::DType::F64 { DType::F64 } else { DType::F32 };
        let (mut shapes, mut sizes): (Vec<Meta>, Vec<usize>) = Default::default();
        for (index, layer) in graph.layers.iter().enumerate() {
            let inputs: Vec<Meta> = layer.inputs.iter().map(|source| meta_at(&graph, &shapes, source, float)).collect();
            let wrong = |message: String| NetworkError::Layer { path: layer.path.clone(), message };
            let mut size = 0;
            let meta = match modules.get_mut(&index) {
                Some(slot) => bind_module(slot, &inputs[0])?,
                None => {
                    let refs: Vec<&Meta> = inputs.iter().collect();
                    for spec in layer.kind.params(refs[0]).map_err(wrong)? {
                        size += spec.shape.iter().product::<usize>();
                        let name = parameter_name(&layer.path, spec.suffix);
                        params.add(&name, &spec.shape, DType::F32, &spec.init, spec.kind)?;
                    }
                    layer.kind.infer(&refs).map_err(wrong)?
                }
            };
            shapes.push(meta);
            sizes.push(size);
        }
        let shapes = shapes.into_iter().map(|meta| meta.shape[1..].to_vec()).collect();
        let (executor, packs) = (Executor::Candle, RefCell::default());
        Ok(Network { name: name.into(), graph, params, modules, over_time, shapes, sizes, executor, packs })
    }

    /// The same network with another executor, where it can run it.
    #[must_use]
    pub fn run_by(mut self, executor: Executor) -> Network {
        let can = self.params.float() == candle_core::DType::F32 && self.params.device().is_cpu();
        self.executor = if can { executor } else { Executor::Candle };
        self
    }

    /// What runs it.
    pub fn executor(&self) -> Executor {
        self.executor
    }

    /// Paths of the layers that [`Executor::Fast`] has no kernel for: they run on candle in the middle of its tape.
    pub fn fallbacks(&self) -> Vec<&str> {
        let rank = |layer: &Layer| layer.inputs.first().and_then(|input| self.shape(input)).map_or(0, |s| s.len() + 1);
        let is_fallback = |layer: &&Layer| !super::tape::has_kernel(&layer.kind, rank(layer));
        self.graph.layers.iter().filter(is_fallback).map(|layer| layer.path.as_str()).collect()
    }

    pub(super) fn is_fast(&self) -> bool {
        self.executor == Executor::Fast
    }

    /// The packed weights of a layer: of its convolution, or of one of its convolutions.
    pub(super) fn packs(&self, index: usize, part: usize) -> Rc<RefCell<Packs>> {
        self.packs.borrow_mut().entry((index, part)).or_default().clone()
    }

    /// Shape of one sample (one frame) at a point; `None` for a value that no module or recurrent layer offers.
    pub fn shape(&self, source: &Source) -> Option<Vec<usize>> {
        match source {
            Source::Input => Some(self.graph.input.clone()),
            Source::Layer(index) => self.shapes.get(*index).cloned(),
            Source::Value(index, name) if self.graph.layers.get(*index)?.kind.state().contains(&name.as_str()) => {
                self.shapes.get(*index).cloned()
            }
            Source::Value(index, name) => {
                let values = &self.modules.get(index)?.values;
                let (_, meta) = values.iter().find(|(known, _)| known == name)?;
                Some(meta.shape.get(1..).unwrap_or_default().to_vec())
            }
        }
    }

    /// Every parameter and buffer set of the network with the prefix of its names: the layers' own (no prefix) and each
    /// module's (`<path>.`).
    pub fn sets(&self) -> Vec<(String, Rc<ParamSet>)> {
        let own = std::iter::once((String::new(), self.params.clone()));
        let module = |(index, slot): (&usize, &ModuleSlot)| {
            (format!("{}.", self.graph.layers[*index].path), slot.part.params().clone())
        };
        own.chain(self.modules.iter().map(module)).collect()
    }

    /// The set that holds a parameter or buffer of this full name, and its name there.
    pub fn parameter(&self, full: &str) -> Option<(Rc<ParamSet>, String)> {
        let inner = |(prefix, set): (String, Rc<ParamSet>)| {
            let name = full.strip_prefix(&prefix)?;
            set.contains(name).then(|| (set.clone(), name.to_owned()))
        };
        self.sets().into_iter().find_map(inner)
    }

    /// Parameters on which these points depend, by full name.
    pub fn parameters_behind<'a>(&self, points: impl IntoIterator<Item = &'a Source>) -> Vec<String> {
        let mut names = vec![];
        for index in self.graph.needed(points) {
            let layer = &self.graph.layers[index];
            let own = layer.kind.suffixes().iter().map(|suffix| parameter_name(&layer.path, suffix));
            names.extend(own.filter(|name| self.params.contains(name)));
            if let Some(slot) = self.modules.get(&index) {
                let inner = slot.part.params().names(crate::ops::ParamKind::Parameter);
                names.extend(inner.into_iter().map(|name| format!("{}.{name}", layer.path)));
            }
        }
        names
    }

    /// True when the values of one sample depend on others of the batch in training.
    pub fn couples_batch(&self) -> bool {
        let by_layers = self.graph.layers.iter().any(|layer| matches!(layer.kind, LayerKind::BatchNorm { .. }));
        by_layers || self.modules.values().any(|slot| slot.part.desc().batch_coupled)
    }
}

fn meta_at(graph: &Graph, shapes: &[Meta], source: &Source, float: DType) -> Meta {
    match source {
        Source::Input => {
            let shape: Vec<usize> = std::iter::once(TRACE_BATCH).chain(graph.input.iter().copied()).collect();
            Meta::new(shape, float)
        }
        Source::Layer(index) | Source::Value(index, _) => shapes[*index].clone(),
    }
}

/// Shows a module its place, then traces it twice: without state, and with the state that it gave.
fn bind_module(slot: &mut ModuleSlot, input: &Meta) -> Result<Meta, NetworkError> {
    let moment = Moment { training: true, ..Moment::default() };
    let port = |name: &str, meta: &Meta| TracePort { name: name.into(), values: vec![meta.clone()], frames: 1 };
    let replaced: Vec<usize> = std::iter::once(TRACE_BATCH).chain(slot.replaced.iter().copied()).collect();
    slot.part.bind(&moment, &[port("input", input), port("replaced", &Meta::new(replaced, input.dtype))])?;
    let traced = slot.part.trace(&moment, &[port("input", input)])?;
    let of = |wanted: u32| traced.results.iter().filter(move |(role, ..)| *role == wanted);
    let output = of(role::OUTPUT).next().map(|(.., meta, _)| meta.clone());
    slot.state = of(role::STATE).map(|(_, name, ..)| name.clone()).collect();
    slot.values = of(role::VALUE).map(|(_, name, meta, _)| (name.clone(), meta.clone())).collect();
    let state: Vec<TracePort> =
        of(role::STATE).map(|(_, name, meta, _)| port(&format!("state.{name}"), meta)).collect();
    let wrong = |message: String| OpError::Result { part: slot.part.label().into(), message };
    let output = output.ok_or_else(|| wrong("gave no output".into()))?;
    if output.shape.first() != Some(&TRACE_BATCH) {
        return Err(wrong(format!("must keep the batch in front, gave {output} for {input}")).into());
    }
    if !state.is_empty() {
        let again = slot.part.trace(&moment, &[vec![port("input", input)], state].concat())?;
        check_state(slot, &traced.results, &again.results)?;
    }
    Ok(output)
}

type Results = [(u32, String, Meta, usize)];

/// State and output keep their shapes from frame to frame.
fn check_state(slot: &ModuleSlot, first: &Results, second: &Results) -> Result<(), NetworkError> {
    let names = |results: &Results| results.iter().map(|(role, name, ..)| (*role, name.clone())).collect::<Vec<_>>();
    if names(first) != names(second) {
        let message = "gave other state or values at the second frame than at the first".into();
        return Err(OpError::Result { part: slot.part.label().into(), message }.into());
    }
    for ((role, name, before, _), (.., after, _)) in first.iter().zip(second) {
        if before != after {
            let what = if *role == role::STATE { format!("state `{name}`") } else { "output".into() };
            let message = format!("gave {what} {before} at the first frame and {after} at the next");
            return Err(OpError::Result { part: slot.part.label().into(), message }.into());
        }
    }
    Ok(())
}
