//! Whether two runs of one part gave the same, but for rounding.

use super::subject::{Outcome, Trouble, numbers, results};
use candle_core::Tensor;

/// A gradient below this share of the largest one of its call is compared as if it were this large: where terms cancel, rounding is all that
/// is left of them.
const SMALL: f64 = 1e-2;

/// What two outcomes may differ by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// Relative to the largest value of a result, or of a gradient.
    pub(super) by: f64,
    /// Results below this are compared as if they were this large.
    pub(super) floor: f64,
}

/// A difference that is not allowed.
pub(super) struct Apart {
    pub(super) what: String,
    pub(super) error: f64,
    /// At a kink a gradient may take either side; a result may not.
    pub(super) is_gradient: bool,
}

/// The largest difference, or the first that is not allowed.
pub(super) type Difference = Result<f64, Apart>;

/// Holds results and gradients against those of `right`.
pub(super) fn compare(own: &Outcome, right: &Outcome, allowed: Allowed) -> Result<Difference, Trouble> {
    let (given, wanted) = (results(&own.given), results(&right.given));
    if given.len() != wanted.len() {
        let what = "the number of results".into();
        return Ok(Err(Apart { what, error: f64::INFINITY, is_gradient: false }));
    }
    let mut worst = 0f64;
    for ((name, own), (_, right)) in given.iter().zip(&wanted) {
        let right = numbers(right)?;
        let error = apart(&numbers(own)?, &right, largest(&right, allowed.floor));
        if error > allowed.by {
            return Ok(Err(Apart { what: name.trim_end().to_owned(), error, is_gradient: false }));
        }
        worst = worst.max(error);
    }
    let mut most = 1e-6;
    for (_, gradient) in &right.gradients {
        most = largest(&values(gradient.as_ref(), 0)?, most);
    }
    for ((name, own), (_, right)) in own.gradients.iter().zip(&right.gradients) {
        let count = [own, right].into_iter().flatten().map(Tensor::elem_count).max().unwrap_or(0);
        let right = values(right.as_ref(), count)?;
        let error = apart(&values(own.as_ref(), count)?, &right, largest(&right, most * SMALL));
        if error > allowed.by {
            return Ok(Err(Apart { what: format!("the gradient of {name}"), error, is_gradient: true }));
        }
        worst = worst.max(error);
    }
    Ok(Ok(worst))
}

/// Values of a gradient; one that does not arrive is 0.
fn values(gradient: Option<&Tensor>, count: usize) -> candle_core::Result<Vec<f64>> {
    gradient.map_or_else(|| Ok(vec![0.0; count]), numbers)
}

fn largest(values: &[f64], floor: f64) -> f64 {
    values.iter().fold(floor, |most, value| most.max(value.abs()))
}

/// The largest difference, relative to `scale`; infinite where there are not as many, or one is no number.
fn apart(a: &[f64], b: &[f64], scale: f64) -> f64 {
    let one = |(a, b): (&f64, &f64)| if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() / scale };
    if a.len() == b.len() { a.iter().zip(b).map(one).fold(0.0, f64::max) } else { f64::INFINITY }
}
