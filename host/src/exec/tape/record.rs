//! What a forward leaves for the way back.

use super::backward::{Back, Backward, ParamGrad};
use crate::ops::ParamSet;
use crate::ops::native::Gradients;
use candle_core::{Result, Tensor};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// A layer on the tape: the layers that it reads, and its way back.
pub(super) struct Node {
    pub(super) inputs: Vec<usize>,
    pub(super) back: Box<dyn Back>,
}

/// One forward of one network, ready to go back: frame by frame where it runs over time.
pub struct Tape {
    pub(super) params: Rc<ParamSet>,
    /// In the order in which they ran.
    pub(super) frames: Vec<Frame>,
    /// Nothing is left to go back over.
    pub(super) spent: Cell<bool>,
}

/// One run of the graph. Points are its layers, by index.
pub(super) struct Frame {
    pub(super) nodes: Vec<RefCell<Option<Node>>>,
    /// Points that parts read or islands start from, as the tensors that these read.
    pub(super) leaves: Vec<(usize, Tensor)>,
    /// The batch norm whose output, or whose output behind an activation, a point is.
    pub(super) norm_of: Vec<Option<usize>>,
    pub(super) channels: Vec<usize>,
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} frames)", self.frames.len())
    }
}

impl Tape {
    /// Gradients of the trained parameters, from those of the tapped points in `store`.
    ///
    /// # Errors
    /// A layer that runs on candle fails, or the tape is spent.
    pub fn backward(&self, store: &Gradients) -> Result<Vec<ParamGrad>> {
        Backward::run(self, store, false)
    }

    /// [`Tape::backward`] for the last time: what a layer kept is free for gradients as soon as the layer has handed on its own.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn spend(&self, store: &Gradients) -> Result<Vec<ParamGrad>> {
        Backward::run(self, store, true)
    }
}

impl Frame {
    /// How many layers read each point, on the way to a gradient.
    pub(super) fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.nodes.len()];
        for node in &self.nodes {
            node.borrow().iter().flat_map(|node| &node.inputs).for_each(|input| readers[*input] += 1);
        }
        readers
    }
}
