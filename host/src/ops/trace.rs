//! What a part did with symbolic inputs: a graph of operations, for checks, and to be done again without the part.

use super::fused::FusedOp;
use candle_core::Tensor;
use std::collections::{BTreeMap, BTreeSet};
use stillhouse_plugin::op::{Meta, Op};

/// Where a value comes from that no operation made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaf {
    /// Value `tap`, frame `frame` of a port.
    Port {
        /// Name of the port.
        port: String,
        /// Which of its values.
        tap: usize,
        /// Which frame.
        frame: usize,
    },
    /// A parameter of the part.
    State(String),
    /// A buffer of the part.
    Buffer(String),
    /// Values that the part brought.
    Constant,
    /// Values drawn anew in each call.
    Random,
}

/// One node.
#[derive(Debug, Clone)]
pub enum Node {
    /// No operation made it.
    Leaf(Leaf),
    /// An operation on earlier nodes; several outputs are several nodes.
    Op {
        /// The operation.
        op: Op,
        /// Its inputs.
        inputs: Vec<usize>,
        /// Which output this is.
        output: usize,
    },
    /// An operation of the plugin's own.
    Fused {
        /// The operation.
        op: FusedOp,
        /// Its inputs.
        inputs: Vec<usize>,
    },
}

/// Nodes in the order in which they were made.
#[derive(Debug, Default)]
pub struct Trace {
    nodes: Vec<(Node, Meta)>,
    constants: BTreeMap<usize, Tensor>,
    varies: bool,
}

impl Trace {
    pub(super) fn push(&mut self, node: Node, meta: Meta) -> usize {
        self.nodes.push((node, meta));
        self.nodes.len() - 1
    }

    pub(super) fn push_constant(&mut self, value: Tensor, meta: Meta) -> usize {
        let node = self.push(Node::Leaf(Leaf::Constant), meta);
        self.constants.insert(node, value);
        node
    }

    /// Notes that the part asked for something that differs from call to call, or did something besides computing.
    pub(super) fn set_varying(&mut self) {
        self.varies = true;
    }

    /// Whether equal shapes need not give this graph again: the part asked where training stands, drew random numbers,
    /// changed a buffer, or wrote to the log.
    pub fn varies(&self) -> bool {
        self.varies
    }

    /// The values of a [`Leaf::Constant`].
    pub fn constant(&self, node: usize) -> Option<&Tensor> {
        self.constants.get(&node)
    }

    /// Node and result of an index.
    pub fn node(&self, index: usize) -> Option<(&Node, &Meta)> {
        self.nodes.get(index).map(|(node, meta)| (node, meta))
    }

    /// All nodes.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &(Node, Meta)> {
        self.nodes.iter()
    }

    /// The leaves that a gradient of `from` can reach.
    pub fn reachable(&self, from: usize) -> BTreeSet<Leaf> {
        let (mut seen, mut stack, mut leaves) = (BTreeSet::new(), vec![from], BTreeSet::new());
        while let Some(index) = stack.pop() {
            let Some((node, meta)) = self.node(index) else { continue };
            if !seen.insert(index) || !meta.dtype.is_float() {
                continue;
            }
            match node {
                Node::Leaf(leaf) => {
                    leaves.insert(leaf.clone());
                }
                Node::Op { op, inputs, output } => stack.extend(differentiable(op, inputs, *output)),
                Node::Fused { inputs, .. } => stack.extend(inputs),
            }
        }
        leaves
    }
}

/// The inputs through which the operation passes a gradient.
fn differentiable(op: &Op, inputs: &[usize], output: usize) -> Vec<usize> {
    match op {
        Op::Detach | Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => vec![],
        Op::Sign | Op::Floor | Op::ArgMax { .. } | Op::OneHot { .. } => vec![],
        Op::Where => inputs[1..].to_vec(),
        Op::BatchNormTrain { .. } if output > 0 => vec![],
        Op::BatchNormEval { .. } => inputs[..3].to_vec(),
        _ => inputs.to_vec(),
    }
}
