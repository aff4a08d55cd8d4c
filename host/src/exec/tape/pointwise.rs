//! Activations, sums, products, dropout: what works value by value.

use super::backward::{Back, Backward, Past, Slot, unique};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::remade::Later;
use super::value::{Value, from_rows};
use candle_core::Result;
use std::rc::Rc;
use stillhouse_kernels::nhwc::Activation;
use stillhouse_kernels::nhwc::activation::{multiply, scaled};
use stillhouse_kernels::nhwc::norm::{apply, mask_and_sums, mask_by_output, mask_by_sum};
use stillhouse_kernels::nhwc::softmax::{softmax_backward, softmax_forward};

/// An activation is a way to read the value before it; that of a sum that waited is computed with the sum.
pub(super) fn activate(run: &mut Run<'_>, index: usize, activation: Activation) -> Result<Made> {
    if let [a, b] = run.terms(index)
        && run.network.graph.layers[index].inputs.len() == 1
    {
        let terms = [run.value(a)?, run.value(b)?];
        return Ok(sum_of(run, index, terms, activation));
    }
    let mut x = run.read(index, 0)?;
    if x.activation != Activation::None {
        x = x.store();
    }
    let from = run.network.graph.layers[index].inputs[0].layer();
    run.norm_of[index] = from.and_then(|from| run.norm_of[from].filter(|norm| *norm == from && x.norm.is_some()));
    let value = Value { activation, ..x.clone() };
    let back = Activate { read: value.clone(), below: run.below(index, 0), norm: run.norm_of[index] };
    Ok((value, Some(Box::new(back))))
}

struct Activate {
    /// The activated value.
    read: Value,
    below: Option<usize>,
    /// The layer before is this batch norm.
    norm: Option<usize>,
}

impl Back for Activate {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let Some(below) = self.below else { return Ok(()) };
        let channels = if self.read.has_channels() { self.read.channels() } else { 1 };
        let mut dz = unique(slot.formed(channels));
        let mut sums = vec![0.0; 2 * channels];
        mask_and_sums(&mut dz, self.read.load(), channels, &mut sums);
        match self.norm {
            Some(norm) if cx.is_last(norm) && cx.is_empty(norm) => cx.put_with_sums(norm, dz, sums),
            _ => cx.share(below, Slot::plain(Rc::new(dz))),
        }
        Ok(())
    }
}

/// The sum of all inputs.
pub(super) fn sum(run: &mut Run<'_>, index: usize) -> Result<Made> {
    let count = run.terms(index).len();
    let mut terms = (0..count).map(|at| run.read(index, at)).collect::<Result<Vec<Value>>>()?;
    if count == 1 {
        let x = terms.swap_remove(0);
        return identity(run, index, x);
    }
    let rest = terms.split_off(2);
    let [a, b] = [terms[0].clone(), terms[1].clone()];
    let (mut total, back) = sum_of(run, index, [a, b], Activation::None);
    for term in rest {
        let mut out = Buffer::new(total.raw.len());
        apply(total.load(), Some(term.load()), Activation::None, channels_of(&term), &mut out);
        total = Value::stored(&total.shape, out);
    }
    Ok((total, back))
}

fn channels_of(value: &Value) -> usize {
    if value.has_channels() { value.channels() } else { 1 }
}

fn sum_of(run: &Run<'_>, index: usize, terms: [Value; 2], outer: Activation) -> Made {
    let value = Value::sum(&terms, outer, run.spec.track);
    let below = (0..run.terms(index).len()).map(|at| run.below(index, at)).collect();
    let back = Sum { terms: terms.map(|term| term.later()), outer, output: value.later(), below };
    (value, Some(Box::new(back)))
}

struct Sum {
    terms: [Later; 2],
    outer: Activation,
    output: Later,
    below: Vec<Option<usize>>,
}

impl Sum {
    /// There is an activation, and the output tells its derivative.
    fn is_told(&self) -> bool {
        self.outer != Activation::None && self.outer.is_told_by_output()
    }

    /// The term that a batch norm made.
    fn branch(&self) -> Option<usize> {
        self.terms.iter().position(Later::is_norm)
    }

    /// The gradient in front of the activation; with it the sums of a term that is a batch norm.
    fn masked(&self, slot: Slot, channels: usize) -> (Rc<Buffer>, Option<(usize, Vec<f64>)>) {
        if self.outer == Activation::None {
            return (slot.formed(channels), None);
        }
        let mut dz = unique(slot.formed(channels));
        let mut sums = vec![0.0; 2 * channels];
        let terms = self.terms.each_ref().map(Later::now);
        let at = self.branch();
        if self.is_told() {
            let branch = at.map(|at| (&terms[at].raw[..], &mut sums[..]));
            mask_by_output(&mut dz, &self.output.now().raw, self.outer, channels, branch);
            return (Rc::new(dz), at.map(|at| (at, sums)));
        }
        // The kernel wants the first term without an activation of its own.
        let first = at.unwrap_or(0);
        let a = if terms[first].activation == Activation::None { terms[first].clone() } else { terms[first].store() };
        mask_by_sum(&mut dz, a.load(), terms[1 - first].load(), self.outer, channels, &mut sums);
        (Rc::new(dz), at.map(|at| (at, sums)))
    }
}

