//! Fixed cutting of work: pieces depend on shapes, never on the number of threads.

use rayon::prelude::*;

/// Elements below which a kernel stays on the calling thread.
pub(crate) const THRESHOLD: usize = 1 << 15;

/// Elements of one piece of an elementwise loop.
pub(crate) const CHUNK: usize = 1 << 13;

/// Runs `task(index, piece)` for consecutive pieces of `out`, in parallel when `work` (elements touched) is worth it.
pub(crate) fn pieces<T: Send>(out: &mut [T], piece: usize, work: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    if out.is_empty() {
        return;
    }
    let piece = piece.max(1);
    if work < THRESHOLD || out.len() <= piece {
        out.chunks_mut(piece).enumerate().for_each(|(index, piece)| task(index, piece));
    } else {
        out.par_chunks_mut(piece).enumerate().for_each(|(index, piece)| task(index, piece));
    }
}

/// [`pieces`] of two outputs cut alike.
pub(crate) fn pieces2<T: Send, U: Send>(
    first: (&mut [T], usize),
    second: (&mut [U], usize),
    work: usize,
    task: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let (a, a_piece) = first;
    let (b, b_piece) = second;
    if a.is_empty() || b.is_empty() {
        return;
    }
    if work < THRESHOLD {
        let both = a.chunks_mut(a_piece).zip(b.chunks_mut(b_piece));
        both.enumerate().for_each(|(index, (a, b))| task(index, a, b));
    } else {
        let both = a.par_chunks_mut(a_piece).zip(b.par_chunks_mut(b_piece));
        both.enumerate().for_each(|(index, (a, b))| task(index, a, b));
    }
}
