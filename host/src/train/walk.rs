//! Gradients of a phase's terms: along the record of its parts or candle's tape, then back over the networks.

use super::error::TrainError;
use crate::exec::{ParamGrad, Tape};
use crate::ops::native::{Gradients, Record};
use candle_core::Tensor;
use std::rc::Rc;

/// The tape of a phase's parts.
#[derive(Default)]
pub(super) struct Walk {
    /// Ours; else the parts are on candle's.
    record: Option<Record>,
}

impl Walk {
    /// `own` where the networks run on our tape, too.
    pub(super) fn new(own: bool) -> Walk {
        Walk { record: own.then(Record::default) }
    }

    /// Runs parts on the tape.
    pub(super) fn run<R>(&mut self, parts: impl FnOnce() -> R) -> R {
        match &mut self.record {
            Some(record) => record.during(parts),
            None => parts(),
        }
    }

    /// Wants the gradient of a tapped point.
    pub(super) fn watch(&mut self, tap: &Tensor) {
        if let Some(record) = &mut self.record {
            record.watch(tap);
        }
    }

    /// Gradients of variables and of the networks' parameters, of the sum of weighted terms. `last` for the networks' tapes.
    pub(super) fn gradients<'t>(
        &self,
        terms: &[(Tensor, f64)],
        tapes: impl Iterator<Item = &'t Rc<Tape>>,
        last: bool,
    ) -> Result<(Gradients, Vec<ParamGrad>), TrainError> {
        let weighted = terms.iter().filter(|(_, weight)| *weight != 0.0);
        let of_parts = match &self.record {
            Some(record) => {
                let start = |(term, weight): &'_ (Tensor, f64)| {
                    Ok((term.clone(), Tensor::full(*weight, term.dims(), term.device())?.to_dtype(term.dtype())?))
                };
                let starts = weighted.map(start).collect::<candle_core::Result<Vec<_>>>()?;
                record.gradients(&starts)?
            }
            None => {
                let term =
                    |(term, weight): &(Tensor, f64)| if *weight == 1.0 { Ok(term.clone()) } else { term * *weight };
                let total = weighted.map(term).reduce(|sum, term| sum? + term?).transpose()?;
                total.map_or_else(|| Ok(Gradients::default()), |total| total.backward().map(Gradients::from))?
            }
        };
        let mut of_tapes = vec![];
        for tape in tapes {
            of_tapes.extend(if last { tape.spend(&of_parts) } else { tape.backward(&of_parts) }?);
        }
        Ok((of_parts, of_tapes))
    }
}
