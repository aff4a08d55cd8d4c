//! Prediction of frames.

use stillhouse_plugin::prelude::*;

/// Settings of [`NextFrame`]: none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NextFrameConfig {}

/// Mean squared error of a predictor of frames.
///
/// ```text
/// L = 1 / T sum_t mean (prediction_t - frame_(t + 1))^2       means over samples and values, sum over T predictions
/// ```
/// It is PyTorch's `MSELoss` over all predicted frames, as the trainers of thuml/predrnn-pytorch and
/// thuml/transferable-memory use it.
///
/// # Shapes and units
/// - `student` (default `logits`), `target` (default `frames.next`) `[N, ...]` a frame; the target without gradient
/// - returns `[]`, squared units of a frame, >= 0
///
/// # Errors
/// Other numbers of frames, frames that differ in shape, an empty batch.
///
/// # Example
/// ```
/// # use stillhouse_basics::NextFrame;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let mut bench = Bench::loss::<NextFrame>("{}")?
///     .input("student", &[1, 2], &[0.0, 3.0])
///     .input("target", &[1, 2], &[1.0, 3.0]);
/// assert_eq!(bench.run()?.loss(), 0.5);
/// # Ok(())
/// # }
/// ```
pub struct NextFrame;

impl Component for NextFrame {
    type Config = NextFrameConfig;
    const NAME: &'static str = "next_frame";
    const DOC: &'static str = "Mean squared error of predicted frames";
    const CITATION: &'static str = "thuml/predrnn-pytorch and thuml/transferable-memory, core/trainer.py";

    fn new(_: NextFrameConfig) -> Result<NextFrame> {
        Ok(NextFrame)
    }

    fn ports() -> Vec<Port> {
        let target = Port::student().named("target").or("frames.next").over_time();
        vec![Port::student().or("logits").over_time(), target]
    }
}

impl Loss for NextFrame {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (predicted, wanted) = (x.list("student")?, x.list("target")?); // a frame [N, ...] each
        ensure!(
            predicted.len() == wanted.len() && !wanted.is_empty(),
            "`next_frame` got {} predictions of {} frames",
            predicted.len(),
            wanted.len()
        );
        let count = predicted.len() as f64;
        let mut sum: Option<Tensor> = None;
        for (predicted, wanted) in predicted.iter().zip(&wanted) {
            same_shape(Self::NAME, predicted, wanted)?;
            let dims = predicted.dims()?;
            ensure!(!dims.contains(&0), "`next_frame` got an empty batch: {dims:?}");
            let error = (predicted - wanted.detach()).square().mean_all();
            sum = Some(sum.map_or(error.clone(), |sum| sum + error));
        }
        sum.map(|sum| sum * (1.0 / count)).ok_or_else(|| Error::new("`next_frame` got no frame"))
    }
}

register!(loss NextFrame);
