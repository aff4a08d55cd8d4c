//! Convolution and transposed convolution. Pairs are `[height, width]`.

use super::last;
use super::node::{Call, Element, Grads, Node, View, apply, elsewhere};
use candle_core::{Error, Result, Tensor};
use stillhouse_kernels::Float;
use stillhouse_kernels::conv::{
    ConvShape, Window, channel_sums, conv2d_backward_data, conv2d_backward_weights, conv2d_forward,
};

/// How a convolution moves its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Step between windows.
    pub stride: [usize; 2],
    /// Zeros around the input, on each side.
    pub padding: [usize; 2],
    /// Step between the elements of a window.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl Default for Conv2d {
    /// Stride 1, no padding, no dilation, one group.
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// How a transposed convolution spreads its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvTranspose2d {
    /// Step between the windows that input elements are spread over.
    pub stride: [usize; 2],
    /// Rows and columns cut off the output, on each side.
    pub padding: [usize; 2],
    /// Rows and columns added to the output's end; below stride or dilation.
    pub output_padding: [usize; 2],
    /// Step between the elements of a window.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl Default for ConvTranspose2d {
    /// Stride 1, no padding, no dilation, one group.
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0], output_padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// Convolution (cross-correlation): `y[n, o] = bias[o] + sum_c w[o, c] * x[n, c]`.
///
/// # Shapes
/// - `x` `[N, C_in, H, W]`, `w` `[C_out, C_in / groups, kH, kW]`, `bias` `[C_out]`
/// - returns `[N, C_out, H', W']`, `H' = (H + 2 padding - dilation (kH - 1) - 1) / stride + 1`, rounded down
///
/// # Errors
/// Other ranks, channels that do not match or split, an empty output, differing dtypes.
pub fn conv2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, options: &Conv2d) -> Result<Tensor> {
    let (n, c, height, width) = x.dims4()?;
    let (filters, per_group, kernel_h, kernel_w) = w.dims4()?;
    let window = Window {
        kernel: [kernel_h, kernel_w],
        stride: options.stride,
        padding: options.padding,
        dilation: options.dilation,
    };
    let shape =
        ConvShape::new([n, c, height, width], filters, window, options.groups).map_err(|e| refused("conv2d", e))?;
    if per_group * options.groups != c {
        return Err(mismatch("conv2d", x, w, per_group * options.groups));
    }
    check_bias("conv2d", bias, filters)?;
    if !x.device().is_cpu() {
        return stock(x, w, bias, options);
    }
    let ins: Vec<&Tensor> = [x, w].into_iter().chain(bias).collect();
    if last::is_last_f32(x) { last::conv2d(shape, &ins) } else { apply(Conv(shape), &ins) }
}

fn refused(name: &str, error: impl std::fmt::Display) -> Error {
    Error::msg(format!("`{name}`: {error}"))
}

fn mismatch(name: &str, x: &Tensor, w: &Tensor, expected: usize) -> Error {
    Error::msg(format!(
        "`{name}` got an input {:?} for weights {:?}: they expect {expected} channels",
        x.dims(),
        w.dims()
    ))
}

fn check_bias(name: &str, bias: Option<&Tensor>, channels: usize) -> Result<()> {
    match bias {
        Some(bias) if bias.dims() != [channels] => {
            Err(Error::msg(format!("`{name}` got a bias {:?}, expected [{channels}]", bias.dims())))
        }
        _ => Ok(()),
    }
}

