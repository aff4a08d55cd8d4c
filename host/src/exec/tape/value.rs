//! Values between layers: a buffer, channels last, and how it is read.

use super::buffer::Buffer;
use super::remade::Remade;
use crate::ops::slices::read;
use candle_core::{Device, Result, Tensor};
use std::rc::Rc;
use stillhouse_kernels::nhwc::activation::scaled;
use stillhouse_kernels::nhwc::norm::{Statistics, apply};
use stillhouse_kernels::nhwc::{Activation, Load, layout};

/// A value: `activation(raw * scale + shift)`. A batch norm and an activation behind a convolution share its buffer.
#[derive(Debug, Clone)]
pub(super) struct Value {
    /// As the graph has it: `[N, C, H, W]`, `[N, C]`. Four dimensions lie in memory as `[N, H, W, C]`, others as they are.
    pub(super) shape: Rc<[usize]>,
    pub(super) raw: Rc<Buffer>,
    pub(super) norm: Option<Rc<Statistics>>,
    pub(super) activation: Activation,
    /// How the buffer is made again, where the way back does not keep it.
    pub(super) remade: Option<Rc<Remade>>,
}

impl Value {
    pub(super) fn stored(shape: &[usize], raw: Buffer) -> Value {
        Value { shape: shape.into(), raw: Rc::new(raw), norm: None, activation: Activation::None, remade: None }
    }

    pub(super) fn channels(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(1)
    }

    /// Pixels of all images; rows of a matrix.
    pub(super) fn rows(&self) -> usize {
        self.raw.len() / self.channels().max(1)
    }

    /// Pixels of one image.
    pub(super) fn pixels(&self) -> usize {
        self.shape.iter().skip(2).product()
    }

    pub(super) fn plane(&self) -> [usize; 2] {
        [self.shape.get(2).copied().unwrap_or(1), self.shape.get(3).copied().unwrap_or(1)]
    }

    /// One vector of channels for each row: a map or a matrix.
    pub(super) fn has_channels(&self) -> bool {
        matches!(self.shape.len(), 2 | 4)
    }

    pub(super) fn load(&self) -> Load<'_> {
        let affine = self.norm.as_ref().map(|norm| norm.affine());
        Load { values: &self.raw, affine, activation: self.activation }
    }

    pub(super) fn is_stored(&self) -> bool {
        self.norm.is_none() && self.activation == Activation::None
    }

    /// The value in a buffer of its own, if it is not.
    pub(super) fn store(&self) -> Value {
        if self.is_stored() {
            return self.clone();
        }
        let mut out = Buffer::new(self.raw.len());
        let channels = if self.has_channels() { self.channels() } else { 1 };
        apply(self.load(), None, Activation::None, channels, &mut out);
        Value::stored(&self.shape, out)
    }

    /// Row-major, as the graph has it.
    pub(super) fn to_tensor(&self) -> Result<Tensor> {
        let stored = self.store();
        Tensor::from_vec(to_rows(&stored.raw, &stored.shape), &*self.shape, &Device::Cpu)
    }

    /// The same for a tap: a map keeps its place in memory, the tensor's strides say so.
    pub(super) fn to_tap(&self) -> Result<Tensor> {
        if self.shape.len() != 4 {
            return self.to_tensor();
        }
        let mut values = vec![0.0; self.raw.len()];
        apply(self.load(), None, Activation::None, self.channels(), &mut values);
        tensor_of(values, &self.shape)
    }

    pub(super) fn from_tensor(tensor: &Tensor) -> Result<Value> {
        let mut buffer = Buffer::new(tensor.elem_count());
        copy_in(tensor, &mut buffer, false)?;
        Ok(Value::stored(tensor.dims(), buffer))
    }
}

/// Values that lie as a point's do, as a tensor of its shape: a map's strides are those of a permuted one.
pub(super) fn tensor_of(values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
    match *shape {
        [batch, channels, height, width] => {
            Tensor::from_vec(values, (batch, height, width, channels), &Device::Cpu)?.permute((0, 3, 1, 2))
        }
        _ => Tensor::from_vec(values, shape, &Device::Cpu),
    }
}

/// `[N, C, pixels]` of a map.
fn planes(shape: &[usize]) -> Option<[usize; 3]> {
    if let [n, c, h, w] = shape { Some([*n, *c, h * w]) } else { None }
}

/// From channels last, where the shape is a map's, to row-major.
pub(super) fn to_rows(values: &[f32], shape: &[usize]) -> Vec<f32> {
    match planes(shape) {
        Some(dims @ [_, channels, pixels]) if channels > 1 && pixels > 1 => {
            let mut rows = vec![0.0; values.len()];
            layout::nhwc_to_nchw(values, dims, &mut rows, false);
            rows
        }
        _ => values.to_vec(),
    }
}

/// From row-major to channels last, where the shape is a map's; added with `accumulate`.
pub(super) fn from_rows(rows: &[f32], shape: &[usize], out: &mut [f32], accumulate: bool) {
    match planes(shape) {
        Some(dims @ [_, channels, pixels]) if channels > 1 && pixels > 1 => {
            layout::nchw_to_nhwc(rows, dims, out, accumulate);
        }
        _ => scaled(rows, 1.0, out, accumulate),
    }
}

/// A tensor's values into a buffer of the same shape.
pub(super) fn copy_in(tensor: &Tensor, out: &mut [f32], accumulate: bool) -> Result<()> {
    if tensor.rank() == 4 && !tensor.is_contiguous() {
        let lying = tensor.permute((0, 2, 3, 1))?;
        if lying.is_contiguous() {
            return read(&lying, |values| scaled(values, 1.0, out, accumulate));
        }
    }
    let tensor = tensor.contiguous()?;
    read(&tensor, |values| from_rows(values, tensor.dims(), out, accumulate))
}
