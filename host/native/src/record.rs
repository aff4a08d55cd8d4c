//! Calls noted apart from candle's tape.
//!
//! While a [`Record`] is open on a thread, the functions of this crate compute as ever and note what they did there; nothing
//! goes onto candle's tape. The walk back then adds each gradient where it is, without the zeros and sums, the sorting and the
//! recursion of candle's. Variables, watched tensors, and whatever stands on candle's tape already are where it ends.
//!
//! candle's own methods (`reshape`, `narrow`, ...) are not noted: their forms in this crate are.

use super::gradients::Gradients;
use super::seed::seeded;
use super::sum::Sum;
use candle_core::{Result, Tensor, TensorId};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::HashMap;

/// How a gradient goes back through a call.
pub(crate) trait Back: 'static {
    /// For a function that hands on a part of its one input: the dim, and where the part starts.
    fn part(&self) -> Option<(usize, usize)> {
        None
    }

    /// Gradients by input, given those of the outputs, at least one; those that are not wanted may be `None`. Not for a function of
    /// a part.
    fn back(&self, ins: &[Tensor], outs: &[Tensor], grads: &[Option<Tensor>], wanted: &[bool]) -> Result<Found>;
}

/// Gradients by input.
pub(crate) type Found = SmallVec<[Option<Tensor>; 3]>;

/// Contiguous inputs of a call.
pub(crate) type Inputs = SmallVec<[Tensor; 3]>;

struct Call {
    ins: Inputs,
    /// Where each input's gradient is summed, when it is wanted.
    slots: SmallVec<[Option<usize>; 3]>,
    outs: SmallVec<[Tensor; 1]>,
    /// Where the gradient of each output is summed.
    out_slots: SmallVec<[usize; 1]>,
    back: Box<dyn Back>,
}

/// Output and gradient of a call that has one output.
pub(crate) fn sole<'a>(outs: &'a [Tensor], grads: &'a [Option<Tensor>]) -> Result<(&'a Tensor, &'a Tensor)> {
    match (outs, grads) {
        ([out], [Some(grad)]) => Ok((out, grad)),
        _ => candle_core::bail!("a call of {} outputs in the place of one", outs.len()),
    }
}

/// What the functions of this crate did.
#[derive(Default)]
pub struct Record {
    calls: Vec<Call>,
    /// The sum of gradients that each tensor has.
    slots: HashMap<TensorId, usize>,
    /// Tensors from elsewhere that gradients are wanted of.
    leaves: Vec<(usize, Tensor)>,
}

thread_local! {
    static OPEN: RefCell<Option<Record>> = const { RefCell::new(None) };
}

/// Puts the record back, and what was open before, also when the task panics.
struct Closing<'a> {
    record: &'a mut Record,
    before: Option<Record>,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let open = OPEN.with(|open| std::mem::replace(&mut *open.borrow_mut(), self.before.take()));
        *self.record = open.unwrap_or_default();
    }
}

impl Record {
    /// Notes what `task` does on this thread.
    pub fn during<R>(&mut self, task: impl FnOnce() -> R) -> R {
        let record = std::mem::take(self);
        let before = OPEN.with(|open| open.borrow_mut().replace(record));
        let _closing = Closing { record: self, before };
        task()
    }

    /// Runs `task`; what it does is not noted in the record that is open, nor on candle's tape when one is.
    pub fn aside<R>(task: impl FnOnce() -> R) -> R {
        if is_open() { Record::default().during(task) } else { task() }
    }

    /// Wants the gradient of a tensor, although it is no variable.
    pub fn watch(&mut self, tensor: &Tensor) {
        if !self.slots.contains_key(&tensor.id()) {
            let slot = self.new_slot(tensor);
            self.leaves.push((slot, tensor.clone()));
        }
    }

