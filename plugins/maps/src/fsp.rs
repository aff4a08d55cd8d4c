//! Flow of the solution procedure.

use stillhouse_plugin::prelude::*;

/// Settings of [`Fsp`]: none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FspConfig {}

/// Flow of the solution procedure: how the channels of a layer go together with those of the next is to be the same.
///
/// Yim et al. 2017 (CVPR, "A Gift from Knowledge Distillation"), as in RepDistiller `distiller_zoo/FSP.py`.
/// ```text
/// L = sum over l of mean_n,cd (G_ncd - G'_ncd)^2     G_ncd = mean_hw F^l_nchw F^(l+1)_ndhw; G' the teacher's
/// ```
/// Layers that follow each other in the list are compared; of the two the larger is brought to the smaller one's size by
/// adaptive average pooling first. The paper sums over the entries of G, and pools by maxima.
///
/// # Shapes and units
/// - `student`, `teacher`: two or more taps, `[N, C, H, W]`, with the same channels tap by tap and any size; the student's
///   carry gradient
/// - returns `[]`, fourth power of the features' unit, >= 0
/// - emits `per_layer` `[taps - 1]`
///
/// # Errors
/// Fewer than two taps, other than maps, channels or batches that differ, an empty batch.
///
/// # Example
/// ```
/// # use stillhouse_maps::Fsp;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let shape: &[usize] = &[1, 1, 1, 2];
/// let run = Bench::loss::<Fsp>("{}")?
///     .input_list("student", &[(shape, &[1.0, 2.0]), (shape, &[3.0, 4.0])])
///     .input_list("teacher", &[(shape, &[1.0, 1.0]), (shape, &[2.0, 3.0])])
///     .run()?;
/// // G = (3 + 8) / 2 against (2 + 3) / 2.
/// assert_eq!(run.loss(), 9.0);
/// # Ok(())
/// # }
/// ```
pub struct Fsp;

impl Component for Fsp {
    type Config = FspConfig;
    const NAME: &'static str = "fsp";
    const DOC: &'static str =
        "Flow of the solution procedure: products of the channels of layers that follow each other";
    const CITATION: &'static str = "Yim et al., A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer Learning, CVPR 2017";

    fn new(_: FspConfig) -> Result<Fsp> {
        Ok(Fsp)
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().many(), Port::teacher().many()]
    }
}

impl Loss for Fsp {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let pairs = x.pairs(Self::NAME)?;
        ensure!(pairs.len() >= 2, "`fsp` wants two taps or more of each network, got {}", pairs.len());
        let mut layers = vec![];
        for at in 1..pairs.len() {
            let ((bottom, their_bottom), (top, their_top)) = (&pairs[at - 1], &pairs[at]);
            let (ours, theirs) = (flow(bottom, top)?, flow(their_bottom, their_top)?); // [N, C, C']
            let (student, teacher) = (ours.dims()?, theirs.dims()?);
            ensure!(
                student == teacher,
                "`fsp` got channels that differ between taps {} and {at}\n  student: {:?}\n  teacher: {:?}\n\nhint: a \
                 connector brings the student's channels to the teacher's",
                at - 1,
                &student[1..],
                &teacher[1..]
            );
            layers.push((ours - theirs).square().mean_all());
        }
        sum_of_layers(cx, &layers)
    }
}

/// Mean products over places of the channels of two layers.
fn flow(bottom: &Tensor, top: &Tensor) -> Result<Tensor> {
    let (bottom, top) = common_size(Fsp::NAME, bottom, top)?;
    let places = bottom.dim(2)? * bottom.dim(3)?;
    Ok(bottom.flatten_from(2).matmul(&top.flatten_from(2).t()) / places as f64)
}

register!(loss Fsp);
