//! The method in its two stages.

use crate::features::{as_map, map_dims};
use crate::lambda::Lambda;
use crate::regressor::{Layers, Regressor};
use crate::soft_cross_entropy::{check_temperature, soft_cross_entropy};
use serde::Serialize;
use stillhouse_plugin::prelude::*;

/// How a student's map comes to the teacher's shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RegressorKind {
    /// A convolution as of the connector `conv_regressor`.
    #[default]
    Conv,
    /// Adaptive average pooling to the teacher's size, then a 1x1 convolution.
    Pool,
    /// Nothing: the shapes agree.
    None,
}

/// The regressor of the hint stage.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegressorConfig {
    /// How a student's map comes to the teacher's shape.
    pub kind: RegressorKind,
    /// The convolution adds a bias.
    pub bias: bool,
    /// A batch normalisation follows the convolution.
    pub batch_norm: bool,
    /// A ReLU ends it: right where the teacher's hint is taken after one.
    pub relu: bool,
}

impl Default for RegressorConfig {
    fn default() -> RegressorConfig {
        RegressorConfig { kind: RegressorKind::Conv, bias: true, batch_norm: false, relu: true }
    }
}

/// How squared errors become the hint term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HintReduction {
    /// Half of the sum over a sample, mean over the batch (the paper's Eq. 3).
    #[default]
    HalfSum,
    /// Mean over all elements (RepDistiller, lenscloth/RKD).
    Mean,
}

/// Settings of [`Fitnet`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FitnetConfig {
    /// Epochs of the hint stage, above 0; as many as the manifest's stage when absent.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub hint_epochs: Option<f64>,
    /// End the hint stage after this many epochs in which its term did not fall.
    pub hint_patience: Option<u64>,
    /// How squared errors become the hint term.
    pub hint_reduction: HintReduction,
    /// The regressor of the hint stage.
    pub regressor: RegressorConfig,
    /// Softens both distributions of the second stage; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// Weight of the soft term in the second stage.
    pub lambda: Lambda,
}

impl Default for FitnetConfig {
    fn default() -> FitnetConfig {
        FitnetConfig {
            hint_epochs: None,
            hint_patience: None,
            hint_reduction: HintReduction::HalfSum,
            regressor: RegressorConfig::default(),
            temperature: 3.0,
            lambda: Lambda::default(),
        }
    }
}

/// FitNets: hints first, then the task beside soft targets.
///
/// Romero et al. 2015 (arXiv:1412.6550), Algorithm 1.
/// ```text
/// stage hint: L = 1 / N * sum_n 1/2 |teacher_n - r(student_n)|^2      trains the student up to its tap, and r
/// stage kd:   L = others + lambda * CE(softmax(teacher_logits / T), softmax(student_logits / T))
///                                                                    trains the whole student
/// ```
/// `others` are the other terms of the manifest's stage, above all the task's; lambda falls as [`Lambda`] says, and there is
/// no factor `T^2`. The regressor r stays as it is in the second stage and is not part of the student.
///
/// The paper's regressor has no batch normalisation, as is the default here, and is always the unpadded convolution, where
/// this one also halves and doubles. The official hint layer may be followed by tanh or sigmoid, with a
/// cross-entropy as its cost: that variant is not offered.
///
/// # Shapes and units
/// - `student`, `teacher`: the taps of hint and guided layer, `[N, C, H, W]` or `[N, D]`; no default
/// - `student_logits`, `teacher_logits` `[N, C]`
/// - parameters and buffers as of `conv_regressor`, under `regressor.`
/// - terms `hint` (stage `hint`) and `soft` (stage `kd`), each `[]`, mean over the batch
///
/// # Errors
/// Maps that the regressor cannot connect, logits that differ, an empty batch, settings out of range, a stage of another name.
///
/// # Example
/// ```
/// # use stillhouse_fitnet::Fitnet;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::distiller::<Fitnet>("{}")?
///     .input("student", &[1, 1], &[3.0])
///     .input("teacher", &[1, 1], &[1.0])
///     .input("student_logits", &[1, 2], &[0.0, 0.0])
///     .input("teacher_logits", &[1, 2], &[1.0, 0.0])
///     .param("regressor.conv.weight", &[2.0])
///     .param("regressor.conv.bias", &[-1.0])
///     .stage("hint")
///     .run()?;
/// assert_eq!((run.term("hint"), run.grad("student")), (8.0, &[8.0][..]));
/// # Ok(())
/// # }
/// ```
pub struct Fitnet {
    config: FitnetConfig,
    regressor: Option<Regressor>,
    /// Height and width to pool to before the regressor.
    pooled: Option<[usize; 2]>,
}

