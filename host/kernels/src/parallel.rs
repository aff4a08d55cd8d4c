//! Fixed cutting of work: pieces depend on shapes, never on the number of threads.
//!
//! Tasks are called through `dyn`, once a piece: a parallel loop compiled for each task would be most of what a user of this
//! crate compiles.

use rayon::prelude::*;

/// Elements below which a kernel stays on the calling thread.
pub(crate) const THRESHOLD: usize = 1 << 15;

/// Elements of one piece of an elementwise loop.
pub(crate) const CHUNK: usize = 1 << 13;

type Task<'a, T> = &'a (dyn Fn(usize, &mut [T]) + Sync);
type Task2<'a, T, U> = &'a (dyn Fn(usize, &mut [T], &mut [U]) + Sync);

/// Runs `task(index, piece)` for consecutive pieces of `out`, in parallel when `work` (elements touched) is worth it.
pub(crate) fn pieces<T: Send>(out: &mut [T], piece: usize, work: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    each(out, piece.max(1), work, &task);
}

#[inline(never)]
fn each<T: Send>(out: &mut [T], piece: usize, work: usize, task: Task<'_, T>) {
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
    each2(first, second, work, &task);
}

#[inline(never)]
fn each2<T: Send, U: Send>(first: (&mut [T], usize), second: (&mut [U], usize), work: usize, task: Task2<'_, T, U>) {
    let ((a, a_piece), (b, b_piece)) = (first, second);
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

/// [`pieces`] of some outputs of one type cut alike: `sizes` are the lengths of their pieces.
pub(crate) fn pieces3<T: Send, const N: usize>(
    outputs: [&mut [T]; N],
    sizes: [usize; N],
    work: usize,
    task: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    let count = outputs[0].len().div_ceil(sizes[0].max(1));
    let last = count.saturating_sub(1);
    if count <= 1 {
        if count == 1 {
            task(0, outputs);
        }
        return;
    }
    // Halves at a border of pieces, until one piece is left.
    split(outputs, sizes, 0..last + 1, work >= THRESHOLD, &task);
}

fn split<T: Send, const N: usize>(
    outputs: [&mut [T]; N],
    sizes: [usize; N],
    range: std::ops::Range<usize>,
    parallel: bool,
    task: &(impl Fn(usize, [&mut [T]; N]) + Sync),
) {
    if range.len() == 1 {
        return task(range.start, outputs);
    }
    let middle = range.start + range.len() / 2;
    let mut right: [&mut [T]; N] = std::array::from_fn(|_| Default::default());
    let mut left: [&mut [T]; N] = std::array::from_fn(|_| Default::default());
    for (index, output) in outputs.into_iter().enumerate() {
        (left[index], right[index]) = output.split_at_mut((middle - range.start) * sizes[index]);
    }
    let (before, after) = (range.start..middle, middle..range.end);
    if parallel {
        rayon::join(|| split(left, sizes, before, parallel, task), || split(right, sizes, after, parallel, task));
    } else {
        split(left, sizes, before, parallel, task);
        split(right, sizes, after, parallel, task);
    }
}

/// [`pieces`] of any number of outputs, each with the length of its pieces, cut into equally many.
pub(crate) fn groups<T: Send>(
    outputs: Vec<(&mut [T], usize)>,
    work: usize,
    task: impl Fn(usize, &mut [&mut [T]]) + Sync,
) {
    let count = outputs.iter().map(|(output, piece)| output.len().div_ceil((*piece).max(1))).max().unwrap_or(0);
    let mut groups: Vec<Vec<&mut [T]>> = (0..count).map(|_| Vec::with_capacity(outputs.len())).collect();
    for (output, piece) in outputs {
        groups.iter_mut().zip(output.chunks_mut(piece.max(1))).for_each(|(group, piece)| group.push(piece));
    }
    pieces(&mut groups, 1, work, |index, group| group.iter_mut().for_each(|group| task(index, group)));
}
