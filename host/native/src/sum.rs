//! The gradient of a value, as it comes in.

use super::binary::add;
use super::last::has_last_strides;
use candle_core::{Result, Tensor};

/// A sum of gradients; `None` before the first.
#[derive(Default)]
pub(crate) struct Sum(pub(crate) Option<Tensor>, bool);

impl Sum {
    /// Adds a gradient of the whole value.
    pub(crate) fn add(&mut self, more: Tensor) -> Result<()> {
        (self.0, self.1) = match self.0.take() {
            Some(sum) => (Some(added(&sum, &more)?), true),
            None => (Some(more), false),
        };
        Ok(())
    }

    /// Adds the gradient of a part of the value, which starts at `start` along `dim`: only the part is touched.
    pub(crate) fn add_part(&mut self, whole: &Tensor, [dim, start]: [usize; 2], part: &Tensor) -> Result<()> {
        let lies = has_last_strides(whole);
        let turn = |x: &Tensor| if lies { x.permute((0, 2, 3, 1))?.contiguous() } else { x.contiguous() };
        let (dim, part) = (if lies { super::last::dim_lying(dim) } else { dim }, turn(part)?);
        let sum = match (self.0.take(), self.1) {
            // Its memory is seen by this sum alone.
            (Some(sum), true) => turn(&sum)?,
            (Some(sum), false) => turn(&sum)?.force_contiguous()?,
            (None, _) => turn(whole)?.zeros_like()?,
        };
        let here = sum.narrow(dim, start, part.dims()[dim])?.contiguous()?;
        // A part that is the whole shares its memory.
        let here = if here.id() == sum.id() { here.force_contiguous()? } else { here };
        sum.slice_set(&add(&here, &part)?, dim, start)?;
        (self.0, self.1) = (Some(if lies { sum.permute((0, 3, 1, 2))? } else { sum }), true);
        Ok(())
    }
}

/// Of maps that lie channels last where they lie: candle's own addition would go element by element.
fn added(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !(has_last_strides(a) || has_last_strides(b)) || !a.dtype().is_float() {
        return a + b;
    }
    let [a, b] = [a, b].map(|x| x.permute((0, 2, 3, 1)));
    add(&a?, &b?)?.permute((0, 3, 1, 2))
}
