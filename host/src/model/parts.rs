//! What families share: convolutions with their normalisation, sizes by published rules.

use crate::graph::{GraphBuilder, LayerKind, Pair, Source};
use serde::Deserialize;
use stillhouse_plugin::Init;

/// The images that a network was designed for: where it has its strides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Images {
    /// 224 pixels, as of ImageNet.
    Large,
    /// 32 pixels, as of CIFAR.
    Small,
}

/// A square convolution without bias, padded to keep the size at stride 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Square {
    pub(super) out: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) groups: usize,
}

impl Square {
    pub(super) fn new(out: usize, kernel: usize, stride: usize) -> Square {
        Square { out, kernel, stride, groups: 1 }
    }

    /// One kernel for each channel.
    pub(super) fn depthwise(channels: usize, kernel: usize, stride: usize) -> Square {
        Square { out: channels, kernel, stride, groups: channels }
    }

    pub(super) fn kind(self, init: Init) -> LayerKind {
        LayerKind::Conv {
            out: self.out,
            kernel: Pair([self.kernel; 2]),
            stride: Pair([self.stride; 2]),
            padding: Pair([(self.kernel - 1) / 2; 2]),
            dilation: Pair([1; 2]),
            groups: self.groups,
            bias: false,
            init: Some(init),
            bias_init: None,
        }
    }
}

/// He et al. 2015 (arXiv:1502.01852), Eq. 14, by outputs: PyTorch's `kaiming_normal_(mode="fan_out", nonlinearity="relu")`.
pub(super) fn he_by_outputs() -> Init {
    Init::KaimingNormal { gain: 2f64.sqrt(), fan_out: true }
}

/// A convolution and its normalisation.
pub(super) fn conv_norm(
    net: &mut GraphBuilder,
    [conv, norm]: [&str; 2],
    square: Square,
    init: Init,
    x: &Source,
) -> Result<Source, String> {
    let x = net.layer(conv, square.kind(init), &[x])?;
    net.layer(norm, LayerKind::batch_norm(), &[&x])
}

/// Largest of windows of 3 with stride 2, as behind the first convolution for large images.
pub(super) fn halve(net: &mut GraphBuilder, path: &str, x: &Source) -> Result<Source, String> {
    let kind = LayerKind::MaxPool { kernel: Pair([3; 2]), stride: Some(Pair([2; 2])), padding: Pair([1; 2]) };
    net.layer(path, kind, &[x])
}

/// The multiple of 8 nearest to `channels`, and not below nine tenths of it (tensorflow/models: mobilenet, `_make_divisible`).
pub(super) fn by_eight(channels: f64) -> usize {
    let near = (((channels + 4.0) / 8.0).floor() as usize * 8).max(8);
    if (near as f64) < 0.9 * channels { near + 8 } else { near }
}

#[cfg(test)]
mod tests {
    use super::by_eight;

    #[test]
    fn channels_are_rounded_as_the_source_does() {
        let cases =
            [(3.0, 8), (12.0, 16), (8.8, 8), (11.9, 16), (16.8, 16), (22.4, 24), (33.6, 32), (44.8, 48), (56.0, 56)];
        cases.iter().for_each(|(channels, wanted)| assert_eq!(by_eight(*channels), *wanted, "{channels}"));
    }
}
