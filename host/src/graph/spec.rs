//! The parameters that a layer needs.

use super::kind::LayerKind;
use super::recurrent;
use crate::ops::ParamKind;
use stillhouse_plugin::Init;
use stillhouse_plugin::op::Meta;

/// One parameter or buffer of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSpec {
    /// Name behind the layer's path; empty when the path alone is the name.
    pub suffix: &'static str,
    /// Shape.
    pub shape: Vec<usize>,
    /// First values.
    pub init: Init,
    /// Trained or kept.
    pub kind: ParamKind,
}

/// Full name of a layer's parameter.
pub fn parameter_name(path: &str, suffix: &str) -> String {
    if suffix.is_empty() { path.to_owned() } else { format!("{path}.{suffix}") }
}

pub(super) fn parameter(suffix: &'static str, shape: impl Into<Vec<usize>>, init: Init) -> ParamSpec {
    ParamSpec { suffix, shape: shape.into(), init, kind: ParamKind::Parameter }
}

fn buffer(suffix: &'static str, shape: impl Into<Vec<usize>>, init: Init) -> ParamSpec {
    ParamSpec { suffix, shape: shape.into(), init, kind: ParamKind::Buffer }
}

impl LayerKind {
    /// Suffixes of the trained parameters that a layer of this kind may have.
    pub fn suffixes(&self) -> &'static [&'static str] {
        match self {
            LayerKind::Conv { .. } | LayerKind::ConvTranspose { .. } | LayerKind::Linear { .. } => &["weight", "bias"],
            LayerKind::BatchNorm { .. } | LayerKind::LayerNorm { .. } => &["weight", "bias"],
            LayerKind::ClassToken | LayerKind::PositionEmbedding => &[""],
            LayerKind::SelfAttention { .. } => &["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"],
            LayerKind::Lstm { .. } | LayerKind::Gru { .. } => &["weight_ih", "weight_hh", "bias_ih", "bias_hh"],
            LayerKind::ConvLstm { .. } => &["weight", "bias"],
            _ => &[],
        }
    }

    /// Parameters in the order in which the layer's operation takes them; `input` has a batch in front.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub fn params(&self, input: &Meta) -> Result<Vec<ParamSpec>, String> {
        let map = |what: &str| {
            if input.shape.len() == 4 {
                Ok(input.shape[1])
            } else {
                Err(format!("{what} wants [C, H, W], got {:?}", &input.shape[1..]))
            }
        };
        let weight = |init: &Option<Init>| init.clone().unwrap_or_else(Init::layer_default);
        match self {
            LayerKind::Conv { out, kernel, groups, bias, init, bias_init, .. } => {
                let channels = map("a convolution")?;
                if *out == 0 || *groups == 0 || channels % groups != 0 || out % groups != 0 {
                    return Err(format!("{channels} channels to {out} do not divide into {groups} groups"));
                }
                let shape = [*out, channels / groups, kernel.0[0], kernel.0[1]];
                let fan_in = shape[1..].iter().product();
                let start = bias_init.clone().unwrap_or(Init::BiasUniform { fan_in });
                Ok(with_bias(parameter("weight", shape, weight(init)), *bias, *out, start))
            }
            LayerKind::ConvTranspose { out, kernel, groups, bias, init, .. } => {
                let channels = map("a transposed convolution")?;
                if *out == 0 || *groups == 0 || channels % groups != 0 || out % groups != 0 {
                    return Err(format!("{channels} channels to {out} do not divide into {groups} groups"));
                }
                let shape = [channels, out / groups, kernel.0[0], kernel.0[1]];
                let fan_in = shape[1..].iter().product();
                Ok(with_bias(parameter("weight", shape, weight(init)), *bias, *out, Init::BiasUniform { fan_in }))
            }
            LayerKind::Linear { out, bias, init, bias_init } => {
                let features = match input.shape.last() {
                    Some(features) if input.shape.len() > 1 && *out > 0 => *features,
                    _ => return Err(format!("cannot go from {:?} to {out} features", &input.shape[1..])),
                };
                let start = bias_init.clone().unwrap_or(Init::BiasUniform { fan_in: features });
                Ok(with_bias(parameter("weight", [*out, features], weight(init)), *bias, *out, start))
            }
            LayerKind::BatchNorm { .. } => {
                let channels = input.shape.get(1).copied().ok_or("batch normalisation wants channels")?;
                Ok(vec![
                    parameter("weight", [channels], Init::Ones),
                    parameter("bias", [channels], Init::Zeros),
                    buffer("running_mean", [channels], Init::Zeros),
                    buffer("running_var", [channels], Init::Ones),
                ])
            }
            LayerKind::LayerNorm { dims, .. } => {
                let sample = &input.shape[1..];
                let dims = dims.unwrap_or(sample.len());
                if dims == 0 || dims > sample.len() {
                    return Err(format!("cannot normalise the last {dims} dimensions of {sample:?}"));
                }
                let trailing = &sample[sample.len() - dims..];
                Ok(vec![parameter("weight", trailing, Init::Ones), parameter("bias", trailing, Init::Zeros)])
            }
            LayerKind::ClassToken | LayerKind::PositionEmbedding => tokens(self, input),
            LayerKind::SelfAttention { heads } => attention(*heads, input),
            LayerKind::Lstm { hidden } => recurrent::rows("an LSTM", 4, *hidden, input),
            LayerKind::Gru { hidden } => recurrent::rows("a GRU", 3, *hidden, input),
            LayerKind::ConvLstm { hidden, kernel, forget_bias } => {
                recurrent::maps(*hidden, *kernel, *forget_bias, input)
            }
            _ => Ok(vec![]),
        }
    }
}

/// A token, of zeros; a vector for each position, normal with deviation 0.02 (torchvision: models/vision_transformer.py).
fn tokens(kind: &LayerKind, input: &Meta) -> Result<Vec<ParamSpec>, String> {
    let [_, count, features] = input.shape[..] else {
        return Err(format!("wants [T, D], got {:?}", &input.shape[1..]));
    };
    Ok(match kind {
        LayerKind::ClassToken => vec![parameter("", [1, 1, features], Init::Zeros)],
        _ => vec![parameter("", [1, count, features], Init::Normal { mean: 0.0, std: 0.02 })],
    })
}

/// As PyTorch's `MultiheadAttention`: Glorot's bound over the stacked projections, biases of zero.
fn attention(heads: usize, input: &Meta) -> Result<Vec<ParamSpec>, String> {
    let [_, _, features] = input.shape[..] else {
        return Err(format!("wants [T, D], got {:?}", &input.shape[1..]));
    };
    if heads == 0 || features % heads != 0 {
        return Err(format!("{features} features do not divide into {heads} heads"));
    }
    let bound = (6.0 / (4 * features) as f64).sqrt();
    Ok(vec![
        parameter("in_proj_weight", [3 * features, features], Init::Uniform { low: -bound, high: bound }),
        parameter("in_proj_bias", [3 * features], Init::Zeros),
        parameter("out_proj.weight", [features, features], Init::layer_default()),
        parameter("out_proj.bias", [features], Init::Zeros),
    ])
}

fn with_bias(weight: ParamSpec, bias: bool, out: usize, init: Init) -> Vec<ParamSpec> {
    let mut specs = vec![weight];
    if bias {
        specs.push(parameter("bias", [out], init));
    }
    specs
}
