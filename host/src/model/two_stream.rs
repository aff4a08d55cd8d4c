//! Encoder and decoder of maps over a few frames: a spatial branch sees one frame, a temporal branch all of them, and a decoder
//! brings what they give, side by side, to the size of the input (after iCVTEAM/DIS). The frames of a sample lie side by side as
//! channels, the newest last.
//!
//! Where this differs from the source: each branch has the lower convolutions for itself, so that either can be trained alone
//! and taken over whole; batch normalisation follows each convolution, and there is no local response normalisation; the
//! temporal branch reads the frames themselves, of which its first convolution can form differences.

use super::parts::{Square, conv_norm, he_by_outputs};
use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Pair, Resize, Source};
use serde::Deserialize;
use serde_json::{Map, Value};
use stillhouse_plugin::Init;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Channels of the first convolutions; deeper ones have up to eight times as many.
    #[serde(default = "width")]
    width: usize,
    /// Frames that lie side by side in the input.
    #[serde(default = "frames")]
    frames: usize,
    /// The encoders.
    #[serde(default = "branches")]
    branches: Vec<Branch>,
    /// The output goes through a logistic function.
    #[serde(default)]
    sigmoid: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Branch {
    /// Sees the newest frame.
    Spatial,
    /// Sees all frames.
    Temporal,
}

fn width() -> usize {
    16
}
fn frames() -> usize {
    2
}
fn branches() -> Vec<Branch> {
    vec![Branch::Spatial, Branch::Temporal]
}

/// Channels of an encoder's convolutions, in widths, and where a pooling follows.
const ENCODER: [(&str, usize, bool); 6] =
    [("1_1", 1, false), ("1_2", 1, true), ("2", 2, true), ("3", 4, false), ("4", 4, false), ("5", 8, false)];

/// How often an encoder halves the size.
const HALVED: u32 = 2;

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    (name == "two_stream").then(|| object([]))
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let settings: Settings = settings(table)?;
    let [channels, height, columns] = image(frame, "two_stream")?;
    check(&settings, channels, [height, columns])?;
    let Settings { width, frames, branches, sigmoid } = settings;
    let mut net = GraphBuilder::new("two_stream", &frame.input);
    let mut found = vec![];
    for branch in branches {
        let of_frame = channels / frames;
        let (path, start) = match branch {
            Branch::Temporal => ("temporal", Source::Input),
            Branch::Spatial if frames == 1 => ("spatial", Source::Input),
            Branch::Spatial => {
                let newest = LayerKind::Slice { start: channels - of_frame, len: of_frame };
                ("spatial", net.layer("spatial.frame", newest, &[&Source::Input])?)
            }
        };
        found.push(encoder(&mut net, path, width, &start)?);
    }
    let x = match found.as_slice() {
        [one] => one.clone(),
        all => net.layer("decoder.cat", LayerKind::Concat, &all.iter().collect::<Vec<_>>())?,
    };
    let x = decoder(&mut net, (width, frame.classes), [height, columns], &x)?;
    let x = if sigmoid { net.layer("sigmoid", LayerKind::Sigmoid, &[&x])? } else { x };
    Ok(net.finish(&x)?)
}

fn check(settings: &Settings, channels: usize, size: [usize; 2]) -> Result<(), ModelError> {
    let Settings { width, frames, branches, .. } = settings;
    let wrong = |key: &str, message: String| Err(ModelError::new(message).at(key));
    if *width < 2 {
        return wrong("width", format!("`width` must be 2 or more, got {width}"));
    }
    if *frames == 0 || !channels.is_multiple_of(*frames) {
        return wrong("frames", format!("{channels} channels are not {frames} frames side by side"));
    }
    if branches.is_empty() || branches.iter().enumerate().any(|(at, branch)| branches[..at].contains(branch)) {
        return wrong("branches", "`branches` must be `spatial`, `temporal` or both, each once".into());
    }
    if *frames == 1 && branches.contains(&Branch::Temporal) {
        return wrong("frames", "the temporal branch wants 2 frames or more".into());
    }
    if size.iter().any(|side| side >> HALVED == 0) {
        return Err(ModelError::new(format!("images of {}x{} cannot be halved {HALVED} times", size[0], size[1])));
    }
    Ok(())
}

/// Convolutions of one branch: `[C, H, W]` to `[8 width, H / 4, W / 4]`.
fn encoder(net: &mut GraphBuilder, path: &str, width: usize, start: &Source) -> Result<Source, String> {
    let mut x = start.clone();
    for (name, widths, pooled) in ENCODER {
        x = block(net, path, name, Square::new(widths * width, 3, 1), &x)?;
        if pooled {
            let half = LayerKind::MaxPool { kernel: Pair([2; 2]), stride: None, padding: Pair([0; 2]) };
            x = net.layer(&format!("{path}.pool{}", &name[..1]), half, &[&x])?;
        }
    }
    net.group(path, start, &x)?;
    Ok(x)
}

/// A convolution with normalisation and activation.
fn block(net: &mut GraphBuilder, path: &str, name: &str, square: Square, x: &Source) -> Result<Source, String> {
    let [conv, norm, relu] = ["conv", "bn", "relu"].map(|kind| format!("{path}.{kind}{name}"));
    let x = conv_norm(net, [&conv, &norm], square, he_by_outputs(), x)?;
    net.layer(&relu, LayerKind::Relu, &[&x])
}

/// From the joined encodings to `outputs` maps of this size.
fn decoder(
    net: &mut GraphBuilder,
    (width, outputs): (usize, usize),
    size: [usize; 2],
    start: &Source,
) -> Result<Source, String> {
    let mut x = block(net, "decoder", "1", Square::new(2 * width, 1, 1), start)?;
    for (name, out) in [("2", 2 * width), ("3", 2 * width), ("4", width)] {
        x = block(net, "decoder", name, Square::new(out, 3, 1), &x)?;
    }
    x = net.layer("decoder.up1", double(width / 2, false), &[&x])?;
    x = net.layer("decoder.bn_up1", LayerKind::batch_norm(), &[&x])?;
    x = net.layer("decoder.relu_up1", LayerKind::Relu, &[&x])?;
    x = net.layer("decoder.up2", double(outputs, true), &[&x])?;
    if net.shape(&x)[1..] != size {
        x = net.layer("decoder.resize", LayerKind::Resize { size: Pair(size), filter: Resize::Bilinear }, &[&x])?;
    }
    net.group("decoder", start, &x)?;
    Ok(x)
}

/// A transposed convolution to twice the size.
fn double(out: usize, bias: bool) -> LayerKind {
    let square = |side| Pair([side; 2]);
    LayerKind::ConvTranspose {
        out,
        kernel: square(4),
        stride: square(2),
        padding: square(1),
        output_padding: square(0),
        groups: 1,
        bias,
        init: Some(Init::layer_default()),
    }
}
