//! Which term gave a gradient that is not finite.

use super::checks::inputs;
use super::{Cache, StepReport, Stepper};
use crate::ops::Moment;
use crate::train::batch::Fields;
use crate::train::error::TrainError;
use crate::train::optim;
use crate::train::plan::{ActiveTerm, PhasePlan};
use crate::train::reach::updates_student;
use crate::train::walk::Walk;
use candle_core::Tensor;

impl Stepper<'_> {
    /// The error of a phase whose gradient of `parameter` is not finite: the phase runs again, and each of its terms is followed
    /// alone. Nothing was updated, so that it gives what it gave.
    pub(super) fn steep(&self, phase: &PhasePlan, fields: &Fields, moment: &Moment, parameter: &str) -> TrainError {
        let found = phase.terms.iter().find_map(|active| self.steep_term(phase, active, fields, moment).ok().flatten());
        let (parameter, inputs) = found.unwrap_or((parameter.to_owned(), vec![]));
        TrainError::GradientNotFinite {
            parameter: parameter.into(),
            step: moment.step,
            stage: self.stage.name.as_str().into(),
            inputs: inputs.into(),
        }
    }

    /// The parameter whose gradient of one term is not finite, and what the term read.
    fn steep_term(
        &self,
        phase: &PhasePlan,
        active: &ActiveTerm,
        fields: &Fields,
        moment: &Moment,
    ) -> Result<Option<(String, Vec<String>)>, TrainError> {
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
        for (inner, tensor) in given.terms.into_iter().filter(|(inner, _)| active.inner.contains(inner)) {
            let weight = active.term.factor(&inner, moment.step, moment.steps_per_epoch);
            let term: (Tensor, f64) = (tensor, weight);
            let gradients = self.gradients(phase, &walk, std::slice::from_ref(&term), &cache, false)?;
            if let Some(parameter) = optim::first_not_finite(&gradients)? {
                let label = active.term.label(&inner);
                let name = &active.term.part.desc().name;
                let said = format!("the gradient of `{label}` is not finite");
                let lines = std::iter::once(format!("it comes from term `{label}` (`{name}`), of weight {weight:?}"));
                return Ok(Some((parameter.to_owned(), lines.chain(inputs(active, &ports, moment, &said)).collect())));
            }
        }
        Ok(None)
    }
}
