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
    depth: Option<usize>,
    /// Channels of each cell's state, or of all of them.
    #[serde(default)]
    hidden: Widths,
    /// Kernel of the cells.
    #[serde(default = "kernel")]
    kernel: usize,
    /// Side of the patches that become channels.
    #[serde(default = "patch")]
    patch: usize,
}

/// Channels of cells.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a whole number, or one for each cell")]
enum Widths {
    All(usize),
    Each(Vec<usize>),
}

impl Default for Widths {
    fn default() -> Widths {
        Widths::All(64)
    }
}

/// Channels of each cell, from the bottom up.
fn widths(hidden: Widths, depth: Option<usize>) -> Result<Vec<usize>, ModelError> {
    match (hidden, depth) {
        (Widths::All(_), Some(0)) => Err(ModelError::new("`depth` must be 1 or more, got 0").at("depth")),
        (Widths::All(width), depth) => Ok(vec![width; depth.unwrap_or(4)]),
        (Widths::Each(all), None) => Ok(all),
        (Widths::Each(all), Some(depth)) if all.len() == depth => Ok(all),
        (Widths::Each(all), Some(depth)) => {
            let wrong = format!("`hidden` has {} numbers for a `depth` of {depth}", all.len());
            Err(ModelError::new(wrong).at("hidden"))
        }
    }
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
    let widths = widths(hidden, depth)?;
    let narrowest = widths.iter().min().copied().unwrap_or(0);
    for (key, value) in [("hidden", narrowest), ("kernel", kernel), ("patch", patch)] {
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
    for (at, hidden) in widths.into_iter().enumerate() {
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
