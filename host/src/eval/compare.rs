//! What came out against what a case expects.

use super::case::Case;
use super::error::EvalError;
use super::tensors::{Float, Tensors};
use candle_core::{DType, Tensor};

/// A tensor held against its expectation.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// How many values it has.
    pub elements: usize,
    /// Largest absolute error, measured by what is allowed there.
    pub error: f64,
    /// Error that is allowed at that value.
    pub allowed: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// Outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All values are within what is allowed.
    Within,
    /// Some value is not.
    Beyond,
    /// The tensor did not come out.
    Missing,
    /// It has another shape.
    Shape(Vec<usize>),
}

/// All checks of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// One for each `out.*`, `grad.*` and `buffer_after.*` of the case that is to be compared.
    pub checks: Vec<Check>,
}

impl Comparison {
    /// True when every tensor is there and within what is allowed, and there was one to compare.
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.verdict == Verdict::Within)
    }

    /// The check that is nearest to, or farthest beyond, what is allowed.
    pub fn worst(&self) -> Option<&Check> {
        self.checks.iter().max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
    }
}

impl Check {
    /// Error as a part of what is allowed; infinite where there is nothing to measure.
    pub fn ratio(&self) -> f64 {
        match self.verdict {
            Verdict::Missing | Verdict::Shape(_) => f64::INFINITY,
            Verdict::Within | Verdict::Beyond => self.error / self.allowed,
        }
    }
}

/// Below this a reference value is rounding noise, and errors count as they are.
const NOISE: f64 = 1e-9;
/// Least relative error that single precision may have.
const LEAST_F32: f64 = 1e-5;
/// Single precision may be this many times worse than the reference in single precision was.
const FACTOR_F32: f64 = 10.0;

/// Compares tensors with the expectation of a case.
///
/// ```text
/// f64   out.*, buffer_after.*   |a - b| <= 1e-10 |b| + 1e-14 max(1, max |b|)
///       grad.*                  |a - b| <= 1e-9 m + 1e-12                        m: largest gradient of the case
/// f32   out.*, buffer_after.*   |a - b| <= max(10 loss_err, 1e-5) max |b|        max |b|, m: 1 when below 1e-9
///       grad.*                  |a - b| <= max(10 grad_err, 1e-5) m
/// ```
///
/// # Errors
/// candle fails.
pub fn compare(case: &Case, result: &Tensors, dtype: Float) -> Result<Comparison, EvalError> {
    let wanted = |name: &str| ["out.", "grad.", "buffer_after."].iter().any(|prefix| name.starts_with(prefix));
    let mut largest = 0f64;
    for (_, tensor) in case.tensors.iter().filter(|(name, _)| name.starts_with("grad.")) {
        largest = peak(&values(tensor)?).max(largest);
    }
    let mut checks = vec![];
    for (name, expected) in case.tensors.iter().filter(|(name, _)| wanted(name)) {
        if case.informative.iter().any(|known| known == name) {
            continue;
        }
        let reference = values(expected)?;
        let allowed = allowance(case, dtype, name, if name.starts_with("grad.") { largest } else { peak(&reference) });
        checks.push(check(name, expected, &reference, result.get(name), &allowed)?);
    }
    Ok(Comparison { checks })
}

/// What is allowed at a reference value; `peak` is the largest magnitude to measure by.
fn allowance(case: &Case, dtype: Float, name: &str, peak: f64) -> impl Fn(f64) -> f64 + use<> {
    let gradient = name.starts_with("grad.");
    let scale = if peak < NOISE { 1.0 } else { peak };
    let of_reference = if gradient { case.float32.grad_err } else { case.float32.loss_err };
    let single = (FACTOR_F32 * of_reference).max(LEAST_F32) * scale;
    move |reference: f64| match dtype {
        Float::F32 => single,
        Float::F64 if gradient => 1e-9 * peak + 1e-12,
        Float::F64 => 1e-10 * reference.abs() + 1e-14 * peak.max(1.0),
    }
}

fn check(
    name: &str,
    expected: &Tensor,
    reference: &[f64],
    got: Option<&Tensor>,
    allowed: &impl Fn(f64) -> f64,
) -> Result<Check, EvalError> {
    let blank =
        |verdict| Check { name: name.into(), elements: reference.len(), error: f64::NAN, allowed: f64::NAN, verdict };
    let Some(got) = got else { return Ok(blank(Verdict::Missing)) };
    if got.dims() != expected.dims() {
        return Ok(blank(Verdict::Shape(got.dims().to_vec())));
    }
    let errors =
        values(got)?.into_iter().zip(reference).map(|(got, wanted)| (distance(got, *wanted), allowed(*wanted)));
    let worst = errors.max_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1))).unwrap_or((0.0, 1.0));
    let verdict = if worst.0 <= worst.1 { Verdict::Within } else { Verdict::Beyond };
    Ok(Check { error: worst.0, allowed: worst.1, ..blank(verdict) })
}

/// Equal infinities and two that are no numbers are at no distance.
fn distance(got: f64, wanted: f64) -> f64 {
    match got == wanted || (got.is_nan() && wanted.is_nan()) {
        true => 0.0,
        false if got.is_finite() && wanted.is_finite() => (got - wanted).abs(),
        false => f64::INFINITY,
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f64>, EvalError> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn peak(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| value.abs().max(most))
}
