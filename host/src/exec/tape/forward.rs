//! One forward over the graph.

use super::backward::Back;
use super::buffer::Buffer;
use super::record::{Frame, Node, Tape};
use super::state::Memories;
use super::support::has_kernel;
use super::value::Value;
use super::{
    attention, blocks, cells, conv, conv_lstm, dense, fold, island, join, module, moves, next_frame, norm, pointwise,
    pool, tokens,
};
use crate::exec::network::{Network, NetworkError};
use crate::exec::pass::{Forward, PassSpec, StagedIn, States, last_readers};
use crate::graph::{LayerKind, Source, parameter_name};
use crate::ops::slices::read;
use crate::ops::{Moment, OpError, ParamKind, Staged};
use candle_core::{Result, Tensor};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use stillhouse_kernels::nhwc::Activation;

/// A forward on its way.
pub(super) struct Run<'a> {
    pub(super) network: &'a Network,
    pub(super) spec: &'a PassSpec,
    pub(super) moment: &'a Moment,
    pub(super) values: Vec<Option<Value>>,
    input: Option<Value>,
    /// Layers that read each point.
    readers: HashMap<usize, Vec<usize>>,
    /// Sums of a convolution's channels, for the batch norm behind it.
    pub(super) sums: HashMap<usize, Vec<f64>>,
    /// Sums that wait for their activation: their terms.
    pub(super) deferred: HashMap<usize, [Source; 2]>,
    /// Layers that were computed with one before.
    pub(super) done: HashSet<usize>,
    pub(super) wants: Vec<bool>,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) norm_of: Vec<Option<usize>>,
    channels: Vec<usize>,
    pub(super) out: Forward,
    pub(super) states: States,
    /// What a module said, for the error of its layer.
    pub(super) said: Option<OpError>,
    pub(super) memories: Memories,
    /// Points with the tensors that stand for them.
    pub(super) leaves: Vec<(usize, Tensor)>,
}

/// What a layer gave: its value, and its way back where something before it is trained.
pub(super) type Made = (Value, Option<Box<dyn Back>>);

/// Runs the layers that the wanted points need.
///
/// # Errors
/// A layer or module fails; the message names it.
pub(super) fn forward(
    network: &Network,
    input: &Tensor,
    spec: &PassSpec,
    moment: &Moment,
) -> std::result::Result<Forward, NetworkError> {
    let input = input.detach();
    let (mut going, mut recorded) = (Going::default(), vec![]);
    let frames = network.positions(&input)?;
    for position in 0..frames {
        let x = network.frame_at(&input, spec, position, &mut going.0)?;
        let moment = Moment { frame: position as u64, training: spec.training, ..moment.clone() };
        let frame;
        (going, frame) = run_frame(network, (&Source::Input, &x), spec, &moment, going)?;
        recorded.push(frame);
    }
    let (mut out, ..) = going;
    if spec.reverse_time {
        out.taps.values_mut().for_each(|frames| frames.reverse());
    }
    out.keep_last_statistics();
    out.tape =
        spec.track.then(|| Rc::new(Tape { params: network.params.clone(), frames: recorded, spent: Cell::new(false) }));
    Ok(out)
}

/// Runs the layers behind a point, which read nothing else from before it.
///
/// # Errors
/// As [`forward`].
pub(super) fn behind(
    network: &Network,
    point: &Source,
    value: Tensor,
    spec: &PassSpec,
    moment: &Moment,
) -> std::result::Result<Forward, NetworkError> {
    let moment = Moment { frame: 0, training: spec.training, ..moment.clone() };
    let ((out, ..), _) = run_frame(network, (point, &value), spec, &moment, Going::default())?;
    Ok(out)
}

/// What goes on from frame to frame: what was found, the state of modules on candle's tape, that of recurrent layers.
type Going = (Forward, States, Memories);

