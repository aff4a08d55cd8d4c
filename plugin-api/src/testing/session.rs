//! One call of a part: its handles, its tape, what it left behind.

use super::array::Array;
use super::store::{self, Store};
use super::tape::{NodeId, Tape};
use crate::abi::{AbiError, Handle, StepInfo, TensorInfo, code};
use crate::op::{Meta, Op};
use std::collections::HashMap;

/// What kind of call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// `bind`: symbols, and parameters may be made.
    Bind,
    /// Symbols only.
    Trace,
    /// Values.
    Step,
}

/// Where training stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) info: StepInfo,
    pub(super) stage: String,
    pub(super) phase: String,
}

/// A slot of the handle table. A free slot has no owners.
#[derive(Default)]
struct Slot {
    generation: u32,
    owners: u32,
    held: Option<Held>,
}

/// What a handle stands for.
#[derive(Clone)]
enum Held {
    Node(NodeId),
    Poison(AbiError),
}

/// Errors are a code and a message.
pub(super) type Fallible<T> = Result<T, AbiError>;

/// One call of a part.
pub(super) struct Session {
    pub(super) mode: Mode,
    pub(super) place: Place,
    pub(super) store: Store,
    pub(super) tape: Tape,
    /// True when the part may read values.
    pub(super) dynamic: bool,
    pub(super) error: Option<AbiError>,
    pub(super) emitted: Vec<(String, NodeId)>,
    pub(super) staged: Vec<(String, Array)>,
    pub(super) logged: Vec<String>,
    /// Nodes of parameters and buffers, made at the first use.
    pub(super) state: HashMap<String, NodeId>,
    slots: Vec<Slot>,
}

impl Session {
    pub(super) fn new(mode: Mode, place: Place, store: Store, dynamic: bool) -> Session {
        Session {
            mode,
            place,
            store,
            tape: Tape::default(),
            dynamic,
            error: None,
            emitted: vec![],
            staged: vec![],
            logged: vec![],
            state: HashMap::new(),
            slots: vec![],
        }
    }

    pub(super) fn symbolic(&self) -> bool {
        self.mode != Mode::Step
    }

    fn take_slot(&mut self, held: Held) -> Handle {
        let free = self.slots.iter().position(|slot| slot.owners == 0);
        let at = free.unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let slot = &mut self.slots[at];
        *slot = Slot { generation: slot.generation + 1, owners: 1, held: Some(held) };
        Handle { slot: at as u32, generation: slot.generation }
    }

    /// A handle for a node.
    pub(super) fn handle(&mut self, node: NodeId) -> Handle {
        self.take_slot(Held::Node(node))
    }

    /// A poisoned handle; its error waits unless another does.
    pub(super) fn poison(&mut self, error: AbiError) -> Handle {
        self.error.get_or_insert_with(|| error.clone());
        self.take_slot(Held::Poison(error))
    }

    fn slot(&mut self, handle: Handle) -> Option<&mut Slot> {
        self.slots.get_mut(handle.slot as usize).filter(|slot| slot.owners > 0 && slot.generation == handle.generation)
    }

    /// One more owner.
    pub(super) fn retain(&mut self, handle: Handle) -> Handle {
        match self.slot(handle) {
            Some(slot) => {
                slot.owners += 1;
                handle
            }
            None => self.poison(stale()),
        }
    }

    /// One owner less.
    pub(super) fn release(&mut self, handle: Handle) {
        if let Some(slot) = self.slot(handle) {
            slot.owners -= 1;
            if slot.owners == 0 {
                slot.held = None;
            }
        }
    }

    /// The node behind a handle.
    pub(super) fn node(&mut self, handle: Handle) -> Fallible<NodeId> {
        match self.slot(handle).and_then(|slot| slot.held.clone()) {
            Some(Held::Node(node)) => Ok(node),
            Some(Held::Poison(error)) => Err(error),
            None => Err(stale()),
        }
    }

    pub(super) fn nodes(&mut self, handles: &[Handle]) -> Fallible<Vec<NodeId>> {
        handles.iter().map(|handle| self.node(*handle)).collect()
    }

    /// Shape and type behind a handle.
    pub(super) fn describe(&mut self, handle: Handle) -> Fallible<TensorInfo> {
        let node = self.node(handle)?;
        let symbolic = u32::from(self.symbolic());
        let meta = self.tape.meta(node);
        let mut dims = [0; 8];
        dims[..meta.shape.len()].copy_from_slice(&meta.shape);
        Ok(TensorInfo {
            dims,
            rank: meta.shape.len() as u32,
            dtype: meta.dtype as u32,
            symbolic,
            ..TensorInfo::default()
        })
    }

