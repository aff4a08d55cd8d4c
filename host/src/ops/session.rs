//! One call into a part: its handles, its errors, and what it may see and stage.

use super::params::ParamSet;
use super::trace::{Leaf, Node, Trace};
use candle_core::Tensor;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use stillhouse_plugin::abi::{AbiError, Ctx, Handle, code};
use stillhouse_plugin::op::Meta;

/// Where in training a call stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    /// Epoch within the stage, from 0.
    pub epoch: u64,
    /// Updates done in the stage, from 0.
    pub step: u64,
    /// Updates of an epoch.
    pub steps_per_epoch: u64,
    /// Frame of the sequence, from 0.
    pub frame: u64,
    /// True in training.
    pub training: bool,
    /// Samples of the training set.
    pub samples: u64,
    /// Name of the stage, as the part knows it.
    pub stage: Rc<str>,
    /// Name of the phase.
    pub phase: Rc<str>,
    /// Name of the stage in the run, for messages.
    pub run_stage: Rc<str>,
    /// Seed of the run.
    pub seed: u64,
}

/// A value behind a handle.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A node of the session's trace.
    Symbolic(usize),
    /// A tensor on candle's tape.
    Concrete(Tensor),
    /// The result of something that failed.
    Poisoned,
}

struct Slot {
    generation: u32,
    owners: u32,
    value: Value,
}

/// A change that is taken over after the update succeeded.
#[derive(Debug, Clone)]
pub enum Staged {
    /// A buffer's new value.
    Whole {
        /// Name of the buffer.
        name: String,
        /// Its value.
        value: Tensor,
    },
    /// Some rows of a buffer.
    Rows {
        /// Name of the buffer.
        name: String,
        /// Which rows, `[B]`.
        index: Tensor,
        /// Their values, `[B, ...]`.
        rows: Tensor,
    },
}

impl Staged {
    /// Takes the change over.
    ///
    /// # Errors
    /// It does not fit the buffer.
    pub fn commit(&self, params: &ParamSet) -> candle_core::Result<()> {
        match self {
            Staged::Whole { name, value } => params.assign(name, value),
            Staged::Rows { name, index, rows } => params.assign_rows(name, index, rows),
        }
    }
}

/// A tensor that a part handed to the run's log.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// Its name.
    pub name: String,
    /// Its values, without gradient.
    pub value: Tensor,
}

/// How calls differ from those of a training, for checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// The part is told that its tensors are not in the memory of the process, so that the composite forms of its own operations run.
    pub unfused: bool,
    /// A trace draws random numbers, which are constants of it.
    pub draws: bool,
}

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Parameters are made; nothing is computed.
    Bind,
    /// A step.
    Run,
}

/// One call into a part.
pub(super) struct Session {
    id: u64,
    pub(super) stage: Stage,
    pub(super) params: Rc<ParamSet>,
    pub(super) moment: Moment,
    pub(super) dynamic: bool,
    pub(super) manner: Manner,
    /// `Some` when the handles are symbolic.
    pub(super) trace: Option<RefCell<Trace>>,
    slots: RefCell<Vec<Slot>>,
    /// Generation of a new slot, another one for each session, so that a handle of one is stale in the others.
    first_generation: u32,
    free: RefCell<Vec<u32>>,
    error: RefCell<Option<AbiError>>,
    pub(super) staged: RefCell<Vec<Staged>>,
    pub(super) emitted: RefCell<Vec<Emitted>>,
    pub(super) log: RefCell<Vec<(u32, String)>>,
    /// The call asked for something that another one may get otherwise.
    varies: Cell<bool>,
}

thread_local! {
    static OPEN: RefCell<Vec<Rc<Session>>> = const { RefCell::new(Vec::new()) };
}

/// Numbers of sessions, unique in the process: a session of another thread has no namesake here.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Everything that a session is opened with.
pub(super) struct Opening {
    pub(super) stage: Stage,
    pub(super) symbolic: bool,
    pub(super) params: Rc<ParamSet>,
    pub(super) moment: Moment,
    pub(super) dynamic: bool,
    pub(super) manner: Manner,
}

