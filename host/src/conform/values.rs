//! Results are finite, as they were traced, and alike in both types of floats; so are gradients.

use super::close::{Allowed, Apart, compare};
use super::kit::{Kit, Seen};
use super::report::Verdict;
use super::scene::{Fill, Scene};
use super::subject::{Subject, Trouble, not_finite, shapes};
use crate::ops::{Moment, PortIn};
use candle_core::DType;
use stillhouse_plugin::op::Meta;

/// What single precision may differ by.
pub(super) const SINGLE: Allowed = Allowed { by: 2e-3, floor: 0.1 };
/// At a kink the gradients of the two types may take different sides: another point is taken, so many times.
pub(super) const POINTS: u64 = 3;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let (mut worst, mut fitting) = (0f64, true);
    for scene in kit.scenes.iter().chain(&kit.wide) {
        let mut wrong = None;
        for point in 0..POINTS {
            match at(kit, scene, point)? {
                Ok(found) => {
                    (worst, fitting) = (worst.max(found.error), fitting && found.fitting);
                    wrong = None;
                    break;
                }
                Err(own) => {
                    let is_certain = !own.is_gradient;
                    wrong = Some(own.text);
                    if is_certain {
                        break;
                    }
                }
            }
        }
        if let Some(text) = wrong {
            return Ok(Verdict::Failed(format!("{}: {text}", scene.name)));
        }
    }
    let chained = if fitting { "" } else { "; need not give the shape of the other end, so it belongs in a chain" };
    Ok(Verdict::Ok(format!("`f32` within {worst:.0e} of `f64`, gradients included{chained}")))
}

/// What was seen of one scene.
struct Found {
    /// The largest difference between the two types.
    error: f64,
    /// A connector gives the shape of the other end.
    fitting: bool,
}

/// What is wrong there.
struct Wrong {
    text: String,
    is_gradient: bool,
}

/// Both types at one point.
fn at(kit: &Kit<'_>, scene: &Scene, point: u64) -> Result<Result<Found, Wrong>, Trouble> {
    // A part starts from the same values in either type.
    let [single, double] = [DType::F32, DType::F64].map(|float| kit.subject(float, scene));
    let (single, double) = (single?, double?);
    let [of_single, of_double] = [DType::F32, DType::F64].map(|float| scene.values(float, Fill::Random(point)));
    let (of_single, of_double) = (of_single?, of_double?);
    let other = of_double.iter().find(|port| port.name == "to").and_then(|port| port.values.first());
    let mut found = Found { error: 0.0, fitting: true };
    for at in double.moments() {
        let (narrow, wide) = (single.run(&at, &of_single)?, double.run(&at, &of_double)?);
        for outcome in [&narrow, &wide] {
            if let Some(wrong) = not_finite(outcome)? {
                return Ok(Err(Wrong { text: wrong, is_gradient: false }));
            }
        }
        found.fitting &=
            other.is_none_or(|other| wide.given.output.as_ref().is_some_and(|output| output.dims() == other.dims()));
        if let Some(wrong) = untraced(kit, &double, &at, &of_double, &shapes(&wide.given))? {
            return Ok(Err(Wrong { text: wrong, is_gradient: false }));
        }
        if scene.is_narrow {
            continue;
        }
        match compare(&narrow, &wide, SINGLE)? {
            Ok(error) => found.error = found.error.max(error),
            Err(Apart { what, error, is_gradient }) => {
                let text = format!("{what} differs by {error:.1e} between `f32` and `f64`");
                return Ok(Err(Wrong { text, is_gradient }));
            }
        }
    }
    Ok(Ok(found))
}

/// A result that is of another shape than in the trace.
fn untraced(
    kit: &Kit<'_>,
    subject: &Subject,
    at: &Moment,
    ports: &[PortIn<'_>],
    got: &[(String, Meta)],
) -> Result<Option<String>, Trouble> {
    if kit.component.desc.dynamic {
        return Ok(None);
    }
    let traced: Vec<Meta> = subject.trace(at, ports)?.results.into_iter().map(|(_, _, meta, _)| meta).collect();
    let wrong = got.iter().find(|(_, meta)| !traced.contains(meta));
    Ok(wrong.map(|(name, meta)| format!("{name} is {meta}, the trace said {traced:?}")))
}
