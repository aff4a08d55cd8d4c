//! An operation of the plugin's own, with four inputs.

use crate::{NoConfig, filled};
use stillhouse_plugin::prelude::*;

/// Squared distance of the student's values from the teacher's after a trained scale and shift of each feature.
///
/// ```text
/// L = mean_nd (a_d s_nd + b_d - t_nd)^2
/// ```
/// The squares are one fused operation: four inputs, one result, a gradient written by hand.
///
/// # Shapes and units
/// - `student`, `teacher` `[N, D]`; parameters `scale`, `shift` `[D]`; returns `[]`
pub struct FusedFour;

impl Component for FusedFour {
    type Config = NoConfig;
    const NAME: &'static str = "fused_four";
    const DOC: &'static str = "Squared distance after a trained scale and shift, in one operation";

    fn new(_: NoConfig) -> Result<FusedFour> {
        Ok(FusedFour)
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for FusedFour {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let features = x.one("student")?.dim(-1)?;
        cx.add_param("scale", &[features], &Init::Ones);
        cx.add_param("shift", &[features], &Init::Zeros);
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = (filled(Self::NAME, x.one("student")?)?, x.one("teacher")?);
        let inputs = [&student, &teacher, &cx.param("scale"), &cx.param("shift")];
        Ok(cx.fused(Squares, &inputs)?.mean_all())
    }
}

register!(loss FusedFour);

/// `(a s + b - t)^2`, element by element; inputs s, t, a, b.
struct Squares;

impl FusedOp for Squares {
    const NAME: &'static str = "squares";

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        match inputs {
            &[&[n, d], &[m, e], &[a], &[b]] if n == m && d == e && a == d && b == d => Ok(vec![n, d]),
            _ => Err(Error::new(format!("wants [N, D], [N, D], [D], [D], got {inputs:?}"))),
        }
    }

    fn forward<T: Float>(&self, inputs: &[Slice<'_, T>], output: &mut [T]) -> Result<()> {
        for (at, out) in output.iter_mut().enumerate() {
            let rest = rest(inputs, at);
            *out = rest * rest;
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
        let features = inputs[2].values.len();
        for (at, grad) in output_grad.iter().enumerate() {
            let slope = T::of(2.0) * rest(inputs, at) * *grad;
            let (s, a) = (inputs[0].values[at], inputs[2].values[at % features]);
            let of_inputs = [(at, slope * a), (at, -slope), (at % features, slope * s), (at % features, slope)];
            for (grad, (place, value)) in grads.iter_mut().zip(of_inputs) {
                if let Some(grad) = grad {
                    grad[place] += value;
                }
            }
        }
        Ok(())
    }
}

/// `a s + b - t` at an element.
fn rest<T: Float>(inputs: &[Slice<'_, T>], at: usize) -> T {
    let [s, t, a, b] = [0, 1, 2, 3].map(|input: usize| inputs[input].values);
    let feature = at % a.len();
    a[feature] * s[at] + b[feature] - t[at]
}
