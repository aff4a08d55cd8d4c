//! Convolutions.

use super::backward::{Back, Backward, Past, Slot};
use super::buffer::Buffer;
use super::fold::Folded;
use super::forward::{Made, Run};
use super::remade::Later;
use super::value::Value;
use crate::graph::LayerKind;
use crate::ops::native;
use crate::ops::slices::read;
use candle_core::{Error, Result};
use std::cell::RefCell;
use std::rc::Rc;
use stillhouse_kernels::conv::{ConvShape, Window};
use stillhouse_kernels::nhwc::conv::{self, Below, DataGrad, Epilogue, Packed, Wanted};
use stillhouse_kernels::nhwc::{Grad, Load};

/// Weights of a layer packed for both directions; the memory stays from step to step.
#[derive(Default)]
pub(crate) struct Packs {
    pub(super) forward: Packed,
    /// The version of the parameters that `forward` holds.
    pub(super) version: Option<u64>,
    pub(super) backward: Packed,
    /// The version of the parameters that `backward` holds.
    pub(super) backward_version: Option<u64>,
    /// Of the convolutions of a module in the layer's place.
    pub(super) module: native::Packs,
    pub(super) folded: Folded,
    /// The version of the parameters, the batch norm and the rounding that `folded` holds.
    pub(super) folded_of: Option<(u64, Option<usize>, bool)>,
}

/// The geometry of a convolution, and which way it is read.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    shape: ConvShape,
    transposed: bool,
}

impl Geometry {
    pub(super) fn new(kind: &LayerKind, x: &Value) -> Result<Geometry> {
        let (batch, channels, [height, width]) = (x.shape[0], x.channels(), x.plane());
        let input = [batch, channels, height, width];
        let shape = match kind {
            LayerKind::Conv { out, kernel, stride, padding, dilation, groups, .. } => {
                let window = Window { kernel: kernel.0, stride: stride.0, padding: padding.0, dilation: dilation.0 };
                ConvShape::new(input, *out, window, *groups).map(|shape| Geometry { shape, transposed: false })
            }
            LayerKind::ConvTranspose { out, kernel, stride, padding, output_padding, groups, .. } => {
                let window = Window { kernel: kernel.0, stride: stride.0, padding: padding.0, dilation: [1; 2] };
                let shape = ConvShape::transposed(input, *out, window, output_padding.0, *groups);
                shape.map(|shape| Geometry { shape, transposed: true })
            }
            _ => candle_core::bail!("is no convolution"),
        };
        shape.map_err(|error| Error::Msg(error.to_string()))
    }

    /// `[N, C, H, W]` of the output.
    pub(super) fn output(&self) -> [usize; 4] {
        let shape = &self.shape;
        if self.transposed {
            [shape.batch, shape.in_channels, shape.input[0], shape.input[1]]
        } else {
            [shape.batch, shape.out_channels, shape.output[0], shape.output[1]]
        }
    }

    pub(super) fn pack(&self, weights: &[f32], packed: &mut Packed, for_forward: bool) {
        if for_forward == self.transposed {
            conv::pack_winograd_backward(&self.shape, weights, packed);
        } else {
            conv::pack_winograd(&self.shape, weights, packed);
        }
    }

    /// For the forward of what is no transposed one.
    pub(super) fn pack_bf16(&self, weights: &[f32], packed: &mut Packed) {
        conv::pack_bf16(&self.shape, weights, packed);
    }

    pub(super) fn forward(
        &self,
        x: Load<'_>,
        packed: &Packed,
        epilogue: Epilogue<'_>,
        out: &mut [f32],
        sums: Option<&mut [f64]>,
    ) {
        if self.transposed {
            conv::forward_transposed(&self.shape, x, packed, epilogue, out, sums);
        } else {
            conv::forward(&self.shape, x, packed, epilogue, out, sums);
        }
    }

    fn backward(&self, x: Load<'_>, grad: Grad<'_>, wanted: Wanted<'_>) {
        if self.transposed {
            conv::backward_transposed(&self.shape, x, grad, wanted);
        } else {
            conv::backward(&self.shape, x, grad, wanted);
        }
    }
}

