//! A method with stages of its own.

use stillhouse_plugin::desc::Unit;
use stillhouse_plugin::prelude::*;

/// Settings of [`TwoStages`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TwoStagesConfig {
    /// Epochs of the first stage; above 0.
    approach_epochs: f64,
    /// Epochs of the second stage in which its own term fades to nothing; above 0.
    fade_epochs: f64,
}

impl Default for TwoStagesConfig {
    fn default() -> TwoStagesConfig {
        TwoStagesConfig { approach_epochs: 2.0, fade_epochs: 2.0 }
    }
}

/// First the student's features come near the teacher's; then it learns its task and is let go.
///
/// ```text
/// stage approach: L = mean (M s - t)^2                        trains M and the student up to its tap
/// stage task:     L = others + fade(epoch) mean (M s - t)^2   trains the student; M stays
/// ```
///
/// # Shapes and units
/// - `student` `[N, D]`, `teacher` `[N, E]`; parameter `map.weight` `[E, D]`, in the group `map`
/// - terms `approach` and `stay`, each `[]`
pub(crate) struct TwoStages {
    config: TwoStagesConfig,
    map: Option<Linear>,
}

impl Component for TwoStages {
    type Config = TwoStagesConfig;
    const NAME: &'static str = "two_stages";
    const DOC: &'static str = "Features first, then the task beside a term that fades";

    fn new(config: TwoStagesConfig) -> Result<TwoStages> {
        ensure!(config.approach_epochs > 0.0, "`approach_epochs` must be above 0, got {}", config.approach_epochs);
        ensure!(config.fade_epochs > 0.0, "`fade_epochs` must be above 0, got {}", config.fade_epochs);
        Ok(TwoStages { config, map: None })
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Distiller for TwoStages {
    fn plan(&mut self, _site: &Site) -> Result<Plan> {
        let fade =
            WeightPlan { unit: Unit::Epochs, stepped: false, points: vec![(0.0, 1.0), (self.config.fade_epochs, 0.0)] };
        let approach = StagePlan {
            name: "approach".into(),
            terms: vec!["approach".into()],
            upto_port: Some("student".into()),
            epochs: Some(self.config.approach_epochs),
            ..StagePlan::default()
        };
        let task = StagePlan {
            name: "task".into(),
            terms: vec!["stay".into()],
            with_others: true,
            freeze_own: vec!["map.*".into()],
            ..StagePlan::default()
        };
        Ok(Plan {
            terms: vec![TermPlan::new("approach"), TermPlan::new("stay").weighted(fade)],
            groups: vec![Group { name: "map".into(), params: vec!["map.*".into()], optimizer: None }],
            stages: vec![approach, task],
            ..Plan::default()
        })
    }

    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let (student, teacher) = (x.one("student")?.dim(1)?, x.one("teacher")?.dim(1)?);
        self.map = Some(Linear::bind(cx, "map", student, teacher, false));
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let map = self.map.as_ref().ok_or_else(|| Error::new("is not bound"))?;
        let (student, teacher) = (x.one("student")?, x.one("teacher")?);
        let dims = student.dims()?;
        ensure!(!dims.contains(&0), "`two_stages` wants values, got {dims:?}");
        let distance = (map.forward(cx, &student) - teacher).square().mean_all();
        match cx.stage().as_str() {
            "approach" => Ok(vec![("approach".into(), distance)]),
            "task" => Ok(vec![("stay".into(), distance)]),
            other => Err(Error::new(format!("has the stages `approach` and `task`, not `{other}`"))),
        }
    }
}

register!(distiller TwoStages);
