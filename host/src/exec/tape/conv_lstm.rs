//! Convolutional LSTM: the convolution over `[x, h]` as one over `x` and one over `h`, so that nothing is joined, the first
//! frame has none over `h`, and no gradient is made for an input that wants none.

use super::backward::{Back, Backward, Slot};
use super::buffer::Buffer;
use super::conv::Packs;
use super::forward::{Made, Run};
use super::state::{self, Frame, Held};
use super::value::Value;
use crate::graph::LayerKind;
use crate::ops::slices::read;
use candle_core::{Error, Result};
use std::cell::RefCell;
use std::rc::Rc;
use stillhouse_kernels::conv::{ConvShape, Window};
use stillhouse_kernels::nhwc::conv::{self, DataGrad, Epilogue, Wanted};
use stillhouse_kernels::nhwc::{Grad, Load};

/// Where the kernels' gates `i, f, g, o` are among the parameters' `i, f, o, g`, and the way back.
const ORDER: [usize; 4] = [0, 1, 3, 2];

/// The convolution over the channels of `x`, or over those of `h`.
#[derive(Clone)]
struct Part {
    shape: ConvShape,
    packs: Rc<RefCell<Packs>>,
    /// First of the channels in the joined weights, and all of those.
    channels: [usize; 2],
}

impl Part {
    fn new(
        run: &Run<'_>,
        index: usize,
        x: &Value,
        (hidden, kernel): (usize, [usize; 2]),
        which: usize,
    ) -> Result<Part> {
        let [from_x, from_h] = [x.channels(), hidden];
        let padding = kernel.map(|size| size / 2);
        let window = Window { kernel, stride: [1; 2], padding, dilation: [1; 2] };
        let [height, width] = x.plane();
        let input = [x.shape[0], [from_x, from_h][which], height, width];
        let shape = ConvShape::new(input, 4 * hidden, window, 1).map_err(|error| Error::Msg(error.to_string()))?;
        Ok(Part { shape, packs: run.network.packs(index, which), channels: [[0, from_x][which], from_x + from_h] })
    }

    /// Rows of the part's own weights `[4 H, C, kH, kW]` with their places in the joined ones.
    fn rows(&self) -> (usize, impl Fn(usize) -> std::ops::Range<usize> + Sync + use<>) {
        let taps: usize = self.shape.window.kernel.iter().product();
        let (row, hidden, [first, all]) = (self.shape.in_channels * taps, self.shape.out_channels / 4, self.channels);
        let place = move |at: usize| {
            let start = ((ORDER[at / hidden] * hidden + at % hidden) * all + first) * taps;
            start..start + row
        };
        (row, place)
    }

    fn own_weights(&self, joined: &[f32]) -> Buffer {
        let mut own = Buffer::new(self.shape.weights_len());
        let (row, place) = self.rows();
        own.chunks_exact_mut(row).enumerate().for_each(|(at, own)| own.copy_from_slice(&joined[place(at)]));
        own
    }

