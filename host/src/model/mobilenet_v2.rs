//! MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, Table 2): inverted residuals with linear bottlenecks. For large
//! images (`mobilenet_v2`) as in pytorch/vision: torchvision/models/mobilenetv2.py; for small ones (`MobileNetV2`, half as
//! wide) as in HobbitLong/RepDistiller: models/mobilenetv2.py, with ReLU, a stride less, and an expansion by 1x1 in the first
//! block, too.

use super::parts::{Images, Square, by_eight, conv_norm, he_by_outputs};
use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stillhouse_plugin::Init;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Factor of all channels.
    #[serde(default = "width")]
    width: f64,
    /// Channels of a block's inside over those of its input.
    #[serde(default = "expand")]
    expand: usize,
    /// Strides, names and activation.
    #[serde(default = "large")]
    images: Images,
    /// Share of the features dropped before the last layer: 0.2 for large images, else 0.
    dropout: Option<f64>,
}

fn width() -> f64 {
    1.0
}
fn expand() -> usize {
    6
}
fn large() -> Images {
    Images::Large
}

/// Whether channels are expanded, channels, blocks, stride of the first block (Table 2).
const GROUPS: [(bool, usize, usize, usize); 7] = [
    (false, 16, 1, 1),
    (true, 24, 2, 2),
    (true, 32, 3, 2),
    (true, 64, 4, 2),
    (true, 96, 3, 1),
    (true, 160, 3, 2),
    (true, 320, 1, 1),
];

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    match name {
        "mobilenet_v2" => Some(object([])),
        "MobileNetV2" | "mobile_half" => Some(object([("images", json!("small")), ("width", json!(0.5))])),
        _ => None,
    }
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { width, expand, images, dropout } = settings(table)?;
    let dropout = dropout.unwrap_or(if images == Images::Large { 0.2 } else { 0.0 });
    if !(width.is_finite() && 16.0 * width >= 1.0) {
        return Err(ModelError::new(format!("`width` must be 1/16 or more, got {width}")).at("width"));
    }
    if expand == 0 {
        return Err(ModelError::new("`expand` must be 1 or more, got 0").at("expand"));
    }
    if !(0.0..1.0).contains(&dropout) {
        return Err(ModelError::new(format!("`dropout` must be in [0, 1), got {dropout}")).at("dropout"));
    }
    image(frame, "mobilenet_v2")?;
    let mut maker = Maker { net: GraphBuilder::new("mobilenet_v2", &frame.input), width, images };
    let mut x = maker.stem()?;
    let mut index = 0;
    for (group, (expanded, channels, count, first)) in GROUPS.into_iter().enumerate() {
        let start = x.clone();
        for at in 0..count {
            index += 1;
            let small = images == Images::Small;
            let stride = if at == 0 && !(small && group == 1) { first } else { 1 };
            let path = if small { format!("blocks.{group}.{at}") } else { format!("features.{index}") };
            let expand = if expanded { expand } else { 1 };
            x = maker.block(&path, (expand, maker.channels(channels), stride), &x)?;
        }
        if images == Images::Small {
            maker.net.group(&format!("blocks.{group}"), &start, &x)?;
        }
    }
    let x = maker.last(dropout, frame.classes, &x)?;
    Ok(maker.net.finish(&x)?)
}

struct Maker {
    net: GraphBuilder,
    width: f64,
    images: Images,
}

impl Maker {
    fn is_large(&self) -> bool {
        self.images == Images::Large
    }

    fn channels(&self, of: usize) -> usize {
        let channels = of as f64 * self.width;
        if self.is_large() { by_eight(channels) } else { (channels as usize).max(1) }
    }

    /// Convolution, normalisation, activation.
    fn triple(&mut self, names: [String; 3], square: Square, x: &Source) -> Result<Source, String> {
        let [conv, norm, relu] = names.each_ref().map(String::as_str);
        let x = conv_norm(&mut self.net, [conv, norm], square, he_by_outputs(), x)?;
        let kind = if self.is_large() { LayerKind::Relu6 } else { LayerKind::Relu };
        self.net.layer(relu, kind, &[&x])
    }

    fn stem(&mut self) -> Result<Source, String> {
        let path = if self.is_large() { "features.0" } else { "conv1" };
        let square = Square::new(self.channels(32), 3, 2);
        let x = self.triple([0, 1, 2].map(|at| format!("{path}.{at}")), square, &Source::Input)?;
        self.net.group(path, &Source::Input, &x)?;
        Ok(x)
    }

    fn block(&mut self, path: &str, shape: (usize, usize, usize), x: &Source) -> Result<Source, String> {
        let ((expand, out, stride), channels) = (shape, self.net.shape(x)[0]);
        let inner = channels * expand;
        let at = |at: usize| format!("{path}.conv.{at}");
        let names = |step: usize| match self.images {
            Images::Large => [0, 1, 2].map(|part| format!("{path}.conv.{step}.{part}")),
            Images::Small => [0, 1, 2].map(|part| at(3 * step + part)),
        };
        let mut squares = vec![Square::depthwise(inner, 3, stride)];
        if expand > 1 || !self.is_large() {
            squares.insert(0, Square::new(inner, 1, 1));
        }
        let steps: Vec<_> = squares.into_iter().enumerate().map(|(step, square)| (names(step), square)).collect();
        let first = if self.is_large() { steps.len() } else { 3 * steps.len() };
        let mut y = x.clone();
        for (names, square) in steps {
            y = self.triple(names, square, &y)?;
        }
        let names = [at(first), at(first + 1)];
        let square = Square::new(out, 1, 1);
        y = conv_norm(&mut self.net, names.each_ref().map(String::as_str), square, he_by_outputs(), &y)?;
        if stride == 1 && channels == out {
            y = self.net.layer(&format!("{path}.add"), LayerKind::Add, &[x, &y])?;
        }
        self.net.group(path, x, &y)?;
        Ok(y)
    }

    fn last(&mut self, dropout: f64, classes: usize, start: &Source) -> Result<Source, String> {
        let (path, linear) = if self.is_large() { ("features.18", "classifier.1") } else { ("conv2", "classifier.0") };
        let square = Square::new(if self.width > 1.0 { self.channels(1280) } else { 1280 }, 1, 1);
        let x = self.triple([0, 1, 2].map(|at| format!("{path}.{at}")), square, start)?;
        self.net.group(path, start, &x)?;
        let mut x = self.net.layer("avgpool", LayerKind::GlobalAvgPool, &[&x])?;
        if dropout > 0.0 {
            x = self.net.layer("dropout", LayerKind::Dropout { p: dropout }, &[&x])?;
        }
        let init = Some(Init::Normal { mean: 0.0, std: 0.01 });
        let kind = LayerKind::Linear { out: classes, bias: true, init, bias_init: Some(Init::Zeros) };
        self.net.layer(linear, kind, &[&x])
    }
}
