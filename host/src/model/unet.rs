//! Encoder and decoder with skips (U-Net, Ronneberger et al. 2015, arXiv:1505.04597, Fig. 1), as in milesial/Pytorch-UNet:
//! unet/unet_parts.py: two padded convolutions with normalisation a level, down by pooling, up by a transposed convolution
//! or by resizing, joined with the map of the same size. The output is a map `[classes, H, W]`. `bilinear` has half-pixel
//! centres and goes to the size of the skip; the source aligns corners.

use super::parts::Square;
use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Pair, Resize, Source};
use serde::Deserialize;
use serde_json::{Map, Value};
use stillhouse_plugin::Init;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Channels of the first level; each further one has twice as many.
    #[serde(default = "width")]
    width: usize,
    /// How often the size is halved.
    #[serde(default = "depth")]
    depth: usize,
    /// How the decoder goes up.
    #[serde(default = "up")]
    up: Up,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Up {
    Transposed,
    Bilinear,
    Nearest,
}

fn width() -> usize {
    64
}
fn depth() -> usize {
    4
}
fn up() -> Up {
    Up::Transposed
}

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    (name == "unet").then(|| object([]))
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { width, depth, up } = settings(table)?;
    let [_, height, columns] = image(frame, "unet")?;
    if width == 0 || depth >= 16 {
        let (key, wrong) =
            if width == 0 { ("width", "1 or more, got 0".into()) } else { ("depth", format!("below 16, got {depth}")) };
        return Err(ModelError::new(format!("`{key}` must be {wrong}")).at(key));
    }
    if height.min(columns) >> depth == 0 {
        let wrong = format!("images of {height}x{columns} cannot be halved {depth} times");
        return Err(ModelError::new(wrong).at("depth"));
    }
    let mut net = GraphBuilder::new("unet", &frame.input);
    let mut x = double(&mut net, "inc", [width; 2], &Source::Input)?;
    let mut skips = vec![];
    for level in 1..=depth {
        skips.push(x.clone());
        // Resizing has no weights: the narrower side of the lowest level makes up for it.
        let lowest = if up != Up::Transposed && level == depth { 2 } else { 1 };
        let (path, out) = (format!("down{level}"), ((width << level) / lowest).max(1));
        let pool = LayerKind::MaxPool { kernel: Pair([2; 2]), stride: None, padding: Pair([0; 2]) };
        let small = net.layer(&format!("{path}.maxpool_conv.0"), pool, &[&x])?;
        let y = double(&mut net, &format!("{path}.maxpool_conv.1"), [out; 2], &small)?;
        net.group(&path, &x, &y)?;
        x = y;
    }
    for (at, skip) in (1..).zip(skips.iter().rev()) {
        let level = depth - at;
        x = rise(&mut net, &format!("up{at}"), up, (width << level, level), skip, &x)?;
    }
    let last = LayerKind::Conv {
        out: frame.classes,
        kernel: Pair([1; 2]),
        stride: Pair([1; 2]),
        padding: Pair([0; 2]),
        dilation: Pair([1; 2]),
        groups: 1,
        bias: true,
        init: None,
        bias_init: None,
    };
    let x = net.layer("outc.conv", last, &[&x])?;
    Ok(net.finish(&x)?)
}

/// Two 3x3 convolutions, each with normalisation and activation.
fn double(net: &mut GraphBuilder, path: &str, channels: [usize; 2], start: &Source) -> Result<Source, String> {
    let mut x = start.clone();
    for (i, out) in channels.into_iter().enumerate() {
        let at = |part: usize| format!("{path}.double_conv.{}", 3 * i + part);
        x = net.layer(&at(0), Square::new(out, 3, 1).kind(Init::layer_default()), &[&x])?;
        x = net.layer(&at(1), LayerKind::batch_norm(), &[&x])?;
        x = net.layer(&at(2), LayerKind::Relu, &[&x])?;
    }
    net.group(path, start, &x)?;
    Ok(x)
}

/// One level up: `out` channels at `level`, joined with the encoder's map of this size.
fn rise(
    net: &mut GraphBuilder,
    path: &str,
    up: Up,
    (out, level): (usize, usize),
    skip: &Source,
    x: &Source,
) -> Result<Source, String> {
    let size = net.shape(skip);
    let filter = if up == Up::Nearest { Resize::Nearest } else { Resize::Bilinear };
    let name = format!("{path}.up");
    let large = if up == Up::Transposed {
        let square = |value| Pair([value; 2]);
        let kind = LayerKind::ConvTranspose {
            out,
            kernel: square(2),
            stride: square(2),
            padding: square(0),
            output_padding: square(0),
            groups: 1,
            bias: true,
            init: None,
        };
        let y = net.layer(&name, kind, &[x])?;
        fit(net, path, &size, &y)?
    } else {
        net.layer(&name, LayerKind::Resize { size: Pair([size[1], size[2]]), filter }, &[x])?
    };
    let both = net.layer(&format!("{path}.cat"), LayerKind::Concat, &[skip, &large])?;
    let channels = match up {
        Up::Transposed => [out; 2],
        _ => [(net.shape(&both)[0] / 2).max(1), if level == 0 { out } else { (out / 2).max(1) }],
    };
    let y = double(net, &format!("{path}.conv"), channels, &both)?;
    net.group(path, x, &y)?;
    Ok(y)
}

/// Zeros around a map that is smaller than the skip, where a size was odd.
fn fit(net: &mut GraphBuilder, path: &str, size: &[usize], x: &Source) -> Result<Source, String> {
    let shape = net.shape(x);
    if shape[1..] == size[1..] {
        return Ok(x.clone());
    }
    let [rows, columns] = [1, 2].map(|dim| size[dim].saturating_sub(shape[dim]));
    let (top, left) = (rows / 2, columns / 2);
    let kind = LayerKind::Pad { top, bottom: rows - top, left, right: columns - left };
    net.layer(&format!("{path}.pad"), kind, &[x])
}
