//! Correlation congruence, by differences of neighbours.

use stillhouse_plugin::prelude::*;

/// Settings of [`Cc`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CcConfig {
    /// Bring both sides to this many features by a trained linear map each; at least 1. Without it they are compared as they
    /// are.
    #[schemars(range(min = 1))]
    pub embed_dim: Option<usize>,
}

/// Correlation congruence in the form of RepDistiller: errors of samples that follow each other in the batch are not to occur
/// together.
///
/// Peng et al. 2019 (arXiv:1904.01802); the formula is that of RepDistiller `distiller_zoo/CC.py`.
/// ```text
/// L = 1 / (N - 1) * sum_{n < N} sum_d |s_n - t_n|_d |s_{n+1} - t_{n+1}|_d
/// ```
/// s and t are embeddings: with `embed_dim` linear maps of the flattened features of either side, both trained (128 in
/// RepDistiller). The paper compares kernel matrices of the batch, which this is not; by its repository's word the code came
/// from the authors.
///
/// # Shapes and units
/// - `student` `[N, ...]` float; carries gradient
/// - `teacher` `[N, ...]`, the same shape, or any with `embed_dim`; constant
/// - parameters with `embed_dim`: `embed_student.weight` `[embed_dim, D]`, `embed_student.bias` `[embed_dim]`, and `embed_teacher.*`
/// - returns `[]`, squared units of the features, >= 0; 0 for a batch of one
///
/// # Errors
/// Features that differ in shape (without `embed_dim`), an empty batch, an `embed_dim` of 0.
///
/// # Example
/// ```
/// # use stillhouse_similarity::Cc;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Cc>("{}")?
///     .input("student", &[3, 1], &[1.0, -2.0, 0.0])
///     .input("teacher", &[3, 1], &[0.0, 0.0, 3.0])
///     .run()?;
/// // Differences 1, 2, 3: (1 * 2 + 2 * 3) / 2.
/// assert_eq!((run.loss(), run.grad("student")), (4.0, &[1.0, -2.0, -1.0][..]));
/// # Ok(())
/// # }
/// ```
pub struct Cc {
    config: CcConfig,
    embeddings: Option<[Linear; 2]>,
}

impl Component for Cc {
    type Config = CcConfig;
    const NAME: &'static str = "cc";
    const DOC: &'static str = "Correlation congruence: errors of samples that follow each other in the batch";
    const CITATION: &'static str = "Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019, arXiv:1904.01802; \
         HobbitLong/RepDistiller distiller_zoo/CC.py";
    const BATCH_COUPLED: bool = true;

    fn new(config: CcConfig) -> Result<Cc> {
        ensure!(config.embed_dim != Some(0), "`embed_dim` must be at least 1");
        Ok(Cc { config, embeddings: None })
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for Cc {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        if let Some(features) = self.config.embed_dim {
            let (student, teacher) = x.pair(Self::NAME)?;
            let embedding = |name: &str, x: &Tensor| -> Result<Linear> {
                Ok(Linear::bind(cx, name, x.flatten_from(1).dim(1)?, features, true))
            };
            self.embeddings = Some([embedding("embed_student", &student)?, embedding("embed_teacher", &teacher)?]);
        }
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        let (student, teacher) = match &self.embeddings {
            Some([ours, theirs]) => {
                (ours.forward(cx, &student.flatten_from(1)), theirs.forward(cx, &teacher.flatten_from(1)))
            }
            None => (student, teacher),
        };
        same_shape(Self::NAME, &student, &teacher)?;
        let differences = (student - teacher).abs().flatten_from(1); // [N, D]
        let neighbours = differences.dim(0)? - 1;
        if neighbours == 0 {
            return Ok(differences.sum_all() * 0.0);
        }
        let (first, second) = (differences.narrow(0, 0, neighbours), differences.narrow(0, 1, neighbours));
        Ok((first * second).sum_all() / neighbours as f64)
    }
}

register!(loss Cc);
