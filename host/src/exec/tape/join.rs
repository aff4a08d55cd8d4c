//! Channels side by side.

use super::backward::{Back, Backward, Slot};
use super::buffer::Buffer;
use super::forward::{Made, Run};
use super::value::Value;
use candle_core::Result;

pub(super) fn concat(run: &mut Run<'_>, index: usize) -> Result<Made> {
    let count = run.terms(index).len();
    let parts = (0..count).map(|at| Ok(run.read(index, at)?.store())).collect::<Result<Vec<Value>>>()?;
    let widths: Vec<usize> = parts.iter().map(Value::channels).collect();
    let (total, rows) = (widths.iter().sum::<usize>(), parts[0].rows());
    let mut out = Buffer::new(rows * total);
    let mut start = 0;
    for (part, width) in parts.iter().zip(&widths) {
        let strips = out.chunks_exact_mut(total).zip(part.raw.chunks_exact(*width));
        strips.for_each(|(out, part)| out[start..start + width].copy_from_slice(part));
        start += width;
    }
    let mut shape = parts[0].shape.to_vec();
    shape[1] = total;
    let below = (0..count).map(|at| run.below(index, at)).collect();
    Ok((Value::stored(&shape, out), Some(Box::new(Concat { widths, below }))))
}

struct Concat {
    widths: Vec<usize>,
    below: Vec<Option<usize>>,
}

impl Back for Concat {
    fn back(&self, slot: Slot, cx: &mut Backward<'_>) -> Result<()> {
        let total: usize = self.widths.iter().sum();
        let grad = slot.formed(total);
        let mut start = 0;
        for (width, below) in self.widths.iter().zip(&self.below) {
            if let Some(below) = below {
                let (mut buffer, accumulate) = cx.target(*below, grad.len() / total * width);
                for (out, grad) in buffer.chunks_exact_mut(*width).zip(grad.chunks_exact(total)) {
                    let grad = &grad[start..start + width];
                    if accumulate {
                        out.iter_mut().zip(grad).for_each(|(out, grad)| *out += grad);
                    } else {
                        out.copy_from_slice(grad);
                    }
                }
                cx.put(*below, buffer);
            }
            start += width;
        }
        Ok(())
    }
}
