//! Residual networks with four groups (He et al. 2015, arXiv:1512.03385, Table 1): basic blocks (18, 34) or bottlenecks
//! (50, 101, 152) whose stride is in the 3x3 convolution. For large images (`resnet50`) as in pytorch/vision:
//! torchvision/models/resnet.py, with a 7x7 stem and a max pool; for small ones (`ResNet50`) as in HobbitLong/RepDistiller:
//! models/resnetv2.py, with a 3x3 stem.

use super::parts::{Images, Square, conv_norm, halve, he_by_outputs};
use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Layers with weights: 18, 34, 50, 101 or 152.
    depth: usize,
    /// Channels of the first group's 3x3 convolutions; the others have 2, 4 and 8 times as many.
    #[serde(default = "width")]
    width: usize,
    /// Stem and names.
    #[serde(default = "large")]
    images: Images,
}

fn width() -> usize {
    64
}
fn large() -> Images {
    Images::Large
}

/// Depths of this family: `resnet` leaves their short names to it.
pub(super) const DEPTHS: [usize; 5] = [18, 34, 50, 101, 152];

/// `resnet50` for large images, `ResNet50` for small ones, as the sources name them.
pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    let of = |prefix: &str| name.strip_prefix(prefix)?.parse::<usize>().ok().filter(|depth| DEPTHS.contains(depth));
    match (of("resnet"), of("ResNet")) {
        (Some(depth), _) => Some(object([("depth", json!(depth))])),
        (_, Some(depth)) => Some(object([("depth", json!(depth)), ("images", json!("small"))])),
        _ => None,
    }
}

/// Blocks of each group, and whether they are bottlenecks.
fn blocks(depth: usize) -> Option<([usize; 4], bool)> {
    Some(match depth {
        18 => ([2, 2, 2, 2], false),
        34 => ([3, 4, 6, 3], false),
        50 => ([3, 4, 6, 3], true),
        101 => ([3, 4, 23, 3], true),
        152 => ([3, 8, 36, 3], true),
        _ => return None,
    })
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { depth, width, images } = settings(table)?;
    let Some((counts, bottleneck)) = blocks(depth) else {
        let wrong = format!("this residual network has the depth 18, 34, 50, 101 or 152, got {depth}");
        return Err(ModelError::new(wrong).at("depth").hint("`resnet` has those of 6 n + 2"));
    };
    if width == 0 {
        return Err(ModelError::new("channels must be 1 or more").at("width"));
    }
    image(frame, "resnet_imagenet")?;
    let mut net = GraphBuilder::new("resnet_imagenet", &frame.input);
    let (kernel, stride) = if images == Images::Large { (7, 2) } else { (3, 1) };
    let stem = Square::new(width, kernel, stride);
    let x = conv_norm(&mut net, ["conv1", "bn1"], stem, he_by_outputs(), &Source::Input)?;
    let mut x = net.layer("relu", LayerKind::Relu, &[&x])?;
    if images == Images::Large {
        x = halve(&mut net, "maxpool", &x)?;
    }
    for (group, count) in counts.into_iter().enumerate() {
        let (path, start) = (format!("layer{}", group + 1), x.clone());
        for block in 0..count {
            let stride = if block == 0 && group > 0 { 2 } else { 1 };
            let shape = Block { width: width << group, stride, bottleneck, images };
            x = shape.build(&mut net, &format!("{path}.{block}"), &x)?;
        }
        net.group(&path, &start, &x)?;
    }
    let x = net.layer("avgpool", LayerKind::GlobalAvgPool, &[&x])?;
    let last = if images == Images::Large { "fc" } else { "linear" };
    let x = net.layer(last, LayerKind::linear(frame.classes), &[&x])?;
    Ok(net.finish(&x)?)
}

struct Block {
    width: usize,
    stride: usize,
    bottleneck: bool,
    images: Images,
}

impl Block {
    fn convolutions(&self) -> Vec<Square> {
        let Block { width, stride, .. } = *self;
        if self.bottleneck {
            vec![Square::new(width, 1, 1), Square::new(width, 3, stride), Square::new(4 * width, 1, 1)]
        } else {
            vec![Square::new(width, 3, stride), Square::new(width, 3, 1)]
        }
    }

    fn build(&self, net: &mut GraphBuilder, path: &str, x: &Source) -> Result<Source, String> {
        let convolutions = self.convolutions();
        let (count, mut y) = (convolutions.len(), x.clone());
        for (at, conv) in (1..).zip(convolutions) {
            let names = [format!("{path}.conv{at}"), format!("{path}.bn{at}")];
            y = conv_norm(net, names.each_ref().map(String::as_str), conv, he_by_outputs(), &y)?;
            if at < count {
                y = net.layer(&format!("{path}.relu{at}"), LayerKind::Relu, &[&y])?;
            }
        }
        let out = net.shape(&y)[0];
        let shortcut = if self.stride == 1 && net.shape(x)[0] == out {
            x.clone()
        } else {
            let name = if self.images == Images::Large { "downsample" } else { "shortcut" };
            let names = [0, 1].map(|at| format!("{path}.{name}.{at}"));
            let conv = Square::new(out, 1, self.stride);
            conv_norm(net, names.each_ref().map(String::as_str), conv, he_by_outputs(), x)?
        };
        let y = net.layer(&format!("{path}.add"), LayerKind::Add, &[&y, &shortcut])?;
        let y = net.layer(&format!("{path}.relu{count}"), LayerKind::Relu, &[&y])?;
        net.group(path, x, &y)?;
        Ok(y)
    }
}
