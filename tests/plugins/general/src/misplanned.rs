//! Plans that contradict what the part does.

use stillhouse_plugin::prelude::*;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Plans a term that it never gives.
    TermNotGiven,
    /// Gives a term that it did not plan.
    TermNotPlanned,
    /// A group whose globs cover none of its parameters.
    EmptyGroup,
    /// A group with an optimizer that there is not.
    UnknownOptimizer,
    /// A phase that updates a group that there is not.
    UnknownGroup,
    /// A stage that knows nothing of its name.
    UnknownStage,
    /// A stage that trains a layer that there is not.
    UnknownLayer,
    /// A pass of a model that there is not.
    UnknownModel,
    /// A parameter that no term uses.
    UnusedParameter,
    /// A buffer that is set to another shape.
    BufferShape,
    /// Rows for a buffer by labels of another length.
    RowShape,
}

/// Settings of [`Misplanned`].
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MisplannedConfig {
    /// What is wrong.
    pub fault: Fault,
}

/// Mean square of the student's logits, with one fault in the plan or in the step.
pub struct Misplanned(Fault);

impl Component for Misplanned {
    type Config = MisplannedConfig;
    const NAME: &'static str = "misplanned";
    const DOC: &'static str = "A plan with one fault";

    fn new(config: MisplannedConfig) -> Result<Misplanned> {
        Ok(Misplanned(config.fault))
    }

    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits"), Port::data("label")]
    }
}

fn group(optimizer: Option<&str>, params: &str) -> Group {
    let optimizer = optimizer.map(|kind| [("kind", kind), ("lr", "0.1")].into_iter().collect());
    Group { name: "own".into(), params: vec![params.into()], optimizer }
}

impl Distiller for Misplanned {
    fn plan(&mut self, _site: &Site) -> Result<Plan> {
        let mut plan = Plan { terms: vec![TermPlan::new("size")], ..Plan::default() };
        let phase = |group: &str| Phase { terms: vec!["size".into()], updates: vec![group.into()], ..Phase::default() };
        let stage = |name: &str, train: &[&str]| StagePlan {
            name: name.into(),
            terms: vec!["size".into()],
            train: train.iter().map(ToString::to_string).collect(),
            ..StagePlan::default()
        };
        match self.0 {
            Fault::TermNotGiven => plan.terms.push(TermPlan::new("shape")),
            Fault::TermNotPlanned => plan.terms = vec![TermPlan::new("length")],
            Fault::EmptyGroup => plan.groups.push(group(None, "judge.*")),
            Fault::UnknownOptimizer => plan.groups.push(group(Some("newton"), "scale")),
            Fault::UnknownGroup => plan.phases.push(phase("owm")),
            Fault::UnknownStage => plan.stages.push(stage("second", &[])),
            Fault::UnknownLayer => plan.stages.push(stage("first", &["encoder.*"])),
            Fault::UnknownModel => plan.passes.push(Pass {
                name: "again".into(),
                model: "pupil".into(),
                view: None,
                reverse_time: false,
                mode: None,
            }),
            Fault::UnusedParameter | Fault::BufferShape | Fault::RowShape => {}
        }
        Ok(plan)
    }

    fn bind(&mut self, cx: &BindCx, _x: &Inputs) -> Result<()> {
        cx.add_param("scale", &[], &Init::Ones);
        if self.0 == Fault::UnusedParameter {
            cx.add_param("spare", &[2], &Init::Ones);
        }
        cx.add_buffer("last", &[4, 10], &Init::Zeros);
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let (student, label) = (x.one("student")?, x.one("label")?); // [N, C], [N]
        match self.0 {
            Fault::BufferShape => cx.set("last", &student.mean(&[0])),
            Fault::RowShape => cx.set_rows("last", &label, &student.mean_keep(&[0])),
            Fault::UnknownStage if cx.stage() != "first" => {
                return Err(Error::new(format!("has the stage `first`, not `{}`", cx.stage())));
            }
            _ => {}
        }
        Ok(vec![("size".into(), student.square().mean_all() * cx.param("scale"))])
    }
}

register!(distiller Misplanned);
