//! Memory between steps.

use std::alloc::{GlobalAlloc, Layout, System, handle_alloc_error};
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

/// `mi_option_purge_delay` of mimalloc.h, in both of its versions.
const PURGE_DELAY: c_int = 15;

/// Lets mimalloc keep what a step frees for the next one. Given back to the system in between, each page would be cleared and
/// mapped anew: a quarter of the time of steps that work on tensors of candle's. The environment's `MIMALLOC_PURGE_DELAY` is
/// stronger; without effect where another allocator is at work.
pub fn keep_freed_memory() {
    // SAFETY: the option exists, its value is a number, and the call comes before other threads start.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, -1) }
}

/// Values of a slab, about. It comes from the system, whose pages are in memory once a piece reached them, and not before.
const SLAB: usize = 64 << 20;

/// Pieces start at multiples of a cache line.
const LINE: usize = 16;

/// Memory of numbers for one thread: pieces of any size from a few slabs, the lowest free place first. What pieces leave joins
/// with what is free beside it, so that the small maps of a network's end make room for the large gradients of its beginning.
#[derive(Debug, Default)]
pub struct Arena {
    slabs: Vec<(Rc<Slab>, Free)>,
}

/// Free places: their lengths by where they start.
type Free = BTreeMap<usize, usize>;

#[derive(Debug)]
struct Slab {
    values: NonNull<f32>,
    layout: Layout,
}

/// Some numbers; its place is free again through [`Arena::give_back`].
#[derive(Debug)]
pub struct Piece {
    slab: Rc<Slab>,
    at: usize,
    len: usize,
}

impl Slab {
    /// A slab, and its free place of `len` values from the first line on.
    fn new(len: usize) -> (Rc<Slab>, Free) {
        let layout = Layout::array::<f32>(len + LINE).expect("a slab fits the address space");
        // SAFETY: the layout is not empty.
        let values = NonNull::new(unsafe { System.alloc_zeroed(layout) }.cast::<f32>());
        let values = values.unwrap_or_else(|| handle_alloc_error(layout));
        ask_for_large_pages(values.as_ptr().cast(), layout.size());
        let first = values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        (Rc::new(Slab { values, layout }), Free::from([(first, len)]))
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: the memory came from there, and no piece is left, since pieces hold the slab.
        unsafe { System.dealloc(self.values.as_ptr().cast(), self.layout) }
    }
}

/// Bytes of a large page.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

/// Asks the system for large pages where it keeps them for those who ask: a step walks through more small ones than the
/// processor knows the places of. Memory stays as good without.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(at: *mut u8, bytes: usize) {
    use rustix::mm::{Advice, madvise};
    let skipped = at.align_offset(LARGE);
    if let Some(whole) = bytes.checked_sub(skipped).map(|rest| rest / LARGE * LARGE).filter(|whole| *whole > 0) {
        // SAFETY: these pages are the caller's own, and the advice changes no value.
        let _ = unsafe { madvise(at.wrapping_add(skipped).cast(), whole, Advice::LinuxHugepage) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_: *mut u8, _: usize) {}

/// What a piece of `len` values takes.
fn taken(len: usize) -> usize {
    len.max(1).next_multiple_of(LINE)
}

impl Arena {
    /// A piece of unspecified values.
    pub fn take(&mut self, len: usize) -> Piece {
        let wanted = taken(len);
        let place = self.slabs.iter().enumerate().find_map(|(index, (_, free))| {
            free.iter().find(|(_, size)| **size >= wanted).map(|(at, size)| (index, *at, *size))
        });
        let (index, at, size) = place.unwrap_or_else(|| {
            let (slab, free) = Slab::new(wanted.max(SLAB));
            let (at, size) = free.iter().next().map_or((0, 0), |(at, size)| (*at, *size));
            self.slabs.push((slab, free));
            (self.slabs.len() - 1, at, size)
        });
        let (slab, free) = &mut self.slabs[index];
        free.remove(&at);
        if size > wanted {
            free.insert(at + wanted, size - wanted);
        }
        Piece { slab: slab.clone(), at, len }
    }

    /// Frees the place of a piece.
    pub fn give_back(&mut self, piece: Piece) {
        let Some((_, free)) = self.slabs.iter_mut().find(|(slab, _)| Rc::ptr_eq(slab, &piece.slab)) else { return };
        let (mut at, mut size) = (piece.at, taken(piece.len));
        if let Some((before, length)) = free.range(..at).next_back().map(|(before, length)| (*before, *length))
            && before + length == at
        {
            free.remove(&before);
            (at, size) = (before, size + length);
        }
        if let Some(length) = free.remove(&(at + size)) {
            size += length;
        }
        free.insert(at, size);
    }

    /// Frees slabs without pieces.
    pub fn clear(&mut self) {
        self.slabs.retain(|(slab, _)| Rc::strong_count(slab) > 1);
    }
}

impl Deref for Piece {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: the place lies in the slab, is this piece's alone, and its values were written when the slab was made.
        unsafe { std::slice::from_raw_parts(self.slab.values.as_ptr().add(self.at), self.len) }
    }
}

impl DerefMut for Piece {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.slab.values.as_ptr().add(self.at), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arena, LINE, Piece};
    use crate::data::Rng;

    /// What a piece was filled with, if it is whole.
    fn filled(piece: &Piece) -> Option<f32> {
        let first = *piece.first()?;
        piece.iter().all(|value| *value == first).then_some(first)
    }

    #[test]
    fn pieces_are_apart_and_free_places_join() {
        let mut arena = Arena::default();
        let [a, b, c] = [100, 200, 300].map(|len| arena.take(len));
        let start = a.as_ptr();
        assert!([&a, &b, &c].iter().all(|piece| (piece.as_ptr() as usize).is_multiple_of(64)));
        arena.give_back(b);
        arena.give_back(a);
        let joined = arena.take(100 + 200);
        assert_eq!(joined.as_ptr(), start, "the places of two pieces that lay side by side");
        let behind = arena.take(LINE + 1);
        assert!(behind.as_ptr() > c.as_ptr(), "what is left of the two places is too short");
        assert_eq!(arena.slabs.len(), 1);
        for piece in [joined, behind, c] {
            arena.give_back(piece);
        }
        assert_eq!(arena.slabs[0].1.len(), 1, "one free place again");
        let held = arena.take(LINE);
        arena.clear();
        assert_eq!(held.len(), LINE);
        assert_eq!(arena.slabs.len(), 1, "a slab with a piece stays");
        arena.give_back(held);
        arena.clear();
        assert!(arena.slabs.is_empty());
    }

    #[test]
    fn pieces_keep_their_values_whatever_comes_and_goes() {
        let (mut arena, mut rng) = (Arena::default(), Rng::new(1, "pieces", 0));
        let mut held: Vec<(f32, Piece)> = vec![];
        for round in 0..4000 {
            if held.len() > 60 || (rng.below(3) == 0 && !held.is_empty()) {
                let (value, piece) = held.swap_remove(rng.below(held.len()));
                assert_eq!(filled(&piece), Some(value));
                arena.give_back(piece);
            } else {
                let mut piece = arena.take(1 + rng.below(5000));
                piece.fill(round as f32);
                held.push((round as f32, piece));
            }
        }
        held.into_iter().for_each(|(_, piece)| arena.give_back(piece));
        assert_eq!(arena.slabs.iter().map(|(_, free)| free.len()).collect::<Vec<_>>(), [1]);
    }
}
