//! Vision transformers (Dosovitskiy et al. 2020, arXiv:2010.11929, Sec. 3.1), as in pytorch/vision:
//! torchvision/models/vision_transformer.py: patches by a convolution, a class token, learned positions, pre-norm blocks.
//! `vit_b_16` is torchvision's; `vit_ti_16` and `vit_s_16` have the sizes of DeiT (Touvron et al. 2020, arXiv:2012.12877,
//! Table 1); any number may stand for the patch.

use super::{Frame, ModelError, image, object, settings};
use crate::graph::{Graph, GraphBuilder, LayerKind, Pair, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stillhouse_plugin::Init;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Pixels of a patch's side; image sides are multiples.
    patch: usize,
    /// Features of a token.
    width: usize,
    /// Blocks.
    depth: usize,
    /// Heads of the attention.
    heads: usize,
    /// Features between the linear layers of a block, `4 width` when absent.
    hidden: Option<usize>,
    /// Share of values dropped behind positions, attention and linear layers.
    #[serde(default)]
    dropout: f64,
}

pub(super) fn short(name: &str) -> Option<Map<String, Value>> {
    let (size, patch) = name.strip_prefix("vit_")?.split_once('_')?;
    let (width, depth, heads) = match size {
        "ti" => (192, 12, 3),
        "s" => (384, 12, 6),
        "b" => (768, 12, 12),
        "l" => (1024, 24, 16),
        _ => return None,
    };
    let patch: usize = patch.parse().ok()?;
    Some(object([("patch", json!(patch)), ("width", json!(width)), ("depth", json!(depth)), ("heads", json!(heads))]))
}

fn check(of: &Settings, [_, height, width]: [usize; 3]) -> Result<(), ModelError> {
    for (key, value) in [("patch", of.patch), ("width", of.width), ("depth", of.depth), ("heads", of.heads)] {
        if value == 0 {
            return Err(ModelError::new(format!("`{key}` must be 1 or more, got 0")).at(key));
        }
    }
    if of.hidden == Some(0) {
        return Err(ModelError::new("`hidden` must be 1 or more, got 0").at("hidden"));
    }
    if !of.width.is_multiple_of(of.heads) {
        let wrong = format!("{} features do not divide into {} heads", of.width, of.heads);
        return Err(ModelError::new(wrong).at("heads"));
    }
    if height == 0 || width == 0 || !height.is_multiple_of(of.patch) || !width.is_multiple_of(of.patch) {
        let wrong = format!("images of {height}x{width} do not divide into patches of {}", of.patch);
        return Err(ModelError::new(wrong).at("patch"));
    }
    if !(0.0..1.0).contains(&of.dropout) {
        return Err(ModelError::new(format!("`dropout` must be in [0, 1), got {}", of.dropout)).at("dropout"));
    }
    Ok(())
}

pub(super) fn build(table: &Map<String, Value>, frame: &Frame) -> Result<Graph, ModelError> {
    let of: Settings = settings(table)?;
    let size = image(frame, "vit")?;
    check(&of, size)?;
    let mut net = GraphBuilder::new("vit", &frame.input);
    let x = net.layer("conv_proj", patches(&of, size[0]), &[&Source::Input])?;
    let x = net.layer("tokens", LayerKind::Tokens, &[&x])?;
    let x = net.layer("class_token", LayerKind::ClassToken, &[&x])?;
    let start = x.clone();
    let x = net.layer("encoder.pos_embedding", LayerKind::PositionEmbedding, &[&x])?;
    let mut x = drop(&mut net, "encoder.dropout", of.dropout, &x)?;
    for at in 0..of.depth {
        x = block(&mut net, &format!("encoder.layers.encoder_layer_{at}"), &of, &x)?;
    }
    let x = net.layer("encoder.ln", norm(), &[&x])?;
    net.group("encoder", &start, &x)?;
    let x = net.layer("first", LayerKind::Slice { start: 0, len: 1 }, &[&x])?;
    let x = net.layer("features", LayerKind::Flatten, &[&x])?;
    let x = net.layer("heads.head", linear(frame.classes, Init::Zeros, Init::Zeros), &[&x])?;
    Ok(net.finish(&x)?)
}

/// One token a patch; normal with deviation `1 / sqrt(fan_in)`.
fn patches(of: &Settings, channels: usize) -> LayerKind {
    let fan_in = (channels * of.patch * of.patch) as f64;
    LayerKind::Conv {
        out: of.width,
        kernel: Pair([of.patch; 2]),
        stride: Pair([of.patch; 2]),
        padding: Pair([0; 2]),
        dilation: Pair([1; 2]),
        groups: 1,
        bias: true,
        init: Some(Init::Normal { mean: 0.0, std: (1.0 / fan_in).sqrt() }),
        bias_init: Some(Init::Zeros),
    }
}

fn norm() -> LayerKind {
    LayerKind::LayerNorm { dims: Some(1), eps: 1e-6 }
}

fn linear(out: usize, init: Init, bias: Init) -> LayerKind {
    LayerKind::Linear { out, bias: true, init: Some(init), bias_init: Some(bias) }
}

fn drop(net: &mut GraphBuilder, path: &str, p: f64, x: &Source) -> Result<Source, String> {
    if p > 0.0 { net.layer(path, LayerKind::Dropout { p }, &[x]) } else { Ok(x.clone()) }
}

fn block(net: &mut GraphBuilder, path: &str, of: &Settings, x: &Source) -> Result<Source, String> {
    let at = |name: &str| format!("{path}.{name}");
    let y = net.layer(&at("ln_1"), norm(), &[x])?;
    let y = net.layer(&at("self_attention"), LayerKind::SelfAttention { heads: of.heads }, &[&y])?;
    let y = drop(net, &at("dropout"), of.dropout, &y)?;
    let middle = net.layer(&at("add_1"), LayerKind::Add, &[&y, x])?;
    let hidden = of.hidden.unwrap_or(4 * of.width);
    let bound = (6.0 / (of.width + hidden) as f64).sqrt();
    let glorot = || Init::Uniform { low: -bound, high: bound };
    let tiny = || Init::Normal { mean: 0.0, std: 1e-6 };
    let y = net.layer(&at("ln_2"), norm(), &[&middle])?;
    let y = net.layer(&at("mlp.0"), linear(hidden, glorot(), tiny()), &[&y])?;
    let y = net.layer(&at("mlp.1"), LayerKind::Gelu, &[&y])?;
    let y = drop(net, &at("mlp.2"), of.dropout, &y)?;
    let y = net.layer(&at("mlp.3"), linear(of.width, glorot(), tiny()), &[&y])?;
    let y = drop(net, &at("mlp.4"), of.dropout, &y)?;
    let y = net.layer(&at("add_2"), LayerKind::Add, &[&middle, &y])?;
    net.group(path, x, &y)?;
    Ok(y)
}
