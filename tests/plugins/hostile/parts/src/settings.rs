//! A loss with nested settings, to see what errors in them look like.

use stillhouse_plugin::prelude::*;

/// Inner settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inner {
    /// Factor of the angles.
    #[serde(default)]
    angle_weight: f64,
}

/// How values are compared.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Norm {
    /// Sum of absolute values.
    #[default]
    Absolute,
    /// Sum of squares.
    Squared,
}

/// Settings of [`Settings`]; unknown keys get through to the SDK.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct SettingsConfig {
    /// Factor, above 0.
    #[serde(default = "one")]
    scale: f64,
    /// How values are compared.
    #[serde(default)]
    norm: Norm,
    /// Inner settings.
    inner: Option<Inner>,
}

fn one() -> f64 {
    1.0
}

/// A loss with nested settings.
pub(crate) struct Settings(SettingsConfig);

impl Component for Settings {
    type Config = SettingsConfig;
    const NAME: &'static str = "settings";
    const DOC: &'static str = "A loss with nested settings";
    fn new(config: SettingsConfig) -> Result<Self> {
        ensure!(config.scale > 0.0, "`scale` must be above 0, got {}", config.scale);
        Ok(Settings(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

impl Loss for Settings {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        let student = x.one("student")?;
        let values = match self.0.norm {
            Norm::Absolute => student.abs(),
            Norm::Squared => student.square(),
        };
        let angle = self.0.inner.as_ref().map_or(0.0, |inner| inner.angle_weight);
        Ok(values.mean_all() * (self.0.scale + angle))
    }
}

register!(loss Settings);
