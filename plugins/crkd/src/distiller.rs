//! The method.

use crate::config::{Adversary, CrkdConfig};
use crate::discriminator::Discriminator;
use crate::pair::pair;
use crate::rad::rad;
use stillhouse_plugin::prelude::*;

/// Names of phases, groups and terms.
const DISCRIMINATOR: &str = "discriminator";
const STUDENT: &str = "student";

/// Resolution-aware distillation: soft targets, matched features, distributions of features, and a discriminator that the
/// student's features of small pictures are to deceive.
///
/// Feng, Lai & Xie 2021. Neither code nor formulas are public: what is here is this plugin's reading of what the abstract names.
/// ```text
/// phase discriminator: L = -ln D(t) - ln (1 - D(s))             updates D; s without gradient
/// phase student:       L = others + rad_weight L_rad + pair_weight L_pair + mmd_weight L_mmd + adv_weight (-ln D(s))
///                                                               updates the student; D stays
/// adversary = "reversal", one phase: adv_weight (-ln D(t) - ln (1 - D(s))) in place of both, for D as it is, for the student
///                                    with its gradient times -reversal
/// ```
/// Means over the batch; D is a fully connected network with one hidden layer. L_rad, L_pair and L_mmd are the losses `crkd_rad`,
/// `crkd_pair` and `crkd_mmd`; `others` are the other terms of the manifest's stage, above all the task's. A part of weight 0 is left
/// out with its ports.
///
/// # Shapes and units
/// - `student`, `teacher` `[N, ...]`: features of one shape; no default
/// - `student_logits`, `teacher_logits` `[N, C]`
/// - parameters `discriminator.hidden.*`, `discriminator.out.*`, in the group `discriminator` with an Adam of betas 0.5 and 0.999
/// - terms `rad`, `pair`, `mmd`, `adv` and `discriminator`, each `[]` and raw
///
/// # Errors
/// Features or logits that differ in shape, an empty batch, settings out of range, with an adversary a phase of another name.
///
/// # Example
/// ```
/// # use stillhouse_crkd::Crkd;
/// # use stillhouse_plugin::testing::Bench;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::distiller::<Crkd>(r#"{"rad_weight": 0, "mmd_weight": 0, "hidden": 1}"#)?
///     .input("student", &[1, 1], &[3.0])
///     .input("teacher", &[1, 1], &[1.0])
///     .param("discriminator.hidden.weight", &[1.0])
///     .param("discriminator.hidden.bias", &[0.0])
///     .param("discriminator.out.weight", &[0.0])
///     .param("discriminator.out.bias", &[0.0])
///     .phase("student")
///     .run()?;
/// assert_eq!(run.term("pair"), 4.0);
/// assert!((run.term("adv") - 2f64.ln()).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct Crkd {
    config: CrkdConfig,
    discriminator: Option<Discriminator>,
}

impl Component for Crkd {
    type Config = CrkdConfig;
    const NAME: &'static str = "crkd";
    const DOC: &'static str =
        "Resolution-aware distillation: soft targets, matched features, their distributions, and a discriminator";
    const CITATION: &'static str = crate::CITATION;
    const BATCH_COUPLED: bool = true;

    fn new(config: CrkdConfig) -> Result<Crkd> {
        config.check()?;
        Ok(Crkd { config, discriminator: None })
    }

    fn ports() -> Vec<Port> {
        [features(), logits()].concat()
    }
}

fn features() -> Vec<Port> {
    vec![Port::student(), Port::teacher()]
}

fn logits() -> Vec<Port> {
    let named = |port: Port, name: &str| port.named(name).or("logits");
    vec![named(Port::student(), "student_logits"), named(Port::teacher(), "teacher_logits")]
}

