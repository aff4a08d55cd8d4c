//! Activation boundaries.

use crate::layer_weight;
use stillhouse_plugin::prelude::*;

/// Factor that keeps sums over whole maps small, from the official code.
const SCALE: f64 = 3.0 / 1000.0;

/// Settings of [`Ab`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AbConfig {
    /// How far from 0 the student's value is to be; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub margin: f64,
}

impl Default for AbConfig {
    fn default() -> AbConfig {
        AbConfig { margin: 1.0 }
    }
}

/// Transfer of activation boundaries: the student's neurons are to be active where the teacher's are, by a margin.
///
/// Heo et al. 2019 (arXiv:1811.03233), the alternative loss, as in RepDistiller `distiller_zoo/AB.py` and mmrazor
/// `models/losses/ab_loss.py`.
/// ```text
/// L = 3 / (1000 N) * sum over taps i of 2^(i - taps) sum_n.. ( (s + m)^2 [s > -m, t <= 0] + (s - m)^2 [s <= m, t > 0] )
/// ```
/// i counts from 1, so that the last tap has factor 1; m is `margin`. The value of the teacher does not matter, only its sign:
/// taps are pre-activations (`layer:in` of a ReLU).
///
/// # Shapes and units
/// - `student`, `teacher`: one or more taps, `[N, ...]` of one shape, paired in order; the student's carry gradient
/// - returns `[]`, squared units of the features, >= 0
/// - emits `per_layer` `[taps]`, weighted
///
/// # Errors
/// Shapes that differ, an empty batch, other numbers of taps on both sides, a `margin` that is not finite and above 0.
///
/// # Example
/// Three neurons: far enough on the right side, on the right side but near, on the wrong side.
/// ```
/// # use stillhouse_activation::Ab;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::loss::<Ab>("{}")?
///     .input("student", &[1, 3], &[-2.0, 0.5, 1.0])
///     .input("teacher", &[1, 3], &[-0.1, 9.0, -9.0])
///     .run()?;
/// assert!((run.loss() - 0.003 * (0.0 + 0.25 + 4.0)).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
pub struct Ab(AbConfig);

impl Component for Ab {
    type Config = AbConfig;
    const NAME: &'static str = "ab";
    const DOC: &'static str = "Activation boundaries: neurons are active where the teacher's are, by a margin";
    const CITATION: &'static str = "Heo et al., Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons, AAAI 2019, \
         arXiv:1811.03233";

    fn new(config: AbConfig) -> Result<Ab> {
        let margin = config.margin;
        ensure!(margin.is_finite() && margin > 0.0, "`margin` must be finite and above 0, got {margin}");
        Ok(Ab(config))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().many(), Port::teacher().many()]
    }
}

impl Loss for Ab {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let (pairs, margin) = (x.pairs(Self::NAME)?, self.0.margin);
        let mut layers = vec![];
        for (at, (student, teacher)) in pairs.iter().enumerate() {
            same_shape(Self::NAME, student, teacher)?;
            let too_high = student.gt_value(-margin) * teacher.le_value(0.0); // [N, ...]
            let too_low = student.le_value(margin) * teacher.gt_value(0.0); // [N, ...]
            let squares = (student + margin).square() * too_high + (student - margin).square() * too_low; // [N, ...]
            let factor = SCALE * layer_weight(at, pairs.len()) / student.dim(0)? as f64;
            layers.push(squares.sum_all() * factor);
        }
        sum_of_layers(cx, &layers)
    }
}

register!(loss Ab);
