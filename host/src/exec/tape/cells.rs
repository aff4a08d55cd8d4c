//! LSTM and GRU over rows `[N, C]`.

use super::backward::{Back, Backward, Slot, unique};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::state::{self, Frame, Held, zeros};
use super::value::Value;
use crate::graph::HIDDEN;
use crate::ops::slices::read;
use candle_core::{Error, Result};
use std::rc::Rc;
use stillhouse_kernels::nhwc::Activation;
use stillhouse_kernels::nhwc::linear::Linear;
use stillhouse_kernels::recurrent::{GruKept, gru_backward, gru_forward};

/// Of the input, of the state.
const WEIGHTS: [&str; 2] = ["weight_ih", "weight_hh"];
const BIASES: [&str; 2] = ["bias_ih", "bias_hh"];

fn missing(suffix: &str) -> Error {
    Error::Msg(format!("has no `{suffix}`"))
}

/// The two products of a cell, and what of their parameters is trained.
struct Products {
    /// Over the input, over the state.
    sizes: [Linear; 2],
    weights: [String; 2],
    biases: [String; 2],
    trained: [[bool; 2]; 2],
    below: Option<usize>,
}

impl Products {
    fn new(run: &Run<'_>, index: usize, x: &Value, outputs: usize, hidden: usize) -> Products {
        let size = |inputs| Linear { rows: x.rows(), inputs, outputs };
        Products {
            sizes: [size(x.channels()), size(hidden)],
            weights: WEIGHTS.map(|suffix| run.name(index, suffix)),
            biases: BIASES.map(|suffix| run.name(index, suffix)),
            trained: [WEIGHTS, BIASES].map(|names| names.map(|suffix| run.is_trained(index, suffix))),
            below: run.below(index, 0),
        }
    }

    /// `out = x W^T + b`; without `x`, rows of `b`.
    fn forward(&self, run: &Run<'_>, index: usize, which: usize, x: Option<&[f32]>) -> Result<Buffer> {
        let size = self.sizes[which];
        let mut out = Buffer::new(size.rows * size.outputs);
        let bias = run.vector(index, BIASES[which])?.ok_or_else(|| missing(BIASES[which]))?;
        out.chunks_exact_mut(size.outputs).for_each(|row| row.copy_from_slice(&bias));
        if let Some(x) = x {
            let added = run.with(index, WEIGHTS[which], |weights| size.add(x, weights, &mut out))?;
            added.ok_or_else(|| missing(WEIGHTS[which]))?;
        }
        Ok(out)
    }

    /// Adds to the gradients of a product's parameters; of `x` that is not there it is 0.
    fn learn(&self, which: usize, x: Option<&[f32]>, grad: &[f32], cx: &mut Backward<'_>) {
        let (size, [weights, biases]) = (self.sizes[which], self.trained);
        if weights[which] {
            let sum = cx.sum(&self.weights[which], &[size.outputs, size.inputs]);
            if let Some(x) = x {
                size.backward_weights(x, grad, Some(sum), None, true);
            }
        }
        if biases[which] {
            let sum = cx.sum(&self.biases[which], &[size.outputs]);
            size.backward_weights(&[], grad, None, Some(sum), true);
        }
    }

    /// `out = grad W`, added with `accumulate`.
    fn back(&self, which: usize, grad: &[f32], (out, accumulate): (&mut [f32], bool), cx: &Backward<'_>) -> Result<()> {
        let name = &self.weights[which];
        let entry = cx.params.get(name).ok_or_else(|| missing(name))?;
        read(entry.var.as_tensor(), |weights| self.sizes[which].backward_data(grad, weights, out, accumulate))
    }

    /// To the layer before.
    fn hand_on(&self, grad: &[f32], cx: &mut Backward<'_>) -> Result<()> {
        let Some(below) = self.below else { return Ok(()) };
        let (mut buffer, accumulate) = cx.target(below, self.sizes[0].rows * self.sizes[0].inputs);
        self.back(0, grad, (&mut buffer, accumulate), cx)?;
        cx.put(below, buffer);
        Ok(())
    }
}

