//! Probabilistic knowledge transfer.

use crate::rows::unit_rows;
use stillhouse_plugin::prelude::*;

/// Keeps lengths and probabilities off zero.
const EPS: f64 = 1e-7;

/// Settings of [`Pkt`]: none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PktConfig {}

/// Probabilistic knowledge transfer: for each sample, how probable the others are as its neighbours.
///
/// Passalis & Tefas 2018 (arXiv:1803.10837) with the cosine kernel, as in RepDistiller `distiller_zoo/PKT.py`.
/// ```text
/// L = 1 / N^2 * sum_nm p_nm ln ((p_nm + 1e-7) / (q_nm + 1e-7))     q the student's, p the teacher's
/// q_nm = k_nm / sum_m k_nm     k_nm = (u_n . u_m + 1) / 2     u_n = x_n / (|x_n| + 1e-7)
/// ```
/// The paper sums over pairs of different samples; the code takes the mean over all, the sample itself included. Samples of
/// zeros have u = 0 and pass no gradient (there the code's gradient is no number).
///
/// # Shapes and units
/// - `student` `[N, ...]` float, flattened to vectors; carries gradient
/// - `teacher` `[N, ...]` of any size, same type; constant
/// - returns `[]`, nats a pair, >= 0
///
/// # Errors
/// Batches that differ, an empty batch.
///
/// # Example
/// The student's samples are orthogonal, the teacher's are the same.
/// ```
/// # use stillhouse_similarity::Pkt;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Pkt>("{}")?
///     .input("student", &[2, 2], &[1.0, 0.0, 0.0, 1.0])
///     .input("teacher", &[2, 1], &[2.0, 2.0])
///     .run()?;
/// // Rows of q (2/3, 1/3) and of p (1/2, 1/2), up to the 1e-7.
/// assert!((run.loss() - 0.25 * (0.75f64.ln() + 1.5f64.ln())).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub struct Pkt;

impl Component for Pkt {
    type Config = PktConfig;
    const NAME: &'static str = "pkt";
    const DOC: &'static str = "Probabilistic knowledge transfer: which samples of the batch are neighbours";
    const CITATION: &'static str = "Passalis & Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV 2018, arXiv:1803.10837";
    const BATCH_COUPLED: bool = true;

    fn new(_: PktConfig) -> Result<Pkt> {
        Ok(Pkt)
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for Pkt {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        let (q, p) = (neighbours(&student), neighbours(&teacher)); // [N, N]
        Ok((&p * ((&p + EPS) / (q + EPS)).log()).mean_all())
    }
}

/// Probabilities of the samples as neighbours of each.
fn neighbours(x: &Tensor) -> Tensor {
    let unit = unit_rows(&x.flatten_from(1), EPS); // [N, D]
    let kernel = (unit.matmul(&unit.t()) + 1.0) / 2.0; // [N, N]
    &kernel / kernel.sum_keep(&[1])
}

register!(loss Pkt);
