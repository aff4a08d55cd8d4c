//! Own operations with a mistake.

use crate::{loss, pair};
use stillhouse_plugin::prelude::*;

/// What is wrong with the operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// The gradient is too large.
    Slope,
    /// It is in single precision.
    SingleSlope,
    /// It is in single precision, behind the first 128 values.
    SingleTail,
    /// The composite form is twice as large.
    Composite,
    /// It has another shape.
    CompositeShape,
    CompositePanics,
    /// The default: there is none.
    NoComposite,
    /// There is none, in words of its own.
    RefusesComposite,
    /// There is none for one class.
    SomeComposite,
    /// It panics on one class, here and below.
    ShapePanics,
    ForwardPanics,
    BackwardPanics,
    /// It refuses what nobody expects.
    Picky,
}

/// Half the sum of squared differences.
struct HalfSquares(Wrong);

impl HalfSquares {
    /// Whether this mistake is to be made on inputs of one class.
    fn is(&self, wrong: Wrong, shape: &[usize]) -> bool {
        self.0 == wrong && shape.get(1) == Some(&1)
    }

    fn slope<T>(&self, at: usize) -> f64 {
        let is_single = size_of::<T>() == 4;
        match self.0 {
            Wrong::Slope => 1.01,
            Wrong::SingleSlope if is_single => 1.01,
            Wrong::SingleTail if is_single && at >= 128 => 1.01,
            _ => 1.0,
        }
    }
}

impl FusedOp for HalfSquares {
    const NAME: &'static str = "half_squares";

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        ensure!(inputs.len() == 2 && inputs[0] == inputs[1], "wants two of one shape, got {inputs:?}");
        assert!(!self.is(Wrong::ShapePanics, inputs[0]), "boom in its shape");
        Ok(vec![])
    }

    fn forward<T: Float>(&self, inputs: &[Slice<'_, T>], output: &mut [T]) -> Result<()> {
        assert!(!self.is(Wrong::ForwardPanics, inputs[0].shape), "boom on the way forward");
        if self.0 == Wrong::Picky {
            let (ours, theirs) = (inputs[0].values, inputs[1].values);
            let classes = inputs[0].shape[1];
            let is_usual = ours.iter().all(|value| value.to_f64().abs() < 2.0) && ours[0].to_f64().abs() > 1e-6;
            let differs = ours.len() > classes && ours[0] != ours[classes] && ours[0] != theirs[0];
            ensure!(is_usual && differs, "wants usual values, all of them other ones");
        }
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
        assert!(!self.is(Wrong::BackwardPanics, inputs[0].shape), "boom on the way back");
        for (side, sign) in [1.0, -1.0].into_iter().enumerate() {
            let Some(grad) = &mut grads[side] else { continue };
            for (at, (a, b)) in inputs[0].values.iter().zip(inputs[1].values).enumerate() {
                grad[at] = output_grad[0] * T::of(sign * self.slope::<T>(at)) * (*a - *b);
            }
        }
        Ok(())
    }

    fn composite(&self, _cx: &Cx, inputs: &[&Tensor]) -> Result<Tensor> {
        let squares = (inputs[0] - inputs[1]).square();
        let factor = if self.0 == Wrong::Composite { 1.0 } else { 0.5 };
        match self.0 {
            Wrong::NoComposite | Wrong::SingleSlope => NoComposite.composite(_cx, inputs),
            Wrong::RefusesComposite | Wrong::Picky => Err(Error::new("is written for the CPU alone")),
            Wrong::SomeComposite if inputs[0].dim(1)? == 1 => Err(Error::new("has no form for one class")),
            Wrong::CompositePanics => panic!("boom in the composite form"),
            Wrong::CompositeShape => Ok(squares.sum(&[1]) * 0.5),
            _ => Ok(squares.sum_all() * factor),
        }
    }
}

/// An operation that leaves the composite form as it is by default.
struct NoComposite;

impl FusedOp for NoComposite {
    const NAME: &'static str = "half_squares";
    fn shape(&self, _: &[&[usize]]) -> Result<Vec<usize>> {
        Ok(vec![])
    }
    fn forward<T: Float>(&self, _: &[Slice<'_, T>], _: &mut [T]) -> Result<()> {
        Ok(())
    }
    fn backward<T: Float>(&self, _: &[Slice<'_, T>], _: &[T], _: &[T], _: &mut [Option<&mut [T]>]) -> Result<()> {
        Ok(())
    }
}

/// The operation's mean over samples.
fn half_squares(name: &str, cx: &Cx, x: &Inputs, wrong: Wrong) -> Result<Tensor> {
    let (student, teacher) = pair(name, x)?;
    Ok(cx.fused(HalfSquares(wrong), &[&student, &teacher])? / student.dims()?[0] as f64)
}

/// Makes a loss of a name, a description and a mistake.
macro_rules! operation {
    ($type:ident, $name:literal, $doc:literal, $wrong:ident) => {
        loss!($type, $name, $doc, |cx, x| half_squares($name, cx, x, Wrong::$wrong));
    };
}

operation!(RightOperation, "right_operation", "Its own operation is right", Nothing);
operation!(WrongSlope, "wrong_slope", "Its own operation has a wrong gradient", Slope);
operation!(SingleSlope, "single_slope", "It has one in single precision only, and no composite form", SingleSlope);
operation!(SingleTail, "single_tail", "It has one in single precision only, behind the first 128 values", SingleTail);
operation!(OtherComposite, "other_composite", "The composite form of its own operation is another one", Composite);
operation!(MisshapenComposite, "misshapen_composite", "The composite form has another shape", CompositeShape);
operation!(PanickingComposite, "panicking_composite", "The composite form panics", CompositePanics);
operation!(WithoutComposite, "without_composite", "There is no composite form", NoComposite);
operation!(RefusesComposite, "refuses_composite", "There is none, as its own words say", RefusesComposite);
operation!(SomeComposite, "some_composite", "There is one for more classes than one only", SomeComposite);
operation!(PanicsInShape, "panics_in_shape", "Its own operation panics when asked for its shape", ShapePanics);
operation!(PanicsForward, "panics_forward", "Its own operation panics on the way forward", ForwardPanics);
operation!(PanicsBackward, "panics_backward", "Its own operation panics on the way back", BackwardPanics);
operation!(Picky, "picky", "Its own operation takes usual values only", Picky);
