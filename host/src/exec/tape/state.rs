//! The state of recurrent layers, from frame to frame and back.

use super::backward::{Backward, Slot};
use super::buffer::Buffer;
use super::forward::Run;
use super::value::{Value, copy_in};
use crate::graph::{CELL, Source};
use candle_core::{Result, Var};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use stillhouse_kernels::recurrent::{LstmKept, lstm_backward, lstm_cell, lstm_forward, lstm_state};

/// What the next frame reads, by layer.
pub(super) type Memories = HashMap<usize, Memory>;

/// The state that a recurrent layer left.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) hidden: Rc<Buffer>,
    /// Of an LSTM.
    cell: Option<Rc<Buffer>>,
    kept: Option<Rc<Kept>>,
    /// A prediction that has a gradient.
    pub(super) tracked: bool,
}

/// Frames between those whose cell is kept; cells between them are made again on the way back.
const INTERVAL: u64 = 8;

/// One frame of an LSTM for the way back. Its gates are kept; cell and hidden state are made from them, bit by bit as before.
pub(super) struct Kept {
    width: usize,
    /// `i, f, g, o`, `[rows, 4 width]`.
    gates: Buffer,
    pub(super) before: Option<Rc<Kept>>,
    cell: RefCell<Option<Rc<Buffer>>>,
    /// The cell stays.
    fixed: bool,
    hidden: RefCell<Option<Rc<Buffer>>>,
}

pub(super) fn zeros(len: usize) -> Buffer {
    let mut buffer = Buffer::new(len);
    buffer.fill(0.0);
    buffer
}

impl Kept {
    fn cell(&self) -> Rc<Buffer> {
        let make = || {
            let mut cell = Buffer::new(self.gates.len() / 4);
            lstm_cell(&self.gates, &self.cell_before(), self.width, &mut cell);
            Rc::new(cell)
        };
        self.cell.borrow_mut().get_or_insert_with(make).clone()
    }

    fn cell_before(&self) -> Rc<Buffer> {
        self.before.as_ref().map_or_else(|| Rc::new(zeros(self.gates.len() / 4)), |before| before.cell())
    }

    pub(super) fn hidden(&self) -> Rc<Buffer> {
        let make = || {
            let mut hidden = Buffer::new(self.gates.len() / 4);
            lstm_state(&self.gates, &self.cell(), self.width, &mut hidden);
            Rc::new(hidden)
        };
        self.hidden.borrow_mut().get_or_insert_with(make).clone()
    }

    /// The walk back is past this frame.
    fn passed(&self) {
        self.hidden.take();
        if !self.fixed {
            self.cell.take();
        }
    }
}

impl Drop for Kept {
    /// Frame by frame: a long sequence would fill the stack.
    fn drop(&mut self) {
        let mut before = self.before.take();
        while let Some(mut frame) = before.and_then(Rc::into_inner) {
            before = frame.before.take();
        }
    }
}

/// What a layer read: values, or the output of an LSTM, which can be made again.
pub(super) enum Held {
    Value(Value),
    Hidden(Rc<Kept>),
}

impl Held {
    /// The layer's input, which nothing is to be done to when it is read.
    pub(super) fn new(run: &Run<'_>, index: usize, x: &Value) -> Held {
        let source = run.terms(index).first().and_then(Source::layer);
        match source.and_then(|source| run.memories.get(&source)?.kept.clone()) {
            Some(kept) => Held::Hidden(kept),
            None => Held::Value(x.clone()),
        }
    }

    pub(super) fn values(&self) -> Rc<Buffer> {
        match self {
            Held::Value(value) => value.raw.clone(),
            Held::Hidden(kept) => kept.hidden(),
        }
    }
}

/// One frame of an LSTM, whatever made the sums of its gates.
pub(super) struct Frame {
    pub(super) index: usize,
    pub(super) kept: Rc<Kept>,
    /// The cell, where it is tapped.
    leaf: Option<Var>,
}

