//! Its loss has a setting `weight`, which a manifest gives to the host.

use stillhouse_plugin::prelude::*;

/// Settings of [`Greedy`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GreedyConfig {
    /// A factor of its own.
    weight: f64,
}

/// A mean with a weight of its own.
pub struct Greedy(GreedyConfig);

impl Component for Greedy {
    type Config = GreedyConfig;
    const NAME: &'static str = "greedy";
    fn new(config: GreedyConfig) -> Result<Self> {
        Ok(Greedy(config))
    }
}

impl Loss for Greedy {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        Ok(x.one("student")?.mean_all() * self.0.weight)
    }
}

register!(loss Greedy);
export_plugin!();
