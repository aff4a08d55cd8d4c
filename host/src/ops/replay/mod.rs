//! A part's run done again without the part: the operations of its trace, on candle's tape.
//!
//! Equal shapes give an equal graph unless the part asks for something that differs from call to call ([`Trace::varies`]) or
//! reads values. So the boundary is crossed once for each combination of shapes, and the first crossing is compared with its
//! repetition, bit by bit, before a repetition counts.

mod fuse;
mod merge;
mod surface;
#[cfg(test)]
mod tests;

pub use surface::Surface;

use super::eager::{meta_of, run as run_op, to_bytes};
use super::fused::FusedOp;
use super::native;
use super::params::ParamSet;
use super::part::{Given, PortIn, Traced};
use super::trace::{Leaf, Node, Trace};
use candle_core::{Result, Tensor};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::rc::Rc;
use stillhouse_plugin::op::{Meta, Op};

/// So many combinations of shapes are known to one part at a time.
const MOST: usize = 8;

type Nodes = SmallVec<[usize; 4]>;

enum Make {
    Port {
        port: usize,
        value: usize,
    },
    State(String),
    Constant(Tensor),
    Op(Op),
    Fused(FusedOp),
    /// `factor * sum (a - b)^2`.
    SquaredDistance(f64),
    /// Elementwise operations.
    Together(Rc<native::Fusion>),
}

struct Step {
    make: Make,
    inputs: Nodes,
    outputs: SmallVec<[usize; 1]>,
    /// Values that no later step reads.
    last: Nodes,
}

/// What a run gives, by role and name.
struct Output {
    role: u32,
    name: String,
    node: usize,
}

/// The operations of one combination of shapes.
struct Graph {
    steps: Vec<Step>,
    outputs: Vec<Output>,
    nodes: usize,
}

/// Shapes of a port.
struct PortShape {
    name: String,
    frames: usize,
    values: Vec<Meta>,
}

/// What is known of each combination of shapes: a graph, or that the part must be asked.
#[derive(Default)]
pub(super) struct Replays(Vec<(Vec<PortShape>, Option<Graph>)>);

