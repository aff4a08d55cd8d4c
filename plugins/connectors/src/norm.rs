//! Normalisation between a convolution and its activation.

use stillhouse_plugin::op::Op;
use stillhouse_plugin::prelude::*;

/// Name of its parameters.
const NAME: &str = "norm";
/// Added to the variance.
const EPS: f64 = 1e-5;
/// Groups of a group normalisation where the channels allow it (Wu & He 2018).
const USUAL_GROUPS: usize = 32;

/// Normalisation of a map, with a scale and a shift for each channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Nothing.
    #[default]
    None,
    /// Each channel by the batch's statistics, in evaluation by running ones. It mixes samples: batches cannot be accumulated.
    Batch,
    /// Each sample's groups of channels over all places.
    Group,
    /// Each place over its channels.
    Layer,
}

/// A normalisation with its parameters.
#[derive(Debug, Clone)]
pub(crate) enum BoundNorm {
    None,
    Batch(BatchNorm),
    Group { groups: usize },
    Layer(LayerNorm),
}

impl BoundNorm {
    /// Makes `norm.weight` and `norm.bias` `[C]`, and for `batch` the running statistics.
    pub(crate) fn bind(
        cx: &BindCx,
        part: &str,
        norm: Norm,
        groups: Option<usize>,
        channels: usize,
    ) -> Result<BoundNorm> {
        Ok(match norm {
            Norm::None => BoundNorm::None,
            Norm::Batch => BoundNorm::Batch(BatchNorm::bind(cx, NAME, channels)),
            Norm::Group => {
                let groups = groups.unwrap_or_else(|| greatest_divisor(channels, USUAL_GROUPS));
                ensure!(
                    channels.is_multiple_of(groups),
                    "`{part}` cannot split {channels} channels into {groups} groups (`norm_groups`)\n\nhint: choose a divisor \
                     of {channels}"
                );
                cx.add_param(&format!("{NAME}.weight"), &[channels], &Init::Ones);
                cx.add_param(&format!("{NAME}.bias"), &[channels], &Init::Zeros);
                BoundNorm::Group { groups }
            }
            Norm::Layer => {
                ensure!(
                    channels > 1,
                    "`{part}` has one channel, which has no deviation\n\nhint: `norm = \"group\"` normalises over places"
                );
                BoundNorm::Layer(LayerNorm::bind(cx, NAME, &[channels]))
            }
        })
    }

    /// `[N, C, H, W]`, normalised.
    pub(crate) fn forward(&self, cx: &Cx, part: &str, x: Tensor) -> Result<Tensor> {
        Ok(match self {
            BoundNorm::None => x,
            BoundNorm::Batch(norm) => norm.forward(cx, &x),
            BoundNorm::Group { groups } => grouped(cx, part, &x, *groups)?,
            BoundNorm::Layer(norm) => {
                let last = x.permute(&[0, 2, 3, 1]); // [N, H, W, C]
                norm.forward(cx, &last).permute(&[0, 3, 1, 2])
            }
        })
    }
}

fn grouped(cx: &Cx, part: &str, x: &Tensor, groups: usize) -> Result<Tensor> {
    let [samples, channels, height, width] = map_dims(part, x)?;
    let values = channels / groups * height * width;
    ensure!(
        values > 1,
        "`{part}` normalises groups of one value, which has no deviation: {groups} groups of a map [{channels}, {height}, \
         {width}]\n\nhint: fewer `norm_groups`"
    );
    let rows = x.reshape(&[samples, groups, values]).apply(&Op::LayerNorm { dims: 1, eps: EPS }, &[]); // [N, G, C / G H W]
    let each = |suffix: &str| cx.param(&format!("{NAME}.{suffix}")).unsqueeze(1).unsqueeze(2); // [C, 1, 1]
    Ok(rows.reshape(&[samples, channels, height, width]) * each("weight") + each("bias"))
}

fn greatest_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}
