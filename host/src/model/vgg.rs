//! VGG-like networks with batch normalisation for small images, as in HobbitLong/RepDistiller: models/vgg.py (after Simonyan
//! & Zisserman 2014, arXiv:1409.1556): five blocks of 3x3 convolutions with pooling between the first four of them (and, for
//! images of 64 pixels and more, before the last), a global mean and a linear layer. A pool is left out where the map has one
//! pixel in height or width.

use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Pair, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stillhouse_plugin::Init;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Layers with weights as the name counts them: 8, 11, 13, 16 or 19.
    depth: usize,
    /// Channels of the first block; the others have 2, 4, 8 and 8 times as many.
    #[serde(default = "width")]
    width: usize,
}

fn width() -> usize {
    64
}

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    let depth: usize = name.strip_prefix("vgg")?.parse().ok()?;
    Some(object([("depth", json!(depth))]))
}

/// Convolutions of each block.
fn blocks(depth: usize) -> Option<[usize; 5]> {
    Some(match depth {
        8 => [1, 1, 1, 1, 1],
        11 => [1, 1, 2, 2, 2],
        13 => [2, 2, 2, 2, 2],
        16 => [2, 2, 3, 3, 3],
        19 => [2, 2, 4, 4, 4],
        _ => return None,
    })
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { depth, width } = settings(table)?;
    let Some(blocks) = blocks(depth) else {
        return Err(ModelError::new(format!("a VGG has the depth 8, 11, 13, 16 or 19, got {depth}")).at("depth"));
    };
    if width == 0 {
        return Err(ModelError::new("channels must be 1 or more").at("width"));
    }
    let [_, height, _] = image(frame, "vgg")?;
    let mut net = GraphBuilder::new("vgg", &frame.input);
    let mut x = Source::Input;
    for (block, (count, factor)) in blocks.into_iter().zip([1, 2, 4, 8, 8]).enumerate() {
        if (1..4).contains(&block) || (block == 4 && height >= 64) {
            x = pool(&mut net, block - 1, &x)?;
        }
        x = convolutions(&mut net, block, count, width * factor, &x)?;
    }
    let x = net.layer("avgpool", LayerKind::GlobalAvgPool, &[&x])?;
    let init = Some(Init::Normal { mean: 0.0, std: 0.01 });
    let last = LayerKind::Linear { out: frame.classes, bias: true, init, bias_init: Some(Init::Zeros) };
    let x = net.layer("classifier", last, &[&x])?;
    Ok(net.finish(&x)?)
}

fn pool(net: &mut GraphBuilder, at: usize, x: &Source) -> Result<Source, String> {
    if net.shape(x).iter().skip(1).any(|len| *len < 2) {
        return Ok(x.clone());
    }
    net.layer(
        &format!("pool{at}"),
        LayerKind::MaxPool { kernel: Pair([2; 2]), stride: None, padding: Pair([0; 2]) },
        &[x],
    )
}

fn convolutions(
    net: &mut GraphBuilder,
    block: usize,
    count: usize,
    channels: usize,
    start: &Source,
) -> Result<Source, String> {
    let mut x = start.clone();
    for i in 0..count {
        let at = |part: usize| format!("block{block}.{}", 3 * i + part);
        x = net.layer(&at(0), convolution(channels), &[&x])?;
        x = net.layer(&at(1), LayerKind::batch_norm(), &[&x])?;
        x = net.layer(&at(2), LayerKind::Relu, &[&x])?;
    }
    net.group(&format!("block{block}"), start, &x)?;
    Ok(x)
}

fn convolution(out: usize) -> LayerKind {
    LayerKind::Conv {
        out,
        kernel: Pair([3; 2]),
        stride: Pair([1; 2]),
        padding: Pair([1; 2]),
        dilation: Pair([1; 2]),
        groups: 1,
        bias: true,
        init: Some(Init::KaimingNormal { gain: 2f64.sqrt(), fan_out: true }),
        bias_init: Some(Init::Zeros),
    }
}