impl Replays {
    /// The entry of these shapes.
    fn find(&self, ports: &[PortIn<'_>]) -> Option<&Option<Graph>> {
        let fits = |(shapes, _): &&(Vec<PortShape>, Option<Graph>)| {
            shapes.len() == ports.len() && shapes.iter().zip(ports).all(|(shape, port)| shape.fits(port))
        };
        self.0.iter().find(fits).map(|(_, graph)| graph)
    }

    /// Whether nothing is known of these shapes yet.
    pub(super) fn is_new(&self, ports: &[PortIn<'_>]) -> bool {
        self.find(ports).is_none()
    }

    /// The run, from what is known; `None` when the part must be asked (also for the message of an operation that fails).
    pub(super) fn run(&self, ports: &[PortIn<'_>], params: &ParamSet) -> Option<Given> {
        self.find(ports)?.as_ref()?.run(ports, params).ok()
    }

    /// Learns from a trace of new shapes. `cross` asks the part; where it asks for nothing that varies, and its graph gives the same to the bit, that counts from this
    /// run on, so that all runs are equal, their gradients included.
    pub(super) fn learn<E>(
        &mut self,
        ports: &[PortIn<'_>],
        traced: Option<Traced>,
        params: &ParamSet,
        cross: impl Fn() -> std::result::Result<Given, E>,
    ) -> std::result::Result<Given, E> {
        let mut graph = traced.and_then(|traced| Graph::of(&traced, ports));
        let mut given = None;
        if let Some(found) = &graph {
            let crossed = native::Record::aside(&cross)?;
            given = found.run(ports, params).ok().filter(|again| !crossed.varies && is_same(again, &crossed));
        }
        if given.is_none() {
            graph = None;
        }
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push((ports.iter().map(PortShape::of).collect(), graph));
        given.map_or_else(cross, Ok)
    }
}

impl PortShape {
    fn of(port: &PortIn<'_>) -> PortShape {
        PortShape {
            name: port.name.clone().into_owned(),
            frames: port.frames,
            values: port.values.iter().map(meta_of).collect(),
        }
    }

    fn fits(&self, port: &PortIn<'_>) -> bool {
        let same = |(meta, value): (&Meta, &Tensor)| {
            meta.shape == value.dims() && meta.dtype == super::from_meta_dtype(value.dtype())
        };
        self.frames == port.frames
            && self.name == port.name
            && self.values.len() == port.values.len()
            && self.values.iter().zip(&port.values).all(same)
    }
}

impl Graph {
    /// `None` when the trace cannot stand for the part.
    fn of(traced: &Traced, ports: &[PortIn<'_>]) -> Option<Graph> {
        let trace = &traced.trace;
        if trace.varies() {
            return None;
        }
        let output = |(role, name, _, node): &(u32, String, Meta, usize)| Output {
            role: *role,
            name: name.clone(),
            node: *node,
        };
        let outputs: Vec<Output> = traced.results.iter().map(output).collect();
        let mut steps = steps(trace, ports)?;
        let metas: Vec<Meta> = trace.nodes().map(|(_, meta)| meta.clone()).collect();
        merge::distances(&mut steps, &outputs, &metas);
        let mut steps = fuse::pointwise_runs(steps, &outputs, &metas);
        note_last_readers(&mut steps, &outputs);
        Some(Graph { steps, outputs, nodes: trace.nodes().len() })
    }

    fn run(&self, ports: &[PortIn<'_>], params: &ParamSet) -> Result<Given> {
        let mut values: SmallVec<[Option<Tensor>; 32]> = SmallVec::new();
        values.resize(self.nodes, None);
        for step in &self.steps {
            let made = step.run(&values, ports, params)?;
            step.outputs.iter().zip(made).for_each(|(node, value)| values[*node] = Some(value));
            step.last.iter().for_each(|node| values[*node] = None);
        }
        let mut given = Given::default();
        for output in &self.outputs {
            let Some(value) = values[output.node].clone() else { candle_core::bail!("no value") };
            given.take(output.role, output.name.clone(), value);
        }
        Ok(given)
    }
}

impl Step {
    fn run(&self, values: &[Option<Tensor>], ports: &[PortIn<'_>], params: &ParamSet) -> Result<SmallVec<[Tensor; 1]>> {
        let missing = || candle_core::Error::Msg("no value".into());
        let inputs: SmallVec<[&Tensor; 4]> = self.inputs.iter().filter_map(|node| values[*node].as_ref()).collect();
        Ok(match &self.make {
            Make::Port { port, value } => smallvec::smallvec![ports[*port].values[*value].clone()],
            Make::State(name) => smallvec::smallvec![params.value(name).ok_or_else(missing)?],
            Make::Constant(value) => smallvec::smallvec![value.clone()],
            Make::Op(op) => run_op(op, &inputs, params.device())?.into(),
            Make::Fused(op) => smallvec::smallvec![op.run(&inputs)?],
            Make::SquaredDistance(factor) => {
                smallvec::smallvec![native::squared_distance(inputs[0], inputs[1], *factor)?]
            }
            Make::Together(fusion) => fusion.run(&inputs)?.into_iter().collect(),
        })
    }
}

/// The nodes of a trace in order, outputs of one operation together; those that nothing needs stay, as in the part's run.
fn steps(trace: &Trace, ports: &[PortIn<'_>]) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = vec![];
    for (index, (node, _)) in trace.nodes().enumerate() {
        let (make, inputs) = match node {
            Node::Op { output, .. } if *output > 0 => {
                steps.last_mut()?.outputs.push(index);
                continue;
            }
            Node::Op { op, inputs, .. } => (Make::Op(op.clone()), inputs.as_slice()),
            Node::Fused { op, inputs } => (Make::Fused(op.clone()), inputs.as_slice()),
            Node::Leaf(leaf) => (of_leaf(leaf, trace.constant(index), ports)?, &[][..]),
        };
        let inputs = inputs.iter().copied().collect();
        steps.push(Step { make, inputs, outputs: smallvec::smallvec![index], last: Nodes::new() });
    }
    Some(steps)
}

fn of_leaf(leaf: &Leaf, constant: Option<&Tensor>, ports: &[PortIn<'_>]) -> Option<Make> {
    Some(match leaf {
        Leaf::Port { port, tap, frame } => {
            let index = ports.iter().position(|given| given.name == *port)?;
            Make::Port { port: index, value: tap * ports[index].frames.max(1) + frame }
        }
        Leaf::State(name) | Leaf::Buffer(name) => Make::State(name.clone()),
        Leaf::Constant => Make::Constant(constant?.clone()),
        Leaf::Random => return None,
    })
}

/// How often each node is read, by steps and as an output.
fn readers(steps: &[Step], outputs: &[Output]) -> HashMap<usize, usize> {
    let mut readers = HashMap::new();
    let read = steps.iter().flat_map(|step| &step.inputs).chain(outputs.iter().map(|output| &output.node));
    read.for_each(|node| *readers.entry(*node).or_default() += 1);
    readers
}

fn note_last_readers(steps: &mut [Step], outputs: &[Output]) {
    let mut last: HashMap<usize, usize> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        last.extend(step.outputs.iter().chain(&step.inputs).map(|node| (*node, at)));
    }
    for output in outputs {
        last.remove(&output.node);
    }
    last.into_iter().for_each(|(node, at)| steps[at].last.push(node));
}

/// Same results, to the bit; a part that gives more than results is never the same.
fn is_same(again: &Given, given: &Given) -> bool {
    let same = |a: &Tensor, b: &Tensor| {
        a.dims() == b.dims() && a.dtype() == b.dtype() && matches!((to_bytes(a), to_bytes(b)), (Ok(a), Ok(b)) if a == b)
    };
    let all = |a: &[(String, Tensor)], b: &[(String, Tensor)]| {
        a.len() == b.len() && a.iter().zip(b).all(|((a_name, a), (b_name, b))| a_name == b_name && same(a, b))
    };
    let output = match (&again.output, &given.output) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        _ => false,
    };
    let nothing_else = given.staged.is_empty() && given.emitted.is_empty() && given.log.is_empty();
    nothing_else
        && output
        && all(&again.terms, &given.terms)
        && all(&again.state, &given.state)
        && all(&again.values, &given.values)
}

/// The types of values that a graph can be made for.
pub(super) fn is_traceable(ports: &[PortIn<'_>]) -> bool {
    ports.iter().flat_map(|port| &port.values).all(|value| {
        let dtype = super::from_meta_dtype(value.dtype());
        super::to_candle_dtype(dtype) == value.dtype()
    })
}
