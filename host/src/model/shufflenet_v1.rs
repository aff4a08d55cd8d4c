//! ShuffleNet for small images (Zhang et al. 2017, arXiv:1707.01083, Fig. 2), as in HobbitLong/RepDistiller:
//! models/ShuffleNetv1.py: a 1x1 stem of 24 channels and three groups of units, each of which halves the size first; the
//! first unit's first convolution is not grouped.

use super::parts::{Square, conv_norm};
use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Pair, Source};
use serde::Deserialize;
use serde_json::{Map, Value};
use stillhouse_plugin::Init;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Channels of each group of units.
    #[serde(default = "channels")]
    channels: [usize; 3],
    /// Units of each group.
    #[serde(default = "units")]
    units: [usize; 3],
    /// Groups of channels.
    #[serde(default = "groups")]
    groups: usize,
}

fn channels() -> [usize; 3] {
    [240, 480, 960]
}
fn units() -> [usize; 3] {
    [4, 8, 4]
}
fn groups() -> usize {
    3
}

const STEM: usize = 24;

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    matches!(name, "shufflenet_v1" | "ShuffleV1").then(|| object([]))
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { channels, units, groups } = settings(table)?;
    if groups == 0 {
        return Err(ModelError::new("`groups` must be 1 or more, got 0").at("groups"));
    }
    if units.contains(&0) {
        return Err(ModelError::new(format!("each group needs a unit, got {units:?}")).at("units"));
    }
    if !(STEM < channels[0] && channels[0] < channels[1] && channels[1] < channels[2]) {
        let wrong = format!("channels must grow from more than {STEM} on, got {channels:?}");
        return Err(ModelError::new(wrong).at("channels"));
    }
    image(frame, "shufflenet_v1")?;
    let mut net = GraphBuilder::new("shufflenet_v1", &frame.input);
    let x = conv_norm(&mut net, ["conv1", "bn1"], Square::new(STEM, 1, 1), Init::layer_default(), &Source::Input)?;
    let mut x = net.layer("relu1", LayerKind::Relu, &[&x])?;
    for (group, (out, count)) in channels.into_iter().zip(units).enumerate() {
        let (path, start) = (format!("layer{}", group + 1), x.clone());
        for at in 0..count {
            let first = if group == 0 && at == 0 { 1 } else { groups };
            let unit = Unit { out, halves: at == 0, first, groups };
            x = unit.build(&mut net, &format!("{path}.{at}"), &x)?;
        }
        net.group(&path, &start, &x)?;
    }
    let x = net.layer("avgpool", LayerKind::GlobalAvgPool, &[&x])?;
    let x = net.layer("linear", LayerKind::linear(frame.classes), &[&x])?;
    Ok(net.finish(&x)?)
}

struct Unit {
    out: usize,
    halves: bool,
    /// Groups of the first convolution.
    first: usize,
    groups: usize,
}

impl Unit {
    fn build(&self, net: &mut GraphBuilder, path: &str, x: &Source) -> Result<Source, String> {
        let at = |name: &str| format!("{path}.{name}");
        let own = self.out - if self.halves { net.shape(x)[0] } else { 0 };
        let (inner, stride) = (own / 4, if self.halves { 2 } else { 1 });
        let conv = |net: &mut GraphBuilder, step: usize, square: Square, x: &Source| {
            let names = [format!("{path}.conv{step}"), format!("{path}.bn{step}")];
            conv_norm(net, names.each_ref().map(String::as_str), square, Init::layer_default(), x)
        };
        let y = conv(net, 1, Square { groups: self.first, ..Square::new(inner, 1, 1) }, x)?;
        let y = net.layer(&at("relu1"), LayerKind::Relu, &[&y])?;
        let y = net.layer(&at("shuffle1"), LayerKind::ChannelShuffle { groups: self.first }, &[&y])?;
        let y = conv(net, 2, Square::depthwise(inner, 3, stride), &y)?;
        let y = net.layer(&at("relu2"), LayerKind::Relu, &[&y])?;
        let y = conv(net, 3, Square { groups: self.groups, ..Square::new(own, 1, 1) }, &y)?;
        let y = if self.halves {
            let pool = LayerKind::AvgPool { kernel: Pair([3; 2]), stride: Some(Pair([2; 2])), padding: Pair([1; 2]) };
            let shortcut = net.layer(&at("shortcut.0"), pool, &[x])?;
            net.layer(&at("cat"), LayerKind::Concat, &[&y, &shortcut])?
        } else {
            net.layer(&at("add"), LayerKind::Add, &[&y, x])?
        };
        let y = net.layer(&at("relu3"), LayerKind::Relu, &[&y])?;
        net.group(path, x, &y)?;
        Ok(y)
    }
}
