//! What a part did with symbolic inputs: a graph of operations, for checks now and for executors later.

use std::collections::BTreeSet;
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
    /// A parameter or buffer of the part.
    State(String),
    /// A constant or random values.
    Constant,
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
        /// Its name.
        name: String,
        /// Its inputs.
        inputs: Vec<usize>,
    },
}

/// Nodes in the order in which they were made.
#[derive(Debug, Default)]
pub struct Trace {
    nodes: Vec<(Node, Meta)>,
}

impl Trace {
    pub(super) fn push(&mut self, node: Node, meta: Meta) -> usize {
        self.nodes.push((node, meta));
        self.nodes.len() - 1
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
