//! Buffers that go round: what a step gives back, the next one takes.

use crate::exec::memory::{Arena, Piece};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

thread_local! {
    static ARENA: RefCell<Arena> = RefCell::default();
}

/// Values of a point of the graph; their place is free again when dropped.
#[derive(Debug)]
pub(super) struct Buffer(Option<Piece>);

impl Buffer {
    /// A buffer of unspecified values.
    pub(super) fn new(len: usize) -> Buffer {
        Buffer((len > 0).then(|| ARENA.with_borrow_mut(|arena| arena.take(len))))
    }

    pub(super) fn copy(values: &[f32]) -> Buffer {
        let mut buffer = Buffer::new(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// Frees memory that no buffer holds: other sizes come next.
    pub(super) fn clear_pool() {
        ARENA.with_borrow_mut(Arena::clear);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(piece) = self.0.take() else { return };
        // Without an arena when the thread ends.
        let _ = ARENA.try_with(|arena| arena.borrow_mut().give_back(piece));
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}
