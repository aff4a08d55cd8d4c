//! EfficientNet-Lite (after Tan & Le 2019, arXiv:1905.11946, Table 1): without squeeze and excitation, with ReLU6, stem and
//! head of the same width for every size, as in tensorflow/tpu: models/official/efficientnet/lite. Names, TensorFlow's padding
//! and normalisation (`eps` 1e-3) are those of `tf_efficientnet_lite0` in huggingface/pytorch-image-models:
//! timm/models/efficientnet.py.

use super::parts::{Square, by_eight};
use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Pair, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stillhouse_plugin::Init;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Factor of the blocks' channels.
    #[serde(default = "one")]
    width: f64,
    /// Factor of the blocks of each group but the first and the last.
    #[serde(default = "one")]
    depth: f64,
    /// Share of the features dropped before the last layer.
    #[serde(default = "dropout")]
    dropout: f64,
}

fn one() -> f64 {
    1.0
}
fn dropout() -> f64 {
    0.2
}

/// Expansion, kernel, stride of the first block, channels, blocks.
const GROUPS: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
];

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    let (width, depth, dropout) = match name.strip_prefix("efficientnet_lite")? {
        "0" => (1.0, 1.0, 0.2),
        "1" => (1.0, 1.1, 0.2),
        "2" => (1.1, 1.2, 0.3),
        "3" => (1.2, 1.4, 0.3),
        "4" => (1.4, 1.8, 0.3),
        _ => return None,
    };
    Some(object([("width", json!(width)), ("depth", json!(depth)), ("dropout", json!(dropout))]))
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { width, depth, dropout } = settings(table)?;
    for (key, factor) in [("width", width), ("depth", depth)] {
        if !(factor.is_finite() && factor > 0.0) {
            return Err(ModelError::new(format!("`{key}` must be above 0, got {factor}")).at(key));
        }
    }
    if !(0.0..1.0).contains(&dropout) {
        return Err(ModelError::new(format!("`dropout` must be in [0, 1), got {dropout}")).at("dropout"));
    }
    image(frame, "efficientnet_lite")?;
    let mut net = GraphBuilder::new("efficientnet_lite", &frame.input);
    let mut x = triple(&mut net, ["conv_stem", "bn1", "act1"], Square::new(32, 3, 2), &Source::Input)?;
    for (group, (expand, kernel, first, channels, count)) in GROUPS.into_iter().enumerate() {
        let (path, start) = (format!("blocks.{group}"), x.clone());
        let is_inner = group > 0 && group + 1 < GROUPS.len();
        let count = if is_inner { (count as f64 * depth).ceil() as usize } else { count };
        for at in 0..count {
            let stride = if at == 0 { first } else { 1 };
            let block = Block { expand, kernel, stride, out: by_eight(channels as f64 * width) };
            x = block.build(&mut net, &format!("{path}.{at}"), &x)?;
        }
        net.group(&path, &start, &x)?;
    }
    let x = triple(&mut net, ["conv_head", "bn2", "act2"], Square::new(1280, 1, 1), &x)?;
    let mut x = net.layer("global_pool", LayerKind::GlobalAvgPool, &[&x])?;
    if dropout > 0.0 {
        x = net.layer("dropout", LayerKind::Dropout { p: dropout }, &[&x])?;
    }
    let bound = 1.0 / (frame.classes.max(1) as f64).sqrt();
    let init = Some(Init::Uniform { low: -bound, high: bound });
    let last = LayerKind::Linear { out: frame.classes, bias: true, init, bias_init: Some(Init::Zeros) };
    let x = net.layer("classifier", last, &[&x])?;
    Ok(net.finish(&x)?)
}

/// TensorFlow's "SAME": `ceil(size / stride)` windows, and of an odd number of zeros one more behind.
fn same(size: usize, kernel: usize, stride: usize) -> [usize; 2] {
    let windows = size.div_ceil(stride);
    let zeros = (windows.saturating_sub(1) * stride + kernel).saturating_sub(size);
    [zeros / 2, zeros - zeros / 2]
}

/// A padded convolution without bias, started as TensorFlow's, and its normalisation.
fn conv_norm(net: &mut GraphBuilder, [path, norm]: [&str; 2], square: Square, x: &Source) -> Result<Source, String> {
    let fan_out = square.kernel * square.kernel * square.out / square.groups;
    let mut kind = square.kind(Init::Normal { mean: 0.0, std: (2.0 / fan_out as f64).sqrt() });
    let shape = net.shape(x);
    let [[top, bottom], [left, right]] = [shape[1], shape[2]].map(|size| same(size, square.kernel, square.stride));
    let mut x = x.clone();
    if let LayerKind::Conv { padding, .. } = &mut kind {
        *padding = Pair([top, left]);
        if [top, left] != [bottom, right] {
            *padding = Pair([0; 2]);
            x = net.layer(&format!("{path}.pad"), LayerKind::Pad { top, bottom, left, right }, &[&x])?;
        }
    }
    let x = net.layer(path, kind, &[&x])?;
    net.layer(norm, LayerKind::BatchNorm { eps: 1e-3, momentum: 0.1 }, &[&x])
}

fn triple(net: &mut GraphBuilder, [conv, norm, act]: [&str; 3], square: Square, x: &Source) -> Result<Source, String> {
    let x = conv_norm(net, [conv, norm], square, x)?;
    net.layer(act, LayerKind::Relu6, &[&x])
}

struct Block {
    expand: usize,
    kernel: usize,
    stride: usize,
    out: usize,
}

impl Block {
    fn build(&self, net: &mut GraphBuilder, path: &str, x: &Source) -> Result<Source, String> {
        let at = |name: &str| format!("{path}.{name}");
        let channels = net.shape(x)[0];
        let (inner, mut y, mut step) = (channels * self.expand, x.clone(), 1);
        if self.expand > 1 {
            y = triple(net, [&at("conv_pw"), &at("bn1"), &at("act1")], Square::new(inner, 1, 1), &y)?;
            step = 2;
        }
        let names = [at("conv_dw"), at(&format!("bn{step}")), at(&format!("act{step}"))];
        let depthwise = Square::depthwise(inner, self.kernel, self.stride);
        y = triple(net, names.each_ref().map(String::as_str), depthwise, &y)?;
        let conv = at(if self.expand > 1 { "conv_pwl" } else { "conv_pw" });
        y = conv_norm(net, [&conv, &at(&format!("bn{}", step + 1))], Square::new(self.out, 1, 1), &y)?;
        if self.stride == 1 && channels == self.out {
            y = net.layer(&at("add"), LayerKind::Add, &[&y, x])?;
        }
        net.group(path, x, &y)?;
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn zeros_are_those_of_tensorflow() {
        let cases = [
            ((224, 3, 2), [0, 1]),
            ((225, 3, 2), [1, 1]),
            ((56, 5, 2), [1, 2]),
            ((7, 5, 1), [2, 2]),
            ((1, 3, 2), [1, 1]),
            ((9, 1, 1), [0, 0]),
        ];
        cases.iter().for_each(|((size, kernel, stride), wanted)| assert_eq!(same(*size, *kernel, *stride), *wanted));
    }
}