impl Session {
    /// Opens a session on this thread, runs `work` in it and closes it, whatever happens.
    pub(super) fn within<T>(opening: Opening, work: impl FnOnce(&Session) -> T) -> T {
        struct Close(u64);
        impl Drop for Close {
            fn drop(&mut self) {
                OPEN.with_borrow_mut(|open| open.retain(|session| session.id != self.0));
            }
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let session = Rc::new(Session {
            id,
            stage: opening.stage,
            params: opening.params,
            moment: opening.moment,
            dynamic: opening.dynamic,
            manner: opening.manner,
            trace: opening.symbolic.then(RefCell::default),
            slots: RefCell::default(),
            first_generation: (id as u32).wrapping_mul(0x9E37_79B9) | 1,
            free: RefCell::default(),
            error: RefCell::default(),
            staged: RefCell::default(),
            emitted: RefCell::default(),
            log: RefCell::default(),
            varies: Cell::new(false),
        });
        OPEN.with_borrow_mut(|open| open.push(session.clone()));
        let _close = Close(id);
        work(&session)
    }

    /// The open session of this number; `None` on another thread or after its end.
    pub(super) fn of(ctx: Ctx) -> Option<Rc<Session>> {
        OPEN.with_borrow(|open| open.iter().rev().find(|session| session.id == ctx.0).cloned())
    }

    pub(super) fn ctx(&self) -> Ctx {
        Ctx(self.id)
    }

    pub(super) fn put(&self, value: Value) -> Handle {
        let mut slots = self.slots.borrow_mut();
        if let Some(index) = self.free.borrow_mut().pop() {
            let slot = &mut slots[index as usize];
            slot.owners = 1;
            slot.value = value;
            return Handle { slot: index, generation: slot.generation };
        }
        let generation = self.first_generation;
        slots.push(Slot { generation, owners: 1, value });
        Handle { slot: (slots.len() - 1) as u32, generation }
    }

    /// The value behind a handle; a stale one is an error and poisoned.
    pub(super) fn get(&self, handle: Handle) -> Value {
        let slots = self.slots.borrow();
        match slots.get(handle.slot as usize) {
            Some(slot) if slot.generation == handle.generation && slot.owners > 0 => slot.value.clone(),
            _ => {
                drop(slots);
                self.fail(code::MISUSE, "a tensor was used after its end, or in another call than its own");
                Value::Poisoned
            }
        }
    }

    pub(super) fn retain(&self, handle: Handle) -> Handle {
        if let Some(slot) = self.slots.borrow_mut().get_mut(handle.slot as usize)
            && slot.generation == handle.generation
            && slot.owners > 0
        {
            slot.owners += 1;
            return handle;
        }
        self.fail(code::MISUSE, "a tensor was used after its end, or in another call than its own");
        self.put(Value::Poisoned)
    }

    pub(super) fn release(&self, handle: Handle) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(handle.slot as usize) else { return };
        if slot.generation != handle.generation || slot.owners == 0 {
            return;
        }
        slot.owners -= 1;
        if slot.owners == 0 {
            slot.generation = slot.generation.wrapping_add(1);
            let value = std::mem::replace(&mut slot.value, Value::Poisoned);
            drop(slots);
            self.free.borrow_mut().push(handle.slot);
            drop(value);
        }
    }

    /// Keeps the first error of the call.
    pub(super) fn fail(&self, code: u32, message: impl Into<String>) {
        let mut error = self.error.borrow_mut();
        if error.is_none() {
            *error = Some(AbiError::new(code, message));
        }
    }

    pub(super) fn take_error(&self) -> Option<AbiError> {
        self.error.borrow_mut().take()
    }

    /// Notes that the call asks for, or does, something that a repetition of its operations would lack.
    pub(super) fn varies(&self) {
        self.varies.set(true);
        if let Some(trace) = &self.trace {
            trace.borrow_mut().set_varying();
        }
    }

    /// Whether it did.
    pub(super) fn has_varied(&self) -> bool {
        self.varies.get()
    }

    /// A value that no operation made: a node of the trace, or the tensor itself.
    pub(super) fn leaf(&self, leaf: Leaf, meta: Meta, tensor: impl FnOnce() -> candle_core::Result<Tensor>) -> Value {
        if let (Some(trace), true) = (&self.trace, leaf != Leaf::Constant) {
            return Value::Symbolic(trace.borrow_mut().push(Node::Leaf(leaf), meta));
        }
        match (tensor(), &self.trace) {
            (Ok(tensor), Some(trace)) => Value::Symbolic(trace.borrow_mut().push_constant(tensor, meta)),
            (Ok(tensor), None) => Value::Concrete(tensor),
            (Err(error), _) => {
                self.fail(code::OPERATION, error.to_string());
                Value::Poisoned
            }
        }
    }

    /// Shape and type of a value; `None` when it is poisoned.
    pub(super) fn meta(&self, value: &Value) -> Option<Meta> {
        match value {
            Value::Concrete(tensor) => Some(super::eager::meta_of(tensor)),
            Value::Symbolic(node) => {
                let trace = self.trace.as_ref()?.borrow();
                trace.node(*node).map(|(_, meta)| meta.clone())
            }
            Value::Poisoned => None,
        }
    }
}
