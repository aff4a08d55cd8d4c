//! Which term failed on the way back, or gave a gradient that is not finite: the phase runs again, and each of its terms is followed
//! alone. Nothing was updated, so that it gives what it gave.

use super::checks::inputs;
use super::{Cache, StepReport, Stepper};
use crate::ops::{Moment, PortIn};
use crate::train::batch::Fields;
use crate::train::error::TrainError;
use crate::train::optim::{self, Gradients};
use crate::train::plan::{ActiveTerm, PhasePlan};
use crate::train::reach::updates_student;
use crate::train::walk::Walk;
use candle_core::Tensor;

/// One term of a part, on its own way back.
struct Alone<'t> {
    label: String,
    weight: f64,
    gradients: Result<Gradients, TrainError>,
    ports: Vec<PortIn<'t>>,
}

impl Stepper<'_> {
    /// The error of a phase whose gradient of `parameter` is not finite.
    pub(super) fn steep(&self, phase: &PhasePlan, fields: &Fields, moment: &Moment, parameter: &str) -> TrainError {
        let found = self.find(phase, fields, moment, |active, alone| {
            let wrong = optim::first_not_finite(alone.gradients.as_ref().ok()?).ok()??.to_owned();
            let Alone { label, weight, ports, .. } = alone;
            let name = &active.term.part.desc().name;
            let from = format!("it comes from term `{label}` (`{name}`), of weight {weight:?}");
            let said = format!("the gradient of `{label}` is not finite");
            Some((wrong, std::iter::once(from).chain(inputs(active, ports, moment, &said)).collect()))
        });
        let (parameter, inputs) = found.unwrap_or((parameter.to_owned(), Vec::new()));
        TrainError::GradientNotFinite {
            parameter: parameter.into(),
            step: moment.step,
            stage: self.stage.name.as_str().into(),
            inputs: inputs.into(),
        }
    }

    /// An error of the way back, with the term that fails there and what it read.
    pub(super) fn way_back(
        &self,
        error: TrainError,
        phase: &PhasePlan,
        fields: &Fields,
        moment: &Moment,
    ) -> TrainError {
        let said = error.to_string();
        let found = self.find(phase, fields, moment, |active, alone| {
            alone.gradients.as_ref().err()?;
            let name = &active.term.part.desc().name;
            let of = format!("in term `{}` (`{name}`)", alone.label);
            Some(std::iter::once(of).chain(inputs(active, &alone.ports, moment, &said)).collect::<Vec<String>>())
        });
        TrainError::Step {
            error: Box::new(error),
            stage: self.stage.name.as_str().into(),
            step: moment.step,
            inputs: found.unwrap_or_default().into(),
        }
    }

    /// What `judge` tells of the first term of which it tells something.
    fn find<T>(
        &self,
        phase: &PhasePlan,
        fields: &Fields,
        moment: &Moment,
        judge: impl Fn(&ActiveTerm, &Alone<'_>) -> Option<T>,
    ) -> Option<T> {
        phase.terms.iter().find_map(|active| {
            let all = self.alone(phase, active, fields, moment).ok()?;
            all.iter().find_map(|alone| judge(active, alone))
        })
    }

    /// The terms of one part, each on its own way back.
    fn alone<'t>(
        &self,
        phase: &PhasePlan,
        active: &'t ActiveTerm,
        fields: &Fields,
        moment: &Moment,
    ) -> Result<Vec<Alone<'t>>, TrainError> {
        let (mut cache, mut walk) = (Cache::new(), Walk::new(self.own_tape));
        let into_model = updates_student(self.stage, phase);
        self.forward_passes(&active.term, fields, moment, &mut cache, &mut StepReport::default())?;
        if into_model {
            self.student_taps(&active.term, &cache).for_each(|tap| walk.watch(tap));
        }
        let (ports, given) = walk.run(|| -> Result<_, TrainError> {
            let ports = self.ports(&active.term, fields, moment, &cache, into_model, &mut vec![])?;
            let given = active.term.part.run(moment, &ports)?;
            Ok((ports, given))
        })?;
        let one = |(inner, tensor): (String, Tensor)| {
            let weight = active.term.factor(&inner, moment.step, moment.steps_per_epoch);
            let gradients = self.gradients(phase, &walk, &[(tensor, weight)], &cache, false);
            Alone { label: active.term.label(&inner), weight, gradients, ports: ports.clone() }
        };
        Ok(given.terms.into_iter().filter(|(inner, _)| active.inner.contains(inner)).map(one).collect())
    }
}
