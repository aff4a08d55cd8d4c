//! A recurrent module.

use crate::NoConfig;
use stillhouse_plugin::prelude::*;

/// A minimal gated cell in the place of a layer `[N, F]` to `[N, H]`.
///
/// Zhou et al. 2016 (arXiv:1603.09420), the minimal gated unit.
/// ```text
/// f  = sigmoid(Wf [x, h] + bf)
/// c  = tanh(Wc [x, f h] + bc)
/// h' = (1 - f) h + f c              h = 0 at the first frame
/// ```
///
/// # Shapes and units
/// - input `[N, F]`, output and state `hidden` `[N, H]`; value `gate` (f) `[N, H]`, between 0 and 1
pub(crate) struct GatedCell {
    layers: Option<[Linear; 2]>,
    hidden: usize,
}

impl Component for GatedCell {
    type Config = NoConfig;
    const NAME: &'static str = "gated_cell";
    const DOC: &'static str = "A minimal gated recurrent cell, its gate open to taps";
    const CITATION: &'static str =
        "Zhou et al., Minimal Gated Unit for Recurrent Neural Networks, 2016, arXiv:1603.09420";

    fn new(_: NoConfig) -> Result<GatedCell> {
        Ok(GatedCell { layers: None, hidden: 0 })
    }
}

impl Module for GatedCell {
    fn bind(&mut self, cx: &BindCx, x: &Tensor, replaced: &Tensor) -> Result<()> {
        let (from, to) = (x.meta()?, replaced.meta()?);
        ensure!(from.shape.len() == 2 && to.shape.len() == 2, "wants [N, F] to [N, H], got {from} to {to}");
        self.hidden = to.shape[1];
        let inputs = from.shape[1] + self.hidden;
        let layer = |name: &str| Linear::bind(cx, name, inputs, self.hidden, true);
        self.layers = Some([layer("forget"), layer("candidate")]);
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Tensor, state: &State) -> Result<Stepped> {
        let [forget, candidate] = self.layers.as_ref().ok_or_else(|| Error::new("is not bound"))?;
        let start = || Ok(cx.full(0.0, &[x.dim(0)?, self.hidden], x.dtype()?));
        let hidden = state.get("hidden").map_or_else(start, Ok)?; // [N, H]
        let gate = forget.forward(cx, &Tensor::concat(&[x, &hidden], 1)?).sigmoid(); // [N, H]
        let new = candidate.forward(cx, &Tensor::concat(&[x, &(&gate * &hidden)], 1)?).tanh(); // [N, H]
        let next = (1.0 - &gate) * hidden + &gate * new; // [N, H]
        Ok(Stepped::new(next.clone()).state("hidden", &next).value("gate", &gate))
    }
}

register!(module GatedCell);
