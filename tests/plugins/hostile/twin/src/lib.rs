//! Offers a loss `twin`, as `hostile-parts` does, and a connector of the same name.

use stillhouse_plugin::prelude::*;

/// No settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// The mean of the student's values.
pub struct Twin;

impl Component for Twin {
    type Config = NoConfig;
    const NAME: &'static str = "twin";
    const DOC: &'static str = "The mean of the student's values";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(Twin)
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

impl Loss for Twin {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        Ok(x.one("student")?.mean_all())
    }
}

impl Connector for Twin {
    fn bind(&mut self, _: &BindCx, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }
    fn forward(&self, _: &Cx, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }
}

register!(loss Twin);
register!(connector Twin);
export_plugin!();