impl Distiller for Crkd {
    fn plan(&mut self, _site: &Site) -> Result<Plan> {
        let config = &self.config;
        let weights = [
            ("rad", config.rad_weight),
            ("pair", config.pair_weight),
            ("mmd", config.mmd_weight),
            ("adv", config.adv_weight),
        ];
        let parts: Vec<(&str, f64)> = weights.into_iter().filter(|(_, weight)| *weight > 0.0).collect();
        let weighted = |(name, weight): &(&str, f64)| TermPlan::new(name).weighted(WeightPlan::constant(*weight));
        let names = || parts.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut plan = Plan {
            ports: [
                if config.reads_features() { features() } else { vec![] },
                if config.rad_weight > 0.0 { logits() } else { vec![] },
            ]
            .concat(),
            terms: parts.iter().map(weighted).collect(),
            ..Plan::default()
        };
        if config.adv_weight == 0.0 {
            return Ok(plan);
        }
        plan.groups = vec![group(config.discriminator_lr)?];
        let student = Phase { name: STUDENT.into(), terms: names(), with_others: true, updates: vec![STUDENT.into()] };
        plan.phases = match config.adversary {
            Adversary::Reversal => vec![Phase { updates: vec![STUDENT.into(), DISCRIMINATOR.into()], ..student }],
            Adversary::Alternating => {
                plan.terms.push(TermPlan::new(DISCRIMINATOR));
                let own = Phase {
                    name: DISCRIMINATOR.into(),
                    terms: vec![DISCRIMINATOR.into()],
                    with_others: false,
                    updates: vec![DISCRIMINATOR.into()],
                };
                vec![own, student]
            }
        };
        Ok(plan)
    }

    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        if self.config.adv_weight > 0.0 {
            let (student, teacher) = x.pair(Self::NAME)?;
            same_shape(Self::NAME, &student, &teacher)?;
            let features = student.flatten_from(1).dim(1)?;
            self.discriminator = Some(Discriminator::bind(cx, features, self.config.hidden));
        }
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let phase = cx.phase();
        match (phase.as_str(), &self.discriminator) {
            (DISCRIMINATOR, Some(discriminator)) => {
                let (student, teacher) = x.pair(Self::NAME)?;
                same_shape(Self::NAME, &student, &teacher)?;
                Ok(vec![(DISCRIMINATOR.into(), discriminator.own_loss(cx, &student.detach(), &teacher))])
            }
            // Without an adversary no phases are planned: what is there is the stage's own, of any name.
            (STUDENT, _) | (_, None) => self.of_student(cx, x),
            _ => Err(Error::new(format!("`crkd` has no phase `{phase}` with these settings"))),
        }
    }
}

impl Crkd {
    /// The terms of the student's phase.
    fn of_student(&self, cx: &Cx, x: &Inputs) -> Result<Vec<(String, Tensor)>> {
        let config = &self.config;
        let mut terms: Vec<(String, Tensor)> = vec![];
        if config.rad_weight > 0.0 {
            let (student, teacher) = (x.one("student_logits")?, x.one("teacher_logits")?);
            terms.push(("rad".into(), rad(Self::NAME, &student, &teacher, config.temperature)?));
        }
        if !config.reads_features() {
            return Ok(terms);
        }
        let (student, teacher) = x.pair(Self::NAME)?;
        same_shape(Self::NAME, &student, &teacher)?;
        if config.pair_weight > 0.0 {
            terms.push(("pair".into(), pair(Self::NAME, &student, &teacher)?));
        }
        if config.mmd_weight > 0.0 {
            terms.push(("mmd".into(), config.mmd.discrepancy(Self::NAME, &student, &teacher)?));
        }
        if let Some(discriminator) = &self.discriminator {
            let adversary = match config.adversary {
                Adversary::Alternating => discriminator.fooled(cx, &student),
                Adversary::Reversal => discriminator.own_loss(cx, &student.scale_grad(-config.reversal), &teacher),
            };
            terms.push(("adv".into(), adversary));
        }
        Ok(terms)
    }
}

/// The discriminator's parameters with their own optimizer.
fn group(lr: f64) -> Result<Group> {
    let adam = format!(r#"{{"kind": "adam", "lr": {lr:?}, "betas": [0.5, 0.999]}}"#);
    let optimizer = stillhouse_plugin::serde_json::from_str(&adam).map_err(|error| Error::new(error.to_string()))?;
    Ok(Group { name: DISCRIMINATOR.into(), params: vec!["discriminator.*".into()], optimizer: Some(optimizer) })
}

register!(distiller Crkd);
