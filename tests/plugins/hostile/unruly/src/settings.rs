//! A loss that takes settings which its schema does not allow.

use crate::pair;
use stillhouse_plugin::prelude::*;

/// Settings of [`TakesAnything`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AnythingConfig {
    /// Above 0, as nobody checks.
    #[schemars(extend("exclusiveMinimum" = 0))]
    scale: f64,
}

impl Default for AnythingConfig {
    fn default() -> AnythingConfig {
        AnythingConfig { scale: 1.0 }
    }
}

/// A scaled distance.
pub(crate) struct TakesAnything(AnythingConfig);

impl Component for TakesAnything {
    type Config = AnythingConfig;
    const NAME: &'static str = "takes_anything";
    const DOC: &'static str = "Takes a scale that its schema does not allow";
    fn new(config: AnythingConfig) -> Result<Self> {
        Ok(TakesAnything(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for TakesAnything {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = pair(Self::NAME, x)?;
        Ok((student - teacher).square().mean_all() * self.0.scale)
    }
}

register!(loss TakesAnything);

/// Settings of [`Open`]; unknown keys get through to the SDK, which refuses them at the top only.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenConfig {
    /// A table in which a misspelt key means nothing.
    #[serde(default)]
    inner: Inner,
}

/// Not closed.
#[derive(Default, serde::Serialize, Deserialize, JsonSchema)]
pub(crate) struct Inner {
    /// Added to the loss.
    #[serde(default)]
    margin: f64,
}

/// A distance with a margin.
pub(crate) struct Open(OpenConfig);

impl Component for Open {
    type Config = OpenConfig;
    const NAME: &'static str = "open";
    const DOC: &'static str = "Has an inner table that takes any key";
    fn new(config: OpenConfig) -> Result<Self> {
        Ok(Open(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for Open {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = pair(Self::NAME, x)?;
        Ok((student - teacher).square().mean_all() + self.0.inner.margin)
    }
}

register!(loss Open);

/// Settings of [`NeedsScale`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NeedsScaleConfig {
    /// Factor, any; without a default.
    scale: f64,
}

/// A scaled distance that is made with a scale only.
pub(crate) struct NeedsScale(NeedsScaleConfig);

impl Component for NeedsScale {
    type Config = NeedsScaleConfig;
    const NAME: &'static str = "needs_scale";
    const DOC: &'static str = "A setting has no default; all rules are kept";
    fn new(config: NeedsScaleConfig) -> Result<Self> {
        Ok(NeedsScale(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for NeedsScale {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = pair(Self::NAME, x)?;
        Ok((student - teacher).square().mean_all() * self.0.scale)
    }
}

register!(loss NeedsScale);
