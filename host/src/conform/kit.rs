//! All checks of one part, in order.

use super::report::{Checked, PartReport, Verdict};
use super::scene::{FAMILIES, Optional, Scene};
use super::subject::{Subject, Trouble};
use super::{extremes, gradients, reach, repeat, samples, schema, settings, shapes, state, unfused, values, variants};
use crate::plugin::Component;
use candle_core::DType;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Names of the checks, in order.
pub const CHECKS: [&str; 12] = [
    "schema",
    "settings",
    "shapes",
    "values",
    "extremes",
    "gradients",
    "reach",
    "samples",
    "repeat",
    "state",
    "unfused",
    "variants",
];

/// Samples of a batch that most checks take.
pub(super) const BATCH: usize = 4;

/// What every check sees.
pub(super) struct Kit<'a> {
    pub(super) component: &'a Component,
    pub(super) config: &'a str,
    /// What the part takes, the simplest first.
    pub(super) scenes: Vec<Scene>,
    /// How an operation did not fit, for inputs of several numbers a sample that are not taken.
    pub(super) unfit: Option<String>,
    /// Those of them that are larger than what a kernel does at once.
    pub(super) wide: Vec<Scene>,
    /// Checks that failed so far.
    pub(super) failed: Vec<&'a str>,
}

/// A check that came to its end: ok with what was seen, or why not.
pub(super) type Seen = Result<Verdict, Trouble>;

/// One check of a part that takes some inputs.
pub(super) type Check = fn(&Kit<'_>) -> Seen;

/// Looks at one component, made with these settings (a JSON object).
pub fn check_part(component: &Component, config: &str) -> PartReport {
    let mut kit = Kit::new(component, config);
    let mut checks = vec![];
    let mut add = |check: &str, seen: Seen| {
        let verdict = seen.unwrap_or_else(|trouble| Verdict::Failed(trouble.text().to_owned()));
        checks.push(Checked { check: check.into(), verdict });
    };
    let accepted = kit.accept();
    add("schema", schema::check(&kit));
    add("settings", settings::check(&kit));
    match accepted.and_then(|()| kit.wide()) {
        Ok(wide) => kit.wide = wide,
        Err(trouble) => {
            add("shapes", Err(trouble));
            add(
                "values",
                Ok(Verdict::NotApplicable("no inputs are taken, so this and all others cannot be checked".into())),
            );
            return PartReport { kind: component.desc.kind, name: component.desc.name.clone(), checks };
        }
    }
    let others: [(&str, Check); 10] = [
        ("shapes", shapes::check),
        ("values", values::check),
        ("extremes", extremes::check),
        ("gradients", gradients::check),
        ("reach", reach::check),
        ("samples", samples::check),
        ("repeat", repeat::check),
        ("state", state::check),
        ("unfused", unfused::check),
        ("variants", variants::check),
    ];
    for (name, check) in others {
        let seen = catch_unwind(AssertUnwindSafe(|| check(&kit)));
        let seen = seen.unwrap_or_else(|_| Err(Trouble::Panicked("the host panicked; please report this".into())));
        if seen.as_ref().map_or(true, Verdict::is_failure) {
            kit.failed.push(name);
        }
        add(name, seen);
    }
    PartReport { kind: component.desc.kind, name: component.desc.name.clone(), checks }
}

impl<'a> Kit<'a> {
    /// Of a component with these settings, before it was given anything.
    pub(super) fn new(component: &'a Component, config: &'a str) -> Kit<'a> {
        Kit { component, config, scenes: vec![], unfit: None, wide: vec![], failed: vec![] }
    }

    /// Made and bound.
    pub(super) fn subject(&self, float: DType, scene: &Scene) -> Result<Subject, Trouble> {
        Subject::bound(self.component, self.config, float, scene)
    }

    /// Finds the scenes of all families that the part takes, each once.
    pub(super) fn accept(&mut self) -> Result<(), Trouble> {
        let ports = Subject::make(self.component, self.config, DType::F64)?.ports();
        let (mut taken, mut first): (Vec<Scene>, Option<Trouble>) = (vec![], None);
        for family in &FAMILIES {
            for optional in [Optional::Usual, Optional::All, Optional::None] {
                let Some(scene) = Scene::new(&ports, family, BATCH, optional) else { continue };
                match self.takes(&scene) {
                    Ok(()) => {
                        taken.push(scene);
                        break;
                    }
                    Err(trouble) => {
                        if let (Trouble::Unfit(text), None, false) = (&trouble, &self.unfit, scene.is_narrow) {
                            self.unfit = Some(format!("{}: {text}", scene.name));
                        }
                        let worse = match (&first, &trouble) {
                            (None, _) => true,
                            (Some(before), Trouble::Panicked(_)) => !matches!(before, Trouble::Panicked(_)),
                            (Some(_), _) => false,
                        };
                        first = if worse { Some(trouble.within(&scene.name)) } else { first };
                    }
                }
            }
        }
        if taken.is_empty() {
            let none = || Trouble::Refused("none of the generated inputs is taken: there are no ports".into());
            return Err(first.map_or_else(none, |trouble| trouble.within("none of the generated inputs is taken")));
        }
        self.scenes = taken;
        Ok(())
    }

    /// Larger scenes that the part takes.
    fn wide(&self) -> Result<Vec<Scene>, Trouble> {
        let ports = Subject::make(self.component, self.config, DType::F64)?.ports();
        Ok(Scene::wide(&ports).into_iter().filter(|scene| self.takes(scene).is_ok()).collect())
    }

    /// Whether a scene is taken: bound, traced unless the part reads values, and run, in every stage and phase.
    pub(super) fn takes(&self, scene: &Scene) -> Result<(), Trouble> {
        let subject = self.subject(DType::F64, scene)?;
        let ports = scene.values(DType::F64, super::scene::Fill::Random(0))?;
        for at in subject.moments() {
            if !self.component.desc.dynamic {
                subject.trace(&at, &ports)?;
            }
            subject.run(&at, &ports)?;
        }
        Ok(())
    }
}
