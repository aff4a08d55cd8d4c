//! The way back: gradients of points, collected until the layer that made the point takes them.

use super::buffer::Buffer;
use super::record::{Frame, Tape};
use super::value::copy_in;
use crate::graph::{HIDDEN, NEXT};
use crate::ops::ParamSet;
use crate::ops::native::Gradients;
use candle_core::{Device, Result, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use stillhouse_kernels::nhwc::activation::scaled;
use stillhouse_kernels::nhwc::norm::{Coefficients, form};
use stillhouse_kernels::nhwc::{Activation, Grad};

/// The gradient of a point.
pub(super) struct Slot {
    /// As long as the point's values, and laid out as they are.
    pub(super) dz: Rc<Buffer>,
    /// The gradient is `k0 dz + k1 raw + k2`, formed when it is read.
    pub(super) norm: Option<(Rc<Buffer>, Rc<Coefficients>)>,
    /// For a batch norm's output: sums of `dz` and of `dz raw` of each channel, where they were taken on the way. For a sum behind
    /// its activation that are those of its term that a batch norm made; `dz` is in front of the activation then.
    pub(super) sums: Option<Vec<f64>>,
}

impl Slot {
    pub(super) fn plain(dz: Rc<Buffer>) -> Slot {
        Slot { dz, norm: None, sums: None }
    }

    pub(super) fn grad(&self) -> Grad<'_> {
        match &self.norm {
            Some((raw, coefficients)) => coefficients.grad(&self.dz, raw),
            None => Grad::plain(&self.dz),
        }
    }

    /// The gradient as values.
    pub(super) fn formed(self, channels: usize) -> Rc<Buffer> {
        if self.norm.is_none() {
            return self.dz;
        }
        let mut out = Buffer::new(self.dz.len());
        form(self.grad(), channels, &mut out, false);
        Rc::new(out)
    }
}

/// A buffer that nobody else reads.
pub(super) fn unique(buffer: Rc<Buffer>) -> Buffer {
    Rc::try_unwrap(buffer).unwrap_or_else(|shared| Buffer::copy(&shared))
}

/// How a layer hands gradients on.
pub(super) trait Back {
    /// Takes the gradient of the layer's output to its inputs and parameters.
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()>;

    /// What whoever makes the last part of the gradient of the layer's output can do for it.
    fn past(&self) -> Option<Past> {
        None
    }

    /// The same for a module or recurrent layer whose state alone has a gradient.
    fn back_from_state(&self, _cx: &mut Backward<'_>) -> Result<()> {
        Ok(())
    }
}

/// What the pass that makes the last part of a point's gradient takes it past, with the sums that the batch norm there needs.
pub(super) enum Past {
    /// The activation, if there is one, of a reading of this batch norm.
    Norm(usize),
    /// The activation of a sum, whose derivative the values tell.
    Sum {
        activation: Activation,
        /// The raw values of the term that a batch norm made.
        branch: Option<Rc<Buffer>>,
    },
}

/// A gradient of a parameter.
pub struct ParamGrad {
    /// Where the parameter is.
    pub params: Rc<ParamSet>,
    /// Its name there.
    pub name: String,
    /// The gradient.
    pub value: Tensor,
}

impl ParamGrad {
    /// Whether it is the gradient of this parameter.
    pub fn is_of(&self, params: &Rc<ParamSet>, name: &str) -> bool {
        Rc::ptr_eq(&self.params, params) && self.name == name
    }
}

/// Gradients of the state that a module handed to the next frame, by layer and name.
pub(super) type Carried = HashMap<(usize, String), Tensor>;

/// Gradients of the state that a recurrent layer handed to the next frame, by layer and name.
type Handed = HashMap<(usize, &'static str), Buffer>;

/// Gradients of the network's parameters, summed over frames: shape and values by name.
type Sums = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// One walk back over a frame.
pub(super) struct Backward<'a> {
    pub(super) params: &'a Rc<ParamSet>,
    frame: &'a Frame,
    slots: Vec<Option<Slot>>,
    /// Layers that have still to hand something to each point.
    left: Vec<usize>,
    /// Of modules, and of layers on candle; one for each parameter.
    found: Vec<ParamGrad>,
    sums: Sums,
    /// From the frame behind.
    pub(super) carried: Carried,
    behind: Handed,
    /// For the frame before.
    carries: Carried,
    before: Handed,
    /// Gradients of the tapped points.
    pub(super) store: &'a Gradients,
}

impl<'a> Backward<'a> {
    /// Walks back from the tapped points that `store` has gradients of, from the last frame to the first.
    pub(super) fn run(tape: &'a Tape, store: &'a Gradients, spend: bool) -> Result<Vec<ParamGrad>> {
        if tape.spent.get() {
            candle_core::bail!("nothing is left to go back over: the tape was spent");
        }
        tape.spent.set(spend);
        let (mut found, mut sums, mut carried, mut behind) = (vec![], Sums::new(), Carried::new(), Handed::new());
        for frame in tape.frames.iter().rev() {
            let (params, slots, left) = (&tape.params, frame.nodes.iter().map(|_| None).collect(), frame.readers());
            let (carries, before) = (Carried::new(), Handed::new());
            let mut cx = Backward { params, frame, slots, left, found, sums, carried, behind, carries, before, store };
            cx.walk(spend)?;
            (found, sums, carried, behind) = (cx.found, cx.sums, cx.carries, cx.before);
        }
        for (name, (shape, values)) in sums {
            let value = Tensor::from_vec(values, shape, &Device::Cpu)?;
            found.push(ParamGrad { params: tape.params.clone(), name, value });
        }
        Ok(found)
    }