    /// Gradients of variables and watched tensors from those of some results, `(result, its gradient)`. What was noted stays, for another walk.
    ///
    /// # Errors
    /// A gradient of another shape than its result; a function that fails.
    pub fn gradients(&self, starts: &[(Tensor, Tensor)]) -> Result<Gradients> {
        let mut sums: Vec<Sum> = self.slots.values().map(|_| Sum::default()).collect();
        for (result, gradient) in starts {
            if result.dims() != gradient.dims() {
                candle_core::bail!("a gradient of the shape {:?} for {:?}", gradient.dims(), result.dims());
            }
            if let Some(slot) = self.slots.get(&result.id()) {
                sums[*slot].add(gradient.clone())?;
            }
        }
        for call in self.calls.iter().rev() {
            let grads: SmallVec<[Option<Tensor>; 1]> = call.out_slots.iter().map(|slot| sums[*slot].0.take()).collect();
            if grads.iter().all(Option::is_none) {
                continue;
            }
            if let (Some((dim, start)), Some(slot)) = (call.back.part(), call.slots[0]) {
                sums[slot].add_part(&call.ins[0], [dim, start], sole(&call.outs, &grads)?.1)?;
                continue;
            }
            let wanted: SmallVec<[bool; 3]> = call.slots.iter().map(Option::is_some).collect();
            let found = call.back.back(&call.ins, &call.outs, &grads, &wanted)?;
            for (slot, found) in call.slots.iter().zip(found) {
                if let (Some(slot), Some(found)) = (slot, found) {
                    sums[*slot].add(found)?;
                }
            }
        }
        self.of_leaves(&mut sums)
    }

    /// Of what stands on candle's tape the walk goes on along it.
    fn of_leaves(&self, sums: &mut [Sum]) -> Result<Gradients> {
        let mut found = Gradients::default();
        let mut onward: Option<Tensor> = None;
        for (slot, leaf) in &self.leaves {
            let Some(sum) = sums[*slot].0.take() else { continue };
            if leaf.is_variable() || !leaf.track_op() {
                found.add(leaf, sum)?;
                continue;
            }
            let start = seeded(leaf, &sum)?;
            onward = Some(match onward {
                Some(before) => (before + start)?,
                None => start,
            });
        }
        if let Some(onward) = onward {
            found.add_store(&onward.backward()?)?;
        }
        Ok(found)
    }

    fn slot(&mut self, tensor: &Tensor) -> Option<usize> {
        if let Some(slot) = self.slots.get(&tensor.id()) {
            return Some(*slot);
        }
        if !tensor.track_op() {
            return None;
        }
        let slot = self.new_slot(tensor);
        self.leaves.push((slot, tensor.clone()));
        Some(slot)
    }

    fn new_slot(&mut self, tensor: &Tensor) -> usize {
        let slot = self.slots.len();
        self.slots.insert(tensor.id(), slot);
        slot
    }
}

/// Whether a record is open on this thread.
pub(crate) fn is_open() -> bool {
    OPEN.with(|open| open.borrow().is_some())
}

/// Whether the open record wants the gradient of a tensor; `false` when none is open.
pub(crate) fn is_tracked(tensor: &Tensor) -> bool {
    OPEN.with(|open| open.borrow().as_ref().is_some_and(|record| record.slots.contains_key(&tensor.id())))
}

/// Notes a call in the open record. `ins` are the inputs as they were given, `read` as they were read.
pub(crate) fn note(ins: &[&Tensor], read: Inputs, outs: &[Tensor], back: impl FnOnce() -> Box<dyn Back>) {
    OPEN.with(|open| {
        let mut open = open.borrow_mut();
        let Some(record) = open.as_mut() else { return };
        let slots: SmallVec<[Option<usize>; 3]> = ins.iter().map(|tensor| record.slot(tensor)).collect();
        if slots.iter().any(Option::is_some) {
            let out_slots = outs.iter().map(|out| record.new_slot(out)).collect();
            record.calls.push(Call { ins: read, slots, outs: outs.iter().cloned().collect(), out_slots, back: back() });
        }
    });
}
