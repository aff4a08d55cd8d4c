//! A port over time.

use crate::filled;
use stillhouse_plugin::prelude::*;

/// Settings of [`EveryFrame`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EveryFrameConfig {
    /// Where the values should be.
    pub target: f64,
}

impl Default for EveryFrameConfig {
    fn default() -> EveryFrameConfig {
        EveryFrameConfig { target: 0.5 }
    }
}

/// Squared distance of a value from a target, mean over all frames and elements.
///
/// ```text
/// L = 1 / F * sum_f mean (x_f - target)^2
/// ```
///
/// # Shapes and units
/// - `student` over time, F frames `[N, ...]`; returns `[]`
pub struct EveryFrame(EveryFrameConfig);

impl Component for EveryFrame {
    type Config = EveryFrameConfig;
    const NAME: &'static str = "every_frame";
    const DOC: &'static str = "Holds a value near a target in every frame";

    fn new(config: EveryFrameConfig) -> Result<EveryFrame> {
        Ok(EveryFrame(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().over_time()]
    }
}

impl Loss for EveryFrame {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let frames = x.list("student")?;
        if cx.moment().step == 0 {
            cx.info(&format!("reads {} frames", frames.len()));
        }
        for frame in &frames {
            filled(Self::NAME, frame.clone())?;
        }
        let distances: Vec<Tensor> = frames.iter().map(|x| (x - self.0.target).square().mean_all()).collect();
        Ok(Tensor::stack(&distances.iter().collect::<Vec<_>>(), 0)?.mean_all())
    }
}

register!(loss EveryFrame);
