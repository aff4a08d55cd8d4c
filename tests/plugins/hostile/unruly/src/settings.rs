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

/// Settings of [`TakesInner`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TakesInnerConfig {
    /// A table.
    #[serde(default)]
    inner: Closed,
    /// One that may be absent.
    #[serde(default)]
    other: Option<Closed>,
}

/// A closed table.
#[derive(serde::Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Closed {
    /// Above 0, as nobody checks.
    #[schemars(extend("exclusiveMinimum" = 0))]
    scale: f64,
}

impl Default for Closed {
    fn default() -> Closed {
        Closed { scale: 1.0 }
    }
}

/// A distance with a scale that lies in a table.
pub(crate) struct TakesInner(TakesInnerConfig);

impl Component for TakesInner {
    type Config = TakesInnerConfig;
    const NAME: &'static str = "takes_inner";
    const DOC: &'static str = "Takes a scale in a table that its schema does not allow";
    fn new(config: TakesInnerConfig) -> Result<Self> {
        Ok(TakesInner(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for TakesInner {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = pair(Self::NAME, x)?;
        let other = self.0.other.as_ref().map_or(1.0, |other| other.scale);
        Ok((student - teacher).square().mean_all() * (self.0.inner.scale * other))
    }
}

register!(loss TakesInner);

/// Settings of [`OtherDefault`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtherDefaultConfig {
    /// Factor, any.
    #[serde(default)]
    #[schemars(extend("default" = 2.0))]
    scale: Option<f64>,
}

/// A scaled distance, whose factor is another one than its schema says.
pub(crate) struct OtherDefault(OtherDefaultConfig);

impl Component for OtherDefault {
    type Config = OtherDefaultConfig;
    const NAME: &'static str = "other_default";
    const DOC: &'static str = "Works with another default than its schema says";
    fn new(config: OtherDefaultConfig) -> Result<Self> {
        Ok(OtherDefault(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for OtherDefault {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = pair(Self::NAME, x)?;
        Ok((student - teacher).square().mean_all() * self.0.scale.unwrap_or(1.0))
    }
}

register!(loss OtherDefault);

/// Settings of [`OtherRoot`].
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OtherRootConfig {
    /// Whether the root of the distance is taken.
    root: bool,
}

/// A distance that is sound as long as its setting is left alone.
pub(crate) struct OtherRoot(OtherRootConfig);

impl Component for OtherRoot {
    type Config = OtherRootConfig;
    const NAME: &'static str = "other_root";
    const DOC: &'static str = "Takes a root without a bound below where a setting says so";
    fn new(config: OtherRootConfig) -> Result<Self> {
        Ok(OtherRoot(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for OtherRoot {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = pair(Self::NAME, x)?;
        let squares = (student - teacher).square().sum(&[1]);
        Ok(if self.0.root { squares.sqrt() } else { squares }.mean_all())
    }
}

register!(loss OtherRoot);