/// Runs the gates of a layer's frame from their sums `[rows, 4 width]`; the state goes on to the next frame. `shape` is the
/// output's. What the way back needs is there when it is wanted.
pub(super) fn open(
    run: &mut Run<'_>,
    index: usize,
    mut gates: Buffer,
    width: usize,
    shape: &[usize],
) -> Result<(Value, Option<Frame>)> {
    let before = run.memories.remove(&index);
    let len = gates.len() / 4;
    let cell_before = before.as_ref().and_then(|before| before.cell.clone()).unwrap_or_else(|| Rc::new(zeros(len)));
    let (mut cell, mut hidden) = (Buffer::new(len), Buffer::new(len));
    lstm_forward(&mut gates, &cell_before, width, &mut cell, &mut hidden);
    let (cell, hidden) = (Rc::new(cell), Rc::new(hidden));
    let fixed = run.moment.frame % INTERVAL == INTERVAL - 1;
    let kept = run.wants[index].then(|| {
        let (before, hidden) = (before.and_then(|before| before.kept), RefCell::default());
        Rc::new(Kept { width, gates, before, cell: RefCell::new(fixed.then(|| cell.clone())), fixed, hidden })
    });
    let value = |raw: &Rc<Buffer>| Value { raw: raw.clone(), ..Value::stored(shape, Buffer::new(0)) };
    let leaf = tapped_cell(run, index, &value(&cell))?;
    run.memories.insert(index, Memory { hidden: hidden.clone(), cell: Some(cell), kept: kept.clone(), tracked: false });
    Ok((value(&hidden), kept.map(|kept| Frame { index, kept, leaf })))
}

/// Keeps the output of a layer without a cell for the next frame.
pub(super) fn leave(run: &mut Run<'_>, index: usize, hidden: &Rc<Buffer>) {
    run.memories.insert(index, Memory { hidden: hidden.clone(), cell: None, kept: None, tracked: false });
}

/// Keeps a prediction for the next frame, which the layer `index` reads.
pub(super) fn predicted(run: &mut Run<'_>, index: usize, frame: Rc<Buffer>, tracked: bool) {
    run.memories.insert(index, Memory { hidden: frame, cell: None, kept: None, tracked });
}

/// Hands a tapped cell out, as a variable where its gradient is wanted.
fn tapped_cell(run: &mut Run<'_>, index: usize, cell: &Value) -> Result<Option<Var>> {
    let point = Source::Value(index, CELL.into());
    if !run.spec.want.contains(&point) {
        return Ok(None);
    }
    let tensor = cell.to_tensor()?;
    let leaf = if run.wants[index] { Some(Var::from_tensor(&tensor)?) } else { None };
    let given = leaf.as_ref().map_or(tensor, |leaf| leaf.as_tensor().clone());
    run.out.taps.entry(point).or_default().push(given);
    Ok(leaf)
}

impl Frame {
    /// The gradient of the gates' sums; that of the cell before goes on to the frame before. `None` when nothing comes in.
    pub(super) fn back(&self, slot: Option<Slot>, cx: &mut Backward<'_>) -> Result<Option<Buffer>> {
        let kept = &self.kept;
        let len = kept.gates.len() / 4;
        let mut grad_cell = cx.take_behind(self.index, CELL);
        if let Some(gradient) = self.leaf.as_ref().and_then(|leaf| cx.store.get(leaf)) {
            let known = grad_cell.is_some();
            let mut sum = grad_cell.take().unwrap_or_else(|| Buffer::new(len));
            copy_in(gradient, &mut sum, known)?;
            grad_cell = Some(sum);
        }
        if slot.is_none() && grad_cell.is_none() {
            return Ok(None);
        }
        let grad_hidden = slot.map_or_else(|| Rc::new(zeros(len)), |slot| slot.formed(kept.width));
        let mut grad_cell = grad_cell.unwrap_or_else(|| zeros(len));
        let mut grad_gates = Buffer::new(kept.gates.len());
        let (cell_before, cell) = (kept.cell_before(), kept.cell());
        let known = LstmKept { gates: &kept.gates, cell_before: &cell_before, cell: &cell };
        lstm_backward(known, &grad_hidden, kept.width, &mut grad_cell, &mut grad_gates);
        if kept.before.is_some() {
            cx.hand_before(self.index, CELL, grad_cell);
        }
        kept.passed();
        Ok(Some(grad_gates))
    }
}
