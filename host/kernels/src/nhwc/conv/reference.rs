//! The kernels by way of `[N, C, H, W]`.

use super::super::{Grad, Load};
use super::{ConvShape, Epilogue, Wanted};
use crate::conv::{conv2d_backward_data, conv2d_backward_weights, conv2d_forward};

/// Weights as kernels read them; buffers are reused by the next packing.
#[derive(Debug, Default)]
pub struct Packed {
    weights: Vec<f32>,
}

/// Packs weights for [`forward`] (and [`backward_transposed`]).
pub fn pack_forward(shape: &ConvShape, weights: &[f32], packed: &mut Packed) {
    assert_eq!(weights.len(), shape.weights_len(), "convolution: length of the weights");
    packed.weights.clear();
    packed.weights.extend_from_slice(weights);
}

/// Packs weights for [`backward`] (and [`forward_transposed`]).
pub fn pack_backward(shape: &ConvShape, weights: &[f32], packed: &mut Packed) {
    pack_forward(shape, weights, packed);
}

fn to_nchw(values: &[f32], channels: usize, plane: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (index, value) in values.iter().enumerate() {
        let (n, rest) = (index / (channels * plane), index % (channels * plane));
        out[(n * channels + rest % channels) * plane + rest / channels] = *value;
    }
    out
}

fn to_nhwc(values: &[f32], channels: usize, plane: usize) -> Vec<f32> {
    to_nchw(values, plane, channels)
}

fn loaded(load: &Load, channels: usize, len: usize) -> Vec<f32> {
    load.check(len, channels);
    let affine = |c: usize, x: f32| load.affine.map_or(x, |[scale, shift]| x * scale[c] + shift[c]);
    load.values.iter().enumerate().map(|(i, x)| load.activation.apply(affine(i % channels, *x))).collect()
}

fn formed(grad: &Grad, channels: usize, len: usize) -> Vec<f32> {
    grad.check(len, channels);
    let Some((y, k)) = grad.norm else { return grad.dz.to_vec() };
    let at = |i: usize, dz: f32| k[0][i % channels] * dz + k[1][i % channels] * y[i] + k[2][i % channels];
    grad.dz.iter().enumerate().map(|(i, dz)| at(i, *dz)).collect()
}

fn finish(made: Vec<f32>, channels: usize, epilogue: Epilogue, out: &mut [f32], sums: Option<&mut [f64]>) {
    assert_eq!(made.len(), out.len(), "convolution: length of the output");
    for (i, (out, made)) in out.iter_mut().zip(made).enumerate() {
        let bias = epilogue.bias.map_or(0.0, |bias| bias[i % channels]);
        let residual = epilogue.residual.map_or(0.0, |residual| residual[i]);
        *out = epilogue.activation.apply(made + bias + residual);
    }
    if let Some(sums) = sums {
        pair_sums(out, out, channels, sums);
    }
}

fn pair_sums(a: &[f32], b: &[f32], channels: usize, sums: &mut [f64]) {
    assert_eq!(sums.len(), 2 * channels, "channel sums: length");
    sums.fill(0.0);
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        sums[i % channels] += f64::from(*a);
        sums[channels + i % channels] += f64::from(*a) * f64::from(*b);
    }
}

/// `out = activation(conv(x) + bias + residual)`; `x` `[N, H, W, C_in]`, `out` `[N, H', W', C_out]`.
///
/// `sums` `[2 * C_out]` gets of each channel of `out` the sum, then of each the sum of squares.
pub fn forward(
    shape: &ConvShape,
    x: Load,
    packed: &Packed,
    epilogue: Epilogue,
    out: &mut [f32],
    sums: Option<&mut [f64]>,
) {
    let x = to_nchw(&loaded(&x, shape.in_channels, shape.input_len()), shape.in_channels, shape.in_plane());
    let mut y = vec![0.0; shape.output_len()];
    conv2d_forward(shape, &x, &packed.weights, None, &mut y);
    finish(to_nhwc(&y, shape.out_channels, shape.out_plane()), shape.out_channels, epilogue, out, sums);
}

/// The gradients of [`forward`] without its epilogue: `grad` is that of the raw output.
pub fn backward(shape: &ConvShape, x: Load, grad: Grad, wanted: Wanted) {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    let dy = formed(&grad, outs, shape.output_len());
    let x = loaded(&x, ins, shape.input_len());
    let (x, dy) = (to_nchw(&x, ins, shape.in_plane()), to_nchw(&dy, outs, shape.out_plane()));
    deliver(wanted, shape, [&x, &dy], &dy, [outs, shape.out_plane(), ins, shape.in_plane()], |packed, made| {
        conv2d_backward_data(shape, &dy, &packed.weights, made)
    });
}

fn deliver(
    wanted: Wanted,
    shape: &ConvShape,
    [x, dy]: [&[f32]; 2],
    grad: &[f32],
    [outs, out_plane, ins, in_plane]: [usize; 4],
    data: impl Fn(&Packed, &mut [f32]),
) {
    if let Some(weights) = wanted.weights {
        conv2d_backward_weights(shape, x, dy, weights);
    }
    if let Some(bias) = wanted.bias {
        crate::conv::channel_sums(grad, out_plane, bias);
        assert_eq!(bias.len(), outs);
    }
    if let Some(wanted) = wanted.data {
        let mut made = vec![0.0; wanted.dx.len()];
        data(wanted.packed, &mut made);
        let made = to_nhwc(&made, ins, in_plane);
        for (dx, made) in wanted.dx.iter_mut().zip(made) {
            *dx = if wanted.accumulate { *dx + made } else { made };
        }
        if let Some(below) = wanted.below {
            below.load.check(wanted.dx.len(), ins);
            for (i, (dx, x)) in wanted.dx.iter_mut().zip(below.load.values).enumerate() {
                let at = below.load.affine.map_or(*x, |[scale, shift]| x * scale[i % ins] + shift[i % ins]);
                *dx *= below.load.activation.slope(at);
            }
            pair_sums(wanted.dx, below.load.values, ins, below.sums);
        }
    }
}

/// Transposed convolution: `x` `[N, H', W', C_out]` of `shape`, `out` `[N, H, W, C_in]`; weights from [`pack_backward`].
pub fn forward_transposed(
    shape: &ConvShape,
    x: Load,
    packed: &Packed,
    epilogue: Epilogue,
    out: &mut [f32],
    sums: Option<&mut [f64]>,
) {
    let x = to_nchw(&loaded(&x, shape.out_channels, shape.output_len()), shape.out_channels, shape.out_plane());
    let mut y = vec![0.0; shape.input_len()];
    conv2d_backward_data(shape, &x, &packed.weights, &mut y);
    finish(to_nhwc(&y, shape.in_channels, shape.in_plane()), shape.in_channels, epilogue, out, sums);
}

/// The gradients of [`forward_transposed`]; `grad` `[N, H, W, C_in]` of `shape`, weights from [`pack_forward`].
pub fn backward_transposed(shape: &ConvShape, x: Load, grad: Grad, wanted: Wanted) {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    let dy = to_nchw(&formed(&grad, ins, shape.input_len()), ins, shape.in_plane());
    let x = to_nchw(&loaded(&x, outs, shape.output_len()), outs, shape.out_plane());
    deliver(wanted, shape, [&dy, &x], &dy, [ins, shape.in_plane(), outs, shape.out_plane()], |packed, made| {
        conv2d_forward(shape, &dy, &packed.weights, None, made)
    });
}
