//! Parts that look at values.

use crate::{NoConfig, filled};
use stillhouse_plugin::prelude::*;

/// Settings of [`ReadsValue`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadsValueConfig {
    /// Samples of a larger loss are left out, nats.
    pub threshold: f64,
}

impl Default for ReadsValueConfig {
    fn default() -> ReadsValueConfig {
        ReadsValueConfig { threshold: 4.0 }
    }
}

/// Cross-entropy with labels over the samples on which it is not too large.
///
/// ```text
/// L = 1 / |K| * sum_{n in K} l_n     K = { n : l_n <= threshold };  0 where K is empty
/// ```
/// Which samples those are is decided on values, so the part is `DYNAMIC`.
///
/// # Shapes and units
/// - `student` `[N, C]`, `label` `[N]` i64; returns `[]`, nats
pub struct ReadsValue(ReadsValueConfig);

impl Component for ReadsValue {
    type Config = ReadsValueConfig;
    const NAME: &'static str = "reads_value";
    const DOC: &'static str = "Cross-entropy without the samples on which it is large";
    const DYNAMIC: bool = true;

    fn new(config: ReadsValueConfig) -> Result<ReadsValue> {
        Ok(ReadsValue(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::data("label")]
    }
}

impl Loss for ReadsValue {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let losses = x.one("student")?.cross_entropy(&x.one("label")?, 0.0); // [N]
        let is_kept = |(at, loss): (usize, &f64)| (*loss <= self.0.threshold).then_some(at as f64);
        let kept: Vec<f64> = losses.to_vec()?.iter().enumerate().filter_map(is_kept).collect();
        if kept.is_empty() {
            return Ok(losses.sum_all() * 0.0);
        }
        let index = cx.constant(&kept, &[kept.len()], DType::I64); // [K]
        Ok(losses.index_select(0, &index).mean_all())
    }
}

register!(loss ReadsValue);

/// Reads a value without declaring it.
pub struct ReadsWithoutSaying;

impl Component for ReadsWithoutSaying {
    type Config = NoConfig;
    const NAME: &'static str = "reads_without_saying";
    const DOC: &'static str = "Reads a value without declaring it";

    fn new(_: NoConfig) -> Result<ReadsWithoutSaying> {
        Ok(ReadsWithoutSaying)
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

impl Loss for ReadsWithoutSaying {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let mean = filled(Self::NAME, x.one("student")?)?.square().mean_all();
        Ok(if mean.to_scalar()? > 1.0 { mean } else { mean * 0.0 })
    }
}

register!(loss ReadsWithoutSaying);
