//! ShuffleNetV2 (Ma et al. 2018, arXiv:1807.11164, Fig. 3c, d and Table 5): a unit works on half of the channels and
//! shuffles them with the other half. For large images (`shufflenet_v2_x1_0`) as in pytorch/vision:
//! torchvision/models/shufflenetv2.py; for small ones (`ShuffleV2`) as in HobbitLong/RepDistiller: models/ShuffleNetv2.py,
//! with a 1x1 stem that keeps the size.

use super::parts::{Images, Square, conv_norm, halve};
use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stillhouse_plugin::Init;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Channels of each group of units, then of the last convolution.
    #[serde(default = "channels")]
    channels: [usize; 4],
    /// Units of each group.
    #[serde(default = "units")]
    units: [usize; 3],
    /// Stem and names.
    #[serde(default = "large")]
    images: Images,
}

fn channels() -> [usize; 4] {
    [116, 232, 464, 1024]
}
fn units() -> [usize; 3] {
    [4, 8, 4]
}
fn large() -> Images {
    Images::Large
}

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    let channels: [usize; 4] = match name {
        "ShuffleV2" => return Some(object([("images", json!("small"))])),
        "shufflenet_v2_x0_5" => [48, 96, 192, 1024],
        "shufflenet_v2_x1_0" => [116, 232, 464, 1024],
        "shufflenet_v2_x1_5" => [176, 352, 704, 1024],
        "shufflenet_v2_x2_0" => [244, 488, 976, 2048],
        _ => return None,
    };
    Some(object([("channels", json!(channels))]))
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { channels, units, images } = settings(table)?;
    if channels[..3].iter().any(|count| *count < 2 || count % 2 != 0) || channels[3] == 0 {
        let wrong = format!("channels of units must be even and 2 or more, got {channels:?}");
        return Err(ModelError::new(wrong).at("channels"));
    }
    if units.contains(&0) {
        return Err(ModelError::new(format!("each group needs a unit, got {units:?}")).at("units"));
    }
    image(frame, "shufflenet_v2")?;
    let mut net = GraphBuilder::new("shufflenet_v2", &frame.input);
    let is_large = images == Images::Large;
    let mut x = stem(&mut net, images)?;
    for (group, (out, count)) in channels.into_iter().zip(units).enumerate() {
        let path = if is_large { format!("stage{}", group + 2) } else { format!("layer{}", group + 1) };
        let start = x.clone();
        for at in 0..count {
            let unit = Unit { path: format!("{path}.{at}"), out, images };
            x = if at == 0 { unit.halving(&mut net, &x)? } else { unit.keeping(&mut net, &x)? };
        }
        net.group(&path, &start, &x)?;
    }
    let names = if is_large { ["conv5.0", "conv5.1", "conv5.2"] } else { ["conv2", "bn2", "relu2"] };
    let square = Square::new(channels[3], 1, 1);
    let x = conv_norm(&mut net, [names[0], names[1]], square, Init::layer_default(), &x)?;
    let x = net.layer(names[2], LayerKind::Relu, &[&x])?;
    let x = net.layer("avgpool", LayerKind::GlobalAvgPool, &[&x])?;
    let x = net.layer(if is_large { "fc" } else { "linear" }, LayerKind::linear(frame.classes), &[&x])?;
    Ok(net.finish(&x)?)
}

fn stem(net: &mut GraphBuilder, images: Images) -> Result<Source, String> {
    let (names, square) = match images {
        Images::Large => (["conv1.0", "conv1.1", "conv1.2"], Square::new(24, 3, 2)),
        Images::Small => (["conv1", "bn1", "relu1"], Square::new(24, 1, 1)),
    };
    let x = conv_norm(net, [names[0], names[1]], square, Init::layer_default(), &Source::Input)?;
    let x = net.layer(names[2], LayerKind::Relu, &[&x])?;
    if images == Images::Large { halve(net, "maxpool", &x) } else { Ok(x) }
}

struct Unit {
    path: String,
    out: usize,
    images: Images,
}

/// A convolution of a branch, and whether an activation follows.
type Step = (Square, bool);

impl Unit {
    /// `first` counts the unit's convolutions before this branch.
    fn branch(
        &self,
        net: &mut GraphBuilder,
        branch: &str,
        first: usize,
        steps: &[Step],
        x: &Source,
    ) -> Result<Source, String> {
        let (path, mut part, mut y) = (&self.path, 0, x.clone());
        for (at, (square, active)) in (first..).zip(steps) {
            let names = match self.images {
                Images::Large => [0, 1, 2].map(|next| format!("{path}.{branch}.{}", part + next)),
                Images::Small => ["conv", "bn", "relu"].map(|name| format!("{path}.{name}{}", at + 1)),
            };
            part += if *active { 3 } else { 2 };
            y = conv_norm(net, [&names[0], &names[1]], *square, Init::layer_default(), &y)?;
            if *active {
                y = net.layer(&names[2], LayerKind::Relu, &[&y])?;
            }
        }
        Ok(y)
    }

    /// 1x1, depthwise, 1x1.
    fn main(&self, stride: usize) -> [Step; 3] {
        let half = self.out / 2;
        [(Square::new(half, 1, 1), true), (Square::depthwise(half, 3, stride), false), (Square::new(half, 1, 1), true)]
    }

    fn halving(&self, net: &mut GraphBuilder, x: &Source) -> Result<Source, String> {
        let channels = net.shape(x)[0];
        let side = [(Square::depthwise(channels, 3, 2), false), (Square::new(self.out / 2, 1, 1), true)];
        let a = self.branch(net, "branch1", 0, &side, x)?;
        let b = self.branch(net, "branch2", 2, &self.main(2), x)?;
        self.join(net, [&a, &b], x)
    }

    fn keeping(&self, net: &mut GraphBuilder, x: &Source) -> Result<Source, String> {
        let half = self.out / 2;
        let slice = |net: &mut GraphBuilder, name: &str, start: usize| {
            net.layer(&format!("{}.{name}", self.path), LayerKind::Slice { start, len: half }, &[x])
        };
        let (a, b) = (slice(net, "kept", 0)?, slice(net, "taken", half)?);
        let b = self.branch(net, "branch2", 0, &self.main(1), &b)?;
        self.join(net, [&a, &b], x)
    }

    fn join(&self, net: &mut GraphBuilder, halves: [&Source; 2], x: &Source) -> Result<Source, String> {
        let y = net.layer(&format!("{}.cat", self.path), LayerKind::Concat, &halves)?;
        let y = net.layer(&format!("{}.shuffle", self.path), LayerKind::ChannelShuffle { groups: 2 }, &[&y])?;
        net.group(&self.path, x, &y)?;
        Ok(y)
    }
}
