//! Layers with a state that goes from frame to frame.

use super::kind::{LayerKind, Pair};
use super::spec::{ParamSpec, parameter};
use super::{Graph, Group, Layer, Source};
use stillhouse_plugin::Init;
use stillhouse_plugin::op::Meta;

/// Name of the state that is the layer's output.
pub const HIDDEN: &str = "hidden";
/// Name of an LSTM's memory.
pub const CELL: &str = "cell";
/// Path of the layer that feeds predictions back.
pub const FRAMES: &str = "frames";
/// Name of the frame that a predictor is to give.
pub const NEXT: &str = "next";

impl LayerKind {
    /// Names of the state that goes from frame to frame, each shaped as the output; taps read it as `<path>.<name>`.
    pub fn state(&self) -> &'static [&'static str] {
        match self {
            LayerKind::Lstm { .. } | LayerKind::ConvLstm { .. } => &[HIDDEN, CELL],
            LayerKind::Gru { .. } => &[HIDDEN],
            LayerKind::NextFrame { .. } => &[NEXT],
            _ => &[],
        }
    }
}

impl Graph {
    /// Makes a network over time a predictor: behind `given` frames it reads its own predictions, through a first layer `frames`.
    ///
    /// # Errors
    /// Its output is no frame, or a layer is named `frames`.
    pub fn predict(&mut self, given: usize, output: &[usize]) -> Result<(), String> {
        if output != self.input {
            return Err(format!("a predictor gives frames of {:?}, and this network gives {output:?}", self.input));
        }
        if self.layers.iter().any(|layer| layer.path == FRAMES) {
            return Err(format!("a layer is named `{FRAMES}`, which is that of what a predictor reads"));
        }
        let behind = |source: &Source| match source {
            Source::Input => Source::Layer(0),
            Source::Layer(index) => Source::Layer(index + 1),
            Source::Value(index, name) => Source::Value(index + 1, name.clone()),
        };
        for layer in &mut self.layers {
            layer.inputs = layer.inputs.iter().map(behind).collect();
        }
        for group in &mut self.groups {
            *group = Group { path: group.path.clone(), input: behind(&group.input), output: group.output + 1 };
        }
        let first = Layer { path: FRAMES.into(), kind: LayerKind::NextFrame { given }, inputs: vec![Source::Input] };
        self.layers.insert(0, first);
        self.output += 1;
        Ok(())
    }

    /// Frames that a predictor is given; `None` for another network.
    pub fn given(&self) -> Option<usize> {
        match self.layers.first()?.kind {
            LayerKind::NextFrame { given } => Some(given),
            _ => None,
        }
    }
}

/// As PyTorch's `LSTMCell` and `GRUCell`: all uniform within `1 / sqrt(hidden)`.
pub(super) fn rows(what: &str, gates: usize, hidden: usize, input: &Meta) -> Result<Vec<ParamSpec>, String> {
    let [_, features] = input.shape[..] else { return Err(format!("{what} wants [C], got {:?}", &input.shape[1..])) };
    check(hidden)?;
    let init = Init::BiasUniform { fan_in: hidden };
    Ok(vec![
        parameter("weight_ih", [gates * hidden, features], init.clone()),
        parameter("weight_hh", [gates * hidden, hidden], init.clone()),
        parameter("bias_ih", [gates * hidden], init.clone()),
        parameter("bias_hh", [gates * hidden], init),
    ])
}

/// One convolution over `[x, h]`, initialised as PyTorch's `Conv2d`.
pub(super) fn maps(hidden: usize, kernel: Pair, forget_bias: f64, input: &Meta) -> Result<Vec<ParamSpec>, String> {
    let [_, channels, ..] = input.shape[..] else { return Err("a convolutional LSTM wants [C, H, W]".into()) };
    if input.shape.len() != 4 {
        return Err(format!("a convolutional LSTM wants [C, H, W], got {:?}", &input.shape[1..]));
    }
    check(hidden)?;
    if kernel.0.iter().any(|size| size % 2 == 0) {
        return Err(format!("`kernel` must be odd, so that the size of the map stays, got {:?}", kernel.0));
    }
    if !forget_bias.is_finite() {
        return Err(format!("`forget_bias` must be finite, got {forget_bias}"));
    }
    let shape = [4 * hidden, channels + hidden, kernel.0[0], kernel.0[1]];
    let fan_in = shape[1..].iter().product();
    Ok(vec![
        parameter("weight", shape, Init::layer_default()),
        parameter("bias", [4 * hidden], Init::BiasUniform { fan_in }),
    ])
}

fn check(hidden: usize) -> Result<(), String> {
    if hidden == 0 { Err("`hidden` must be 1 or more, got 0".into()) } else { Ok(()) }
}
