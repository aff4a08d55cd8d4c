//! The method.

use crate::attention::Attention;
use crate::values::distances;
use stillhouse_plugin::prelude::*;

/// Settings of [`Afd`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AfdConfig {
    /// Features of keys, queries and positions; at least 1.
    #[schemars(range(min = 1))]
    pub qk_dim: usize,
}

impl Default for AfdConfig {
    fn default() -> AfdConfig {
        AfdConfig { qk_dim: 128 }
    }
}

/// Attention-based feature distillation: every layer of the student is held against every layer of the teacher, by weights that
/// are learned and differ from sample to sample.
///
/// Ji, Heo & Park 2021 (AAAI, "Show, Attend and Distill", arXiv:2102.02973), as in clovaai/attention-feature-distillation
/// `distill/AFD.py`.
/// ```text
/// L = sum_t mean_n sum_s a_nts * mean_hw (v_ns - v'_nt)^2
/// v   = mean_c F^2, pooled to the teacher's size, divided by its length (at least 1e-12)
/// a   = softmax over s of ( b_nst . q_nt + (P_T P_S^T)_ts ) / sqrt(qk_dim)
/// k_s = relu(BN(W_s mean_hw F_s))   b = BN(W k), over all samples and layers together   q_t = BN(W_t mean_hw F_t)
/// ```
/// Gradients reach the student through v and a, and all parameters; teacher maps are constant.
///
/// # Shapes and units
/// - `student`, `teacher`: any number of taps each, `[N, C, H, W]`; no default. Globs bind whole groups of layers
/// - parameters, i counting taps: `key.<i>.linear.*`, `key.<i>.bn.*`, `bilinear.linear.*`, `bilinear.bn.*`, `query.<i>.*`,
///   `position_student` `[S, qk_dim]`, `position_teacher` `[T, qk_dim]`; buffers of the normalisations
/// - term `afd` `[]`, no unit, >= 0
/// - emits `attention` `[N, T, S]` and `per_teacher` `[T]`; reports `mean_attention` `[T, S]`, the mean over samples
///
/// # Errors
/// Other than maps, batches that differ, an empty batch, one sample in training (its normalisations have no variance), a
/// `qk_dim` of 0.
///
/// # Example
/// With one layer on each side the weight is 1 and the distance alone is left: responses (1, 0) and (3, 4) / 5.
/// ```
/// # use stillhouse_afd::Afd;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::distiller::<Afd>("{}")?
///     .input("student", &[1, 1, 1, 2], &[2.0, 0.0])
///     .input("teacher", &[1, 1, 1, 2], &[3f64.sqrt(), 2.0])
///     .training(false)
///     .run()?;
/// assert!((run.term("afd") - (0.16 + 0.64) / 2.0).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct Afd {
    config: AfdConfig,
    attention: Option<Attention>,
}

impl Component for Afd {
    type Config = AfdConfig;
    const NAME: &'static str = "afd";
    const DOC: &'static str =
        "Attention-based feature distillation: learns which student layer takes over which teacher layer";
    const CITATION: &'static str = "Ji, Heo & Park, Show, Attend and Distill: Knowledge Distillation via Attention-based Feature Matching, AAAI 2021, \
         arXiv:2102.02973";
    const BATCH_COUPLED: bool = true;

    fn new(config: AfdConfig) -> Result<Afd> {
        ensure!(config.qk_dim >= 1, "`qk_dim` must be at least 1");
        Ok(Afd { config, attention: None })
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().many(), Port::teacher().many()]
    }
}

impl Distiller for Afd {
    fn plan(&mut self, _site: &Site) -> Result<Plan> {
        Ok(Plan { terms: vec![TermPlan::new("afd")], ..Plan::default() })
    }

    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let (students, teachers) = maps(x)?;
        let channels = |maps: &[Tensor]| maps.iter().map(|map| map.dim(1)).collect::<Result<Vec<_>>>();
        self.attention = Some(Attention::bind(cx, &channels(&students)?, &channels(&teachers)?, self.config.qk_dim));
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let attention = self.attention.as_ref().ok_or_else(|| Error::new("`afd` ran before it was bound"))?;
        let (students, teachers) = maps(x)?;
        let weights = attention.forward(cx, &students, &teachers)?; // [N, T, S]
        cx.emit("attention", &weights);
        cx.report("mean_attention", &weights.mean(&[0]), ["teacher", "student"]);
        let of_teacher =
            |(at, distances): (usize, Tensor)| (distances * weights.narrow(1, at, 1).squeeze(1)).sum(&[1]).mean_all();
        let losses: Vec<Tensor> = distances(&students, &teachers)?.into_iter().enumerate().map(of_teacher).collect();
        let losses = Tensor::stack(&losses.iter().collect::<Vec<_>>(), 0)?; // [T]
        cx.emit("per_teacher", &losses);
        Ok(vec![("afd".into(), losses.sum_all())])
    }
}

/// Maps of both networks, of one batch; the teacher's without gradient.
fn maps(x: &Inputs) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
    let students = x.list("student")?;
    let teachers: Vec<Tensor> = x.list("teacher")?.iter().map(Tensor::detach).collect();
    ensure!(
        !students.is_empty() && !teachers.is_empty(),
        "`afd` wants a tap or more of each network, got {} and {}",
        students.len(),
        teachers.len()
    );
    let samples = students[0].dim(0)?;
    for map in students.iter().chain(&teachers) {
        let dims = map_dims(Afd::NAME, map)?;
        ensure!(!dims.contains(&0), "`afd` got an empty batch: {dims:?}");
        ensure!(dims[0] == samples, "`afd` got batches that differ in samples (dim 0): {samples}, and {dims:?}");
    }
    Ok((students, teachers))
}

register!(distiller Afd);
