//! A buffer with a row for every sample.

use crate::filled;
use stillhouse_plugin::prelude::*;

/// Settings of [`RowBank`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RowBankConfig {
    /// Share of the old row that stays when a new one comes; at least 0, below 1.
    pub momentum: f64,
}

impl Default for RowBankConfig {
    fn default() -> RowBankConfig {
        RowBankConfig { momentum: 0.5 }
    }
}

/// Pulls the features of a sample to what they were when it was seen before.
///
/// ```text
/// L = 1 / N * sum_n seen_n mean_d (x_nd - rows_id)^2     i = index of sample n
/// rows_i = m rows_i + (1 - m) x_n     (the first time: x_n)
/// ```
///
/// # Shapes and units
/// - `student` `[N, D]`; `index` `[N]` i64, below the samples of the training set; returns `[]`
/// - buffers `rows` `[samples, D]` and `seen` `[samples]`, 0 or 1
pub struct RowBank(RowBankConfig);

impl Component for RowBank {
    type Config = RowBankConfig;
    const NAME: &'static str = "row_bank";
    const DOC: &'static str = "Pulls features to a memory of them, kept by sample";

    fn new(config: RowBankConfig) -> Result<RowBank> {
        ensure!(
            (0.0..1.0).contains(&config.momentum),
            "`momentum` must be at least 0 and below 1, got {}",
            config.momentum
        );
        Ok(RowBank(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::data("index")]
    }
}

impl Loss for RowBank {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let features = x.one("student")?.meta()?;
        ensure!(features.shape.len() == 2, "wants features [N, D], got {features}");
        let samples = cx.moment().samples as usize;
        cx.add_buffer("rows", &[samples, features.shape[1]], &Init::Zeros);
        cx.add_buffer("seen", &[samples], &Init::Zeros);
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (features, index) = (filled(Self::NAME, x.one("student")?)?, x.one("index")?); // [N, D], [N]
        let rows = cx.buffer("rows").index_select(0, &index); // [N, D]
        let seen = cx.buffer("seen").index_select(0, &index); // [N]
        let kept = seen.unsqueeze(1) * self.0.momentum; // [N, 1]
        cx.set_rows("rows", &index, &(&kept * &rows + (1.0 - &kept) * features.detach()));
        cx.set_rows("seen", &index, &(&seen * 0.0 + 1.0));
        Ok(((features - rows).square().mean(&[1]) * seen).mean_all())
    }
}

register!(loss RowBank);
