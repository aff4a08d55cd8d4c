//! Values of one call and how each came about.

use super::array::Array;
use super::kernels;
use crate::abi::{
    Element, FusedBox, View, ViewMut,
    abi_stable::std_types::{RResult, RSlice, RSliceMut},
};
use crate::op::{DType, Meta, Op};
use std::rc::Rc;

/// Place of a node.
pub(super) type NodeId = usize;

/// What computed a node.
enum Origin {
    /// Nothing: an input, a parameter, a constant.
    Leaf,
    /// An operation of the table.
    Op(Op, Vec<NodeId>),
    /// An operation of the plugin.
    Fused(Rc<FusedBox>, Vec<NodeId>),
}

struct Node {
    meta: Meta,
    /// `None` in a trace.
    array: Option<Rc<Array>>,
    origin: Origin,
    /// True when a gradient is wanted.
    tracked: bool,
}

/// Nodes in the order in which they were made.
#[derive(Default)]
pub(super) struct Tape {
    nodes: Vec<Node>,
}

impl Tape {
    fn push(&mut self, meta: Meta, array: Option<Array>, origin: Origin, tracked: bool) -> NodeId {
        let tracked = tracked && kernels::carries(meta.dtype);
        self.nodes.push(Node { meta, array: array.map(Rc::new), origin, tracked });
        self.nodes.len() - 1
    }

    /// A value from outside; `None` for a symbol.
    pub(super) fn leaf(&mut self, meta: Meta, array: Option<Array>, tracked: bool) -> NodeId {
        self.push(meta, array, Origin::Leaf, tracked)
    }

    pub(super) fn meta(&self, id: NodeId) -> &Meta {
        &self.nodes[id].meta
    }

    /// The values; `None` in a trace.
    pub(super) fn array(&self, id: NodeId) -> Option<Rc<Array>> {
        self.nodes[id].array.clone()
    }

    fn any_tracked(&self, inputs: &[NodeId]) -> bool {
        inputs.iter().any(|input| self.nodes[*input].tracked)
    }

    fn arrays(&self, inputs: &[NodeId]) -> Option<Vec<Rc<Array>>> {
        inputs.iter().map(|input| self.array(*input)).collect()
    }

    /// Records and, unless this is a trace, computes an operation.
    pub(super) fn op(&mut self, op: &Op, inputs: &[NodeId], symbolic: bool) -> Result<Vec<NodeId>, String> {
        let given: Vec<&Meta> = inputs.iter().map(|input| self.meta(*input)).collect();
        let metas = op.infer(&given)?;
        if let Some(deep) = metas.iter().find(|meta| meta.shape.len() > 8) {
            return Err(format!("gives {deep}, more than 8 dimensions"));
        }
        let results: Vec<Option<Array>> = match self.arrays(inputs).filter(|_| !symbolic) {
            None => metas.iter().map(|_| None).collect(),
            Some(arrays) => {
                let arrays: Vec<&Array> = arrays.iter().map(Rc::as_ref).collect();
                kernels::forward(op, &arrays, &metas)?.into_iter().map(Some).collect()
            }
        };
        let tracked = self.any_tracked(inputs) && !matches!(op, Op::Detach);
        let record = |(at, (meta, result))| {
            let origin = if at == 0 { Origin::Op(op.clone(), inputs.to_vec()) } else { Origin::Leaf };
            self.push(meta, result, origin, tracked && at == 0)
        };
        Ok(metas.into_iter().zip(results).enumerate().map(record).collect())
    }

    /// Records and, unless this is a trace, computes an operation of the plugin.
    pub(super) fn fused(&mut self, op: FusedBox, inputs: &[NodeId], symbolic: bool) -> Result<NodeId, String> {
        if let Some(other) = inputs.iter().map(|input| self.meta(*input)).find(|meta| meta.dtype != DType::F64) {
            return Err(format!("runs in f64 here, got {other}"));
        }
        let shapes: Vec<RSlice<'_, usize>> =
            inputs.iter().map(|input| self.meta(*input).shape.as_slice().into()).collect();
        let meta = Meta::new(plain(op.infer(RSlice::from_slice(&shapes)))?.into_vec(), DType::F64);
        let array = match self.arrays(inputs).filter(|_| !symbolic) {
            None => None,
            Some(arrays) => {
                let mut values = vec![0.0; meta.count()];
                let views: Vec<View<'_>> = arrays.iter().map(|array| view(&array.meta.shape, &array.values)).collect();
                plain(op.forward(RSlice::from_slice(&views), view_mut(&meta.shape, Some(&mut values))))?;
                Some(Array::new(meta.clone(), values))
            }
        };
        let tracked = self.any_tracked(inputs);
        Ok(self.push(meta, array, Origin::Fused(Rc::new(op), inputs.to_vec()), tracked))
    }

