//! Layers with a state that goes from frame to frame.

use super::kind::{LayerKind, Pair};
use super::spec::{ParamSpec, parameter};
use stillhouse_plugin::Init;
use stillhouse_plugin::op::Meta;

/// Name of the state that is the layer's output.
pub const HIDDEN: &str = "hidden";
/// Name of an LSTM's memory.
pub const CELL: &str = "cell";

impl LayerKind {
    /// Names of the state that goes from frame to frame, each shaped as the output; taps read it as `<path>.<name>`.
    pub fn state(&self) -> &'static [&'static str] {
        match self {
            LayerKind::Lstm { .. } | LayerKind::ConvLstm { .. } => &[HIDDEN, CELL],
            LayerKind::Gru { .. } => &[HIDDEN],
            _ => &[],
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