/// From a point whose value is given: the input, or a layer, from which on layers run.
fn run_frame(
    network: &Network,
    (start, x): (&Source, &Tensor),
    spec: &PassSpec,
    moment: &Moment,
    mut going: Going,
) -> std::result::Result<(Going, Frame), NetworkError> {
    if spec.want.contains(&Source::Input) {
        going.0.taps.entry(Source::Input).or_default().push(x.clone());
    }
    let mut needed = network.graph.needed(&spec.want);
    needed.retain(|layer| start.layer().is_none_or(|start| *layer > start));
    let mut run = Run::new(network, spec, moment, &needed, going);
    let value = Some(Value::from_tensor(x)?);
    match start.layer() {
        Some(layer) => run.values[layer] = value,
        None => run.input = value,
    }
    let last_use = last_readers(&network.graph, &needed);
    for index in needed {
        if let Err(error) = run.layer(index) {
            let said = run.said.take().map(NetworkError::Part);
            return Err(said.unwrap_or_else(|| run.named(index, error)));
        }
        if run.deferred.contains_key(&index) {
            continue;
        }
        for source in run.terms(index).iter().filter_map(Source::layer).collect::<Vec<_>>() {
            if last_use.get(&source).is_some_and(|last| *last <= index) {
                run.forget(source);
            }
        }
    }
    run.finish()
}

