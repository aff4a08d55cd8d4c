//! An allocator that puts every block behind a mark of its own: memory of another allocator, or memory that goes to another
//! one, ends the process at once.
#![cfg(feature = "own-allocator")]

use std::alloc::{GlobalAlloc, Layout, System};

const MARK: u64 = 0x5711_1105_E0F0_0D1E;

struct Marked;

#[global_allocator]
static MARKED: Marked = Marked;

/// Room for the mark, and the block behind it aligned as it asks to be.
fn wider(layout: Layout) -> (Layout, usize) {
    let before = layout.align().max(16);
    // A size that overflows cannot have been allocated.
    let all = Layout::from_size_align(layout.size() + before, before).unwrap_or(layout);
    (all, before)
}

// SAFETY: blocks come from `System`, `before` bytes longer than asked for, and go back to it as they came.
unsafe impl GlobalAlloc for Marked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (all, before) = wider(layout);
        // SAFETY: `all` is not empty; the mark lies within the block and is aligned, since `before` is a multiple of 16.
        unsafe {
            let start = System.alloc(all);
            if start.is_null() {
                return start;
            }
            start.cast::<u64>().write(MARK);
            start.add(before)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let (all, before) = wider(layout);
        // SAFETY: a block of this allocator has its mark before it; any other ends the process here.
        unsafe {
            let start = block.sub(before);
            if start.cast::<u64>().read() != MARK {
                std::process::abort();
            }
            start.cast::<u64>().write(0);
            System.dealloc(start, all);
        }
    }
}