pub(super) fn lstm(run: &mut Run<'_>, index: usize, hidden: usize, x: Value) -> Result<Made> {
    let x = x.store();
    let products = Products::new(run, index, &x, 4 * hidden, hidden);
    let mut gates = products.forward(run, index, 0, Some(&x.raw))?;
    let before = run.memories.get(&index).map(|memory| memory.hidden.clone());
    let by_state = products.forward(run, index, 1, before.as_ref().map(|before| &before[..]))?;
    gates.iter_mut().zip(by_state.iter()).for_each(|(gate, by_state)| *gate += by_state);
    let held = Held::new(run, index, &x);
    let (value, frame) = state::open(run, index, gates, hidden, &[x.shape[0], hidden])?;
    let back = frame.map(|frame| Box::new(Lstm { frame, x: held, products }) as Box<dyn Back>);
    Ok((value, back))
}

struct Lstm {
    frame: Frame,
    x: Held,
    products: Products,
}

impl Lstm {
    fn walk(&self, slot: Option<Slot>, cx: &mut Backward<'_>) -> Result<()> {
        let Some(grad) = self.frame.back(slot, cx)? else { return Ok(()) };
        self.products.learn(0, Some(&self.x.values()), &grad, cx);
        let before = self.frame.kept.before.as_ref().map(|before| before.hidden());
        self.products.learn(1, before.as_ref().map(|before| &before[..]), &grad, cx);
        if let Some(before) = before {
            let mut buffer = Buffer::new(before.len());
            self.products.back(1, &grad, (&mut buffer, false), cx)?;
            cx.hand_before(self.frame.index, HIDDEN, buffer);
        }
        self.products.hand_on(&grad, cx)
    }
}

impl Back for Lstm {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        self.walk(Some(slot), cx)
    }

    fn back_from_state(&self, cx: &mut Backward<'_>) -> Result<()> {
        self.walk(None, cx)
    }
}

pub(super) fn gru(run: &mut Run<'_>, index: usize, width: usize, x: Value) -> Result<Made> {
    let x = x.store();
    let products = Products::new(run, index, &x, 3 * width, width);
    let mut gates = products.forward(run, index, 0, Some(&x.raw))?;
    let before = run.memories.remove(&index).map(|memory| memory.hidden);
    let recurrent = products.forward(run, index, 1, before.as_ref().map(|before| &before[..]))?;
    let start = before.clone().unwrap_or_else(|| Rc::new(zeros(x.shape[0] * width)));
    let mut hidden = Buffer::new(start.len());
    gru_forward(&mut gates, &recurrent, &start, width, &mut hidden);
    let hidden = Rc::new(hidden);
    state::leave(run, index, &hidden);
    let shape = [x.shape[0], width];
    let value =
        Value { shape: shape.as_slice().into(), raw: hidden, norm: None, activation: Activation::None, remade: None };
    let held = Held::new(run, index, &x);
    Ok((value, Some(Box::new(Gru { index, width, gates, recurrent, before, x: held, products }))))
}

struct Gru {
    index: usize,
    width: usize,
    /// `r, z, n`.
    gates: Buffer,
    /// The state's sums with their bias.
    recurrent: Buffer,
    /// The state that came in; zeros when there is none.
    before: Option<Rc<Buffer>>,
    x: Held,
    products: Products,
}

impl Back for Gru {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let mut grad_state = unique(slot.formed(self.width));
        let [mut grad_gates, mut grad_recurrent] = [0, 1].map(|_| Buffer::new(self.gates.len()));
        let before = self.before.clone().unwrap_or_else(|| Rc::new(zeros(grad_state.len())));
        let kept = GruKept { gates: &self.gates, recurrent: &self.recurrent, before: &before };
        gru_backward(kept, self.width, &mut grad_state, &mut grad_gates, &mut grad_recurrent);
        self.products.learn(0, Some(&self.x.values()), &grad_gates, cx);
        self.products.learn(1, self.before.as_ref().map(|before| &before[..]), &grad_recurrent, cx);
        if self.before.is_some() {
            self.products.back(1, &grad_recurrent, (&mut grad_state, true), cx)?;
            cx.hand_before(self.index, HIDDEN, grad_state);
        }
        self.products.hand_on(&grad_gates, cx)
    }
}
