//! An ordinary plugin. The tests build it with `-C panic=abort`: a panic in it would end the host.

use stillhouse_plugin::prelude::*;

/// No settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Panics in every step.
pub struct PanicsUnderAbort;

impl Component for PanicsUnderAbort {
    type Config = NoConfig;
    const NAME: &'static str = "panics_under_abort";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(PanicsUnderAbort)
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

impl Loss for PanicsUnderAbort {
    fn forward(&self, _: &Cx, _: &Inputs) -> Result<Tensor> {
        panic!("under abort")
    }
}

register!(loss PanicsUnderAbort);
export_plugin!();