impl Back for Sum {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let (dz, mut sums) = match slot.sums {
            Some(sums) => (slot.dz, self.branch().map(|at| (at, sums))),
            None => self.masked(slot, self.output.channels()),
        };
        for (at, below) in self.below.iter().enumerate() {
            let Some(below) = below else { continue };
            let of_norm = sums.take_if(|(of, _)| *of == at).map(|(_, sums)| sums);
            let is_norm = cx.is_norm(*below);
            cx.share(*below, Slot { sums: of_norm.filter(|_| is_norm), ..Slot::plain(dz.clone()) });
        }
        Ok(())
    }

    fn past(&self) -> Option<Past> {
        let branch = || self.branch().map(|at| self.terms[at].now().raw);
        self.is_told().then(|| Past::Sum { activation: self.outer, branch: branch() })
    }
}

/// The product of all inputs.
pub(super) fn product(run: &mut Run<'_>, index: usize) -> Result<Made> {
    let count = run.terms(index).len();
    let factors = (0..count).map(|at| Ok(run.read(index, at)?.store())).collect::<Result<Vec<Value>>>()?;
    let below = (0..count).map(|at| run.below(index, at)).collect();
    let value = product_of(factors.iter());
    Ok((value, Some(Box::new(Product { factors, below }))))
}

fn product_of<'a>(mut factors: impl Iterator<Item = &'a Value>) -> Value {
    let mut total = factors.next().cloned().unwrap_or_else(|| Value::stored(&[], Buffer::new(1)));
    for factor in factors {
        let mut out = Buffer::new(total.raw.len());
        multiply(&total.raw, &factor.raw, &mut out, false);
        total = Value::stored(&total.shape, out);
    }
    total
}

struct Product {
    factors: Vec<Value>,
    below: Vec<Option<usize>>,
}

impl Back for Product {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let dz = slot.formed(channels_of(&self.factors[0]));
        for (at, below) in self.below.iter().enumerate() {
            let Some(below) = below else { continue };
            let (mut buffer, accumulate) = cx.target(*below, dz.len());
            if self.factors.len() == 1 {
                scaled(&dz, 1.0, &mut buffer, accumulate);
            } else {
                let others = self.factors.iter().enumerate().filter(|(other, _)| *other != at);
                multiply(&dz, &product_of(others.map(|(_, factor)| factor)).raw, &mut buffer, accumulate);
            }
            cx.put(*below, buffer);
        }
        Ok(())
    }
}

/// Over channels.
pub(super) fn softmax(run: &mut Run<'_>, index: usize, x: Value) -> Result<Made> {
    let x = x.store();
    let mut out = Buffer::new(x.raw.len());
    softmax_forward(&x.raw, x.channels(), &mut out);
    let value = Value::stored(&x.shape, out);
    Ok((value.clone(), Some(Box::new(Softmax { y: value, below: run.below(index, 0) }))))
}

struct Softmax {
    y: Value,
    below: Option<usize>,
}

impl Back for Softmax {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let Some(below) = self.below else { return Ok(()) };
        let grad = slot.formed(self.y.channels());
        let (mut buffer, accumulate) = cx.target(below, grad.len());
        softmax_backward([&self.y.raw, &grad], self.y.channels(), &mut buffer, accumulate);
        cx.put(below, buffer);
        Ok(())
    }
}

/// The same mask as on candle.
pub(super) fn dropout(run: &mut Run<'_>, index: usize, x: Value, p: f64) -> Result<Made> {
    let x = x.store();
    let path = &run.network.graph.layers[index].path;
    let rows = crate::exec::layer::dropout_mask(p, x.raw.len(), run.network.params.owner(), path, run.moment);
    let mut mask = Buffer::new(rows.len());
    from_rows(&rows, &x.shape, &mut mask, false);
    let mut out = Buffer::new(rows.len());
    multiply(&x.raw, &mask, &mut out, false);
    let value = Value::stored(&x.shape, out);
    let factors = vec![x, Value::stored(&value.shape, mask)];
    Ok((value, Some(Box::new(Product { factors, below: vec![run.below(index, 0), None] }))))
}

/// The value before.
pub(super) fn identity(run: &mut Run<'_>, index: usize, x: Value) -> Result<Made> {
    Ok((x, Some(Box::new(Pass { below: run.below(index, 0) }))))
}

struct Pass {
    below: Option<usize>,
}

impl Back for Pass {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        if let Some(below) = self.below {
            let slot = Slot { sums: None, ..slot };
            cx.share(below, slot);
        }
        Ok(())
    }
}
