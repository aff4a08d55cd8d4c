//! Hierarchical context loss.

use stillhouse_plugin::prelude::*;

/// Settings of [`ReviewkdHcl`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReviewkdHclConfig {
    /// Sizes to which maps are pooled, beside their own; each at least 1. Those that are not below the height are left out.
    pub levels: Vec<usize>,
    /// Factor from one level to the next; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub level_weight: f64,
}

impl Default for ReviewkdHclConfig {
    fn default() -> ReviewkdHclConfig {
        ReviewkdHclConfig { levels: vec![4, 2, 1], level_weight: 0.5 }
    }
}

/// Hierarchical context loss of ReviewKD: squared errors of the maps and of their means at coarser levels.
///
/// Chen et al. 2021 (arXiv:2104.09044), as in mdistiller `distillers/ReviewKD.py` `hcl_loss`.
/// ```text
/// L = sum over taps of ( mse(s, t) + sum_k w^k mse(pool_k s, pool_k t) ) / ( 1 + sum_k w^k )
/// k = 1, 2, .. counts the levels below the height; pool_k: adaptive average pooling to l_k x l_k; w = level_weight
/// ```
/// This is the distance alone: the method's fusion of student layers (ABF) is not part of it, so that a connector, or equal
/// shapes, must bring the student's maps to the teacher's.
///
/// # Shapes and units
/// - `student`, `teacher`: one or more taps, `[N, C, H, W]` of one shape, paired in order; the student's carry gradient
/// - returns `[]`, squared units of the features, >= 0
/// - emits `per_layer` `[taps]`
///
/// # Errors
/// Other than maps, shapes that differ, an empty batch, other numbers of taps on both sides, a level of 0, a `level_weight` that
/// is not finite and above 0.
///
/// # Example
/// Errors 1 and -3 at two rows; pooled to one place: -1.
/// ```
/// # use stillhouse_dense::ReviewkdHcl;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<ReviewkdHcl>("{}")?
///     .input("student", &[1, 1, 2, 1], &[1.0, -3.0])
///     .input("teacher", &[1, 1, 2, 1], &[0.0, 0.0])
///     .run()?;
/// assert!((run.loss() - (5.0 + 0.5) / 1.5).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct ReviewkdHcl(ReviewkdHclConfig);

impl Component for ReviewkdHcl {
    type Config = ReviewkdHclConfig;
    const NAME: &'static str = "reviewkd_hcl";
    const DOC: &'static str = "Hierarchical context loss of ReviewKD: squared errors at several levels of pooling";
    const CITATION: &'static str =
        "Chen et al., Distilling Knowledge via Knowledge Review, CVPR 2021, arXiv:2104.09044";

    fn new(config: ReviewkdHclConfig) -> Result<ReviewkdHcl> {
        ensure!(!config.levels.contains(&0), "`levels` must each be at least 1, got {:?}", config.levels);
        let weight = config.level_weight;
        ensure!(weight.is_finite() && weight > 0.0, "`level_weight` must be finite and above 0, got {weight}");
        Ok(ReviewkdHcl(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().many(), Port::teacher().many()]
    }
}

impl Loss for ReviewkdHcl {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let mut layers = vec![];
        for (student, teacher) in x.pairs(Self::NAME)? {
            let [_, _, height, _] = map_dims(Self::NAME, &student)?;
            same_shape(Self::NAME, &student, &teacher)?;
            let difference = student - teacher; // [N, C, H, W]
            let (mut sum, mut total, mut weight) = (difference.square().mean_all(), 1.0, 1.0);
            for level in self.0.levels.iter().filter(|level| **level < height) {
                weight *= self.0.level_weight;
                // Pooling is linear: the difference of the means is the mean of the differences.
                sum = sum + difference.adaptive_avg_pool2d([*level; 2]).square().mean_all() * weight;
                total += weight;
            }
            layers.push(sum / total);
        }
        sum_of_layers(cx, &layers)
    }
}

register!(loss ReviewkdHcl);