fn stock(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, options: &Conv2d) -> Result<Tensor> {
    let Conv2d { stride, padding, dilation, groups } = *options;
    if stride[0] != stride[1] || padding[0] != padding[1] || dilation[0] != dilation[1] {
        return Err(elsewhere("conv2d with unequal axes", x));
    }
    let y = x.conv2d(w, padding[0], stride[0], dilation[0], groups)?;
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

struct Conv(ConvShape);

impl Node for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let shape = &self.0;
        let mut out = vec![<T as Float>::ZERO; shape.output_len()];
        conv2d_forward(shape, ins[0].data, ins[1].data, ins.get(2).map(|bias| bias.data), &mut out);
        Ok((out, vec![shape.batch, shape.out_channels, shape.output[0], shape.output[1]]))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let (shape, x, w) = (&self.0, call.ins[0].data, call.ins[1].data);
        let filled = |wanted: bool, len: usize, fill: &dyn Fn(&mut [T])| {
            wanted.then(|| {
                let mut grad = vec![<T as Float>::ZERO; len];
                fill(&mut grad);
                grad
            })
        };
        let plane = shape.output[0] * shape.output[1];
        let bias = call.wanted.get(2).is_some_and(|wanted| *wanted);
        Ok(vec![
            filled(call.wanted[0], x.len(), &|grad| conv2d_backward_data(shape, call.grad, w, grad)),
            filled(call.wanted[1], w.len(), &|grad| conv2d_backward_weights(shape, x, call.grad, grad)),
            filled(bias, shape.out_channels, &|grad| channel_sums(call.grad, plane, grad)),
        ])
    }
}

/// Transposed convolution: the gradient of the convolution with these weights for its input.
///
/// # Shapes
/// - `x` `[N, C_in, H, W]`, `w` `[C_in, C_out / groups, kH, kW]`, `bias` `[C_out]`
/// - returns `[N, C_out, H', W']`, `H' = (H - 1) stride - 2 padding + dilation (kH - 1) + output_padding + 1`
///
/// # Errors
/// Other ranks, channels that do not match or split, an output padding of a whole step, differing dtypes, a device other
/// than the CPU.
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, options: &ConvTranspose2d) -> Result<Tensor> {
    let name = "conv_transpose2d";
    let (n, c, height, width) = x.dims4()?;
    let (w_in, per_group, kernel_h, kernel_w) = w.dims4()?;
    let ConvTranspose2d { stride, padding, output_padding, dilation, groups } = *options;
    let window = Window { kernel: [kernel_h, kernel_w], stride, padding, dilation };
    if w_in != c {
        return Err(mismatch(name, x, w, w_in));
    }
    let filters = per_group * groups;
    let shape = ConvShape::transposed([n, c, height, width], filters, window, output_padding, groups)
        .map_err(|e| refused(name, e))?;
    check_bias(name, bias, filters)?;
    if !x.device().is_cpu() {
        return Err(elsewhere(name, x));
    }
    let ins: Vec<&Tensor> = [x, w].into_iter().chain(bias).collect();
    if last::is_last_f32(x) { last::conv_transpose2d(shape, &ins) } else { apply(Transposed(shape), &ins) }
}

/// Holds the convolution whose input is this one's output.
struct Transposed(ConvShape);

impl Node for Transposed {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let shape = &self.0;
        let mut out = vec![<T as Float>::ZERO; shape.input_len()];
        conv2d_backward_data(shape, ins[0].data, ins[1].data, &mut out);
        if let Some(bias) = ins.get(2) {
            let planes = out.chunks_exact_mut(shape.input[0] * shape.input[1]);
            for (plane, bias) in planes.zip(bias.data.iter().cycle()) {
                plane.iter_mut().for_each(|y| *y += *bias);
            }
        }
        Ok((out, vec![shape.batch, shape.in_channels, shape.input[0], shape.input[1]]))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let (shape, x, w) = (&self.0, call.ins[0].data, call.ins[1].data);
        let zeros = |len: usize| vec![<T as Float>::ZERO; len];
        let mut grads: Grads<T> = vec![None; 3];
        if call.wanted[0] {
            let mut grad = zeros(x.len());
            conv2d_forward(shape, call.grad, w, None, &mut grad);
            grads[0] = Some(grad);
        }
        if call.wanted[1] {
            let mut grad = zeros(w.len());
            conv2d_backward_weights(shape, call.grad, x, &mut grad);
            grads[1] = Some(grad);
        }
        if call.wanted.get(2).is_some_and(|wanted| *wanted) {
            let mut grad = zeros(shape.in_channels);
            channel_sums(call.grad, shape.input[0] * shape.input[1], &mut grad);
            grads[2] = Some(grad);
        }
        Ok(grads)
    }
}
