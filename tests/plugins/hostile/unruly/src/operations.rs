//! Own operations with a mistake.

use crate::{loss, pair};
use stillhouse_plugin::prelude::*;

/// Half the sum of squared differences; `slope` is right at 1.
struct HalfSquares {
    slope: f64,
    composite: f64,
}

impl FusedOp for HalfSquares {
    const NAME: &'static str = "half_squares";

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        ensure!(inputs.len() == 2 && inputs[0] == inputs[1], "wants two of one shape, got {inputs:?}");
        Ok(vec![])
    }

    fn forward<T: Float>(&self, inputs: &[Slice<'_, T>], output: &mut [T]) -> Result<()> {
        let squares = inputs[0].values.iter().zip(inputs[1].values).map(|(a, b)| (*a - *b) * (*a - *b));
        output[0] = squares.sum::<T>() * T::of(0.5);
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        inputs: &[Slice<'_, T>],
        _output: &[T],
        output_grad: &[T],
        grads: &mut [Option<&mut [T]>],
    ) -> Result<()> {
        for (side, sign) in [1.0, -1.0].into_iter().enumerate() {
            let Some(grad) = &mut grads[side] else { continue };
            let factor = output_grad[0] * T::of(sign * self.slope);
            let pairs = inputs[0].values.iter().zip(inputs[1].values);
            grad.iter_mut().zip(pairs).for_each(|(grad, (a, b))| *grad = factor * (*a - *b));
        }
        Ok(())
    }

    fn composite(&self, _cx: &Cx, inputs: &[&Tensor]) -> Result<Tensor> {
        Ok((inputs[0] - inputs[1]).square().sum_all() * (0.5 * self.composite))
    }
}

/// The operation's mean over samples.
fn half_squares(cx: &Cx, operation: HalfSquares, student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    Ok(cx.fused(operation, &[student, teacher])? / student.dims()?[0] as f64)
}

loss!(WrongSlope, "wrong_slope", "Its own operation has a wrong gradient", |cx, x| {
    let (student, teacher) = pair("wrong_slope", x)?;
    half_squares(cx, HalfSquares { slope: 1.01, composite: 1.0 }, &student, &teacher)
});

loss!(OtherComposite, "other_composite", "The composite form of its own operation is another one", |cx, x| {
    let (student, teacher) = pair("other_composite", x)?;
    half_squares(cx, HalfSquares { slope: 1.0, composite: 2.0 }, &student, &teacher)
});

loss!(RightOperation, "right_operation", "Its own operation is right", |cx, x| {
    let (student, teacher) = pair("right_operation", x)?;
    half_squares(cx, HalfSquares { slope: 1.0, composite: 1.0 }, &student, &teacher)
});
