//! A batch in two halves gives what the whole gives, unless the part says that it compares the samples of a batch.

use super::kit::{BATCH, Kit, Seen};
use super::report::Verdict;
use super::scene::Fill;
use super::subject::{Outcome, Subject, Trouble, numbers, results};
use crate::ops::{Moment, PortIn};
use candle_core::DType;
use stillhouse_plugin::desc::Kind;

/// What the two may differ by, relative to the largest value.
const ALLOWED: f64 = 1e-9;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    if kit.component.desc.batch_coupled {
        return Ok(Verdict::Ok("compares the samples of a batch, and says so".into()));
    }
    let is_scalar = matches!(kit.component.desc.kind, Kind::Loss | Kind::Distiller);
    let mut passed_over = false;
    for scene in &kit.scenes {
        let subject = kit.subject(DType::F64, scene)?;
        let ports = scene.values(DType::F64, Fill::Random(3))?;
        let halves = [0, BATCH / 2].map(|from| scene.part(&ports, from, BATCH / 2));
        let halves = halves.into_iter().collect::<candle_core::Result<Vec<_>>>()?;
        for at in subject.moments() {
            let whole = values(&subject.run(&at, &ports)?)?;
            let [a, b] = [&halves[0], &halves[1]].map(|half| values(&subject.run(&at, half)?));
            let (a, b) = (a?, b?);
            let Some(wrong) = compared(&whole, &a, &b, is_scalar) else { continue };
            if varies(&subject, &at, &ports, &whole)? {
                passed_over = true;
                continue;
            }
            let hint = "or say `const BATCH_COUPLED: bool = true`";
            return Ok(Verdict::Failed(format!("{}: {wrong}, {hint}", scene.name)));
        }
    }
    let but = if passed_over { ", but for what draws numbers, counts steps or takes statistics" } else { "" };
    Ok(Verdict::Ok(format!("a batch gives what its halves give{but}")))
}

/// Results by name.
type Values = Vec<(String, Vec<f64>)>;

fn values(outcome: &Outcome) -> Result<Values, Trouble> {
    let all = results(&outcome.given).into_iter();
    Ok(all.map(|(name, value)| Ok((name, numbers(&value)?))).collect::<candle_core::Result<_>>()?)
}

/// What is wrong with a batch beside its halves.
fn compared(whole: &Values, a: &Values, b: &Values, is_scalar: bool) -> Option<String> {
    for (at, (name, wanted)) in whole.iter().enumerate() {
        let [a, b] = [a, b].map(|half| half.get(at).map(|(_, values)| values.as_slice()).unwrap_or_default());
        let pairs = || a.iter().zip(b);
        let expected = match is_scalar {
            true => pairs().map(|(a, b)| (a + b) / 2.0).collect(),
            false => [a, b].concat(),
        };
        if differ(wanted, &expected) > ALLOWED {
            let sum: Vec<f64> = pairs().map(|(a, b)| a + b).collect();
            let is_sum = is_scalar && differ(wanted, &sum) <= ALLOWED;
            let what = match is_sum {
                true => "is a sum over samples, so that its weight falls where batches are accumulated: take the mean",
                false => "of a batch is not what its halves give: take the mean over samples that each stand alone",
            };
            return Some(format!("{} {what}", name.trim_end()));
        }
    }
    None
}

/// True where a run has other values at another step, or takes statistics over the batch, which the host sees for itself.
fn varies(subject: &Subject, at: &Moment, ports: &[PortIn<'_>], whole: &Values) -> Result<bool, Trouble> {
    let later = Moment { seed: at.seed ^ 0x5EED, step: at.step + 1, ..at.clone() };
    let again = subject.run(&later, ports)?;
    Ok(!again.given.staged.is_empty() || values(&again)? != *whole)
}

/// Largest difference, relative to the largest value; infinite where there are not as many.
fn differ(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let largest = a.iter().chain(b).fold(1e-12, |most: f64, value| most.max(value.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max)
}
