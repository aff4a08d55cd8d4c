//! Stages of the plan: the manifest's, and those of a method.

use super::binding::Scene;
use super::groups::{left_out, plan_groups, unmatched, unmatched_own};
use super::models::apply_view;
use super::plan::{Length, PhasePlan, StagePlan};
use super::problem::Problem;
use super::stage::served;
use super::term::{BoundTerm, Found};
use crate::data::ViewSpec;
use crate::manifest::{self, Part};
use std::rc::Rc;
use stillhouse_plugin::desc;

use super::phases::all_of;
use super::planner::StagePlanner;

impl StagePlanner<'_> {
    /// The manifest's stage as it is, with the phases of the manifest or of one method.
    pub(super) fn plain_stage(
        &self,
        scene: &Scene<'_>,
        terms: &[Rc<BoundTerm>],
        method: Option<&(String, desc::Plan)>,
    ) -> Found<StagePlan> {
        let mut stage = self.empty_stage(scene, "");
        stage.groups = plan_groups(scene, terms, &stage.frozen, &desc::StagePlan::default(), None)?;
        let phases = match method {
            Some((owner, plan)) if !plan.phases.is_empty() => {
                self.check_no_phases(owner)?;
                let make = |phase: &desc::Phase| self.own_phase(&stage, terms, owner, phase);
                plan.phases.iter().map(make).collect::<Found<Vec<_>>>()?
            }
            _ if !self.stage.phases.is_empty() => self.manifest_phases(&stage, terms)?,
            _ => vec![PhasePlan {
                name: String::new(),
                terms: terms.iter().map(all_of).collect(),
                updates: (0..stage.groups.len()).collect(),
                every: 1,
            }],
        };
        stage.phases = phases;
        self.finish(scene, stage)
    }

    /// One of the stages that a method planned.
    pub(super) fn method_stage(
        &self,
        scene: &Scene<'_>,
        terms: &[Rc<BoundTerm>],
        owner: &str,
        own: &desc::StagePlan,
    ) -> Found<StagePlan> {
        self.check_no_phases(owner)?;
        let mut stage = self.empty_stage(scene, &own.name);
        stage.frozen.extend(super::groups::matching(scene, &own.freeze));
        self.check_method_globs(scene, terms, owner, own)?;
        let active: Vec<Rc<BoundTerm>> =
            terms.iter().filter(|term| term.name == owner || own.with_others).cloned().collect();
        stage.groups = plan_groups(scene, &active, &stage.frozen, own, Some(owner))?;
        // What is not trained stays as it is, running statistics included.
        stage.frozen.extend(left_out(scene, &stage.groups));
        let whole = desc::Phase {
            name: String::new(),
            terms: own.terms.clone(),
            with_others: own.with_others,
            updates: vec![],
        };
        let phases = if own.phases.is_empty() { vec![whole] } else { own.phases.clone() };
        stage.phases =
            phases.iter().map(|phase| self.own_phase(&stage, terms, owner, phase)).collect::<Found<Vec<_>>>()?;
        stage.judged = own.with_others;
        stage.keep_optimizer = own.keep_optimizer;
        stage.patience = own.patience.or(stage.patience);
        if let Some(epochs) = own.epochs {
            stage.length = Length::Epochs(epochs);
        }
        self.finish(scene, stage)
    }

    /// Beside a method that brings phases those of the manifest may define passes, and nothing else.
    fn check_no_phases(&self, owner: &str) -> Found<()> {
        let says = |phase: &manifest::Phase| !phase.terms.is_empty() || !phase.updates.is_empty() || phase.every != 1;
        let Some((name, _)) = self.stage.phases.iter().find(|(_, phase)| says(phase)) else { return Ok(()) };
        let message =
            format!("term `{owner}` brings the phases of this stage: what `phases.{name}` says would not count");
        let problem = Problem::new(message).at(&self.path().key("phases").key(name), Part::Key);
        Err(problem.hint(
            "leave out its `terms`, `updates` and `every`, or use the losses of the method in phases of your own",
        ))
    }

    /// Globs of a method's stage must cover something.
    pub(super) fn check_method_globs(
        &self,
        scene: &Scene<'_>,
        terms: &[Rc<BoundTerm>],
        owner: &str,
        own: &desc::StagePlan,
    ) -> Found<()> {
        let of_student = [&own.train, &own.freeze].into_iter().find_map(|list| unmatched(scene, list));
        let Some(term) = terms.iter().find(|term| term.name == owner) else { return Ok(()) };
        let of_part = unmatched_own(term, &own.freeze_own);
        let Some(pattern) = of_student.map(|(_, pattern, _)| pattern).or(of_part.map(String::as_str)) else {
            return Ok(());
        };
        let message =
            format!("stage `{}` of {} names `{pattern}`, which covers no parameter", own.name, term.part.label());
        Err(Problem::new(message).at(&term.path, Part::Key))
    }

    pub(super) fn empty_stage(&self, scene: &Scene<'_>, inner: &str) -> StagePlan {
        let mut name = self.name.to_owned();
        if self.alone {
            name.push_str("-alone");
        }
        if !inner.is_empty() {
            name = format!("{name}.{inner}");
        }
        let length = match (self.stage.steps, self.stage.epochs) {
            (Some(steps), _) => Length::Steps(steps),
            (None, epochs) => Length::Epochs(epochs.unwrap_or(1.0)),
        };
        StagePlan {
            name,
            origin: self.name.into(),
            inner: inner.into(),
            alone: self.alone,
            data: scene.data.into(),
            trained: scene.trained.to_vec(),
            passes: scene.passes.clone(),
            views: vec![],
            phases: vec![],
            groups: vec![],
            frozen: super::groups::matching(scene, &self.stage.freeze).into_iter().collect(),
            length,
            spec: self.stage.clone(),
            patience: self.stage.patience.map(|epochs| epochs as u64),
            judged: true,
            keep_optimizer: false,
        }
    }

    /// Views of the passes that are read, and the last checks.
    pub(super) fn finish(&self, scene: &Scene<'_>, mut stage: StagePlan) -> Found<StagePlan> {
        let batches = self.setup.data.get(scene.data).map_or(usize::MAX, |set| served(self.stage, set.train.len()));
        if self.stage.accumulate > batches {
            let message =
                format!("an update of {} batches is longer than an epoch, which has {batches}", self.stage.accumulate);
            return Err(Problem::new(message)
                .at(&self.path().key("accumulate"), Part::Value)
                .hint("use a smaller `batch`"));
        }
        for pass in stage.passes.values() {
            if stage.views.iter().any(|view| view.name == pass.view) {
                continue;
            }
            let Some(model) = scene.models.get(&pass.model) else { continue };
            let mut view = ViewSpec { name: pass.view.clone(), ..model.view.clone() };
            if let Some((_, name)) = pass.view.split_once('@') {
                let Some(of) = self.setup.manifest.views.get(name) else {
                    return Err(Problem::new(format!("there is no view `{name}`")).at(&self.path(), Part::Key));
                };
                apply_view(of, &mut view);
            }
            stage.views.push(view);
        }
        if stage.groups.iter().all(|group| group.members.is_empty()) {
            let hint = "every parameter is frozen: freeze less";
            return Err(Problem::new(format!("stage `{}` trains nothing", stage.name))
                .at(&self.path().key("freeze"), Part::Value)
                .hint(hint));
        }
        Ok(stage)
    }
}
