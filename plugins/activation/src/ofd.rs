//! Overhaul of feature distillation.

use crate::layer_weight;
use stillhouse_plugin::prelude::*;

/// Settings of [`Ofd`]: none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OfdConfig {}

/// Overhaul of feature distillation: the student takes over the teacher's pre-activations, but need not follow how far below
/// zero they lie.
///
/// Heo et al. 2019 (arXiv:1904.01866), margin ReLU and partial L2, as in mdistiller `distillers/OFD.py`.
/// ```text
/// L = 1 / N * sum over taps i of 2^(i - taps) sum_n.. (s - t')^2 [s > t' or t' > 0]     t' = max(t, m_c)
/// m_c = E[x | x < 0] for x normal with mean shift_c and deviation |scale_c|
///     = shift - |scale| pdf(shift / |scale|) / cdf(-shift / |scale|); -3 |scale| where that cdf is at most 0.001
/// ```
/// i counts from 1. `scale` and `shift` are the parameters of the batch normalisation that gives the teacher's tap. Without them
/// (and without `margin`) the teacher's values are taken as they are: mmrazor's `ofd_loss.py`, which divides by 1000 besides.
///
/// # Shapes and units
/// - `student`, `teacher`: one or more taps before a ReLU, `[N, C, ...]` of one shape, paired in order; the student's carry
///   gradient
/// - `scale`, `shift`: parameters of the teacher `[C]`, one a tap, or unbound
/// - `margin`: `[C]` (or `[1, C, 1, 1]`), one a tap, in place of the computed ones; or unbound
/// - returns `[]`, squared units of the features, >= 0
/// - emits `per_layer` `[taps]`, weighted, and `margin.0`, `margin.1`, .. where they are computed
///
/// # Errors
/// Shapes that differ, an empty batch, other numbers of values in the ports, `scale` without `shift`.
///
/// # Example
/// Below the margin, between margin and zero with a student below and above, above zero.
/// ```
/// # use stillhouse_activation::Ofd;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Ofd>("{}")?
///     .input("student", &[1, 1, 4, 1], &[0.0, -0.7, -0.3, 1.0])
///     .input("teacher", &[1, 1, 4, 1], &[-5.0, -0.5, -0.5, 3.0])
///     .input("margin", &[1], &[-1.0])
///     .run()?;
/// assert!((run.loss() - (1.0 + 0.0 + 0.04 + 4.0)).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct Ofd;

impl Component for Ofd {
    type Config = OfdConfig;
    const NAME: &'static str = "ofd";
    const DOC: &'static str = "Overhaul of feature distillation: pre-activations, without what lies below a margin";
    const CITATION: &'static str =
        "Heo et al., A Comprehensive Overhaul of Feature Distillation, ICCV 2019, arXiv:1904.01866";

    fn new(_: OfdConfig) -> Result<Ofd> {
        Ok(Ofd)
    }

    fn ports() -> Vec<Port> {
        vec![
            Port::student().many(),
            Port::teacher().many(),
            Port::teacher_parameter("scale").many().optional(),
            Port::teacher_parameter("shift").many().optional(),
            Port { default: None, ..Port::data("margin") }.many().optional(),
        ]
    }
}

impl Loss for Ofd {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let pairs = x.pairs(Self::NAME)?;
        let margins = margins(cx, x, pairs.len())?;
        let mut layers = vec![];
        for (at, (student, teacher)) in pairs.iter().enumerate() {
            same_shape(Self::NAME, student, teacher)?;
            let target = match margins.get(at) {
                Some(margin) => teacher.maximum(&along_channels(margin, &teacher.dims()?)?),
                None => teacher.clone(),
            }; // [N, C, ...]
            let counted = student.gt(&target).maximum(&target.gt_value(0.0)); // [N, C, ...]
            let squares = (student - target).square() * counted; // [N, C, ...]
            layers.push(squares.sum_all() * (layer_weight(at, pairs.len()) / student.dim(0)? as f64));
        }
        sum_of_layers(cx, &layers)
    }
}

/// Margins by tap; none where neither they nor the parameters of the normalisation are given.
fn margins(cx: &Cx, x: &Inputs, taps: usize) -> Result<Vec<Tensor>> {
    let listed = |port: &str| -> Result<Vec<Tensor>> {
        let values = if x.has(port) { x.list(port)? } else { vec![] };
        ensure!(
            values.is_empty() || values.len() == taps,
            "`ofd` wants one value of `{port}` for each of the {taps} taps, got {}",
            values.len()
        );
        Ok(values.iter().map(Tensor::detach).collect())
    };
    let (given, scales, shifts) = (listed("margin")?, listed("scale")?, listed("shift")?);
    ensure!(
        scales.len() == shifts.len(),
        "`ofd` wants both `scale` and `shift` of the teacher's batch normalisation, or neither"
    );
    if !given.is_empty() {
        return Ok(given);
    }
    let computed: Vec<Tensor> = scales.iter().zip(&shifts).map(|(scale, shift)| margin(scale, shift)).collect();
    computed.iter().enumerate().for_each(|(at, margin)| cx.emit(&format!("margin.{at}"), margin));
    Ok(computed)
}

/// Mean of the negative part of a normal distribution, channel by channel.
fn margin(scale: &Tensor, shift: &Tensor) -> Tensor {
    let deviation = scale.abs().clamp_min(1e-12); // [C]
    let standard = shift / &deviation; // [C]
    let below = ((-&standard / 2f64.sqrt()).erf() + 1.0) * 0.5; // [C]
    let density = (standard.square() * -0.5).exp() / std::f64::consts::TAU.sqrt(); // [C]
    let mean = shift - &deviation * density / below.clamp_min(1e-3);
    below.gt_value(1e-3).select(&mean, &(deviation * -3.0))
}

/// A margin `[C]`, or with ones around it, in the shape that broadcasts over the channels of a value.
fn along_channels(margin: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let own = margin.dims()?;
    let mut shape = vec![1; dims.len()];
    shape[1] = dims[1];
    ensure!(
        own.iter().product::<usize>() == dims[1],
        "`ofd` wants a margin for each of the {} channels, got {own:?}",
        dims[1]
    );
    Ok(margin.reshape(&shape))
}

register!(loss Ofd);