    /// Adds the gradient of the part's weights to that of the joined ones.
    fn add_to(&self, own: &[f32], joined: &mut [f32]) {
        let (row, place) = self.rows();
        for (at, own) in own.chunks_exact(row).enumerate() {
            joined[place(at)].iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
    }

    fn forward(&self, x: &[f32], epilogue: Epilogue<'_>) -> Buffer {
        let mut out = Buffer::new(self.shape.output_len());
        conv::forward(&self.shape, Load::plain(x), &self.packs.borrow().forward, epilogue, &mut out, None);
        out
    }
}

pub(super) fn run(run: &mut Run<'_>, index: usize, kind: &LayerKind, x: Value) -> Result<Made> {
    let LayerKind::ConvLstm { hidden, kernel, forget_bias } = kind else {
        candle_core::bail!("is no convolutional LSTM")
    };
    let x = x.store();
    let part = |which| Part::new(run, index, &x, (*hidden, kernel.0), which);
    let parts = [part(0)?, part(1)?];
    let version = run.network.params.version();
    for part in &parts {
        let mut packs = part.packs.borrow_mut();
        if packs.version != Some(version) {
            let packed = &mut packs.forward;
            run.with(index, "weight", |joined| conv::pack_winograd(&part.shape, &part.own_weights(joined), packed))?;
            packs.version = Some(version);
        }
    }
    let bias = bias(run, index, *hidden, *forget_bias)?;
    let bias = Epilogue { bias: Some(&bias), ..Epilogue::default() };
    let gates = match run.memories.get(&index) {
        Some(memory) => {
            let by_state = parts[1].forward(&memory.hidden, bias);
            parts[0].forward(&x.raw, Epilogue { residual: Some(&by_state), ..Epilogue::default() })
        }
        None => parts[0].forward(&x.raw, bias),
    };
    let shape = [x.shape[0], *hidden, x.plane()[0], x.plane()[1]];
    let held = Held::new(run, index, &x);
    let (value, frame) = state::open(run, index, gates, *hidden, &shape)?;
    let Some(frame) = frame else { return Ok((value, None)) };
    let back = ConvLstm {
        frame,
        x: held,
        parts,
        below: run.below(index, 0),
        name: run.network.graph.layers[index].path.clone(),
        trained: ["weight", "bias"].map(|suffix| run.is_trained(index, suffix)),
    };
    Ok((value, Some(Box::new(back))))
}

fn bias(run: &Run<'_>, index: usize, hidden: usize, forget_bias: f64) -> Result<Vec<f32>> {
    let mut bias = run.vector(index, "bias")?.ok_or_else(|| Error::Msg("has no `bias`".into()))?;
    bias[hidden..2 * hidden].iter_mut().for_each(|bias| *bias += forget_bias as f32);
    let (output, new) = bias[2 * hidden..].split_at_mut(hidden);
    output.swap_with_slice(new);
    Ok(bias)
}

struct ConvLstm {
    frame: Frame,
    x: Held,
    /// Over `x`, over `h`.
    parts: [Part; 2],
    below: Option<usize>,
    name: String,
    /// Weight and bias.
    trained: [bool; 2],
}

impl ConvLstm {
    fn walk(&self, slot: Option<Slot>, cx: &mut Backward<'_>) -> Result<()> {
        let Some(grad) = self.frame.back(slot, cx)? else { return Ok(()) };
        if self.trained[1] {
            self.bias(&grad, cx);
        }
        if let Some(before) = &self.frame.kept.before {
            let hidden = before.hidden();
            let target = Some((Buffer::new(hidden.len()), false));
            if let Some(dx) = self.part(1, &hidden, &grad, target, cx)? {
                cx.hand_before(self.frame.index, crate::graph::HIDDEN, dx);
            }
        }
        let x = self.x.values();
        let target = self.below.map(|below| cx.target(below, x.len()));
        if let (Some(dx), Some(below)) = (self.part(0, &x, &grad, target, cx)?, self.below) {
            cx.put(below, dx);
        }
        Ok(())
    }

    /// Gradients of one convolution: of its weights, and of its input into `target`.
    fn part(
        &self,
        which: usize,
        x: &[f32],
        grad: &[f32],
        mut target: Option<(Buffer, bool)>,
        cx: &mut Backward<'_>,
    ) -> Result<Option<Buffer>> {
        let (part, weight) = (&self.parts[which], format!("{}.weight", self.name));
        let Some(entry) = cx.params.get(&weight) else { candle_core::bail!("has no `weight`") };
        let mut packs = part.packs.borrow_mut();
        let version = cx.params.version();
        if target.is_some() && packs.backward_version != Some(version) {
            let packed = &mut packs.backward;
            read(entry.var.as_tensor(), |joined| {
                conv::pack_winograd_backward(&part.shape, &part.own_weights(joined), packed);
            })?;
            packs.backward_version = Some(version);
        }
        let mut weights = self.trained[0].then(|| Buffer::new(part.shape.weights_len()));
        let data = target.as_mut().map(|(dx, accumulate)| DataGrad {
            packed: &packs.backward,
            dx,
            accumulate: *accumulate,
            below: None,
        });
        let wanted = Wanted { data, weights: weights.as_deref_mut(), bias: None };
        conv::backward(&part.shape, Load::plain(x), Grad::plain(grad), wanted);
        if let Some(weights) = weights {
            part.add_to(&weights, cx.sum(&weight, entry.var.dims()));
        }
        Ok(target.map(|(dx, _)| dx))
    }

    fn bias(&self, grad: &[f32], cx: &mut Backward<'_>) {
        let shape = &self.parts[0].shape;
        let mut sums = vec![0.0; shape.out_channels];
        let wanted = Wanted { bias: Some(&mut sums), ..Wanted::default() };
        conv::backward(shape, Load::plain(&self.x.values()), Grad::plain(grad), wanted);
        let hidden = shape.out_channels / 4;
        let total = cx.sum(&format!("{}.bias", self.name), &[4 * hidden]);
        for (part, sums) in ORDER.into_iter().zip(sums.chunks_exact(hidden)) {
            total[part * hidden..][..hidden].iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
    }
}

impl Back for ConvLstm {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        self.walk(Some(slot), cx)
    }

    fn back_from_state(&self, cx: &mut Backward<'_>) -> Result<()> {
        self.walk(None, cx)
    }
}
