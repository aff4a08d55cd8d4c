//! Values that are not kept for the way back but made again there.
//!
//! Of the sums of residual blocks every second is dropped when the forward no longer reads it: its terms are a raw output, which
//! is kept anyway, and a sum that was kept. On the way back the first layer that reads it makes it again, bit by bit.

use super::buffer::Buffer;
use super::value::Value;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use stillhouse_kernels::nhwc::Activation;
use stillhouse_kernels::nhwc::norm::apply;

/// `activation(a + b)`, for when it is needed again.
#[derive(Debug)]
pub(super) struct Remade {
    terms: [Value; 2],
    activation: Activation,
    /// What the forward reads.
    first: Weak<Buffer>,
    /// What was made again; until the layers that read it have handed their gradients on.
    again: RefCell<Option<Rc<Buffer>>>,
}

/// A value that the way back reads.
#[derive(Debug, Clone)]
pub(super) struct Later(Value);

impl Value {
    /// `activation(a + b)`.
    pub(super) fn sum(terms: &[Value; 2], activation: Activation, tracked: bool) -> Value {
        let raw = Rc::new(sum(terms, activation));
        let value = Value { raw, ..Value::stored(&terms[0].shape, Buffer::new(0)) };
        let is_kept = |term: &Value| term.remade.is_none();
        if !tracked || !terms.iter().all(is_kept) {
            return value;
        }
        let remade =
            Remade { terms: terms.clone(), activation, first: Rc::downgrade(&value.raw), again: RefCell::new(None) };
        Value { remade: Some(Rc::new(remade)), ..value }
    }

    /// The value for the way back: what can be made again does not keep its buffer.
    pub(super) fn later(&self) -> Later {
        let nothing = || Rc::new(Buffer::new(0));
        Later(if self.remade.is_some() { Value { raw: nothing(), ..self.clone() } } else { self.clone() })
    }
}

impl Later {
    /// A batch norm's output, and nothing behind it.
    pub(super) fn is_norm(&self) -> bool {
        self.0.norm.is_some() && self.0.activation == Activation::None
    }

    /// Channels of the value.
    pub(super) fn channels(&self) -> usize {
        if self.0.has_channels() { self.0.channels() } else { 1 }
    }

    /// The value.
    pub(super) fn now(&self) -> Value {
        match &self.0.remade {
            Some(remade) => Value { raw: remade.raw(), ..self.0.clone() },
            None => self.0.clone(),
        }
    }
}

impl Remade {
    fn raw(&self) -> Rc<Buffer> {
        if let Some(first) = self.first.upgrade() {
            return first;
        }
        let make = || Rc::new(sum(&self.terms, self.activation));
        self.again.borrow_mut().get_or_insert_with(make).clone()
    }
}

fn sum(terms: &[Value; 2], activation: Activation) -> Buffer {
    let [a, b] = terms;
    let mut out = Buffer::new(a.raw.len());
    let channels = if a.has_channels() { a.channels() } else { 1 };
    apply(a.load(), Some(b.load()), activation, channels, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::super::buffer::Buffer;
    use super::super::value::Value;
    use std::rc::Rc;
    use stillhouse_kernels::nhwc::Activation;

    fn stored(values: &[f32]) -> Value {
        Value::stored(&[1, 2, 1, 2], Buffer::copy(values))
    }

    #[test]
    fn a_sum_that_is_not_kept_comes_again_and_the_next_one_is_kept() {
        let first =
            Value::sum(&[stored(&[1.0, -2.0, 3.0, 0.5]), stored(&[1.0, 1.0, -4.0, 0.25])], Activation::Relu, true);
        let second = Value::sum(&[first.clone(), stored(&[1.0; 4])], Activation::Relu, true);
        let later = [&first, &second].map(Value::later);
        let held = Rc::downgrade(&first.raw);
        assert!(Rc::ptr_eq(&later[0].now().raw, &first.raw), "while the forward reads it, it is there");
        drop((first, second));
        assert!(held.upgrade().is_none(), "the way back does not keep it");
        let again = later[0].now();
        assert_eq!(again.raw[..], [2.0, 0.0, 0.0, 0.75]);
        assert!(Rc::ptr_eq(&again.raw, &later[0].clone().now().raw), "it is made once");
        assert_eq!(later[1].now().raw[..], [3.0, 1.0, 1.0, 1.75]);
        assert!(later[1].now().remade.is_none());
    }

    #[test]
    fn without_a_way_back_nothing_is_noted() {
        let sum = Value::sum(&[stored(&[1.0; 4]), stored(&[2.0; 4])], Activation::None, false);
        assert!(sum.remade.is_none());
    }
}
