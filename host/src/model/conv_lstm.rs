//! Next-frame prediction by convolutional LSTMs, as thuml/transferable-memory: core/models/convlstm.py (the baseline of
//! PredRNN, Wang et al. 2017): patches of the frame as channels, cells one above another, a 1x1 convolution back to patches.
//! The output of a frame is the prediction of the next one. Initialised as PyTorch does.

use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Pair, Source};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Cells one above another.
    #[serde(default = "depth")]
    depth: usize,
    /// Channels of each cell's state.
    #[serde(default = "hidden")]
    hidden: usize,
    /// Kernel of the cells.
    #[serde(default = "kernel")]
    kernel: usize,
    /// Side of the patches that become channels.
    #[serde(default = "patch")]
    patch: usize,
}

fn depth() -> usize {
    4
}
fn hidden() -> usize {
    64
}
fn kernel() -> usize {
    5
}
fn patch() -> usize {
    4
}

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    (name == "conv_lstm").then(|| object([]))
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { depth, hidden, kernel, patch } = settings(table)?;
    let [_, height, width] = image(frame, "conv_lstm")?;
    for (key, value) in [("depth", depth), ("hidden", hidden), ("kernel", kernel), ("patch", patch)] {
        if value == 0 {
            return Err(ModelError::new(format!("`{key}` must be 1 or more, got 0")).at(key));
        }
    }
    if kernel % 2 == 0 {
        let wrong = format!("`kernel` must be odd, so that the size of the map stays, got {kernel}");
        return Err(ModelError::new(wrong).at("kernel"));
    }
    if height % patch != 0 || width % patch != 0 {
        let wrong = format!("frames of {height}x{width} do not divide into patches of {patch}x{patch}");
        return Err(ModelError::new(wrong).at("patch"));
    }
    let mut net = GraphBuilder::new("conv_lstm", &frame.input);
    let mut x = Source::Input;
    if patch > 1 {
        x = net.layer("patches", LayerKind::SpaceToDepth { block: patch }, &[&x])?;
    }
    let channels = net.shape(&x)[0];
    for at in 0..depth {
        let (path, kernel) = (format!("cell_list.{at}"), Pair([kernel; 2]));
        let y =
            net.layer(&format!("{path}.conv.0"), LayerKind::ConvLstm { hidden, kernel, forget_bias: 0.0 }, &[&x])?;
        net.group(&path, &x, &y)?;
        x = y;
    }
    let last = LayerKind::Conv {
        out: channels,
        kernel: Pair([1; 2]),
        stride: Pair([1; 2]),
        padding: Pair([0; 2]),
        dilation: Pair([1; 2]),
        groups: 1,
        bias: false,
        init: None,
        bias_init: None,
    };
    x = net.layer("conv_last", last, &[&x])?;
    if patch > 1 {
        x = net.layer("frame", LayerKind::DepthToSpace { block: patch }, &[&x])?;
    }
    Ok(net.finish(&x)?)
}
