//! Residual networks for small images (He et al. 2015, arXiv:1512.03385, Sec. 4.2), as in HobbitLong/RepDistiller:
//! models/resnet.py: a 3x3 stem, three groups of basic blocks of which the second and third halve the size, a global mean
//! and a linear layer; a 1x1 convolution with normalisation where the shape changes.

use super::resnet_imagenet::DEPTHS;
use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stillhouse_plugin::Init;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Layers with weights on the longest way, `6 n + 2`.
    depth: usize,
    /// Channels of stem and first group.
    #[serde(default = "width")]
    width: usize,
    /// Factor of the groups' channels over `width`, `2 width`, `4 width`.
    #[serde(default = "factor")]
    factor: usize,
    /// Channels of the stem where they differ from `width`.
    stem: Option<usize>,
}

fn width() -> usize {
    16
}
fn factor() -> usize {
    1
}

/// `resnet20`, and `resnet8x4` with four times the channels (and a stem of 32, as its source has it). 18, 34, 50, 101 and 152
/// are of the family for large images.
pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    let rest = name.strip_prefix("resnet")?;
    match rest.split_once('x') {
        None => {
            let depth = rest.parse::<usize>().ok().filter(|depth| !DEPTHS.contains(depth))?;
            Some(object([("depth", json!(depth))]))
        }
        Some((depth, factor)) => Some(object([
            ("depth", json!(depth.parse::<usize>().ok()?)),
            ("factor", json!(factor.parse::<usize>().ok()?)),
            ("stem", json!(32)),
        ])),
    }
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { depth, width, factor, stem } = settings(table)?;
    if depth < 8 || !(depth - 2).is_multiple_of(6) {
        let near = (depth.max(8) - 2 + 3) / 6 * 6 + 2;
        let wrong = format!("the depth of this residual network must be 6 n + 2 with n from 1, got {depth}");
        return Err(ModelError::new(wrong).at("depth").hint(format!("the nearest is {near}")));
    }
    if width == 0 || factor == 0 || stem == Some(0) {
        return Err(ModelError::new("channels must be 1 or more").at("width"));
    }
    image(frame, "resnet")?;
    let mut net = GraphBuilder::new("resnet", &frame.input);
    let x = conv_norm(&mut net, "conv1", "bn1", stem.unwrap_or(width), [3, 1, 1], &Source::Input)?;
    let mut x = net.layer("relu1", LayerKind::Relu, &[&x])?;
    for (group, stride) in [(1, 1), (2, 2), (3, 2)] {
        let (path, start) = (format!("layer{group}"), x.clone());
        for block in 0..(depth - 2) / 6 {
            let channels = (width * factor) << (group - 1);
            x = basic_block(&mut net, &format!("{path}.{block}"), channels, if block == 0 { stride } else { 1 }, &x)?;
        }
        net.group(&path, &start, &x)?;
    }
    let x = net.layer("avgpool", LayerKind::GlobalAvgPool, &[&x])?;
    let x = net.layer("fc", LayerKind::linear(frame.classes), &[&x])?;
    Ok(net.finish(&x)?)
}

fn init() -> Init {
    Init::KaimingNormal { gain: 2f64.sqrt(), fan_out: true }
}

fn conv_norm(
    net: &mut GraphBuilder,
    conv: &str,
    norm: &str,
    out: usize,
    [kernel, stride, padding]: [usize; 3],
    x: &Source,
) -> Result<Source, String> {
    let x = net.layer(conv, LayerKind::conv(out, kernel, stride, padding, init()), &[x])?;
    net.layer(norm, LayerKind::batch_norm(), &[&x])
}

fn basic_block(net: &mut GraphBuilder, path: &str, out: usize, stride: usize, x: &Source) -> Result<Source, String> {
    let at = |name: &str| format!("{path}.{name}");
    let y = conv_norm(net, &at("conv1"), &at("bn1"), out, [3, stride, 1], x)?;
    let y = net.layer(&at("relu1"), LayerKind::Relu, &[&y])?;
    let y = conv_norm(net, &at("conv2"), &at("bn2"), out, [3, 1, 1], &y)?;
    let same = net.shape(x) == net.shape(&y);
    let shortcut = if same {
        x.clone()
    } else {
        conv_norm(net, &at("downsample.0"), &at("downsample.1"), out, [1, stride, 0], x)?
    };
    let y = net.layer(&at("add"), LayerKind::Add, &[&y, &shortcut])?;
    let y = net.layer(&at("relu2"), LayerKind::Relu, &[&y])?;
    net.group(path, x, &y)?;
    Ok(y)
}
