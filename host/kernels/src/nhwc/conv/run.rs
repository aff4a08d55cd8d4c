//! One pass through a convolution: pieces of the batch, each with its copies, its tiles and what follows them.

use super::after::{After, Pass};
use super::lanes::{Job, Lanes};
use super::layout::{Fill, Source};
use super::method::{Method, with_points};
use super::pack::Block;
use super::plan::Plan;
use super::scratch::{scratch, zeroed_f64};
use super::tile::{Finish, Line};
use rayon::prelude::*;
use std::ops::Range;

/// Memory that chunks write apart from each other.
#[derive(Clone, Copy)]
pub(super) struct Shared<T>(pub(super) *mut T);

// SAFETY: each chunk writes elements of its own.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(super) fn at(self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

/// Work below which a pass stays on the calling thread.
const ALONE: usize = 1 << 16;

/// Chunks of a pass at most: enough to share among threads, few enough to add their sums.
const CHUNKS: usize = 64;

/// Floats of weights that no cache keeps from one piece to the next.
const HEAVY: usize = 4 << 20;

/// Some images, or a band of rows of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) image: usize,
    pub(super) images: usize,
    /// First row (of a phase) and number of rows.
    pub(super) row: usize,
    pub(super) rows: usize,
}

/// The pieces of a batch, in chunks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// The first image.
    first: usize,
    batch: usize,
    rows: usize,
    band: usize,
    bands: usize,
    pub(super) together: usize,
    pieces: usize,
    pub(super) chunks: usize,
}

impl Cut {
    /// At most `chunks` chunks of a batch.
    pub(super) fn new(plan: &Plan, batch: usize, chunks: usize) -> Self {
        Self::of(plan, 0..batch, plan.together(batch), chunks)
    }

    /// Pieces of `together` images.
    fn of(plan: &Plan, images: Range<usize>, together: usize, chunks: usize) -> Self {
        let (rows, band, bands) = (plan.rows(), plan.band, plan.bands());
        let (first, batch) = (images.start, images.len());
        let pieces = batch.div_ceil(together) * bands;
        Self { first, batch, rows, band, bands, together, pieces, chunks: pieces.min(chunks) }
    }

    /// The pieces of a chunk.
    pub(super) fn pieces(self, chunk: usize) -> impl Iterator<Item = Piece> {
        let [from, to] = [chunk, chunk + 1].map(|chunk| chunk * self.pieces / self.chunks);
        (from..to).map(move |piece| {
            let (image, row) = (piece / self.bands * self.together, piece % self.bands * self.band);
            let images = self.together.min(self.batch - image);
            Piece { image: self.first + image, images, row, rows: self.band.min(self.rows - row) }
        })
    }

    /// Runs each chunk, in parallel when `work` (products) is worth it.
    pub(super) fn run(&self, work: usize, task: impl Fn(usize) + Sync + Send) {
        if work < ALONE || self.chunks == 1 {
            (0..self.chunks).for_each(task);
        } else {
            (0..self.chunks).into_par_iter().for_each(task);
        }
    }
}

/// Where a piece's source lies: its first pixel, and the step between images.
#[derive(Clone, Copy)]
pub(super) struct From {
    pub(super) values: *const f32,
    pub(super) image: usize,
}

/// How a destination is made.
#[derive(Clone, Copy)]
pub(super) struct Make<'a> {
    pub(super) plan: &'a Plan,
    pub(super) weights: &'a [f32],
    /// The whole destination.
    pub(super) to: Shared<f32>,
    /// `residual` as long as the destination.
    pub(super) finish: Finish,
    pub(super) after: Option<After<'a>>,
    /// No second-level cache holds the destination: its lines are fetched before they are written.
    pub(super) far: bool,
}

// SAFETY: pointers of `finish` are read only, or read where the chunk itself writes afterwards.
unsafe impl Sync for Make<'_> {}

