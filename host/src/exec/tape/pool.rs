//! Pooling and resizing.

use super::backward::{Back, Backward, Slot};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::value::Value;
use crate::graph::{self, LayerKind};
use candle_core::{Error, Result};
use stillhouse_kernels::conv::Window;
use stillhouse_kernels::nhwc::pool::{
    average_pool_backward, average_pool_forward, global_average_backward, global_average_forward, max_pool_backward,
    max_pool_forward,
};
use stillhouse_kernels::nhwc::resize::{resize_backward, resize_forward};
use stillhouse_kernels::pool::{Average, PoolShape};
use stillhouse_kernels::resize::Resize;

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Msg(error.to_string())
}

fn windows(x: &Value, kernel: graph::Pair, stride: Option<graph::Pair>, padding: graph::Pair) -> Result<PoolShape> {
    let stride = stride.unwrap_or(kernel).0;
    let window = Window { kernel: kernel.0, stride, padding: padding.0, dilation: [1; 2] };
    PoolShape::new(x.shape[0] * x.channels(), x.plane(), window).map_err(wrong)
}

pub(super) fn run(run: &mut Run<'_>, index: usize, kind: &LayerKind, x: Value) -> Result<Made> {
    let below = run.below(index, 0);
    let (average, output) = match *kind {
        LayerKind::MaxPool { kernel, stride, padding } => {
            return Ok(max(windows(&x, kernel, stride, padding)?, x, below, run.wants[index]));
        }
        LayerKind::AvgPool { kernel, stride, padding } => {
            let shape = windows(&x, kernel, stride, padding)?;
            (Average::fixed(&shape, true), shape.output)
        }
        LayerKind::AdaptiveAvgPool { size } => {
            (Average::adaptive(x.shape[0] * x.channels(), x.plane(), size.0).map_err(wrong)?, size.0)
        }
        _ => candle_core::bail!("is no pooling"),
    };
    let (value, mut out) = made(&x, output);
    average_pool_forward(&average, x.load(), x.channels(), &mut out);
    let back = Linear { below, channels: x.channels(), len: x.raw.len(), kind: Adjoint::Average(average) };
    Ok((Value { raw: out.into(), ..value }, Some(Box::new(back))))
}

/// A buffer for an output of another plane.
fn made(x: &Value, [height, width]: [usize; 2]) -> (Value, Buffer) {
    let shape = [x.shape[0], x.channels(), height, width];
    let out = Buffer::new(shape.iter().product());
    (Value::stored(&shape, Buffer::new(0)), out)
}

fn max(shape: PoolShape, x: Value, below: Option<usize>, wanted: bool) -> Made {
    let (value, mut out) = made(&x, shape.output);
    let mut taps = vec![0u16; if wanted { out.len() } else { 0 }];
    max_pool_forward(&shape, x.load(), x.channels(), &mut out, wanted.then_some(&mut taps[..]));
    let back = Linear { below, channels: x.channels(), len: x.raw.len(), kind: Adjoint::Max(shape, taps) };
    (Value { raw: out.into(), ..value }, Some(Box::new(back)))
}

pub(super) fn global(run: &mut Run<'_>, index: usize, x: Value) -> Result<Made> {
    let dims = [x.shape[0], x.pixels(), x.channels()];
    let mut out = Buffer::new(dims[0] * dims[2]);
    global_average_forward(x.load(), dims, &mut out);
    let back =
        Linear { below: run.below(index, 0), channels: x.channels(), len: x.raw.len(), kind: Adjoint::Global(dims) };
    Ok((Value::stored(&[dims[0], dims[2]], out), Some(Box::new(back))))
}

pub(super) fn resize(run: &mut Run<'_>, index: usize, kind: &LayerKind, x: Value) -> Result<Made> {
    let LayerKind::Resize { size, filter } = kind else { candle_core::bail!("is no resizing") };
    let resize = match filter {
        graph::Resize::Bilinear => Resize::bilinear(x.plane(), size.0),
        graph::Resize::Nearest => Resize::nearest(x.plane(), size.0),
    };
    let (resize, x) = (resize.map_err(wrong)?, x.store());
    let (value, mut out) = made(&x, size.0);
    resize_forward(&resize, &x.raw, x.channels(), &mut out);
    let below = run.below(index, 0);
    let back = Linear { below, channels: x.channels(), len: x.raw.len(), kind: Adjoint::Resize(resize) };
    Ok((Value { raw: out.into(), ..value }, Some(Box::new(back))))
}

enum Adjoint {
    Max(PoolShape, Vec<u16>),
    Average(Average),
    Global([usize; 3]),
    Resize(Resize),
}

/// A map that is linear once the maxima are known: its gradient needs no values.
struct Linear {
    below: Option<usize>,
    channels: usize,
    /// Elements of the input.
    len: usize,
    kind: Adjoint,
}

impl Back for Linear {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let Some(below) = self.below else { return Ok(()) };
        let grad = slot.formed(self.channels);
        let (mut buffer, accumulate) = cx.target(below, self.len);
        match &self.kind {
            Adjoint::Max(shape, taps) => {
                max_pool_backward(shape, &grad, taps, self.channels, &mut buffer, accumulate);
            }
            Adjoint::Average(average) => {
                average_pool_backward(average, &grad, self.channels, &mut buffer, accumulate);
            }
            Adjoint::Global(dims) => global_average_backward(&grad, *dims, &mut buffer, accumulate),
            Adjoint::Resize(resize) => resize_backward(resize, &grad, self.channels, &mut buffer, accumulate),
        }
        cx.put(below, buffer);
        Ok(())
    }
}
