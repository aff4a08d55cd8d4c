//! Elementwise functions one after the other on a block of elements: what lies between them never leaves the cache.
//!
//! A [`Fusion`] numbers its values: first those that it reads, then the result of each step. All have `rows x width` elements; a
//! value that is read may be a part of the columns of something wider. The way back computes the values of a block again before it
//! takes the steps in reverse, so nothing between them has to be kept.

use crate::float::{Float, simd};
use crate::parallel::groups;
use std::mem::MaybeUninit;

/// Elements of a block: some twenty blocks fit the second level of a cache.
const BLOCK: usize = 512;

/// Elements of a task.
const TASK: usize = 1 << 13;

/// A function of one or two numbers, element by element.
pub trait Elementwise<T>: Send + Sync {
    /// How many numbers it reads: 1 or 2.
    fn arity(&self) -> usize;

    /// Whether it has a gradient.
    fn is_smooth(&self) -> bool {
        true
    }

    /// `out = f(a, b)`; a function of one number reads `a` alone.
    fn value(&self, ins: [&[T]; 2], out: &mut [T]);

    /// The gradient of input `which` from that of the output.
    fn slope(&self, which: usize, call: Back<'_, T>, to: &mut [T]);
}

/// What the gradient of a function is made of.
#[derive(Debug, Clone, Copy)]
pub struct Back<'a, T> {
    /// Its inputs; one input stands twice.
    pub ins: [&'a [T]; 2],
    /// Its output.
    pub out: &'a [T],
    /// The gradient of the output.
    pub grad: &'a [T],
}

/// A function and the numbers of the values that it reads; a function of one value names it twice.
pub struct Step<'a, T> {
    /// The function.
    pub function: &'a dyn Elementwise<T>,
    /// Earlier values.
    pub ins: [usize; 2],
}

/// Columns of a matrix: element `(row, column)` is `data[row * stride + start + column]`.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a, T> {
    /// The whole matrix.
    pub data: &'a [T],
    /// Its width.
    pub stride: usize,
    /// The first column.
    pub start: usize,
}

/// A gradient that is wanted: of a matrix `stride` wide, by its parts `(value, first column)`, which do not overlap.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The matrix's width.
    pub stride: usize,
    /// Which values are columns of it.
    pub parts: Vec<(usize, usize)>,
}

/// Steps over `rows x width` elements.
pub struct Fusion<'a, T> {
    /// Rows of every value.
    pub rows: usize,
    /// Columns of every value.
    pub width: usize,
    /// Values that are read.
    pub inputs: Vec<Columns<'a, T>>,
    /// In order.
    pub steps: Vec<Step<'a, T>>,
}