    /// Gradients of all nodes for these gradients of some, from the last node to the first.
    pub(super) fn backward(&self, seeds: &[(NodeId, Vec<f64>)]) -> Result<Vec<Option<Vec<f64>>>, String> {
        let mut grads: Vec<Option<Vec<f64>>> = vec![None; self.nodes.len()];
        for (id, seed) in seeds {
            add(&mut grads[*id], seed);
        }
        for id in (0..self.nodes.len()).rev() {
            let node = &self.nodes[id];
            let Some(grad) = grads[id].clone().filter(|_| node.tracked) else { continue };
            let (inputs, found) = match &node.origin {
                Origin::Leaf => continue,
                Origin::Op(op, inputs) => (inputs, self.op_backward(id, op, inputs, &grad)?),
                Origin::Fused(op, inputs) => (inputs, self.fused_backward(id, op, inputs, &grad)?),
            };
            for (input, found) in inputs.iter().zip(found) {
                if let Some(found) = found.filter(|_| self.nodes[*input].tracked) {
                    add(&mut grads[*input], &found);
                }
            }
        }
        Ok(grads)
    }

    fn op_backward(
        &self,
        id: NodeId,
        op: &Op,
        inputs: &[NodeId],
        grad: &[f64],
    ) -> Result<Vec<Option<Vec<f64>>>, String> {
        let (Some(arrays), Some(output)) = (self.arrays(inputs), self.array(id)) else { return Ok(vec![]) };
        let arrays: Vec<&Array> = arrays.iter().map(Rc::as_ref).collect();
        kernels::backward(op, &arrays, &output, grad)
    }

    fn fused_backward(
        &self,
        id: NodeId,
        op: &FusedBox,
        inputs: &[NodeId],
        grad: &[f64],
    ) -> Result<Vec<Option<Vec<f64>>>, String> {
        let (Some(arrays), Some(output)) = (self.arrays(inputs), self.array(id)) else { return Ok(vec![]) };
        let wanted = |input: &NodeId| self.nodes[*input].tracked.then(|| vec![0.0; self.meta(*input).count()]);
        let mut grads: Vec<Option<Vec<f64>>> = inputs.iter().map(wanted).collect();
        let views: Vec<View<'_>> = arrays.iter().map(|array| view(&array.meta.shape, &array.values)).collect();
        let places =
            arrays.iter().zip(&mut grads).map(|(array, grad)| view_mut(&array.meta.shape, grad.as_deref_mut()));
        let mut places: Vec<ViewMut<'_>> = places.collect();
        let (shape, places) = (&output.meta.shape, RSliceMut::from_mut_slice(&mut places));
        plain(op.backward(RSlice::from_slice(&views), view(shape, &output.values), view(shape, grad), places))?;
        Ok(grads)
    }
}

fn add(to: &mut Option<Vec<f64>>, values: &[f64]) {
    match to {
        Some(sum) => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
        None => *to = Some(values.to_vec()),
    }
}

fn view<'a>(shape: &'a [usize], values: &'a [f64]) -> View<'a> {
    View::of(values.as_ptr().cast(), shape, f64::DTYPE as u32)
}

fn view_mut<'a>(shape: &'a [usize], values: Option<&'a mut [f64]>) -> ViewMut<'a> {
    let data = values.map_or(std::ptr::null_mut(), |values| values.as_mut_ptr().cast());
    ViewMut::of(data, shape, f64::DTYPE as u32)
}

/// The result, with the error as its message.
fn plain<T>(result: crate::abi::AbiResult<T>) -> Result<T, String> {
    match result {
        RResult::ROk(value) => Ok(value),
        RResult::RErr(error) => Err(error.message.into_string()),
    }
}
