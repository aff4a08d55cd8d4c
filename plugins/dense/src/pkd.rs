//! Distillation by the correlation of channels.

use stillhouse_plugin::prelude::*;

/// Settings of [`Pkd`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PkdConfig {
    /// Where sizes differ the student's map is resized to the teacher's; false: the teacher's to the student's.
    pub resize_student: bool,
}

impl Default for PkdConfig {
    fn default() -> PkdConfig {
        PkdConfig { resize_student: true }
    }
}

/// Distillation by the correlation of channels: the means of both maps are taken away and their deviations divided out, so that
/// the squared error is one minus Pearson's correlation.
///
/// Cao et al. 2022 (arXiv:2207.02039), as in mmrazor `models/losses/pkd_loss.py`.
/// ```text
/// L = sum over taps of 1/2 mean_nchw (s~ - t~)^2     x~ = (x - mean_c) / (std_c + 1e-6)
/// mean_c, std_c (unbiased) over the samples and places of channel c
/// ```
/// Where heights or widths differ one map is resized bilinearly first. A channel without spread (or with one value) becomes 0.
///
/// # Shapes and units
/// - `student`, `teacher`: one or more taps, `[N, C, H, W]` with the same channels, paired in order; the student's carry gradient
/// - returns `[]`, no unit, >= 0
/// - emits `per_layer` `[taps]`
///
/// # Errors
/// Other than maps, channels or batches that differ, an empty batch, other numbers of taps on both sides.
///
/// # Example
/// Two places that rise for the teacher and fall for the student: correlation -1.
/// ```
/// # use stillhouse_dense::Pkd;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Pkd>("{}")?
///     .input("student", &[1, 1, 1, 2], &[5.0, 3.0])
///     .input("teacher", &[1, 1, 1, 2], &[0.0, 100.0])
///     .run()?;
/// // (x - mean) / std = -+ sqrt(1/2): 1/2 (2 sqrt(1/2))^2.
/// assert!((run.loss() - 1.0).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
pub struct Pkd(PkdConfig);

impl Component for Pkd {
    type Config = PkdConfig;
    const NAME: &'static str = "pkd";
    const DOC: &'static str = "Distillation by the Pearson correlation of channels";
    const CITATION: &'static str = "Cao et al., PKD: General Distillation Framework for Object Detectors via Pearson Correlation Coefficient, NeurIPS 2022, \
         arXiv:2207.02039";
    const BATCH_COUPLED: bool = true;

    fn new(config: PkdConfig) -> Result<Pkd> {
        Ok(Pkd(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().many(), Port::teacher().many()]
    }
}

impl Loss for Pkd {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let mut layers = vec![];
        for (student, teacher) in x.pairs(Self::NAME)? {
            let (student, teacher) = self.at_one_size(student, teacher)?;
            same_shape(Self::NAME, &student, &teacher)?;
            layers.push((standard(&student)? - standard(&teacher)?).square().mean_all() * 0.5);
        }
        sum_of_layers(cx, &layers)
    }
}

impl Pkd {
    fn at_one_size(&self, student: Tensor, teacher: Tensor) -> Result<(Tensor, Tensor)> {
        let ([_, _, h, w], [_, _, th, tw]) = (map_dims(Self::NAME, &student)?, map_dims(Self::NAME, &teacher)?);
        Ok(match [h, w] == [th, tw] {
            true => (student, teacher),
            false if self.0.resize_student => (student.resize_bilinear([th, tw]), teacher),
            false => (student, teacher.resize_bilinear([h, w])),
        })
    }
}

/// Every channel with mean 0 and deviation 1.
fn standard(map: &Tensor) -> Result<Tensor> {
    let [samples, _, height, width] = map_dims(Pkd::NAME, map)?;
    let centred = map - map.mean_keep(&[0, 2, 3]); // [N, C, H, W]
    let others = (samples * height * width - 1).max(1) as f64;
    let variance = centred.square().sum_keep(&[0, 2, 3]) / others; // [1, C, 1, 1]
    Ok(centred / (variance.clamp_min(1e-24).sqrt() + 1e-6))
}

register!(loss Pkd);