impl Make<'_> {
    /// Makes the whole destination; `sums` `[2 * channels]` gets the sums of what follows.
    ///
    /// # Safety
    /// Source, destination and weights have the lengths of the plan and `batch`.
    pub(super) unsafe fn all(&self, source: Source, batch: usize, sums: Option<&mut [f64]>) {
        let together = match &sums {
            // Which images are together is seen in the last bits of sums alone.
            None if self.weights.len() > HEAVY => self.plan.together_of_heavy(batch, rayon::current_num_threads()),
            _ => self.plan.together(batch),
        };
        let cut = Cut::of(self.plan, 0..batch, together, CHUNKS);
        let size = 2 * self.plan.made();
        let partial = if sums.is_some() { cut.chunks * size } else { 0 };
        zeroed_f64(partial, |partial| {
            let shared = Shared(if sums.is_some() { partial.as_mut_ptr() } else { std::ptr::null_mut() });
            cut.run(self.plan.shape.work() * batch, |chunk| {
                let sums = if shared.0.is_null() { shared.0 } else { shared.at(chunk * size) };
                // SAFETY: the caller's contract; chunks are apart from each other.
                unsafe { self.plan.level.run(Chunk { make: self, source, cut: &cut, chunk, sums }) };
            });
            if let Some(sums) = sums {
                add_in_order(partial, sums);
            }
        });
    }

    /// Makes some images of the destination on this thread; `sums` as in [`Make::piece`].
    ///
    /// # Safety
    /// As [`Make::all`].
    pub(super) unsafe fn some(&self, source: Source, images: Range<usize>, sums: *mut f64) {
        let together = self.plan.fitting().min(images.len());
        let cut = Cut::of(self.plan, images, together, 1);
        // SAFETY: the caller's contract.
        unsafe { self.plan.level.run(Chunk { make: self, source, cut: &cut, chunk: 0, sums }) };
    }

    /// Makes a piece from its copy.
    ///
    /// # Safety
    /// As [`Make::all`], `from` is a copy of the piece's source.
    #[inline(always)]
    pub(super) unsafe fn piece<V: Lanes>(&self, from: From, piece: Piece, sums: *mut f64) {
        let plan = self.plan;
        // SAFETY: the caller's contract.
        unsafe {
            if let Some(method) = plan.winograd {
                with_points!(method, P, SIDE, OUTS => self.winograd::<V, P, SIDE, OUTS>(from, piece));
            } else if plan.depthwise {
                self.depthwise::<V>(from, piece);
            } else {
                plan.blocks().for_each(|block| self.block::<V>(from, piece, &block));
            }
        }
        let Some(after) = self.after else { return };
        let [_, [height, width]] = plan.sizes();
        let step = plan.steps[1][0];
        let [first, end] = [piece.row, piece.row + piece.rows].map(|row| (row * step).min(height));
        for image in piece.image..piece.image + piece.images {
            let first = (image * height + first) * width;
            let pixels = (end * width + image * height * width) - first;
            let values = self.to.0;
            // SAFETY: the caller's contract.
            unsafe { V::call(Pass { values, first, pixels, channels: plan.made(), after, sums }) };
        }
    }

    /// The channels of a block, for all pixels of a phase in the piece.
    #[inline(always)]
    unsafe fn block<V: Lanes>(&self, from: From, piece: Piece, block: &Block) {
        let plan = self.plan;
        let phase = &plan.phases[block.phase];
        if piece.row >= phase.size[0] {
            return;
        }
        let rows = piece.rows.min(phase.size[0] - piece.row);
        let [_, [height, width]] = plan.sizes();
        let made = plan.made();
        let channel = block.group * plan.made_group() + block.channel;
        let [[from_y, from_x], [to_y, to_x]] = plan.steps;
        let row = phase.origin[0] + piece.row * to_y;
        let pixel = ((piece.image * height + row) * width + phase.origin[1]) * made;
        let narrow = usize::from(plan.pairs);
        let grid = Grid {
            counts: [piece.images, rows, phase.size[1]],
            from: [from.image, (from_y * plan.layout.line()) >> narrow, (from_x * plan.layout.cell) >> narrow],
            to: [height * width * made, to_y * width * made, to_x * made],
        };
        let line = Line {
            segments: &phase.segments,
            from: from.values.wrapping_add(block.group * plan.group_step()),
            from_step: 0,
            weights: self.weights[block.offset..].as_ptr(),
            to: self.to.at(pixel + channel),
            to_step: 0,
            pixels: 0,
            vectors: block.lanes / V::N,
            last: block.channels - (block.lanes - V::N),
            finish: self.finish.at(pixel, channel),
            pairs: plan.pairs,
        };
        // SAFETY: the caller's contract.
        unsafe { grid.run::<V>(line) };
    }
}

/// Pixels of a phase: images, rows, columns, with the steps of source and destination.
#[derive(Clone, Copy)]
struct Grid {
    counts: [usize; 3],
    from: [usize; 3],
    to: [usize; 3],
}

impl Grid {
    /// Joins dimensions that follow on each other and takes the longest way through small ones.
    #[inline(always)]
    unsafe fn run<V: Lanes>(mut self, line: Line) {
        for outer in [1, 0] {
            let inner = 2;
            let [count, from, to] = [self.counts, self.from, self.to].map(|of| of[inner]);
            let skipped = outer == 0 && self.counts[1] > 1;
            if !skipped && self.from[outer] == count * from && self.to[outer] == count * to {
                self.counts[inner] *= std::mem::replace(&mut self.counts[outer], 1);
            }
        }
        let few = self.counts[2] <= V::ROWS[line.vectors - 1] / 2;
        let inner = if few && self.counts[0] > self.counts[2] { 0 } else { 2 };
        let others = if inner == 2 { [0, 1] } else { [1, 2] };
        for i in 0..self.counts[others[0]] {
            for j in 0..self.counts[others[1]] {
                let [from, to] = [self.from, self.to].map(|step| i * step[others[0]] + j * step[others[1]]);
                let line = Line {
                    from: line.from.wrapping_add(from),
                    from_step: self.from[inner],
                    to: line.to.wrapping_add(to),
                    to_step: self.to[inner],
                    pixels: self.counts[inner],
                    finish: line.finish.at(to, 0),
                    ..line
                };
                // SAFETY: the caller's contract.
                unsafe { line.run::<V>() };
            }
        }
    }
}

