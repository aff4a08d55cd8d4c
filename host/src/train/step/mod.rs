//! One training step: passes, terms, gradients, updates, phase by phase.

mod checks;
mod ports;
mod report;
mod shares;
mod steep;
mod undo;

use super::batch::{Fields, view_field};
use super::blame::Given as Seen;
use super::cache::Caches;
use super::error::TrainError;
use super::models::Model;
use super::optim::{self, Gradients, Optimizer};
use super::plan::{PhasePlan, StagePlan};
use super::reach::updates_student;
use super::sampling::SAMPLING;
use super::term::{BoundTerm, Read};
use super::walk::Walk;
use crate::exec::{Executor, Forward, PassSpec, Sampling, StagedIn};
use crate::graph::Source;
use crate::manifest::NonFinite;
use crate::ops::Moment;
use candle_core::Tensor;
use checks::{check_fired, check_given, not_finite, scalar};
use indexmap::IndexMap;
pub use report::{StepReport, TermValue};
use shares::Shares;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use undo::Undo;

/// Runs the steps of one stage.
pub struct Stepper<'a> {
    stage: &'a StagePlan,
    models: &'a IndexMap<String, Rc<Model>>,
    optimizers: &'a mut [Optimizer],
    wanted: HashMap<String, Vec<Source>>,
    caches: Option<&'a Caches>,
    accumulated: Vec<Gradients>,
    pieces: usize,
    shares: Shares,
    /// What the running piece counts.
    share: f64,
    /// Why the running update is left out.
    spoiled: Option<Rc<TrainError>>,
    undo: Undo,
    /// Parts run on the tape that the networks run on.
    own_tape: bool,
    /// Parameters that got a gradient, and whether all of it was zero; filled when somebody looks.
    seen: Option<BTreeMap<String, bool>>,
}

/// Forwards of one step by pass, with the version of the model that ran.
type Cache = BTreeMap<String, Forward>;

impl Drop for Stepper<'_> {
    /// The next stage has other sizes.
    fn drop(&mut self) {
        crate::exec::free_buffers();
    }
}

