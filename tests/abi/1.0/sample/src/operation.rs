//! A loss with an operation of its own, its work shared out to the host's threads.

use crate::NoConfig;
use stillhouse_plugin::prelude::*;

/// `(a - b)^2`, element by element.
struct SquaredDifference;

impl FusedOp for SquaredDifference {
    const NAME: &'static str = "squared_difference";

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        ensure!(inputs.len() == 2 && inputs[0] == inputs[1], "wants two of one shape, got {inputs:?}");
        Ok(inputs[0].to_vec())
    }

    fn forward<T: Float>(&self, inputs: &[Slice<'_, T>], output: &mut [T]) -> Result<()> {
        let (a, b) = (inputs[0].values, inputs[1].values);
        let sums = std::sync::Mutex::new(Vec::new());
        parallel_for(a.len(), 64, |start, end| {
            let piece: Vec<T> = (start..end).map(|i| (a[i] - b[i]) * (a[i] - b[i])).collect();
            sums.lock().unwrap_or_else(|lock| lock.into_inner()).push((start, piece));
        })?;
        for (start, piece) in sums.into_inner().unwrap_or_else(|lock| lock.into_inner()) {
            output[start..start + piece.len()].copy_from_slice(&piece);
        }
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        inputs: &[Slice<'_, T>],
        _output: &[T],
        output_grad: &[T],
        grads: &mut [Option<&mut [T]>],
    ) -> Result<()> {
        for (side, sign) in [2.0, -2.0].into_iter().enumerate() {
            let Some(grad) = &mut grads[side] else { continue };
            for (i, grad) in grad.iter_mut().enumerate() {
                *grad = output_grad[i] * T::of(sign) * (inputs[0].values[i] - inputs[1].values[i]);
            }
        }
        Ok(())
    }

    fn composite(&self, _: &Cx, inputs: &[&Tensor]) -> Result<Tensor> {
        Ok((inputs[0] - inputs[1]).square())
    }
}

/// A mean squared difference.
pub(crate) struct Near;

impl Component for Near {
    type Config = NoConfig;
    const NAME: &'static str = "near";
    const DOC: &'static str = "A mean squared difference by an own operation";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(Near)
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for Near {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        same_shape(Self::NAME, &student, &teacher)?;
        let dims = student.dims()?;
        ensure!(!dims.contains(&0), "`near` wants values, got {dims:?}");
        Ok(cx.fused(SquaredDifference, &[&student, &teacher])?.mean_all())
    }
}

register!(loss Near);
