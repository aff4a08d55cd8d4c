//! Elementwise operations of a graph that run together, block by block, without the values between them in memory.

use super::{Make, Output, Step, readers};
use crate::ops::native::{Fusion, Read};
use crate::ops::pointwise::pointwise;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use stillhouse_plugin::op::{Meta, Op};

/// So many functions run together: their blocks are to stay in the cache.
const MOST: usize = 32;

/// Puts one step in the place of consecutive elementwise ones over values of one shape, with the parts of larger values that they
/// read.
pub(super) fn pointwise_runs(steps: Vec<Step>, outputs: &[Output], metas: &[Meta]) -> Vec<Step> {
    let readers = readers(&steps, outputs);
    let (mut made, mut run) = (vec![], vec![]);
    for step in steps {
        if step.inputs.is_empty() {
            // It waits for nothing.
            made.push(step);
            continue;
        }
        let may = is_elementwise(&step, metas);
        if !may || !fits(&run, &step, metas) {
            close(&mut run, &mut made, &readers);
        }
        if may { run.push(step) } else { made.push(step) }
    }
    close(&mut run, &mut made, &readers);
    made
}

/// Whether a step may run with others: a function of values of one shape and type, or a part of a value.
fn is_elementwise(step: &Step, metas: &[Meta]) -> bool {
    let (Make::Op(op), [node]) = (&step.make, step.outputs.as_slice()) else { return false };
    let meta = &metas[*node];
    let same_type = step.inputs.iter().all(|input| metas[*input].dtype == meta.dtype);
    let same_shape = || step.inputs.iter().all(|input| metas[*input].shape == meta.shape);
    meta.dtype.is_float() && same_type && (part(step).is_some() || (same_shape() && pointwise(op).is_some()))
}

/// Whether a step belongs to a run: values of the same shape, and no part of what the run makes.
fn fits(run: &[Step], step: &Step, metas: &[Meta]) -> bool {
    let Some(first) = run.first() else { return true };
    let (of_run, meta) = (&metas[first.outputs[0]], &metas[step.outputs[0]]);
    let made_here = |node: &usize| run.iter().any(|before| before.outputs[0] == *node);
    of_run.shape == meta.shape
        && of_run.dtype == meta.dtype
        && !(part(step).is_some() && step.inputs.iter().any(made_here))
        && run.len() < MOST
}

/// Ends a run.
fn close(run: &mut Vec<Step>, made: &mut Vec<Step>, readers: &HashMap<usize, usize>) {
    let steps = std::mem::take(run);
    match Plan::of(&steps, readers) {
        Some(plan) => plan.put(steps, made),
        None => made.extend(steps),
    }
}

/// How steps run together.
struct Plan {
    /// Nodes of the tensors that are given.
    tensors: Vec<usize>,
    reads: Vec<Read>,
    /// The number of each node's value.
    values: HashMap<usize, usize>,
    /// Nodes that others read.
    outputs: Vec<usize>,
    /// Nodes of the parts that are read in place.
    parts: HashSet<usize>,
}

impl Plan {
    /// `None` when there is nothing to gain.
    fn of(steps: &[Step], readers: &HashMap<usize, usize>) -> Option<Plan> {
        let inside = |node: usize| steps.iter().flat_map(|step| &step.inputs).filter(|input| **input == node).count();
        let is_read = |node: usize| readers.get(&node).is_some_and(|count| *count > inside(node));
        let functions = || steps.iter().filter(|step| part(step).is_none());
        let outputs: Vec<usize> = functions().map(|step| step.outputs[0]).filter(|node| is_read(*node)).collect();
        let any_idle = functions().any(|step| !is_read(step.outputs[0]) && inside(step.outputs[0]) == 0);
        if functions().count() < 2 || outputs.is_empty() || any_idle {
            return None;
        }
        let mut plan = Plan { tensors: vec![], reads: vec![], values: HashMap::new(), outputs, parts: HashSet::new() };
        for step in steps.iter().filter(|step| !is_read(step.outputs[0])) {
            if let Some(part) = part(step) {
                plan.read_part(step, part);
            }
        }
        let made: HashSet<usize> = functions().map(|step| step.outputs[0]).collect();
        for node in functions().flat_map(|step| &step.inputs).filter(|node| !made.contains(node)) {
            if !plan.values.contains_key(node) {
                let tensor = plan.tensor(*node);
                plan.read(*node, Read { tensor, part: None });
            }
        }
        for (at, step) in functions().enumerate() {
            plan.values.insert(step.outputs[0], plan.reads.len() + at);
        }
        Some(plan)
    }

    /// Reads a part in place when it is along the dim of the others and overlaps none.
    fn read_part(&mut self, step: &Step, part: [usize; 3]) {
        let tensor = self.tensor(step.inputs[0]);
        let apart = |read: &Read| {
            read.part.is_none_or(|[dim, start, len]| {
                dim == part[0] && (read.tensor != tensor || start + len <= part[1] || part[1] + part[2] <= start)
            })
        };
        let read = Read { tensor, part: Some(part) };
        if self.reads.contains(&read) || self.reads.iter().all(apart) {
            self.read(step.outputs[0], read);
            self.parts.insert(step.outputs[0]);
        }
    }

    fn tensor(&mut self, node: usize) -> usize {
        let known = self.tensors.iter().position(|tensor| *tensor == node);
        known.unwrap_or_else(|| {
            self.tensors.push(node);
            self.tensors.len() - 1
        })
    }

    fn read(&mut self, node: usize, read: Read) {
        let known = self.reads.iter().position(|before| *before == read);
        let value = known.unwrap_or_else(|| {
            self.reads.push(read);
            self.reads.len() - 1
        });
        self.values.insert(node, value);
    }

    /// Parts that are not read in place are steps of their own, before.
    fn put(self, steps: Vec<Step>, made: &mut Vec<Step>) {
        let mut functions = vec![];
        for step in steps {
            if part(&step).is_some() {
                if !self.parts.contains(&step.outputs[0]) {
                    made.push(step);
                }
            } else if let Make::Op(op) = &step.make
                && let Some(function) = pointwise(op)
            {
                let value = |at: usize| self.values[&step.inputs[at.min(step.inputs.len() - 1)]];
                functions.push((function, [value(0), value(1)]));
            }
        }
        let outputs = self.outputs.iter().map(|node| self.values[node]).collect();
        made.push(Step {
            make: Make::Together(Rc::new(Fusion { reads: self.reads, steps: functions, outputs })),
            inputs: self.tensors.into_iter().collect(),
            outputs: self.outputs.into_iter().collect(),
            last: Default::default(),
        });
    }
}

fn part(step: &Step) -> Option<[usize; 3]> {
    match &step.make {
        Make::Op(Op::Narrow { dim, start, len }) => Some([*dim, *start, *len]),
        _ => None,
    }
}
