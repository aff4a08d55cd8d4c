//! Weights in the kernels' layout, kept from call to call.

use candle_core::{Tensor, TensorId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use stillhouse_kernels::conv::ConvShape;
use stillhouse_kernels::nhwc::conv::Packed;

/// What a pack is of: a variable, a geometry, and whether it is for the forward pass.
type Key = (TensorId, ConvShape, bool);

/// Packed weights of variables that do not change in between: a cell over many frames packs its weights once.
#[derive(Default)]
pub struct Packs {
    version: Option<u64>,
    kept: HashMap<Key, Rc<Packed>>,
}

thread_local! {
    static OPEN: RefCell<Option<Packs>> = const { RefCell::new(None) };
}

/// Puts the packs back, and what was open before, also when the task panics.
struct Closing<'a> {
    packs: &'a mut Packs,
    before: Option<Packs>,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let open = OPEN.with(|open| std::mem::replace(&mut *open.borrow_mut(), self.before.take()));
        *self.packs = open.unwrap_or_default();
    }
}

impl Packs {
    /// Runs `task` on this thread with what is kept. `version` is another number after every change of a variable's values.
    pub fn during<R>(&mut self, version: u64, task: impl FnOnce() -> R) -> R {
        let mut packs = std::mem::take(self);
        if packs.version != Some(version) {
            packs = Packs { version: Some(version), kept: HashMap::new() };
        }
        let before = OPEN.with(|open| open.borrow_mut().replace(packs));
        let _closing = Closing { packs: self, before };
        task()
    }
}

/// The variable that a convolution's weights are, if they are one.
pub(crate) fn variable(weights: &Tensor) -> Option<TensorId> {
    weights.is_variable().then(|| weights.id())
}

/// The pack, kept where packs are open and the weights are a variable.
pub(crate) fn packed(
    variable: Option<TensorId>,
    shape: &ConvShape,
    for_forward: bool,
    pack: impl FnOnce() -> Packed,
) -> Rc<Packed> {
    let Some(id) = variable else { return Rc::new(pack()) };
    OPEN.with(|open| match open.borrow_mut().as_mut() {
        Some(packs) => packs.kept.entry((id, *shape, for_forward)).or_insert_with(|| Rc::new(pack())).clone(),
        None => Rc::new(pack()),
    })
}