    fn walk(&mut self, spend: bool) -> Result<()> {
        for name in [HIDDEN, NEXT] {
            let layers: Vec<usize> =
                self.behind.keys().filter(|(_, known)| *known == name).map(|(layer, _)| *layer).collect();
            for layer in layers {
                let Some(gradient) = self.take_behind(layer, name) else { continue };
                self.share(layer, Slot::plain(Rc::new(gradient)));
            }
        }
        for (layer, leaf) in &self.frame.leaves {
            if let Some(gradient) = self.store.get(leaf) {
                let (mut buffer, accumulate) = self.target(*layer, gradient.elem_count());
                copy_in(gradient, &mut buffer, accumulate)?;
                self.put(*layer, buffer);
            }
        }
        for (index, place) in self.frame.nodes.iter().enumerate().rev() {
            let kept = place.borrow();
            let Some(node) = kept.as_ref() else { continue };
            match self.slots[index].take() {
                Some(slot) => node.back.back(slot, self)?,
                None => node.back.back_from_state(self)?,
            }
            node.inputs.iter().for_each(|input| self.left[*input] -= 1);
            drop(kept);
            if spend {
                place.take();
            }
        }
        Ok(())
    }

    /// The point is a batch norm's output.
    pub(super) fn is_norm(&self, layer: usize) -> bool {
        self.frame.norm_of[layer] == Some(layer)
    }

    /// A buffer for the gradient of a point, and whether it holds earlier parts.
    pub(super) fn target(&mut self, layer: usize, len: usize) -> (Buffer, bool) {
        match self.slots[layer].take() {
            Some(slot) => (unique(slot.formed(self.frame.channels[layer])), true),
            None => (Buffer::new(len), false),
        }
    }

    pub(super) fn put(&mut self, layer: usize, dz: Buffer) {
        self.slots[layer] = Some(Slot::plain(Rc::new(dz)));
    }

    pub(super) fn put_with_sums(&mut self, layer: usize, dz: Buffer, sums: Vec<f64>) {
        self.slots[layer] = Some(Slot { sums: Some(sums), ..Slot::plain(Rc::new(dz)) });
    }

    /// Adds to the gradient of a module's state for the frame before.
    pub(super) fn carry(&mut self, layer: usize, name: &str, gradient: Option<&Tensor>) -> Result<()> {
        let Some(gradient) = gradient else { return Ok(()) };
        let key = (layer, name.to_owned());
        let sum = match self.carries.remove(&key) {
            Some(sum) => (sum + gradient)?,
            None => gradient.clone(),
        };
        self.carries.insert(key, sum.detach());
        Ok(())
    }

    /// Hands a gradient that others hold, too, to a point; copied only when it is not the first.
    pub(super) fn share(&mut self, layer: usize, slot: Slot) {
        if self.slots[layer].is_none() {
            self.slots[layer] = Some(slot);
            return;
        }
        let (mut buffer, _) = self.target(layer, slot.dz.len());
        match &slot.norm {
            None => scaled(&slot.dz, 1.0, &mut buffer, true),
            Some(_) => form(slot.grad(), self.frame.channels[layer], &mut buffer, true),
        }
        self.put(layer, buffer);
    }

    /// True when what is handed to the point now is the last part.
    pub(super) fn is_last(&self, layer: usize) -> bool {
        self.left[layer] == 1
    }

    pub(super) fn is_empty(&self, layer: usize) -> bool {
        self.slots[layer].is_none()
    }

    /// What can be done at once with the gradient that is handed to the point.
    pub(super) fn past(&self, layer: usize) -> Option<Past> {
        if !self.is_last(layer) {
            return None;
        }
        let Some(norm) = self.frame.norm_of[layer] else {
            return self.frame.nodes[layer].borrow().as_ref()?.back.past();
        };
        let alone = norm == layer || (self.is_last(norm) && self.is_empty(norm));
        alone.then_some(Past::Norm(norm))
    }

    /// The gradient of a recurrent layer's state that the frame behind left; that of `hidden` is in the layer's slot already.
    pub(super) fn take_behind(&mut self, layer: usize, name: &'static str) -> Option<Buffer> {
        self.behind.remove(&(layer, name))
    }

    /// Hands the gradient of a recurrent layer's state to the frame before.
    pub(super) fn hand_before(&mut self, layer: usize, name: &'static str, gradient: Buffer) {
        self.before.insert((layer, name), gradient);
    }

    /// The gradient of a parameter of the network, to add to.
    pub(super) fn sum(&mut self, name: &str, shape: &[usize]) -> &mut [f32] {
        let start = || (shape.to_vec(), vec![0.0; shape.iter().product()]);
        &mut self.sums.entry(name.to_owned()).or_insert_with(start).1
    }

    /// Notes the gradient of a parameter of the network, or adds this frame's to it.
    pub(super) fn found(&mut self, name: &str, values: Vec<f32>, shape: &[usize]) -> Result<()> {
        match self.sums.get_mut(name) {
            Some((_, sum)) => scaled(&values, 1.0, sum, true),
            None => drop(self.sums.insert(name.to_owned(), (shape.to_vec(), values))),
        }
        Ok(())
    }

    /// The same for a parameter of a module, or of a layer on candle.
    pub(super) fn found_apart(&mut self, params: &Rc<ParamSet>, name: String, value: Tensor) -> Result<()> {
        match self.found.iter_mut().find(|found| found.is_of(params, &name)) {
            Some(found) => found.value = (&found.value + value)?,
            None => self.found.push(ParamGrad { params: params.clone(), name, value }),
        }
        Ok(())
    }
}