impl Component for Fitnet {
    type Config = FitnetConfig;
    const NAME: &'static str = "fitnet";
    const DOC: &'static str = "FitNets: a stage that predicts the teacher's hint layer, then a stage with soft targets";
    const CITATION: &'static str = "Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv:1412.6550";

    fn new(config: FitnetConfig) -> Result<Fitnet> {
        check_temperature(config.temperature)?;
        config.lambda.check()?;
        if let Some(epochs) = config.hint_epochs {
            ensure!(epochs.is_finite() && epochs > 0.0, "`hint_epochs` must be finite and above 0, got {epochs}");
        }
        Ok(Fitnet { config, regressor: None, pooled: None })
    }

    fn ports() -> Vec<Port> {
        vec![
            Port::student(),
            Port::teacher(),
            Port::student().named("student_logits").or("logits"),
            Port::teacher().named("teacher_logits").or("logits"),
        ]
    }
}

impl Distiller for Fitnet {
    fn plan(&mut self, _site: &Site) -> Result<Plan> {
        let hint = StagePlan {
            name: "hint".into(),
            terms: vec!["hint".into()],
            upto_port: Some("student".into()),
            epochs: self.config.hint_epochs,
            patience: self.config.hint_patience,
            ..StagePlan::default()
        };
        let own = if self.config.regressor.kind == RegressorKind::None { vec![] } else { vec!["regressor.*".into()] };
        let kd = StagePlan {
            name: "kd".into(),
            terms: vec!["soft".into()],
            with_others: true,
            freeze_own: own,
            ..StagePlan::default()
        };
        Ok(Plan {
            terms: vec![TermPlan::new("hint"), TermPlan::new("soft").weighted(self.config.lambda.weight())],
            stages: vec![hint, kd],
            ..Plan::default()
        })
    }

    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let (student, teacher) = (x.one("student")?, x.one("teacher")?);
        let RegressorConfig { kind, bias, batch_norm, relu } = self.config.regressor;
        if kind == RegressorKind::None {
            same_shape(Self::NAME, &student, &teacher)?;
            return Ok(());
        }
        if kind == RegressorKind::Pool {
            let [_, _, height, width] = map_dims(Self::NAME, &teacher.dims()?)?;
            self.pooled = Some([height, width]);
        }
        let from = self.prepared(&student)?;
        let layers = Layers { bias, batch_norm, relu };
        self.regressor = Some(Regressor::bind(cx, Self::NAME, "regressor.", layers, [&from, &teacher])?);
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        match cx.stage().as_str() {
            "hint" => Ok(vec![("hint".into(), self.hint(cx, &x.one("student")?, &x.one("teacher")?)?)]),
            "kd" => {
                let (student, teacher) = (x.one("student_logits")?, x.one("teacher_logits")?);
                Ok(vec![("soft".into(), soft_cross_entropy(Self::NAME, &student, &teacher, self.config.temperature)?)])
            }
            other => Err(Error::new(format!("`fitnet` has the stages `hint` and `kd`, not `{other}`"))),
        }
    }
}

impl Fitnet {
    /// The student's features as the regressor takes them.
    fn prepared(&self, student: &Tensor) -> Result<Tensor> {
        match self.pooled {
            Some(size) => Ok(as_map(Self::NAME, student)?.adaptive_avg_pool2d(size)),
            None => Ok(student.clone()),
        }
    }

    fn hint(&self, cx: &Cx, student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
        let guided = match &self.regressor {
            Some(regressor) => regressor.forward(cx, &self.prepared(student)?)?,
            None => student.clone(),
        };
        same_shape(Self::NAME, &guided, teacher)?;
        let dims = guided.dims()?;
        ensure!(!dims.contains(&0), "`fitnet` got an empty batch: {dims:?}");
        let squares = (&guided - teacher.detach()).square(); // [N, ...]
        Ok(match self.config.hint_reduction {
            HintReduction::HalfSum => squares.sum_all() * (0.5 / guided.dim(0)? as f64),
            HintReduction::Mean => squares.mean_all(),
        })
    }
}

register!(distiller Fitnet);
