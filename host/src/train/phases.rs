//! Phases of a stage: what each updates, and by which terms.

use super::plan::{ActiveTerm, PhasePlan, StagePlan};
use super::problem::{Problem, known_hint};
use super::term::{BoundTerm, Found};
use crate::manifest::{self, ManifestPath, Part};
use std::rc::Rc;
use stillhouse_plugin::desc;

use super::planner::StagePlanner;

impl StagePlanner<'_> {
    /// A phase of a method.
    pub(super) fn own_phase(
        &self,
        stage: &StagePlan,
        terms: &[Rc<BoundTerm>],
        owner: &str,
        phase: &desc::Phase,
    ) -> Found<PhasePlan> {
        let active = terms.iter().filter_map(|term| match term.name == owner {
            true => Some(ActiveTerm { term: term.clone(), inner: phase.terms.clone() }),
            false => phase.with_others.then(|| all_of(term)),
        });
        let updates = self.group_indices(stage, &phase.updates, &self.path().key("terms").key(owner))?;
        Ok(PhasePlan {
            name: phase.name.clone(),
            terms: active.filter(|a| !a.inner.is_empty()).collect(),
            updates,
            every: 1,
        })
    }

    pub(super) fn manifest_phases(&self, stage: &StagePlan, terms: &[Rc<BoundTerm>]) -> Found<Vec<PhasePlan>> {
        let mut phases = vec![];
        for (name, phase) in &self.stage.phases {
            let path = self.path().key("phases").key(name);
            self.check_inner_names(terms, phase, &path.key("terms"))?;
            let active: Vec<ActiveTerm> = terms.iter().filter_map(|term| self.active_in(term, name, phase)).collect();
            let mut wanted = phase.updates.clone();
            if self.alone {
                // Terms and groups that need a teacher are not there.
                wanted.retain(|name| stage.groups.iter().any(|group| group.name == *name || group.origin == *name));
                if active.is_empty() || (wanted.is_empty() && !phase.updates.is_empty()) {
                    continue;
                }
            }
            let updates = self.group_indices(stage, &wanted, &path.key("updates"))?;
            phases.push(PhasePlan { name: name.clone(), terms: active, updates, every: phase.every as u64 });
        }
        let takes_part = |term: &Rc<BoundTerm>| {
            phases.iter().flat_map(|phase| &phase.terms).any(|active| Rc::ptr_eq(&active.term, term))
        };
        match terms.iter().find(|term| !takes_part(term)) {
            Some(term) => {
                let message = format!("`{}` takes part in no phase", term.name);
                Err(Problem::new(message)
                    .at(&term.path, Part::Key)
                    .hint("write `phase = \"...\"`, or name it in the `terms` of a phase"))
            }
            None => Ok(phases),
        }
    }

    /// A term in a phase of the manifest: by its own `phase`, by its name, or by names of terms that it gives
    /// (`method.first`).
    pub(super) fn active_in(&self, term: &Rc<BoundTerm>, name: &str, phase: &manifest::Phase) -> Option<ActiveTerm> {
        let written = self.stage.terms.get(&term.name).and_then(|term| term.phase.as_deref());
        let is_whole = written.map_or(phase.terms.is_empty() || phase.terms.contains(&term.name), |own| own == name);
        let mut active = all_of(term);
        if !is_whole {
            active.inner.retain(|inner| !inner.is_empty() && phase.terms.contains(&term.label(inner)));
        }
        (!active.inner.is_empty()).then_some(active)
    }

    /// `method.first` in a phase must be a term that the method gives.
    pub(super) fn check_inner_names(
        &self,
        terms: &[Rc<BoundTerm>],
        phase: &manifest::Phase,
        at: &ManifestPath,
    ) -> Found<()> {
        for (i, name) in phase.terms.iter().enumerate() {
            let Some((outer, inner)) = name.split_once('.') else { continue };
            let Some(term) = terms.iter().find(|term| term.name == outer) else { continue };
            let known = term.inner();
            if !known.iter().any(|term| term.name == inner) {
                let hint = known_hint(
                    inner,
                    known.iter().map(|term| term.name.as_str()).filter(|name| !name.is_empty()),
                    "its terms",
                );
                return Err(Problem::new(format!("{} has no term `{inner}`", term.part.label()))
                    .at(&at.index(i), Part::Value)
                    .hint(hint));
            }
        }
        Ok(())
    }

    /// Groups by name; all when none is named.
    pub(super) fn group_indices(&self, stage: &StagePlan, names: &[String], at: &ManifestPath) -> Found<Vec<usize>> {
        if names.is_empty() {
            return Ok((0..stage.groups.len()).collect());
        }
        let index = |name: &String| {
            let wanted = if name == "student" { stage.trained.first().unwrap_or(name) } else { name };
            stage.groups.iter().position(|group| group.name == *wanted || group.origin == *wanted).ok_or_else(|| {
                let hint = known_hint(name, stage.groups.iter().map(|group| group.name.as_str()), "there are");
                Problem::new(format!("there is no group `{name}` to update")).at(at, Part::Value).hint(hint)
            })
        };
        names.iter().map(index).collect()
    }
}

pub(super) fn all_of(term: &Rc<BoundTerm>) -> ActiveTerm {
    ActiveTerm { term: term.clone(), inner: term.inner().into_iter().map(|inner| inner.name).collect() }
}
