//! Layers for connectors and modules: each makes its parameters in `bind` and computes in steps.

use super::context::{BindCx, Cx};
use super::init::Init;
use super::tensor::Tensor;
use crate::op::Op;

/// Fully connected layer: `x W^T + b`, weight `[out, in]`.
#[derive(Debug, Clone)]
pub struct Linear {
    name: String,
    bias: bool,
}

impl Linear {
    /// Makes `<name>.weight` and, with `bias`, `<name>.bias`, initialised as PyTorch does.
    pub fn bind(cx: &BindCx, name: &str, inputs: usize, outputs: usize, bias: bool) -> Linear {
        cx.add_param(&format!("{name}.weight"), &[outputs, inputs], &Init::layer_default());
        if bias {
            cx.add_param(&format!("{name}.bias"), &[outputs], &Init::BiasUniform { fan_in: inputs });
        }
        Linear { name: name.into(), bias }
    }

    /// `[..., in]` to `[..., out]`.
    #[track_caller]
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let y = x.matmul(&cx.param(&format!("{}.weight", self.name)).t());
        if self.bias { y + cx.param(&format!("{}.bias", self.name)) } else { y }
    }
}

/// Convolution, weight `[out, in, kH, kW]`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    name: String,
    bias: bool,
    op: Op,
}

impl Conv2d {
    /// Makes `<name>.weight` and, with `bias`, `<name>.bias`, initialised as PyTorch does.
    pub fn bind(
        cx: &BindCx,
        name: &str,
        channels: [usize; 2],
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
        bias: bool,
    ) -> Conv2d {
        let [inputs, outputs] = channels;
        cx.add_param(&format!("{name}.weight"), &[outputs, inputs, kernel[0], kernel[1]], &Init::layer_default());
        bind_bias(cx, name, bias, outputs, inputs * kernel[0] * kernel[1]);
        let op = Op::Conv2d { stride: [stride; 2], padding: [padding; 2], dilation: [1; 2], groups: 1 };
        Conv2d { name: name.into(), bias, op }
    }

    /// `[N, in, H, W]` to `[N, out, H', W']`.
    #[track_caller]
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        convolve(cx, &self.name, self.bias, &self.op, x)
    }
}

/// Transposed convolution, weight `[in, out, kH, kW]`.
#[derive(Debug, Clone)]
pub struct ConvTranspose2d {
    name: String,
    bias: bool,
    op: Op,
}

impl ConvTranspose2d {
    /// Makes `<name>.weight` and, with `bias`, `<name>.bias`, initialised as PyTorch does.
    pub fn bind(
        cx: &BindCx,
        name: &str,
        channels: [usize; 2],
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
        bias: bool,
    ) -> ConvTranspose2d {
        let [inputs, outputs] = channels;
        cx.add_param(&format!("{name}.weight"), &[inputs, outputs, kernel[0], kernel[1]], &Init::layer_default());
        // PyTorch counts the second dimension as the inputs here, too.
        bind_bias(cx, name, bias, outputs, outputs * kernel[0] * kernel[1]);
        let op = Op::ConvTranspose2d {
            stride: [stride; 2],
            padding: [padding; 2],
            output_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        };
        ConvTranspose2d { name: name.into(), bias, op }
    }

    /// `[N, in, H, W]` to `[N, out, H', W']`.
    #[track_caller]
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        convolve(cx, &self.name, self.bias, &self.op, x)
    }
}

fn bind_bias(cx: &BindCx, name: &str, bias: bool, outputs: usize, fan_in: usize) {
    if bias {
        cx.add_param(&format!("{name}.bias"), &[outputs], &Init::BiasUniform { fan_in });
    }
}

#[track_caller]
fn convolve(cx: &Cx, name: &str, bias: bool, op: &Op, x: &Tensor) -> Tensor {
    let weight = cx.param(&format!("{name}.weight"));
    if bias { x.apply(op, &[&weight, &cx.param(&format!("{name}.bias"))]) } else { x.apply(op, &[&weight]) }
}

/// Batch normalisation over every dimension but 1, with running statistics.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    name: String,
    eps: f64,
    momentum: f64,
}

impl BatchNorm {
    /// Makes `<name>.weight`, `.bias`, `.running_mean` and `.running_var`; eps 1e-5, momentum 0.1.
    pub fn bind(cx: &BindCx, name: &str, channels: usize) -> BatchNorm {
        cx.add_param(&format!("{name}.weight"), &[channels], &Init::Ones);
        cx.add_param(&format!("{name}.bias"), &[channels], &Init::Zeros);
        cx.add_buffer(&format!("{name}.running_mean"), &[channels], &Init::Zeros);
        cx.add_buffer(&format!("{name}.running_var"), &[channels], &Init::Ones);
        BatchNorm { name: name.into(), eps: 1e-5, momentum: 0.1 }
    }

    /// `[N, C, ...]` normalised: by the batch in training (the running statistics move), by the running statistics in
    /// evaluation.
    #[track_caller]
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let of = |suffix: &str| cx.param(&format!("{}.{suffix}", self.name));
        let (weight, bias) = (of("weight"), of("bias"));
        if !cx.training() {
            return x.apply(
                &Op::BatchNormEval { eps: self.eps },
                &[&weight, &bias, &of("running_mean"), &of("running_var")],
            );
        }
        let inputs = [x.handle, weight.handle, bias.handle];
        let [y, mean, variance] = Tensor::call(x.door, &Op::BatchNormTrain { eps: self.eps }, &inputs);
        let moved = |old: Tensor, new: Tensor| old * (1.0 - self.momentum) + new * self.momentum;
        cx.set(&format!("{}.running_mean", self.name), &moved(of("running_mean"), mean));
        cx.set(&format!("{}.running_var", self.name), &moved(of("running_var"), variance));
        y
    }
}

/// Layer normalisation over the trailing dimensions, with scale and shift of their shape.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    name: String,
    op: Op,
}

impl LayerNorm {
    /// Makes `<name>.weight` and `<name>.bias` of shape `trailing`; eps 1e-5.
    pub fn bind(cx: &BindCx, name: &str, trailing: &[usize]) -> LayerNorm {
        cx.add_param(&format!("{name}.weight"), trailing, &Init::Ones);
        cx.add_param(&format!("{name}.bias"), trailing, &Init::Zeros);
        LayerNorm { name: name.into(), op: Op::LayerNorm { dims: trailing.len(), eps: 1e-5 } }
    }

    /// The same shape, each sample normalised.
    #[track_caller]
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let of = |suffix: &str| cx.param(&format!("{}.{suffix}", self.name));
        x.apply(&self.op, &[&of("weight"), &of("bias")])
    }
}
