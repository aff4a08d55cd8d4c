//! The safe entries: lengths, then passes.

use super::super::{Activation, Grad, Load};
use super::after::After;
use super::layout::Source;
use super::plan::{Plan, Way};
use super::run::{Make, Shared};
use super::tile::Finish;
use super::{Below, ConvShape, DataGrad, Epilogue, Packed, Wanted, bias, weights};

/// `out = activation(conv(x) + bias + residual)`; `x` `[N, H, W, C_in]`, `out` `[N, H', W', C_out]`.
///
/// `sums` `[2 * C_out]` gets of each channel of `out` the sum, then of each the sum of squares: overwritten.
///
/// # Panics
/// On a wrong length, or a packing for another shape.
pub fn forward(
    shape: &ConvShape,
    x: Load,
    packed: &Packed,
    epilogue: Epilogue,
    out: &mut [f32],
    sums: Option<&mut [f64]>,
) {
    let plan = packed.plan(shape, Way::Forward);
    convolve(plan, shape.batch, Source::Load(x), packed, epilogue, out, sums);
}

/// Transposed convolution: `x` `[N, H', W', C_out]` of `shape`, `out` `[N, H, W, C_in]`; weights from
/// [`super::pack_backward`], `sums` as in [`forward`].
///
/// # Panics
/// On a wrong length, or a packing for another shape.
pub fn forward_transposed(
    shape: &ConvShape,
    x: Load,
    packed: &Packed,
    epilogue: Epilogue,
    out: &mut [f32],
    sums: Option<&mut [f64]>,
) {
    let plan = packed.plan(shape, Way::Back);
    convolve(plan, shape.batch, Source::Load(x), packed, epilogue, out, sums);
}

/// The gradients of [`forward`] without its epilogue: `grad` is that of the raw output.
///
/// # Panics
/// On a wrong length, or a packing for another shape.
pub fn backward(shape: &ConvShape, x: Load, grad: Grad, wanted: Wanted) {
    let (x, grad) = (Source::Load(x), Source::Grad(grad));
    x.check(shape.input_len(), shape.in_channels);
    grad.check(shape.output_len(), shape.out_channels);
    if let Some(bias) = wanted.bias {
        bias::gradient(grad, [shape.batch, shape.output[0], shape.output[1], shape.out_channels], bias);
    }
    match (wanted.data, wanted.weights) {
        (None, None) => {}
        (Some(data), None) => data_gradient(shape, grad, data, Way::Back),
        (data, Some(weights)) => weights::backward(shape, [x, grad], data, weights),
    }
}

/// The gradients of [`forward_transposed`]; `grad` `[N, H, W, C_in]` of `shape`, weights from [`super::pack_forward`].
///
/// # Panics
/// On a wrong length, or a packing for another shape.
pub fn backward_transposed(shape: &ConvShape, x: Load, grad: Grad, wanted: Wanted) {
    let (x, grad) = (Source::Load(x), Source::Grad(grad));
    x.check(shape.output_len(), shape.out_channels);
    grad.check(shape.input_len(), shape.in_channels);
    if let Some(bias) = wanted.bias {
        bias::gradient(grad, [shape.batch, shape.input[0], shape.input[1], shape.in_channels], bias);
    }
    if let Some(data) = wanted.data {
        data_gradient(shape, grad, data, Way::Forward);
    }
    if let Some(weights) = wanted.weights {
        weights::backward(shape, [grad, x], None, weights);
    }
}

/// Floats of a destination that no second-level cache holds.
const FAR: usize = 1 << 18;

fn convolve(
    plan: &Plan,
    batch: usize,
    source: Source,
    packed: &Packed,
    epilogue: Epilogue,
    out: &mut [f32],
    sums: Option<&mut [f64]>,
) {
    let [from, to] = plan.sizes().map(|[height, width]| batch * height * width);
    source.check(from * plan.taken(), plan.taken());
    assert_eq!(out.len(), to * plan.made(), "convolution: length of the output");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == plan.made()), "convolution: length of the bias");
    assert!(epilogue.residual.is_none_or(|r| r.len() == out.len()), "convolution: length of the residual");
    assert!(sums.as_ref().is_none_or(|sums| sums.len() == 2 * plan.made()), "convolution: length of the sums");
    let bounds = bounds(epilogue.activation);
    let finish = Finish {
        bias: epilogue.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        residual: epilogue.residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
        bounds: bounds.unwrap_or_default(),
        bounded: bounds.is_some(),
    };
    let rest = if bounds.is_some() { Activation::None } else { epilogue.activation };
    let after = (sums.is_some() || rest != Activation::None).then_some(After::Activate(rest));
    let far = out.len() > FAR;
    let make = Make { plan, weights: packed.weights.values(), to: Shared(out.as_mut_ptr()), finish, after, far };
    // SAFETY: the lengths were checked.
    unsafe { make.all(source, batch, sums) }
}

/// The activation as bounds, if it is one.
fn bounds(activation: Activation) -> Option<[f32; 2]> {
    match activation {
        Activation::Relu => Some([0.0, f32::INFINITY]),
        Activation::Relu6 => Some([0.0, 6.0]),
        _ => None,
    }
}

fn data_gradient(shape: &ConvShape, grad: Source, data: DataGrad, way: Way) {
    let plan = data.packed.plan(shape, way);
    with_make(plan, shape.batch, data, |make, sums| {
        // SAFETY: `with_make` checked the destination, the caller the source.
        unsafe { make.all(grad, shape.batch, sums) }
    });
}

/// Checks the lengths of the destination and runs `task` on how it is made and on the sums that it wants.
pub(super) fn with_make(plan: &Plan, batch: usize, data: DataGrad, task: impl FnOnce(&Make, Option<&mut [f64]>)) {
    let DataGrad { packed, dx, accumulate, below } = data;
    let [_, [height, width]] = plan.sizes();
    assert_eq!(dx.len(), batch * height * width * plan.made(), "convolution: length of the input's gradient");
    let (after, sums) = match below {
        None => (None, None),
        Some(Below { load, branch, sums }) => {
            load.check(dx.len(), plan.made());
            assert!(branch.is_none_or(|branch| branch.len() == dx.len()), "convolution: length of the branch below");
            assert_eq!(sums.len(), 2 * plan.made(), "convolution: length of the sums below");
            (Some(After::Mask(load, branch.unwrap_or(load.values))), Some(sums))
        }
    };
    let to = Shared(dx.as_mut_ptr());
    let residual = if accumulate { to.0.cast_const() } else { std::ptr::null() };
    let finish = Finish { bias: std::ptr::null(), residual, bounds: [0.0; 2], bounded: false };
    let make = Make { plan, weights: packed.weights.values(), to, finish, after, far: dx.len() > FAR };
    task(&make, sums);
}