    /// One operation.
    pub(super) fn call(&mut self, op: &Op, inputs: &[Handle]) -> Fallible<Vec<Handle>> {
        let nodes = self.nodes(inputs)?;
        let symbolic = self.symbolic();
        let failed = |message: String| operation(op.name(), &message);
        let results = self.tape.op(op, &nodes, symbolic).map_err(failed)?;
        Ok(results.into_iter().map(|node| self.handle(node)).collect())
    }

    /// The node of a parameter or buffer, as it was at the start of the call.
    pub(super) fn state_node(&mut self, name: &str) -> Fallible<NodeId> {
        if let Some(node) = self.state.get(name) {
            return Ok(*node);
        }
        let stored = self.store.get(name).map_err(misuse)?.clone();
        let array = (!self.symbolic()).then(|| stored.array.clone());
        let node = self.tape.leaf(stored.array.meta, array, stored.trained);
        self.state.insert(name.into(), node);
        Ok(node)
    }

    /// Makes a parameter or buffer.
    pub(super) fn make(
        &mut self,
        name: &str,
        dtype: u32,
        shape: &[usize],
        init: &str,
        trained: bool,
    ) -> Fallible<NodeId> {
        if self.mode != Mode::Bind {
            return Err(misuse(format!("`{name}` can be made in `bind` only")));
        }
        let meta = Meta::new(shape, store::training_type(dtype).map_err(misuse)?);
        self.store.add(name, meta, init, trained).map_err(misuse)?;
        self.state_node(name)
    }

    /// Stages a buffer's new value; in a trace only checks it.
    pub(super) fn set(&mut self, name: &str, value: Handle) -> Fallible<()> {
        let node = self.node(value)?;
        let wanted = self.buffer(name)?.meta;
        if *self.tape.meta(node) != wanted {
            return Err(misuse(format!("buffer `{name}` is {wanted}, got {}", self.tape.meta(node))));
        }
        if let Some(array) = self.tape.array(node) {
            self.staged.push((name.into(), array.as_ref().clone()));
        }
        Ok(())
    }

    /// Stages new rows of a buffer; of equal indices the last counts.
    pub(super) fn set_rows(&mut self, name: &str, index: Handle, rows: Handle) -> Fallible<()> {
        let (index, rows) = (self.node(index)?, self.node(rows)?);
        let mut buffer = self.buffer(name)?;
        let selected = Op::IndexSelect { dim: 0 }.infer(&[&buffer.meta, self.tape.meta(index)]);
        let selected = selected.map_err(|message| operation("set_rows", &message))?;
        if selected[0] != *self.tape.meta(rows) {
            let got = self.tape.meta(rows);
            return Err(misuse(format!("rows of buffer `{name}` are {}, got {got}", selected[0])));
        }
        let (Some(index), Some(rows)) = (self.tape.array(index), self.tape.array(rows)) else { return Ok(()) };
        let (count, width) = (buffer.shape()[0], buffer.shape()[1..].iter().product::<usize>());
        for at in 0..index.values.len() {
            let row = index.index(at, count).map_err(|message| operation("set_rows", &message))?;
            buffer.values[row * width..][..width].copy_from_slice(&rows.values[at * width..][..width]);
        }
        self.staged.push((name.into(), buffer));
        Ok(())
    }

    /// A buffer with what was staged in this call.
    fn buffer(&self, name: &str) -> Fallible<Array> {
        let stored = self.store.get(name).map_err(misuse)?;
        if stored.trained {
            return Err(misuse(format!("`{name}` is a parameter: the optimizer sets it")));
        }
        let staged = self.staged.iter().rev().find(|(known, _)| known == name);
        Ok(staged.map_or(&stored.array, |(_, array)| array).clone())
    }
}

/// An error of an operation.
pub(super) fn operation(name: &str, message: &str) -> AbiError {
    AbiError::new(code::OPERATION, format!("`{name}` {message}"))
}

/// An error of a call that is not allowed.
pub(super) fn misuse(message: String) -> AbiError {
    AbiError::new(code::MISUSE, message)
}

fn stale() -> AbiError {
    misuse("a tensor of an earlier call was used".into())
}