impl<'a> Run<'a> {
    fn new(
        network: &'a Network,
        spec: &'a PassSpec,
        moment: &'a Moment,
        needed: &BTreeSet<usize>,
        (out, states, memories): Going,
    ) -> Run<'a> {
        let count = network.graph.layers.len();
        let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
        for index in needed {
            for source in network.graph.layers[*index].inputs.iter().filter_map(Source::layer) {
                readers.entry(source).or_default().push(*index);
            }
        }
        Run {
            network,
            spec,
            moment,
            values: vec![None; count],
            input: None,
            readers,
            sums: HashMap::new(),
            deferred: HashMap::new(),
            done: HashSet::new(),
            wants: vec![false; count],
            nodes: (0..count).map(|_| None).collect(),
            norm_of: vec![None; count],
            channels: vec![1; count],
            out,
            states,
            said: None,
            memories,
            leaves: vec![],
        }
    }

    fn named(&self, index: usize, error: candle_core::Error) -> NetworkError {
        let message = error.to_string().lines().next().unwrap_or_default().to_owned();
        NetworkError::Layer { path: self.network.graph.layers[index].path.clone(), message }
    }

    fn layer(&mut self, index: usize) -> Result<()> {
        let layer = &self.network.graph.layers[index];
        let behind = self.terms(index).iter().filter_map(Source::layer).any(|source| self.wants[source]);
        self.wants[index] = self.spec.track
            && (behind || self.trains(index) || next_frame::is_tracked(self, index) || next_frame::keeps(self, index));
        if self.done.contains(&index) {
            return Ok(());
        }
        let Some((value, back)) = self.make(index, &layer.kind)? else { return Ok(()) };
        self.channels[index] = if value.has_channels() { value.channels() } else { 1 };
        if let (Some(back), true) = (back, self.wants[index]) {
            let inputs = self.terms(index).iter().filter_map(Source::layer).filter(|from| self.wants[*from]).collect();
            self.nodes[index] = Some(Node { inputs, back });
        }
        self.values[index] = Some(value);
        Ok(())
    }

    /// `None` for a sum that waits for its activation, and for a convolution that was computed with what follows.
    fn make(&mut self, index: usize, kind: &LayerKind) -> Result<Option<Made>> {
        if matches!(kind, LayerKind::Add) && self.waits(index) {
            let inputs = &self.network.graph.layers[index].inputs;
            self.deferred.insert(index, [inputs[0].clone(), inputs[1].clone()]);
            return Ok(None);
        }
        if matches!(kind, LayerKind::Module) {
            return module::run(self, index).map(Some);
        }
        let x = self.read(index, 0)?;
        if !has_kernel(kind, x.shape.len()) {
            return island::run(self, index).map(Some);
        }
        if fold::run(self, index, kind, &x)? {
            return Ok(None);
        }
        if let Some(activation) = activation_of(kind) {
            return pointwise::activate(self, index, activation).map(Some);
        }
        Ok(Some(match kind {
            LayerKind::Conv { .. } | LayerKind::ConvTranspose { .. } => conv::run(self, index, kind, x)?,
            LayerKind::BatchNorm { eps, momentum } => norm::batch(self, index, x, *eps, *momentum)?,
            LayerKind::LayerNorm { dims, eps } => norm::layer(self, index, x, *dims, *eps)?,
            LayerKind::Linear { .. } => dense::linear(self, index, x)?,
            LayerKind::Flatten | LayerKind::Reshape { .. } => dense::reshape(self, index, kind, x)?,
            LayerKind::MaxPool { .. } | LayerKind::AvgPool { .. } | LayerKind::AdaptiveAvgPool { .. } => {
                pool::run(self, index, kind, x)?
            }
            LayerKind::GlobalAvgPool => pool::global(self, index, x)?,
            LayerKind::Resize { .. } => pool::resize(self, index, kind, x)?,
            LayerKind::Add => pointwise::sum(self, index)?,
            LayerKind::Mul => pointwise::product(self, index)?,
            LayerKind::Concat => join::concat(self, index)?,
            LayerKind::Softmax => pointwise::softmax(self, index, x)?,
            LayerKind::Slice { .. } | LayerKind::ChannelShuffle { .. } => moves::pick(self, index, kind, x)?,
            LayerKind::Pad { .. } => moves::pad(self, index, kind, x)?,
            LayerKind::Tokens => tokens::of_map(self, index, x)?,
            LayerKind::ClassToken => tokens::behind(self, index, x)?,
            LayerKind::PositionEmbedding => tokens::positions(self, index, x)?,
            LayerKind::SelfAttention { heads } => attention::run(self, index, *heads, x)?,
            LayerKind::Lstm { hidden } => cells::lstm(self, index, *hidden, x)?,
            LayerKind::Gru { hidden } => cells::gru(self, index, *hidden, x)?,
            LayerKind::ConvLstm { .. } => conv_lstm::run(self, index, kind, x)?,
            LayerKind::SpaceToDepth { block } => blocks::run(self, index, *block, true, x)?,
            LayerKind::DepthToSpace { block } => blocks::run(self, index, *block, false, x)?,
            LayerKind::Dropout { p } if self.spec.training => pointwise::dropout(self, index, x, *p)?,
            LayerKind::NextFrame { given } => next_frame::run(self, index, *given, x)?,
            LayerKind::Identity | LayerKind::Dropout { .. } => pointwise::identity(self, index, x)?,
            _ => island::run(self, index)?,
        }))
    }

    /// A sum of two terms that only an activation reads, and nobody taps.
    fn waits(&self, index: usize) -> bool {
        let layers = &self.network.graph.layers;
        let Some(reader) = self.only_reader(index) else { return false };
        let two = layers[index].inputs.len() == 2;
        let read = |at: usize| self.read(index, at);
        let alike = || matches!((read(0), read(1)), (Ok(a), Ok(b)) if a.has_channels() && a.shape == b.shape);
        two && activation_of(&layers[reader].kind).is_some() && alike()
    }

    /// What a layer reads: for the activation of a sum that waited, the sum's terms.
    pub(super) fn terms(&self, index: usize) -> &[Source] {
        let inputs = &self.network.graph.layers[index].inputs;
        let waited = inputs.first().and_then(Source::layer).and_then(|source| self.deferred.get(&source));
        waited.map_or(inputs.as_slice(), |terms| terms)
    }

    pub(super) fn value(&self, source: &Source) -> Result<Value> {
        let value = match source {
            Source::Input => self.input.clone(),
            Source::Layer(index) | Source::Value(index, _) => self.values[*index].clone(),
        };
        value.ok_or_else(|| candle_core::Error::Msg("reads a value that is not there".into()))
    }

    /// The layer's input at `position`; of an activation whose sum waited, the sum's first term.
    pub(super) fn read(&self, index: usize, position: usize) -> Result<Value> {
        match self.terms(index).get(position) {
            Some(source) => self.value(source),
            None => candle_core::bail!("reads nothing"),
        }
    }

    /// The layer before, when its gradient is wanted.
    pub(super) fn below(&self, index: usize, position: usize) -> Option<usize> {
        self.terms(index).get(position)?.layer().filter(|source| self.wants[*source])
    }

    /// The one layer that reads a point which nobody taps.
    pub(super) fn only_reader(&self, index: usize) -> Option<usize> {
        match self.readers.get(&index).map(Vec::as_slice) {
            Some([reader]) if !self.is_wanted(index) => Some(*reader),
            _ => None,
        }
    }

    pub(super) fn is_wanted(&self, index: usize) -> bool {
        self.spec.want.contains(&Source::Layer(index))
    }

    /// Whether a batch norm with the statistics of the batch reads the layer.
    pub(super) fn feeds_batch_norm(&self, index: usize) -> bool {
        let is_norm = |reader: &usize| {
            matches!(self.network.graph.layers[*reader].kind, LayerKind::BatchNorm { .. }) && !self.is_fixed(*reader)
        };
        self.readers.get(&index).is_some_and(|readers| readers.iter().any(is_norm))
    }

    /// Whether a batch norm runs as in evaluation.
    pub(super) fn is_fixed(&self, index: usize) -> bool {
        !self.spec.training
            || ["weight", "bias"].iter().all(|suffix| self.spec.frozen.contains(&self.name(index, suffix)))
    }

    pub(super) fn name(&self, index: usize, suffix: &str) -> String {
        parameter_name(&self.network.graph.layers[index].path, suffix)
    }

    /// Whether a parameter of the layer is trained here.
    pub(super) fn is_trained(&self, index: usize, suffix: &str) -> bool {
        let name = self.name(index, suffix);
        let is_parameter = self.network.params.get(&name).is_some_and(|entry| entry.kind == ParamKind::Parameter);
        self.spec.track && is_parameter && !self.spec.frozen.contains(&name)
    }

    pub(super) fn trains(&self, index: usize) -> bool {
        let path = &self.network.graph.layers[index].path;
        match self.network.modules.get(&index) {
            Some(slot) => {
                let names = slot.part.params().names(ParamKind::Parameter);
                names.iter().any(|name| !self.spec.frozen.contains(&format!("{path}.{name}")))
            }
            None => {
                self.network.graph.layers[index].kind.suffixes().iter().any(|suffix| self.is_trained(index, suffix))
            }
        }
    }

    /// Hands a parameter or buffer of the layer to `task`; `None` when the layer has none of this name.
    pub(super) fn with<R>(&self, index: usize, suffix: &str, task: impl FnOnce(&[f32]) -> R) -> Result<Option<R>> {
        let entry = self.network.params.get(&self.name(index, suffix));
        entry.map(|entry| read(entry.var.as_tensor(), task)).transpose()
    }

    /// A copy of a small parameter or buffer.
    pub(super) fn vector(&self, index: usize, suffix: &str) -> Result<Option<Vec<f32>>> {
        self.with(index, suffix, <[f32]>::to_vec)
    }

    /// A running statistic, as earlier frames left it.
    pub(super) fn moved(&self, index: usize, suffix: &str) -> Result<Option<Vec<f32>>> {
        let name = self.name(index, suffix);
        let of_layer = |staged: &&StagedIn| Rc::ptr_eq(&staged.params, &self.network.params);
        let value = |staged: &StagedIn| match &staged.change {
            Staged::Whole { name: known, value } if *known == name => Some(read(value, <[f32]>::to_vec)),
            _ => None,
        };
        match self.out.staged.iter().rev().filter(of_layer).find_map(value) {
            Some(moved) => moved.map(Some),
            None => self.vector(index, suffix),
        }
    }

    pub(super) fn stage(&mut self, change: Staged) {
        self.out.staged.push(StagedIn { params: self.network.params.clone(), change });
    }

    /// The value is not read again: gone, unless the way back keeps it. A wanted one goes to candle's tape first.
    fn forget(&mut self, index: usize) {
        if !self.is_wanted(index) {
            self.values[index] = None;
        }
    }

    fn finish(mut self) -> std::result::Result<(Going, Frame), NetworkError> {
        let mut leaves = std::mem::take(&mut self.leaves);
        next_frame::leave(&mut self)?;
        for point in &self.spec.want {
            let Source::Layer(index) = point else { continue };
            let Some(value) = self.values[*index].take() else { continue };
            let tensor = value.to_tap()?;
            if self.wants[*index] {
                leaves.push((*index, tensor.clone()));
            }
            self.out.taps.entry(point.clone()).or_default().push(tensor);
        }
        let nodes = std::mem::take(&mut self.nodes).into_iter().map(RefCell::new).collect();
        let Run { norm_of, channels, out, states, memories, .. } = self;
        Ok(((out, states, memories), Frame { nodes, leaves, norm_of, channels }))
    }
}

/// The function of an activation layer.
pub(super) fn activation_of(kind: &LayerKind) -> Option<Activation> {
    Some(match kind {
        LayerKind::Relu => Activation::Relu,
        LayerKind::Relu6 => Activation::Relu6,
        LayerKind::LeakyRelu { slope } => Activation::LeakyRelu(*slope as f32),
        LayerKind::Sigmoid => Activation::Sigmoid,
        LayerKind::Tanh => Activation::Tanh,
        LayerKind::Silu => Activation::Silu,
        LayerKind::Gelu => Activation::Gelu,
        LayerKind::HardSwish => Activation::HardSwish,
        _ => return None,
    })
}

/// The graph changes from run to run; buffers of other sizes are not kept for ever.
pub(crate) fn free_buffers() {
    Buffer::clear_pool();
}