/// A chunk of a pass.
struct Chunk<'a> {
    make: &'a Make<'a>,
    source: Source<'a>,
    cut: &'a Cut,
    chunk: usize,
    sums: *mut f64,
}

impl Job for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let plan = self.make.plan;
        let copied = (plan.layout.image() * self.cut.together).next_multiple_of(2 * V::N);
        let in_place = plan.plain(&self.source).filter(|_| !plan.pairs);
        scratch(if in_place.is_some() { 0 } else { copied }, |copies| {
            for piece in self.cut.pieces(self.chunk) {
                // SAFETY: the contract of `Make::all`; copies hold the images of a piece.
                unsafe {
                    let from = match in_place {
                        Some(values) => plan.pixel_in_place(values, piece),
                        None => plan.copy::<V>(self.source, piece, copies.as_mut_ptr()),
                    };
                    self.make.piece::<V>(from, piece, self.sums);
                }
            }
        });
    }
}

impl Plan {
    /// The source, when its copy would equal it.
    pub(super) fn plain<'s>(&self, source: &'s Source) -> Option<&'s [f32]> {
        if self.in_place { source.plain() } else { None }
    }

    pub(super) fn pixel_in_place(&self, values: &[f32], piece: Piece) -> From {
        let [[height, width], _] = self.sizes();
        let image = height * width * self.taken();
        let row = piece.row * self.steps[0][0];
        From { values: values[piece.image * image + row * width * self.taken()..].as_ptr(), image }
    }

    /// Copies the source of a piece.
    ///
    /// # Safety
    /// `to` holds the images, the source has them.
    #[inline(always)]
    pub(super) unsafe fn copy<V: Lanes>(&self, source: Source, piece: Piece, to: *mut f32) -> From {
        let image = self.layout.image();
        let whole = self.winograd.map_or(1, Method::outs);
        let missing = (self.band - piece.rows) / whole * whole;
        let needed = self.layout.size[0] - missing * self.steps[0][0];
        if let Some(values) = self.plain(&source).filter(|_| self.pairs) {
            let from = self.pixel_in_place(values, piece).values;
            let count = (piece.images - 1) * image + needed * self.layout.line();
            // SAFETY: the source has the rows; a plan of pairs is made only where they can be multiplied.
            unsafe { V::call_pairs(Narrow { from, to, count }) };
            return From { values: to, image: image / 2 };
        }
        let only = self.shape.window.kernel[0] == 1 && self.steps[0][0] > 1;
        for index in 0..piece.images {
            let fill = Fill {
                source,
                layout: &self.layout,
                image: piece.image + index,
                size: self.sizes()[0],
                first: piece.row * self.steps[0][0],
                rows: needed,
                step: if only { self.steps[0][0] } else { 1 },
                to: to.wrapping_add(index * image),
            };
            // SAFETY: the caller's contract.
            unsafe { V::call(fill) };
        }
        if self.pairs {
            // SAFETY: as above.
            unsafe { V::call_pairs(Narrow { from: to, to, count: piece.images * image }) };
            return From { values: to, image: image / 2 };
        }
        From { values: to, image }
    }
}

/// Rounds to bf16; `to` may be `from`, and holds whole vectors.
struct Narrow {
    from: *const f32,
    to: *mut f32,
    count: usize,
}

impl Job for Narrow {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let whole = self.count / (2 * V::N) * (2 * V::N);
        // SAFETY: two vectors are read before the first half of them is written.
        unsafe {
            for at in (0..whole).step_by(2 * V::N) {
                let from = self.from.add(at);
                V::narrow([V::load(from), V::load(from.add(V::N))]).store(self.to.add(at / 2));
            }
            let rest = self.count - whole;
            if rest > 0 {
                let from = self.from.add(whole);
                let first = V::load_some(from, rest.min(V::N));
                let second = V::load_some(from.wrapping_add(V::N), rest.saturating_sub(V::N));
                V::narrow([first, second]).store(self.to.add(whole / 2));
            }
        }
    }
}

/// Adds the pieces of `partial`, first to last.
pub(super) fn add_in_order(partial: &[f64], sums: &mut [f64]) {
    sums.fill(0.0);
    for partial in partial.chunks_exact(sums.len()) {
        sums.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += *partial);
    }
}