impl<'a> Stepper<'a> {
    /// A stepper over the optimizers of the stage's groups.
    pub fn new(
        stage: &'a StagePlan,
        models: &'a IndexMap<String, Rc<Model>>,
        optimizers: &'a mut [Optimizer],
    ) -> Stepper<'a> {
        let wanted = stage.passes.keys().map(|pass| (pass.clone(), wanted(stage, pass))).collect();
        let accumulated = stage.phases.iter().map(|_| Gradients::new()).collect();
        let own_tape = models.values().any(|model| model.network.executor() == Executor::Fast);
        Stepper {
            stage,
            models,
            optimizers,
            wanted,
            caches: None,
            accumulated,
            pieces: 0,
            shares: Shares::default(),
            share: 1.0,
            spoiled: None,
            undo: Undo::default(),
            own_tape,
            seen: None,
        }
    }

    /// Reads of frozen models what was kept.
    pub(super) fn with_caches(mut self, caches: &'a Caches) -> Stepper<'a> {
        self.caches = Some(caches);
        self
    }

    /// From now on notes which parameters get a gradient, with weights of 0 taken as 1, and that every tap fires as often as it must.
    pub(super) fn watch(&mut self) {
        self.seen = Some(BTreeMap::new());
    }

    /// Parameters that got a gradient since, and whether all of it was zero.
    pub(super) fn seen(&mut self) -> BTreeMap<String, bool> {
        self.seen.take().unwrap_or_default()
    }

    /// The optimizers of the stage's groups.
    pub fn optimizers(&self) -> &[Optimizer] {
        self.optimizers
    }

    /// Works on one batch. `lr_factor` is the schedule's; `norms` asks for gradient norms. A batch counts as much in its update as it has
    /// samples.
    ///
    /// An update of which a term or a gradient is not finite is left out where the stage skips such: what waits for it is
    /// dropped, no buffer is taken over, and its other batches are not worked on.
    ///
    /// # Errors
    /// A part or network fails; a term or a gradient is not finite, and the stage does not skip.
    pub fn step(
        &mut self,
        fields: &Fields,
        moment: &Moment,
        lr_factor: f64,
        norms: bool,
    ) -> Result<StepReport, TrainError> {
        // Pieces of one update draw random numbers of their own.
        let moment =
            &Moment { seed: moment.seed ^ (self.pieces as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15), ..moment.clone() };
        let mut cache = Cache::new();
        self.pieces += 1;
        let samples = fields.values().next().and_then(|field| field.dims().first().copied());
        self.share = self.shares.add(samples.unwrap_or(1));
        let update = self.pieces >= self.stage.spec.accumulate;
        let mut report = StepReport { updated: update, ..StepReport::default() };
        if self.spoiled.is_none() {
            match self.phases(fields, moment, &mut cache, (lr_factor, norms, update), &mut report) {
                Err(error) if error.is_not_finite() && self.stage.spec.nonfinite != NonFinite::Stop => {
                    report = StepReport { updated: update, ..StepReport::default() };
                    self.spoiled = Some(Rc::new(error));
                    self.drop_pieces()?;
                }
                other => other?,
            }
        }
        self.end_piece(&mut report);
        Ok(report)
    }

    /// Counts a piece of which no sample is left. The running update is made of the others, and left out where there are none.
    ///
    /// # Errors
    /// candle fails.
    pub(super) fn pass_over(&mut self, step: u64, lr_factor: f64) -> Result<StepReport, TrainError> {
        self.pieces += 1;
        let mut report = StepReport { updated: self.pieces >= self.stage.spec.accumulate, ..StepReport::default() };
        let is_empty = self.shares.is_empty();
        if report.updated && self.spoiled.is_none() && !is_empty {
            for (index, phase) in self.stage.phases.iter().enumerate() {
                if step.is_multiple_of(phase.every) {
                    self.apply(index, phase, lr_factor)?;
                }
            }
        }
        self.end_piece(&mut report);
        report.left_out |= is_empty;
        Ok(report)
    }

    /// Drops what the pieces of the running update came to.
    fn drop_pieces(&mut self) -> Result<(), TrainError> {
        self.accumulated.iter_mut().for_each(Gradients::clear);
        Ok(self.undo.take_back()?)
    }

    fn end_piece(&mut self, report: &mut StepReport) {
        report.left_out = self.spoiled.is_some();
        if report.updated {
            self.pieces = 0;
            self.shares.clear();
            self.undo.forget();
            report.skipped = self.spoiled.take();
        }
    }

    fn phases(
        &mut self,
        fields: &Fields,
        moment: &Moment,
        cache: &mut Cache,
        how: (f64, bool, bool),
        report: &mut StepReport,
    ) -> Result<(), TrainError> {
        for (index, phase) in self.stage.phases.iter().enumerate() {
            if !moment.step.is_multiple_of(phase.every) {
                continue;
            }
            let moment = Moment { phase: phase.name.as_str().into(), ..moment.clone() };
            self.phase(index, phase, fields, &moment, cache, how, report)?;
        }
        for staged in cache.values().flat_map(|forward| &forward.staged) {
            self.commit(staged)?;
        }
        Ok(())
    }

    fn commit(&mut self, staged: &StagedIn) -> Result<(), TrainError> {
        Ok(self.undo.commit(&staged.params, &staged.change, self.stage.spec.accumulate > 1)?)
    }

    #[allow(clippy::too_many_arguments)]
    fn phase(
        &mut self,
        index: usize,
        phase: &PhasePlan,
        fields: &Fields,
        moment: &Moment,
        cache: &mut Cache,
        (lr_factor, norms, update): (f64, bool, bool),
        report: &mut StepReport,
    ) -> Result<(), TrainError> {
        let into_model = updates_student(self.stage, phase);
        let mut staged: Vec<StagedIn> = vec![];
        let mut walk = Walk::new(self.own_tape);
        let mut terms: Vec<(Tensor, f64)> = vec![];
        let first = report.terms.len();
        for active in &phase.terms {
            self.forward_passes(&active.term, fields, moment, cache, report)?;
            if into_model {
                self.student_taps(&active.term, cache).for_each(|tap| walk.watch(tap));
            }
            let (ports, given) = walk.run(|| -> Result<_, TrainError> {
                let ports = self.ports(&active.term, fields, moment, cache, into_model, &mut staged)?;
                let given = active.term.part.run(moment, &ports)?;
                Ok((ports, given))
            })?;
            staged.extend(
                given.staged.into_iter().map(|change| StagedIn { params: active.term.part.params().clone(), change }),
            );
            report.emitted.extend(given.emitted.into_iter().map(|emitted| (active.term.name.clone(), emitted)));
            report.log.extend(given.log.into_iter().map(|(level, line)| (level, active.term.name.clone(), line)));
            check_given(active, &given.terms)?;
            for (inner, tensor) in given.terms.into_iter().filter(|(inner, _)| active.inner.contains(inner)) {
                let weight = active.term.factor(&inner, moment.step, moment.steps_per_epoch);
                let weight = if self.seen.is_some() && weight == 0.0 { 1.0 } else { weight };
                let raw = scalar(&tensor)?;
                if !raw.is_finite() {
                    let seen = Seen { stage: self.stage, models: self.models, fields, moment };
                    return Err(not_finite(active, &inner, raw, &ports, &seen));
                }
                report.terms.push(TermValue { name: active.term.label(&inner), raw, weight, gradient_norm: None });
                report.total += weight * raw;
                terms.push((tensor, weight));
            }
        }
        if norms {
            for (term, value) in terms.iter().zip(&mut report.terms[first..]) {
                let gradients = self.gradients(phase, &walk, std::slice::from_ref(term), cache, false);
                let gradients = gradients.map_err(|error| self.way_back(error, phase, fields, moment))?;
                value.gradient_norm = Some(optim::norm(gradients.values())?);
            }
        }
        let renewed = into_model && update || index + 1 == self.stage.phases.len();
        let gradients = self.gradients(phase, &walk, &terms, cache, renewed);
        drop((walk, terms));
        let gradients = gradients.map_err(|error| self.way_back(error, phase, fields, moment))?;
        if let Some(parameter) = optim::first_not_finite(&gradients)? {
            cache.clear();
            return Err(self.steep(phase, fields, moment, parameter));
        }
        self.update(index, phase, gradients, (lr_factor, update))?;
        for change in &staged {
            self.commit(change)?;
        }
        if into_model && update && index + 1 < self.stage.phases.len() {
            // The student moved: a later phase must see it where it is now.
            let trained: Vec<String> = cache.keys().filter(|pass| self.stage.passes[*pass].track).cloned().collect();
            for pass in trained {
                if let Some(forward) = cache.remove(&pass) {
                    for staged in &forward.staged {
                        self.commit(staged)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gradients of the parameters that the phase updates, of a sum of weighted terms; `last` where no later phase goes over these
    /// passes.
    fn gradients(
        &self,
        phase: &PhasePlan,
        walk: &Walk,
        terms: &[(Tensor, f64)],
        cache: &Cache,
        last: bool,
    ) -> Result<Gradients, TrainError> {
        let tapes = cache.values().filter_map(|forward| forward.tape.as_ref());
        let (of_parts, of_tapes) = walk.gradients(terms, tapes, last)?;
        let mut gradients = Gradients::new();
        for member in phase.updates.iter().flat_map(|group| self.optimizers[*group].members()) {
            let Some(entry) = member.set.get(&member.name) else { continue };
            let mut sum = of_parts.get(entry.var.as_tensor()).map(Tensor::detach);
            for found in of_tapes.iter().filter(|found| found.is_of(&member.set, &member.name)) {
                sum = Some(match sum {
                    Some(sum) => (sum + &found.value)?,
                    None => found.value.clone(),
                });
            }
            gradients.extend(sum.map(|sum| (member.full.clone(), sum)));
        }
        Ok(gradients)
    }

    fn update(
        &mut self,
        index: usize,
        phase: &PhasePlan,
        gradients: Gradients,
        (lr_factor, update): (f64, bool),
    ) -> Result<(), TrainError> {
        if let Some(seen) = &mut self.seen {
            for (name, gradient) in &gradients {
                let is_zero = optim::norm(std::iter::once(gradient))? == 0.0;
                seen.entry(name.clone()).and_modify(|zero| *zero &= is_zero).or_insert(is_zero);
            }
        }
        let scale = self.share / self.stage.spec.accumulate as f64;
        let sum = &mut self.accumulated[index];
        for (name, gradient) in gradients {
            let gradient = if scale == 1.0 { gradient } else { gradient.affine(scale, 0.0)? };
            let gradient = match sum.remove(&name) {
                Some(before) => (before + gradient)?,
                None => gradient,
            };
            sum.insert(name, gradient);
        }
        if update { self.apply(index, phase, lr_factor) } else { Ok(()) }
    }

    /// Updates by the sum of the pieces.
    fn apply(&mut self, index: usize, phase: &PhasePlan, lr_factor: f64) -> Result<(), TrainError> {
        let mut gradients = std::mem::take(&mut self.accumulated[index]);
        let rest = self.shares.rest(self.stage.spec.accumulate);
        if rest != 1.0 {
            for gradient in gradients.values_mut() {
                *gradient = gradient.affine(rest, 0.0)?;
            }
        }
        if let Some(limit) = self.stage.spec.clip_norm {
            optim::clip(&mut gradients, limit)?;
        }
        if let Some(rule) = &self.stage.spec.gradient_ema {
            phase.updates.iter().try_for_each(|group| self.optimizers[*group].smooth(rule, &mut gradients))?;
        }
        for group in &phase.updates {
            let factor = if self.stage.groups[*group].scheduled { lr_factor } else { 1.0 };
            self.optimizers[*group].step(&gradients, factor)?;
        }
        Ok(())
    }

    /// Runs the passes that a term reads and that did not run yet.
    fn forward_passes(
        &self,
        term: &BoundTerm,
        fields: &Fields,
        moment: &Moment,
        cache: &mut Cache,
        report: &mut StepReport,
    ) -> Result<(), TrainError> {
        for read in term.ports.iter().filter(|port| port.is_read_in(&moment.phase)).flat_map(|port| &port.reads) {
            let Read::Tap { pass, .. } = read else { continue };
            if cache.contains_key(pass) {
                continue;
            }
            let plan = &self.stage.passes[pass];
            let (Some(model), Some(input)) = (self.models.get(&plan.model), fields.get(&view_field(&plan.view))) else {
                continue;
            };
            let frozen = if plan.track { self.stage.frozen.clone() } else { HashSet::new() };
            let spec = PassSpec {
                training: plan.training,
                track: plan.track,
                reverse_time: plan.reverse_time,
                want: self.wanted.get(pass).cloned().unwrap_or_default(),
                frozen,
                bf16: !plan.track && model.bf16,
                sampling: fields.get(SAMPLING).map(Sampling::new).transpose()?,
            };
            let name = &model.name;
            let mut forward = match self.caches.and_then(|caches| caches.of(pass)) {
                Some(cache) => cache.borrow_mut().forward(model, input, &spec, moment)?,
                None => model.network.forward(input, &spec, moment)?,
            };
            if self.seen.is_some() {
                check_fired(pass, model, input, &forward, &spec.want)?;
            }
            report.emitted.extend(forward.emitted.drain(..).map(|emitted| (name.clone(), emitted)));
            report.log.extend(forward.log.drain(..).map(|(level, line)| (level, name.clone(), line)));
            cache.insert(pass.clone(), forward);
        }
        Ok(())
    }
}

/// Points of a pass that terms of a stage read.
pub(super) fn wanted(stage: &StagePlan, pass: &str) -> Vec<Source> {
    let mut points: Vec<Source> = vec![];
    for read in stage.terms().into_iter().flat_map(|term| term.ports.iter().flat_map(|port| &port.reads)) {
        match read {
            Read::Tap { pass: of, point, .. } if of == pass && !points.contains(point) => points.push(point.clone()),
            _ => {}
        }
    }
    points
}
