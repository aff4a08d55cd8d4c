//! Two objectives that take turns.

use crate::filled;
use stillhouse_plugin::prelude::*;

/// Settings of [`Alternating`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlternatingConfig {
    /// Learning rate of the judge's Adam; above 0.
    pub judge_lr: f64,
    /// Hidden features of the judge; at least 1.
    pub hidden: usize,
}

impl Default for AlternatingConfig {
    fn default() -> AlternatingConfig {
        AlternatingConfig { judge_lr: 1e-3, hidden: 32 }
    }
}

/// A judge learns to tell the teacher's features from the student's; then the student learns to be taken for the teacher.
///
/// ```text
/// phase judge:   L = mean softplus(-J(t)) + mean softplus(J(s))   updates the judge; s without gradient
/// phase student: L = mean softplus(-J(s)) + the other terms       updates the student
/// J(x) = w2 relu(W1 x + b1) + b2
/// ```
///
/// # Shapes and units
/// - `student`, `teacher` `[N, D]`
/// - parameters `judge.hidden.*`, `judge.out.*`, in the group `judge`
/// - terms `judge` and `fool`, each `[]`, nats
pub struct Alternating {
    config: AlternatingConfig,
    layers: Option<[Linear; 2]>,
}

impl Component for Alternating {
    type Config = AlternatingConfig;
    const NAME: &'static str = "alternating";
    const DOC: &'static str = "A judge and a student that fools it, in turns";

    fn new(config: AlternatingConfig) -> Result<Alternating> {
        ensure!(config.judge_lr > 0.0, "`judge_lr` must be above 0, got {}", config.judge_lr);
        ensure!(config.hidden > 0, "`hidden` must be at least 1");
        Ok(Alternating { config, layers: None })
    }

    fn ports() -> Vec<Port> {
        vec![Port::student(), Port::teacher()]
    }
}

impl Distiller for Alternating {
    fn plan(&mut self, _site: &Site) -> Result<Plan> {
        let adam = format!(r#"{{"kind": "adam", "lr": {}, "betas": [0.5, 0.999]}}"#, self.config.judge_lr);
        let optimizer =
            stillhouse_plugin::serde_json::from_str(&adam).map_err(|error| Error::new(error.to_string()))?;
        let phase = |name: &str, term: &str, with_others: bool| Phase {
            name: name.into(),
            terms: vec![term.into()],
            with_others,
            updates: vec![name.into()],
        };
        Ok(Plan {
            terms: vec![TermPlan::new("judge"), TermPlan::new("fool")],
            groups: vec![Group { name: "judge".into(), params: vec!["judge.*".into()], optimizer: Some(optimizer) }],
            phases: vec![phase("judge", "judge", false), phase("student", "fool", true)],
            ..Plan::default()
        })
    }

    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let (student, teacher) = (x.one("student")?.meta()?, x.one("teacher")?.meta()?);
        ensure!(student.shape.len() == 2, "wants features [N, D], got {student}");
        ensure!(student.shape == teacher.shape, "wants features of one size, got {student} and {teacher}");
        let hidden = Linear::bind(cx, "judge.hidden", student.shape[1], self.config.hidden, true);
        self.layers = Some([hidden, Linear::bind(cx, "judge.out", self.config.hidden, 1, true)]);
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let student = filled(Self::NAME, x.one("student")?)?; // [N, D]
        match cx.phase().as_str() {
            "judge" => {
                let of_teacher = self.judge(cx, &x.one("teacher")?)?; // [N, 1]
                let of_student = self.judge(cx, &student.detach())?; // [N, 1]
                let loss = (-of_teacher).softplus().mean_all() + of_student.softplus().mean_all();
                Ok(vec![("judge".into(), loss)])
            }
            "student" => Ok(vec![("fool".into(), (-self.judge(cx, &student)?).softplus().mean_all())]),
            other => Err(Error::new(format!("has the phases `judge` and `student`, not `{other}`"))),
        }
    }
}

impl Alternating {
    fn judge(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> {
        let [hidden, out] = self.layers.as_ref().ok_or_else(|| Error::new("is not bound"))?;
        Ok(out.forward(cx, &hidden.forward(cx, x).relu()))
    }
}

register!(distiller Alternating);
