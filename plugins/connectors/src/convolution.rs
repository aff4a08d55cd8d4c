//! The convolution of `conv`, plain or transposed.

use stillhouse_plugin::op::Op;
use stillhouse_plugin::prelude::*;

/// Name of its parameters.
const NAME: &str = "conv";

/// Sizes of a convolution, height before width; checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) output_padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
    pub(crate) transposed: bool,
}

/// A convolution with its parameters.
#[derive(Debug, Clone)]
pub(crate) struct Convolution {
    op: Op,
    bias: bool,
}

impl Convolution {
    /// Makes `conv.weight` and, with `bias`, `conv.bias`, initialised as PyTorch does.
    pub(crate) fn bind(
        cx: &BindCx,
        part: &str,
        window: Window,
        [from, to]: [usize; 2],
        bias: bool,
    ) -> Result<Convolution> {
        let Window { kernel, stride, padding, output_padding, dilation, groups, transposed } = window;
        ensure!(
            from.is_multiple_of(groups) && to.is_multiple_of(groups),
            "`{part}` cannot split its channels into {groups} `groups`\n  channels in: {from}\n  channels out: {to}\n\nhint: \
             `groups` divides both"
        );
        let (ahead, behind) = if transposed { (from, to / groups) } else { (to, from / groups) };
        cx.add_param(&format!("{NAME}.weight"), &[ahead, behind, kernel[0], kernel[1]], &Init::layer_default());
        if bias {
            // PyTorch counts the second dimension as the inputs of a transposed one, too.
            let fan_in = behind * kernel[0] * kernel[1];
            cx.add_param(&format!("{NAME}.bias"), &[to], &Init::BiasUniform { fan_in });
        }
        let op = match transposed {
            true => Op::ConvTranspose2d { stride, padding, output_padding, dilation, groups },
            false => Op::Conv2d { stride, padding, dilation, groups },
        };
        Ok(Convolution { op, bias })
    }

    /// `[N, C, H, W]` to `[N, C', H', W']`.
    pub(crate) fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let weight = cx.param(&format!("{NAME}.weight"));
        match self.bias {
            true => x.apply(&self.op, &[&weight, &cx.param(&format!("{NAME}.bias"))]),
            false => x.apply(&self.op, &[&weight]),
        }
    }
}
