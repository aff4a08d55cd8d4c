//! What a step cannot go on with.

use crate::exec::Forward;
use crate::graph::Source;
use crate::ops::{Moment, OpError, PortIn};
use crate::train::blame::{Blame, Given, blame};
use crate::train::error::TrainError;
use crate::train::models::Model;
use crate::train::plan::ActiveTerm;
use candle_core::Tensor;

/// Every tap has a value for each frame that the network ran over.
pub(super) fn check_fired(
    pass: &str,
    model: &Model,
    input: &Tensor,
    forward: &Forward,
    wanted: &[Source],
) -> Result<(), TrainError> {
    let network = &model.network;
    let frames = match (network.over_time, network.graph.given()) {
        (false, _) => 1,
        (true, None) => input.dim(1)?,
        (true, Some(_)) => input.dim(1)?.saturating_sub(1).max(1),
    };
    for point in wanted {
        let fired = forward.taps.get(point).map_or(0, Vec::len);
        if fired != frames {
            let tap = format!("{pass}:{}", network.graph.name_of(point));
            return Err(TrainError::Tap { tap, fired, wanted: frames });
        }
    }
    Ok(())
}

/// A part that cannot be traced is seen to give its terms only here.
pub(super) fn check_given(active: &ActiveTerm, given: &[(String, Tensor)]) -> Result<(), TrainError> {
    let missing = active.inner.iter().find(|inner| !given.iter().any(|(name, _)| name == *inner));
    missing.map_or(Ok(()), |name| {
        let message = format!("planned the term `{name}` and did not give it");
        Err(OpError::Result { part: active.term.part.label().into(), message }.into())
    })
}

pub(super) fn scalar(tensor: &Tensor) -> Result<f64, TrainError> {
    Ok(tensor.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?)
}

pub(super) fn not_finite(
    active: &ActiveTerm,
    inner: &str,
    value: f64,
    ports: &[PortIn<'_>],
    seen: &Given<'_>,
) -> TrainError {
    let Blame { first, hint } = blame(&active.term, ports, seen);
    let said = format!("`{}` is {value}", active.term.label(inner));
    TrainError::NotFinite {
        term: active.term.label(inner).into(),
        part: active.term.part.desc().name.as_str().into(),
        value,
        step: seen.moment.step,
        stage: seen.stage.name.as_str().into(),
        inputs: first.into_iter().chain(inputs(active, ports, seen.moment, &said)).collect(),
        hint: hint.into(),
    }
}

/// What a term read, with shapes and largest values, and where it is kept as a case.
pub(super) fn inputs(active: &ActiveTerm, ports: &[PortIn<'_>], moment: &Moment, said: &str) -> Vec<String> {
    let largest = |tensor: &Tensor| -> candle_core::Result<f64> {
        tensor.abs()?.flatten_all()?.max(0)?.to_dtype(candle_core::DType::F64)?.to_scalar()
    };
    let describe = |port: &PortIn<'_>| {
        let value = port.values.first()?;
        let size = if value.dtype().is_float() {
            largest(value).map_or(String::new(), |max| format!(", largest magnitude {max:.4e}"))
        } else {
            String::new()
        };
        Some(format!("port `{}`: {}{size}", port.name, crate::ops::meta_of(value)))
    };
    let case = active.term.part.circumstances(moment, ports, said).case;
    let case = case.map(|case| {
        format!("its inputs are in {0}; repeat it with `stillhouse plugin eval --case {0}`", case.display())
    });
    ports.iter().filter_map(describe).chain(case).collect()
}
