//! One forward of one network.

use super::layer::{Env, run_layer};
use super::network::{Network, NetworkError};
use super::next_frame::{self, Sampling};
use super::recurrent;
use super::tape::{self, Tape};
use crate::graph::{Graph, LayerKind, NEXT, Source};
use crate::ops::{Emitted, Moment, ParamKind, ParamSet, PortIn, Staged};
use candle_core::Tensor;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// How a network is run.
#[derive(Debug, Clone, Default)]
pub struct PassSpec {
    /// Batch statistics and dropout; running statistics else.
    pub training: bool,
    /// Gradients wanted.
    pub track: bool,
    /// Frames from last to first.
    pub reverse_time: bool,
    /// Points whose values are wanted.
    pub want: Vec<Source>,
    /// Full names of parameters that take no gradient; a normalisation or module whose parameters are all among them runs
    /// as in evaluation and keeps its statistics.
    pub frozen: HashSet<String>,
    /// Convolutions of a folded network round weights and inputs to bf16, where the processor multiplies them.
    pub bf16: bool,
    /// What a predictor reads behind the frames that it is given; its own predictions when absent.
    pub sampling: Option<Rc<Sampling>>,
}

/// A change of a buffer, with its owner.
#[derive(Debug, Clone)]
pub struct StagedIn {
    /// Where the buffer is.
    pub params: Rc<ParamSet>,
    /// The change.
    pub change: Staged,
}

/// What a forward gave.
#[derive(Debug, Default)]
pub struct Forward {
    /// Values of the wanted points: one a frame, in the order of the data.
    pub taps: HashMap<Source, Vec<Tensor>>,
    /// Buffers to change after the update.
    pub staged: Vec<StagedIn>,
    /// What modules handed to the log.
    pub emitted: Vec<Emitted>,
    /// Lines of modules for the log.
    pub log: Vec<(u32, String)>,
    /// The way back, where the fast executor ran and gradients are wanted.
    pub tape: Option<Rc<Tape>>,
}

/// State of modules and recurrent layers between frames: by layer.
pub(super) type States = BTreeMap<usize, Vec<(String, Tensor)>>;

impl Network {
    /// Runs the layers that the wanted points need.
    ///
    /// `input` is `[N, ...]`, or `[N, T, ...]` for a network over time.
    ///
    /// # Errors
    /// A layer or module fails; the message names it.
    pub fn forward(&self, input: &Tensor, spec: &PassSpec, moment: &Moment) -> Result<Forward, NetworkError> {
        let spec = &*self.whole(spec);
        if self.is_fast() {
            return tape::forward(self, input, spec, moment);
        }
        let mut out = Forward::default();
        let mut states = States::new();
        let frames = self.positions(input)?;
        for position in 0..frames {
            let input = if spec.track { input.clone() } else { input.detach() };
            let x = self.frame_at(&input, spec, position, &mut out)?;
            let moment = Moment { frame: position as u64, training: spec.training, ..moment.clone() };
            self.frame(x, spec, &moment, &mut states, &mut out)?;
        }
        if spec.reverse_time {
            out.taps.values_mut().for_each(|frames| frames.reverse());
        }
        out.keep_last_statistics();
        Ok(out)
    }