pub(super) fn run(run: &mut Run<'_>, index: usize, kind: &LayerKind, x: Value) -> Result<Made> {
    let geometry = Geometry::new(kind, &x)?;
    let shape = geometry.output();
    let packs = run.network.packs(index, 0);
    let version = run.network.params.version();
    {
        let mut packs = packs.borrow_mut();
        if packs.version != Some(version) {
            let Packs { forward, .. } = &mut *packs;
            run.with(index, "weight", |weights| geometry.pack(weights, forward, true))?;
            packs.version = Some(version);
        }
    }
    let bias = run.vector(index, "bias")?;
    let mut out = Buffer::new(shape.iter().product());
    let mut sums = run.feeds_batch_norm(index).then(|| vec![0.0; 2 * shape[1]]);
    let epilogue = Epilogue { bias: bias.as_deref(), ..Epilogue::default() };
    geometry.forward(x.load(), &packs.borrow().forward, epilogue, &mut out, sums.as_deref_mut());
    if let Some(sums) = sums {
        run.sums.insert(index, sums);
    }
    let back = Convolution {
        geometry,
        x: x.later(),
        packs,
        below: run.below(index, 0),
        name: run.network.graph.layers[index].path.clone(),
        trained: ["weight", "bias"].map(|suffix| run.is_trained(index, suffix)),
    };
    Ok((Value::stored(&shape, out), Some(Box::new(back))))
}

struct Convolution {
    geometry: Geometry,
    x: Later,
    packs: Rc<RefCell<Packs>>,
    below: Option<usize>,
    name: String,
    /// Weight and bias.
    trained: [bool; 2],
}

/// Where the gradient of the input goes.
struct Target {
    layer: usize,
    dx: Buffer,
    accumulate: bool,
    /// What it is taken past, with the sums for the batch norm there.
    past: Option<(Past, Vec<f64>)>,
}

impl Convolution {
    fn target(&self, x: &Value, cx: &mut Backward<'_>) -> Option<Target> {
        let layer = self.below?;
        let past = cx.past(layer).map(|past| (past, vec![0.0; 2 * x.channels()]));
        let (dx, accumulate) = cx.target(layer, x.raw.len());
        Some(Target { layer, dx, accumulate, past })
    }
}

impl Back for Convolution {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let weight = format!("{}.weight", self.name);
        let Some(entry) = cx.params.get(&weight) else { candle_core::bail!("has no `weight`") };
        let x = self.x.now();
        let mut target = self.target(&x, cx);
        let mut packs = self.packs.borrow_mut();
        let version = Some(cx.params.version());
        if target.is_some() && packs.backward_version != version {
            read(entry.var.as_tensor(), |weights| self.geometry.pack(weights, &mut packs.backward, false))?;
            packs.backward_version = version;
        }
        let [mut dw, mut db] = [entry.var.elem_count(), self.geometry.output()[1]].map(|len| vec![0.0; len]);
        let data = target.as_mut().map(|target| DataGrad {
            packed: &packs.backward,
            dx: &mut target.dx,
            accumulate: target.accumulate,
            below: target.past.as_mut().map(|(past, sums)| match past {
                Past::Norm(_) => Below { load: x.load(), branch: None, sums },
                Past::Sum { activation, branch } => {
                    let load = Load { activation: *activation, ..Load::plain(&x.raw) };
                    Below { load, branch: branch.as_ref().map(|branch| &branch[..]), sums }
                }
            }),
        });
        let wanted = Wanted {
            data,
            weights: self.trained[0].then_some(&mut dw[..]),
            bias: self.trained[1].then_some(&mut db[..]),
        };
        self.geometry.backward(x.load(), slot.grad(), wanted);
        drop(slot);
        match target {
            Some(Target { dx, past: Some((Past::Norm(norm), sums)), .. }) => cx.put_with_sums(norm, dx, sums),
            Some(Target { layer, dx, past: Some((_, sums)), .. }) => cx.put_with_sums(layer, dx, sums),
            Some(Target { layer, dx, .. }) => cx.put(layer, dx),
            None => {}
        }
        if self.trained[0] {
            cx.found(&weight, dw, entry.var.dims())?;
        }
        if self.trained[1] {
            let len = db.len();
            cx.found(&format!("{}.bias", self.name), db, &[len])?;
        }
        Ok(())
    }
}
