//! A convolutional recurrent module.

use stillhouse_plugin::prelude::*;

/// Settings of [`ConvLstmCell`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConvLstmCellConfig {
    /// Side of the kernel, odd.
    kernel: usize,
}

/// A convolutional LSTM in the place of a layer `[N, C, H, W]` to `[N, K, H, W]`.
///
/// Shi et al. 2015 (arXiv:1506.04214) without peepholes; gates in the order of thuml/transferable-memory:
/// core/layers/ConvLSTMCell.py.
/// ```text
/// i, f, o = sigmoid(W * [x, h] + b)     g = tanh(W * [x, h] + b)
/// c' = f c + i g                        h' = o tanh(c')           h = c = 0 at the first frame
/// ```
///
/// # Shapes and units
/// - input `[N, C, H, W]`, output `h'`, state `h` and `c`, value `cell` (c') `[N, K, H, W]`
pub struct ConvLstmCell {
    kernel: usize,
    hidden: usize,
    convolution: Option<Conv2d>,
}

impl Component for ConvLstmCell {
    type Config = ConvLstmCellConfig;
    const NAME: &'static str = "conv_lstm_cell";
    const DOC: &'static str = "A convolutional LSTM, its cell open to taps";
    const CITATION: &'static str = "Shi et al., Convolutional LSTM Network: A Machine Learning Approach for Precipitation \
                                    Nowcasting, 2015, arXiv:1506.04214";

    fn new(config: ConvLstmCellConfig) -> Result<ConvLstmCell> {
        ensure!(config.kernel % 2 == 1, "`kernel` must be odd, got {}", config.kernel);
        Ok(ConvLstmCell { kernel: config.kernel, hidden: 0, convolution: None })
    }
}

impl Module for ConvLstmCell {
    fn bind(&mut self, cx: &BindCx, x: &Tensor, replaced: &Tensor) -> Result<()> {
        let (from, to) = (x.meta()?, replaced.meta()?);
        let is_map = from.shape.len() == 4 && to.shape.len() == 4 && from.shape[2..] == to.shape[2..];
        ensure!(is_map, "wants [N, C, H, W] to [N, K, H, W], got {from} to {to}");
        self.hidden = to.shape[1];
        let channels = [from.shape[1] + self.hidden, 4 * self.hidden];
        self.convolution = Some(Conv2d::bind(cx, "conv", channels, [self.kernel; 2], 1, self.kernel / 2, true));
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Tensor, state: &State) -> Result<Stepped> {
        let convolution = self.convolution.as_ref().ok_or_else(|| Error::new("is not bound"))?;
        let start = || Ok(cx.full(0.0, &[x.dim(0)?, self.hidden, x.dim(2)?, x.dim(3)?], x.dtype()?));
        let hidden = state.get("hidden").map_or_else(start, Ok)?; // [N, K, H, W]
        let cell = state.get("cell").map_or_else(start, Ok)?; // [N, K, H, W]
        let gates = convolution.forward(cx, &Tensor::concat(&[x, &hidden], 1)?); // [N, 4 K, H, W]
        let gate = |at: usize| gates.narrow(1, at * self.hidden, self.hidden); // [N, K, H, W]
        let cell = gate(1).sigmoid() * cell + gate(0).sigmoid() * gate(3).tanh(); // [N, K, H, W]
        let hidden = gate(2).sigmoid() * cell.tanh(); // [N, K, H, W]
        Ok(Stepped::new(hidden.clone()).state("hidden", &hidden).state("cell", &cell).value("cell", &cell))
    }
}

register!(module ConvLstmCell);