impl<T: Float> Fusion<'_, T> {
    /// The values of these numbers, each `[rows, width]`.
    pub fn forward(&self, outputs: &[usize]) -> Vec<Vec<T>> {
        let sizes = vec![self.width; outputs.len()];
        self.filled(&sizes, |first, parts| {
            T::scratch(self.count() * BLOCK, |values| {
                for block in self.blocks(first) {
                    self.compute(block, values);
                    for (value, part) in outputs.iter().zip(parts.iter_mut()) {
                        block.write(&values[value * BLOCK..], part, self.width, 0);
                    }
                }
            });
        })
    }

    /// Gradients of what is wanted, each `[rows, stride]` and 0 in columns of no part, from those of some values, `[rows, width]`.
    pub fn backward(&self, grads: &[(usize, &[T])], wanted: &[Wanted]) -> Vec<Vec<T>> {
        let needs = self.needs(wanted);
        let sizes: Vec<usize> = wanted.iter().map(|wanted| wanted.stride).collect();
        self.filled(&sizes, |first, parts| {
            for (wanted, part) in wanted.iter().zip(parts.iter_mut()) {
                if wanted.parts.len() * self.width < wanted.stride {
                    part.fill(MaybeUninit::new(T::ZERO));
                }
            }
            let len = self.count() * BLOCK;
            T::scratch(2 * len + BLOCK, |scratch| {
                let (values, slopes) = scratch.split_at_mut(len);
                let mut known = vec![false; self.count()];
                for block in self.blocks(first) {
                    self.compute(block, values);
                    self.walk(block, values, slopes, grads, (&needs, &mut known));
                    for (wanted, part) in wanted.iter().zip(parts.iter_mut()) {
                        for (value, start) in &wanted.parts {
                            let slope = &mut slopes[value * BLOCK..][..block.len()];
                            if !known[*value] {
                                slope.fill(T::ZERO);
                            }
                            block.write(slope, part, wanted.stride, *start);
                        }
                    }
                }
            });
        })
    }

    fn count(&self) -> usize {
        self.inputs.len() + self.steps.len()
    }

    /// By value: whether something that is wanted depends on its gradient.
    fn needs(&self, wanted: &[Wanted]) -> Vec<bool> {
        let mut needs = vec![false; self.count()];
        wanted.iter().flat_map(|wanted| &wanted.parts).for_each(|(value, _)| needs[*value] = true);
        for (at, step) in self.steps.iter().enumerate() {
            needs[self.inputs.len() + at] = step.function.is_smooth() && step.ins.iter().any(|value| needs[*value]);
        }
        needs
    }

    /// All values of a block.
    fn compute(&self, block: Block, values: &mut [T]) {
        for (input, to) in self.inputs.iter().zip(values.chunks_exact_mut(BLOCK)) {
            block.read(input, to);
        }
        for (at, step) in self.steps.iter().enumerate() {
            let (before, out) = values.split_at_mut((self.inputs.len() + at) * BLOCK);
            let ins = step.ins.map(|value| &before[value * BLOCK..][..block.len()]);
            step.function.value(ins, &mut out[..block.len()]);
        }
    }

    /// Gradients of a block, from the last step to the first; `known` says afterwards which values have one.
    fn walk(
        &self,
        block: Block,
        values: &[T],
        slopes: &mut [T],
        grads: &[(usize, &[T])],
        (needs, known): (&[bool], &mut [bool]),
    ) {
        known.fill(false);
        for (value, data) in grads {
            block.read(&Columns { data, stride: self.width, start: 0 }, &mut slopes[value * BLOCK..]);
            known[*value] = true;
        }
        let (slopes, more) = slopes.split_at_mut(self.count() * BLOCK);
        for (at, step) in self.steps.iter().enumerate().rev() {
            let number = self.inputs.len() + at;
            if !(known[number] && needs[number]) {
                continue;
            }
            let (before, grad) = slopes.split_at_mut(number * BLOCK);
            let of = |value: usize| &values[value * BLOCK..][..block.len()];
            let call = Back { ins: step.ins.map(of), out: of(number), grad: &grad[..block.len()] };
            for (which, value) in step.ins.into_iter().enumerate().take(step.function.arity()) {
                let slope = &mut before[value * BLOCK..][..block.len()];
                if needs[value] && known[value] {
                    step.function.slope(which, call, &mut more[..block.len()]);
                    simd(|| slope.iter_mut().zip(&*more).for_each(|(slope, more)| *slope += *more));
                } else if needs[value] {
                    step.function.slope(which, call, slope);
                    known[value] = true;
                }
            }
        }
    }

    /// Rows of a task.
    fn task(&self) -> usize {
        TASK.div_ceil(self.width.max(1))
    }

    /// Matrices of all rows, `sizes` wide, of which `fill(first row, rows of a task)` writes each element.
    fn filled(&self, sizes: &[usize], fill: impl Fn(usize, &mut [&mut [MaybeUninit<T>]]) + Sync) -> Vec<Vec<T>> {
        let mut made: Vec<Vec<T>> = sizes.iter().map(|size| Vec::with_capacity(self.rows * size)).collect();
        let spare = made.iter_mut().zip(sizes);
        let spare = spare.map(|(made, size)| (&mut made.spare_capacity_mut()[..self.rows * size], self.task() * size));
        // As one elementwise operation decides: a short chain is over before another thread has woken.
        groups(spare.collect(), self.rows * self.width, |index, parts| fill(index * self.task(), parts));
        for (made, size) in made.iter_mut().zip(sizes) {
            // SAFETY: tasks cover all rows, and write each element of theirs.
            unsafe { made.set_len(self.rows * size) };
        }
        made
    }

    /// Blocks of the task whose first row is `first`.
    fn blocks(&self, first: usize) -> impl Iterator<Item = Block> {
        let (rows, width) = (self.task().min(self.rows - first), self.width);
        let at_once = (BLOCK / width.max(1)).max(1);
        (0..rows).step_by(at_once).flat_map(move |row| {
            (0..width).step_by(BLOCK).map(move |column| Block {
                first,
                row,
                rows: at_once.min(rows - row),
                column,
                columns: BLOCK.min(width - column),
            })
        })
    }
}

/// Elements of some rows and columns of a task. In a scratch buffer they lie densely.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// First row of the task.
    first: usize,
    /// First row, in the task.
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

impl Block {
    fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// From columns of a matrix of all rows.
    fn read<T: Copy>(&self, from: &Columns<'_, T>, to: &mut [T]) {
        let start = (self.first + self.row) * from.stride + from.start + self.column;
        if from.stride == self.columns {
            return to[..self.len()].copy_from_slice(&from.data[start..][..self.len()]);
        }
        for (row, to) in to[..self.len()].chunks_exact_mut(self.columns).enumerate() {
            to.copy_from_slice(&from.data[start + row * from.stride..][..self.columns]);
        }
    }

    /// To columns from `start` on of the task's rows, `stride` wide.
    fn write<T: Copy>(&self, from: &[T], to: &mut [MaybeUninit<T>], stride: usize, start: usize) {
        let start = self.row * stride + start + self.column;
        if stride == self.columns {
            to[start..][..self.len()].write_copy_of_slice(&from[..self.len()]);
            return;
        }
        for (row, from) in from[..self.len()].chunks_exact(self.columns).enumerate() {
            to[start + row * stride..][..self.columns].write_copy_of_slice(from);
        }
    }
}
