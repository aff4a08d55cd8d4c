//! Similarity-preserving distillation.

use crate::rows::unit_rows;
use stillhouse_plugin::prelude::*;

/// Settings of [`Sp`]: none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpConfig {}

/// Similarity-preserving distillation: samples that activate the teacher alike are to activate the student alike.
///
/// Tung & Mori 2019 (arXiv:1907.09682), as in RepDistiller `distiller_zoo/SP.py`.
/// ```text
/// L = 1 / N^2 * sum_nm (G_nm - G'_nm)^2     G = rows of X X^T, each divided by its length; X = [N, D], G' the teacher's
/// ```
/// Of several taps the values are added. No connector is needed: N x N similarities are compared.
///
/// # Shapes and units
/// - `student`, `teacher`: one or more taps, `[N, ...]` of any size, paired in order; flattened; the student's carry gradient
/// - returns `[]`, no unit, between 0 and `4 / N` a tap
/// - emits `per_layer` `[taps]`
///
/// # Errors
/// Batches that differ, an empty batch, other numbers of taps on both sides.
///
/// # Example
/// The student's samples are orthogonal, the teacher's are the same.
/// ```
/// # use stillhouse_similarity::Sp;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Sp>("{}")?
///     .input("student", &[2, 2], &[1.0, 0.0, 0.0, 3.0])
///     .input("teacher", &[2, 1], &[5.0, 5.0])
///     .run()?;
/// // Rows (1, 0) and (0, 1) against (1, 1) / sqrt 2.
/// let half = 0.5f64.sqrt();
/// assert!((run.loss() - ((1.0 - half).powi(2) + half * half) / 2.0).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct Sp;

impl Component for Sp {
    type Config = SpConfig;
    const NAME: &'static str = "sp";
    const DOC: &'static str = "Similarity-preserving distillation: rows of the batch's similarity matrix";
    const CITATION: &'static str =
        "Tung & Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019, arXiv:1907.09682";
    const BATCH_COUPLED: bool = true;

    fn new(_: SpConfig) -> Result<Sp> {
        Ok(Sp)
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().many(), Port::teacher().many()]
    }
}

impl Loss for Sp {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let mut layers = vec![];
        for (student, teacher) in x.pairs(Self::NAME)? {
            let samples = student.dim(0)? as f64;
            let difference = similarities(&student) - similarities(&teacher); // [N, N]
            layers.push(difference.square().sum_all() / (samples * samples));
        }
        sum_of_layers(cx, &layers)
    }
}

fn similarities(x: &Tensor) -> Tensor {
    let flat = x.flatten_from(1); // [N, D]
    unit_rows(&flat.matmul(&flat.t()), 0.0) // [N, N]
}

register!(loss Sp);
