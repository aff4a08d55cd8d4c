//! Losses with settings, with buffers, with random numbers, and a connector.

use crate::NoConfig;
use stillhouse_plugin::prelude::*;

/// Settings of [`Soft`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SoftConfig {
    /// Softens both sides; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    temperature: f64,
}

impl Default for SoftConfig {
    fn default() -> SoftConfig {
        SoftConfig { temperature: 4.0 }
    }
}

/// Divergence of softened classes, times the square of the temperature.
pub(crate) struct Soft(SoftConfig);

impl Component for Soft {
    type Config = SoftConfig;
    const NAME: &'static str = "soft";
    const DOC: &'static str = "Softened classes of the teacher";
    const CITATION: &'static str = "Hinton, Vinyals & Dean 2015, arXiv:1503.02531";
    fn new(config: SoftConfig) -> Result<Self> {
        let temperature = config.temperature;
        ensure!(
            temperature.is_finite() && temperature > 0.0,
            "`temperature` must be finite and above 0, got {temperature}"
        );
        Ok(Soft(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::teacher().or("logits")]
    }
}

impl Loss for Soft {
    fn forward(&self, _: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        same_shape(Self::NAME, &student, &teacher)?;
        let dims = student.dims()?;
        ensure!(dims.len() == 2 && !dims.contains(&0), "`soft` wants logits [N, C], got {dims:?}");
        let temperature = self.0.temperature;
        let (log_p, log_q) = ((teacher / temperature).log_softmax(1), (student / temperature).log_softmax(1)); // [N, C]
        let divergence = (log_p.exp() * (&log_p - log_q)).sum(&[1]); // [N]
        Ok(divergence.mean_all() * temperature * temperature)
    }
}

register!(loss Soft);

/// Pulls a sample's features to what they were, and all features to their running mean; noise on top.
pub(crate) struct Bank;

impl Component for Bank {
    type Config = NoConfig;
    const NAME: &'static str = "bank";
    const DOC: &'static str = "A buffer by sample, one of means, random numbers by purpose";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(Bank)
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::data("index")]
    }
}

impl Loss for Bank {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let features = x.one("student")?.meta()?;
        ensure!(features.shape.len() == 2 && !features.shape.contains(&0), "`bank` wants [N, D], got {features}");
        cx.add_buffer("rows", &[cx.moment().samples as usize, features.shape[1]], &Init::Zeros);
        cx.add_buffer("mean", &[features.shape[1]], &Init::Zeros);
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (features, index) = (x.one("student")?, x.one("index")?); // [N, D], [N]
        let (rows, mean) = (cx.buffer("rows").index_select(0, &index), cx.buffer("mean")); // [N, D], [D]
        if cx.training() {
            cx.set_rows("rows", &index, &features.detach());
            cx.set("mean", &(&mean * 0.9 + features.detach().mean(&[0]) * 0.1));
        }
        cx.emit("mean", &mean);
        cx.info(&format!("step {} of stage `{}`", cx.moment().step, cx.stage()));
        let noise = cx.normal("noise", &features.dims()?, features.dtype()?, 0.01); // [N, D]
        let seen = (&features + noise - rows).square().mean_all();
        Ok(seen + (features - mean).square().mean_all())
    }
}

register!(loss Bank);

/// A linear map between features.
pub(crate) struct Map(Option<Linear>);

impl Component for Map {
    type Config = NoConfig;
    const NAME: &'static str = "map";
    const DOC: &'static str = "A linear map";
    fn new(_: NoConfig) -> Result<Self> {
        Ok(Map(None))
    }
}

impl Connector for Map {
    fn bind(&mut self, cx: &BindCx, from: &Tensor, to: &Tensor) -> Result<()> {
        let (own, wanted) = (from.meta()?, to.meta()?);
        ensure!(own.shape.len() == 2 && wanted.shape.len() == 2, "`map` wants [N, D], got {own} and {wanted}");
        self.0 = Some(Linear::bind(cx, "map", own.shape[1], wanted.shape[1], true));
        Ok(())
    }
    fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let map = self.0.as_ref().ok_or_else(|| Error::new("is not bound"))?;
        Ok(map.forward(cx, x))
    }
}

register!(connector Map);
