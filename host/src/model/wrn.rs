//! Wide residual networks for small images (Zagoruyko & Komodakis 2016, arXiv:1605.07146, Table 1), as in
//! HobbitLong/RepDistiller: models/wrn.py: pre-activation blocks in three groups of which the second and third halve the
//! size; where the channels change, normalisation and activation come before the shortcut, too.

use super::parts::{Square, he_by_outputs};
use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stillhouse_plugin::Init;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Layers with weights, `6 n + 4`.
    depth: usize,
    /// Factor of the groups' channels over 16, 32, 64.
    #[serde(default = "factor")]
    factor: usize,
    /// Share of values dropped between the convolutions of a block.
    #[serde(default)]
    dropout: f64,
}

fn factor() -> usize {
    1
}

/// `wrn_40_2`: depth and factor.
pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    let (depth, factor) = name.strip_prefix("wrn_")?.split_once('_')?;
    let [depth, factor] = [depth, factor].map(|number| number.parse::<usize>().ok());
    Some(object([("depth", json!(depth?)), ("factor", json!(factor?))]))
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let Settings { depth, factor, dropout } = settings(table)?;
    if depth < 10 || !(depth - 4).is_multiple_of(6) {
        let near = (depth.max(10) - 4 + 3) / 6 * 6 + 4;
        let wrong = format!("the depth of a wide residual network must be 6 n + 4 with n from 1, got {depth}");
        return Err(ModelError::new(wrong).at("depth").hint(format!("the nearest is {near}")));
    }
    if factor == 0 {
        return Err(ModelError::new("channels must be 1 or more").at("factor"));
    }
    if !(0.0..1.0).contains(&dropout) {
        return Err(ModelError::new(format!("`dropout` must be in [0, 1), got {dropout}")).at("dropout"));
    }
    image(frame, "wrn")?;
    let mut net = GraphBuilder::new("wrn", &frame.input);
    let mut x = net.layer("conv1", Square::new(16, 3, 1).kind(he_by_outputs()), &[&Source::Input])?;
    for (group, stride) in [(1, 1), (2, 2), (3, 2)] {
        let (path, start) = (format!("block{group}"), x.clone());
        for at in 0..(depth - 4) / 6 {
            let block = Block { out: (8 * factor) << group, stride: if at == 0 { stride } else { 1 }, dropout };
            x = block.build(&mut net, &format!("{path}.layer.{at}"), &x)?;
        }
        net.group(&path, &start, &x)?;
    }
    let x = norm_relu(&mut net, "bn1", "relu", &x)?;
    let x = net.layer("avgpool", LayerKind::GlobalAvgPool, &[&x])?;
    let last = LayerKind::Linear { out: frame.classes, bias: true, init: None, bias_init: Some(Init::Zeros) };
    let x = net.layer("fc", last, &[&x])?;
    Ok(net.finish(&x)?)
}

fn norm_relu(net: &mut GraphBuilder, norm: &str, relu: &str, x: &Source) -> Result<Source, String> {
    let x = net.layer(norm, LayerKind::batch_norm(), &[x])?;
    net.layer(relu, LayerKind::Relu, &[&x])
}

struct Block {
    out: usize,
    stride: usize,
    dropout: f64,
}

impl Block {
    fn build(&self, net: &mut GraphBuilder, path: &str, x: &Source) -> Result<Source, String> {
        let at = |name: &str| format!("{path}.{name}");
        let conv = |kernel, stride| Square::new(self.out, kernel, stride).kind(he_by_outputs());
        let active = norm_relu(net, &at("bn1"), &at("relu1"), x)?;
        let y = net.layer(&at("conv1"), conv(3, self.stride), &[&active])?;
        let mut y = norm_relu(net, &at("bn2"), &at("relu2"), &y)?;
        if self.dropout > 0.0 {
            y = net.layer(&at("dropout"), LayerKind::Dropout { p: self.dropout }, &[&y])?;
        }
        let y = net.layer(&at("conv2"), conv(3, 1), &[&y])?;
        let shortcut = if net.shape(x)[0] == self.out {
            x.clone()
        } else {
            net.layer(&at("convShortcut"), conv(1, self.stride), &[&active])?
        };
        let y = net.layer(&at("add"), LayerKind::Add, &[&shortcut, &y])?;
        net.group(path, x, &y)?;
        Ok(y)
    }
}