    /// A predictor's output is always there: the next frame reads it.
    fn whole<'s>(&self, spec: &'s PassSpec) -> Cow<'s, PassSpec> {
        let output = Source::Layer(self.graph.output);
        if self.graph.given().is_none() || spec.want.contains(&output) {
            return Cow::Borrowed(spec);
        }
        let mut spec = spec.clone();
        spec.want.push(output);
        Cow::Owned(spec)
    }

    /// Runs of the graph over an input: a predictor does not read the last frame.
    pub(super) fn positions(&self, input: &Tensor) -> candle_core::Result<usize> {
        match (self.over_time, self.graph.given()) {
            (false, _) => Ok(1),
            (true, None) => input.dim(1),
            (true, Some(_)) => match input.dim(1)? {
                0 | 1 => candle_core::bail!("a predictor wants clips of 2 frames or more"),
                frames => Ok(frames - 1),
            },
        }
    }

    /// The frame that is read at a position; the one to predict there goes to the taps, where it is wanted.
    pub(super) fn frame_at(
        &self,
        input: &Tensor,
        spec: &PassSpec,
        position: usize,
        out: &mut Forward,
    ) -> candle_core::Result<Tensor> {
        if !self.over_time {
            return Ok(input.clone());
        }
        let last = input.dim(1)?.saturating_sub(1);
        let frame = |position: usize| {
            let at = if spec.reverse_time { last - position } else { position };
            input.narrow(1, at, 1)?.squeeze(1)?.contiguous()
        };
        let next = Source::Value(0, NEXT.into());
        if self.graph.given().is_some() && spec.want.contains(&next) {
            out.taps.entry(next).or_default().push(frame(position + 1)?);
        }
        frame(position)
    }

    fn frame(
        &self,
        x: Tensor,
        spec: &PassSpec,
        moment: &Moment,
        states: &mut States,
        out: &mut Forward,
    ) -> Result<(), NetworkError> {
        let needed = self.graph.needed(&spec.want);
        let last_use = last_readers(&self.graph, &needed);
        let mut values: Vec<Option<Tensor>> = vec![None; self.graph.layers.len()];
        let wanted = |point: &Source| spec.want.contains(point);
        if wanted(&Source::Input) {
            out.taps.entry(Source::Input).or_default().push(x.clone());
        }
        for index in needed {
            let layer = &self.graph.layers[index];
            let read = |source: &Source| match source {
                Source::Input => Some(x.clone()),
                Source::Layer(from) | Source::Value(from, _) => values[*from].clone(),
            };
            let inputs: Vec<Tensor> = layer.inputs.iter().filter_map(read).collect();
            let value = if matches!(layer.kind, LayerKind::Module) {
                self.module(index, &inputs, spec, moment, states, out)?
            } else if let LayerKind::NextFrame { given } = layer.kind {
                let shares = next_frame::shares(spec, given, moment.frame as usize, x.dim(0)?);
                match (shares, states.get(&index).and_then(|state| state.first())) {
                    (Some(shares), Some((_, predicted))) => next_frame::mixed(&x, predicted, shares)?,
                    _ => x.clone(),
                }
            } else if !layer.kind.state().is_empty() {
                self.recurrent(index, &inputs, spec, moment, states, out)?
            } else {
                let env = Env { params: &self.params, path: &layer.path, spec, moment, staged: &out.staged };
                let (value, staged) = run_layer(&layer.kind, &inputs, &env)
                    .map_err(|error| NetworkError::Layer { path: layer.path.clone(), message: first_line(&error) })?;
                out.staged.extend(staged.into_iter().map(|change| StagedIn { params: self.params.clone(), change }));
                value
            };
            if wanted(&Source::Layer(index)) {
                out.taps.entry(Source::Layer(index)).or_default().push(value.clone());
            }
            if index == self.graph.output && self.graph.given().is_some() {
                let predicted = if spec.track { value.clone() } else { value.detach() };
                states.insert(0, vec![(NEXT.into(), predicted)]);
            }
            values[index] = Some(value);
            for source in layer.inputs.iter().filter_map(Source::layer) {
                if last_use.get(&source) == Some(&index) {
                    values[source] = None;
                }
            }
        }
        Ok(())
    }

    /// A layer with a state, from frame to frame on candle's tape.
    fn recurrent(
        &self,
        index: usize,
        inputs: &[Tensor],
        spec: &PassSpec,
        moment: &Moment,
        states: &mut States,
        out: &mut Forward,
    ) -> Result<Tensor, NetworkError> {
        let layer = &self.graph.layers[index];
        let wrong = |message: String| NetworkError::Layer { path: layer.path.clone(), message };
        let x = inputs.first().ok_or_else(|| wrong("reads nothing".into()))?;
        let env = Env { params: &self.params, path: &layer.path, spec, moment, staged: &out.staged };
        let made = recurrent::step(&layer.kind, x, &env, states.get(&index)).map_err(|e| wrong(first_line(&e)))?;
        for (name, value) in &made {
            let point = Source::Value(index, name.clone());
            if spec.want.contains(&point) {
                out.taps.entry(point).or_default().push(value.clone());
            }
        }
        let output = made.first().map(|(_, value)| value.clone());
        states.insert(index, made);
        output.ok_or_else(|| wrong("has no state".into()))
    }

    /// True when a module has parameters and none of them is trained.
    fn is_frozen(&self, index: usize, spec: &PassSpec) -> bool {
        let Some(slot) = self.modules.get(&index) else { return false };
        let names = slot.part.params().names(ParamKind::Parameter);
        let path = &self.graph.layers[index].path;
        !names.is_empty() && names.iter().all(|name| spec.frozen.contains(&format!("{path}.{name}")))
    }

    pub(super) fn module(
        &self,
        index: usize,
        inputs: &[Tensor],
        spec: &PassSpec,
        moment: &Moment,
        states: &mut States,
        out: &mut Forward,
    ) -> Result<Tensor, NetworkError> {
        let layer = &self.graph.layers[index];
        let missing = || NetworkError::Layer { path: layer.path.clone(), message: "its module is missing".into() };
        let slot = self.modules.get(&index).ok_or_else(missing)?;
        let training = spec.training && !self.is_frozen(index, spec);
        let moment = &Moment { training, ..moment.clone() };
        let port = |name: Cow<'static, str>, value: &Tensor| PortIn { name, values: vec![value.clone()], frames: 1 };
        let mut ports = vec![port("input".into(), inputs.first().ok_or_else(missing)?)];
        let state = states.get(&index).into_iter().flatten();
        ports.extend(state.map(|(name, value)| port(format!("state.{name}").into(), value)));
        let given = slot.part.run(moment, &ports)?;
        let finish = |value: Tensor| if spec.track { value } else { value.detach() };
        for (name, value) in given.values {
            let point = Source::Value(index, name);
            if spec.want.contains(&point) {
                out.taps.entry(point).or_default().push(finish(value));
            }
        }
        states.insert(index, given.state.into_iter().map(|(name, value)| (name, finish(value))).collect());
        if training {
            let params = slot.part.params();
            out.staged.extend(given.staged.into_iter().map(|change| StagedIn { params: params.clone(), change }));
        }
        out.emitted.extend(given.emitted);
        out.log.extend(given.log);
        given.output.map(finish).ok_or_else(missing)
    }
}

/// For each value that a layer reads, the last layer that does: behind it the value is dropped.
pub(super) fn last_readers(graph: &Graph, needed: &BTreeSet<usize>) -> HashMap<usize, usize> {
    let mut last = HashMap::new();
    for index in needed {
        last.extend(graph.layers[*index].inputs.iter().filter_map(Source::layer).map(|source| (source, *index)));
    }
    last
}

impl Forward {
    /// A buffer that several frames changed keeps the last change only: running statistics moved from frame to frame, and
    /// each change of a module's buffer starts from the value before the step.
    pub(super) fn keep_last_statistics(&mut self) {
        let mut seen = HashSet::new();
        let mut kept: Vec<StagedIn> = vec![];
        for staged in std::mem::take(&mut self.staged).into_iter().rev() {
            let first = match &staged.change {
                Staged::Whole { name, .. } => seen.insert((Rc::as_ptr(&staged.params), name.clone())),
                Staged::Rows { .. } => true,
            };
            if first {
                kept.push(staged);
            }
        }
        kept.reverse();
        self.staged = kept;
    }
}

fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
