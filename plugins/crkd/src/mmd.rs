//! Distributions of features.

use serde::Serialize;
use stillhouse_plugin::prelude::*;

/// Settings of [`CrkdMmd`].
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrkdMmdConfig {
    /// Squared width of the middle kernel, above 0. Without it: the mean squared distance between the features of a batch.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub sigma2: Option<f64>,
    /// Number of kernels; 1 to 64.
    #[schemars(range(min = 1, max = 64))]
    pub kernels: usize,
    /// Ratio of the squared widths of two kernels that follow each other; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub factor: f64,
}

impl Default for CrkdMmdConfig {
    fn default() -> CrkdMmdConfig {
        CrkdMmdConfig { sigma2: None, kernels: 5, factor: 2.0 }
    }
}

/// Maximum mean discrepancy: the features of small and large pictures are to be distributed alike.
///
/// Gretton et al. 2012 (JMLR 13), the biased estimate, with several Gaussian kernels; its use here is that of Feng, Lai & Xie 2021
/// in this plugin's reading.
/// ```text
/// L = mean_nm k(s_n, s_m) + mean_nm k(t_n, t_m) - 2 mean_nm k(s_n, t_m)
/// k(x, y) = sum_{u < kernels} exp(-|x - y|^2 / (sigma2 factor^(u - floor(kernels / 2))))
/// ```
/// Without `sigma2` it is the mean of all squared distances between different members of both batches together, constant in the
/// gradient.
///
/// # Shapes and units
/// - `student` `[N, ...]` float, flattened to vectors; carries gradient
/// - `teacher` same shape and type; constant
/// - returns `[]`, no unit, >= 0 but for rounding
///
/// # Errors
/// Features that differ in shape, an empty batch, settings out of range.
///
/// # Example
/// One kernel, one sample on each side: 2 - 2 exp(-d^2 / sigma2).
/// ```
/// # use stillhouse_crkd::CrkdMmd;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<CrkdMmd>(r#"{"sigma2": 2, "kernels": 1}"#)?
///     .input("student", &[1, 2], &[1.0, 0.0])
///     .input("teacher", &[1, 2], &[0.0, 1.0])
///     .run()?;
/// assert!((run.loss() - 2.0 * (1.0 - (-1f64).exp())).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct CrkdMmd(CrkdMmdConfig);

impl Component for CrkdMmd {
    type Config = CrkdMmdConfig;
    const NAME: &'static str = "crkd_mmd";
    const DOC: &'static str = "Maximum mean discrepancy between the features of both networks";
    const CITATION: &'static str = crate::CITATION;
    const BATCH_COUPLED: bool = true;

    fn new(config: CrkdMmdConfig) -> Result<CrkdMmd> {
        config.check("")?;
        Ok(CrkdMmd(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Loss for CrkdMmd {
    fn forward(&self, _cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (student, teacher) = x.pair(Self::NAME)?;
        self.0.discrepancy(Self::NAME, &student, &teacher)
    }
}

impl CrkdMmdConfig {
    /// Refuses what is out of range; `path` stands before the name of a setting.
    pub(crate) fn check(&self, path: &str) -> Result<()> {
        ensure!((1..=64).contains(&self.kernels), "`{path}kernels` must be between 1 and 64, got {}", self.kernels);
        for (name, value) in [("sigma2", self.sigma2), ("factor", Some(self.factor))] {
            if let Some(value) = value {
                ensure!(value.is_finite() && value > 0.0, "`{path}{name}` must be finite and above 0, got {value}");
            }
        }
        Ok(())
    }

    /// The loss of features of a whole batch; `name` is the component's.
    pub(crate) fn discrepancy(&self, name: &str, student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
        same_shape(name, student, teacher)?;
        let samples = student.dim(0)?;
        let both = Tensor::concat(&[&student.flatten_from(1), &teacher.detach().flatten_from(1)], 0)?; // [2 N, D]
        let squares = squared_distances(&both); // [2 N, 2 N]
        let measured = match self.sigma2 {
            Some(sigma2) => squares / sigma2,
            None => {
                let pairs = (2 * samples * (2 * samples - 1)) as f64;
                // Members that are all the same have no width.
                let sigma2 = (squares.detach().sum_all() / pairs).clamp_min(1e-30); // []
                squares / sigma2
            }
        }; // [2 N, 2 N]
        let one = |u: usize| (&measured * -self.factor.powi((self.kernels / 2) as i32 - u as i32)).exp();
        let kernel = (1..self.kernels).fold(one(0), |sum, u| sum + one(u)); // [2 N, 2 N]
        let block = |row: usize, column: usize| {
            kernel.narrow(0, row * samples, samples).narrow(1, column * samples, samples).mean_all()
        };
        Ok(block(0, 0) + block(1, 1) - block(0, 1) * 2.0)
    }
}

/// Squared distances between all rows; centred first, which changes none and keeps them precise.
fn squared_distances(rows: &Tensor) -> Tensor {
    let centred = rows - rows.detach().mean_keep(&[0]); // [2 N, D]
    let lengths = centred.square().sum_keep(&[1]); // [2 N, 1]
    (&lengths + lengths.t() - centred.matmul(&centred.t()) * 2.0).clamp_min(0.0)
}

register!(loss CrkdMmd);
