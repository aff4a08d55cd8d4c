//! Buffers as they were before the running update.

use crate::ops::{ParamSet, Staged};
use candle_core::{Result, Tensor};
use std::rc::Rc;

/// Takes changes of buffers over, and back where the update is left out in the end.
#[derive(Debug, Default)]
pub(super) struct Undo {
    before: Vec<(Rc<ParamSet>, String, Tensor)>,
}

impl Undo {
    /// Takes a change over; one of a piece that others follow is kept as it was.
    ///
    /// # Errors
    /// It does not fit the buffer.
    pub(super) fn commit(&mut self, params: &Rc<ParamSet>, change: &Staged, keeps: bool) -> Result<()> {
        let (Staged::Whole { name, .. } | Staged::Rows { name, .. }) = change;
        let is_known = self.before.iter().any(|(set, known, _)| Rc::ptr_eq(set, params) && known == name);
        if keeps
            && !is_known
            && let Some(value) = params.value(name)
        {
            self.before.push((params.clone(), name.clone(), value.copy()?));
        }
        change.commit(params)
    }

    /// The update was made: nothing is taken back.
    pub(super) fn forget(&mut self) {
        self.before.clear();
    }

    /// Takes back what the running update changed.
    ///
    /// # Errors
    /// candle fails.
    pub(super) fn take_back(&mut self) -> Result<()> {
        self.before.drain(..).try_for_each(|(params, name, value)| params.assign(&name, &value))
    }
}
