//! Own operations of a part beside their composite form.

use super::kit::{Kit, Seen};
use super::report::Verdict;
use super::scene::{Fill, LARGE, Optional, Scene};
use super::subject::{Outcome, Subject, Trouble, numbers, results};
use crate::ops::{Manner, Moment, Node, PortIn};
use candle_core::DType;
use std::time::{Duration, Instant};

/// Allowed difference of the two forms in `f64`, relative to the largest value.
const TOLERANCE: f64 = 1e-8;
/// Runs of each form; the fastest counts.
const RUNS: usize = 5;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    if kit.component.desc.dynamic {
        return Ok(Verdict::NotApplicable("it reads values, so there is no graph to look at".into()));
    }
    let mut fused = 0;
    for scene in &kit.scenes {
        let [own, composite] = both(kit, scene, DType::F64)?;
        let ports = scene.values(DType::F64, Fill::Random(0))?;
        for at in own.moments() {
            fused = fused.max(cost(&own, &at, &ports)?.0);
            if fused == 0 {
                continue;
            }
            if let Err(trouble) = composite.trace(&at, &ports) {
                return Ok(Verdict::NotApplicable(format!(
                    "no composite form, so it runs on the CPU only ({})",
                    trouble.text()
                )));
            }
            if let Some(wrong) = differing(&own.run(&at, &ports)?, &composite.run(&at, &ports)?)? {
                return Ok(Verdict::Failed(format!("{}: {wrong}", scene.name)));
            }
        }
    }
    if fused == 0 {
        return Ok(Verdict::NotApplicable("no operations of its own".into()));
    }
    let ports = kit.subject(DType::F32, &kit.scenes[0])?.ports();
    let large = LARGE.iter().filter_map(|family| Scene::new(&ports, family, 64, Optional::Usual));
    let Some(scene) = large.into_iter().find(|scene| kit.takes(scene).is_ok()) else {
        return Ok(Verdict::Ok(format!("{fused} operations equal their composite form")));
    };
    let [own, composite] = both(kit, &scene, DType::F32)?;
    let ports = scene.values(DType::F32, Fill::Random(0))?;
    let (mut times, mut bytes) = ([Duration::ZERO; 2], [0usize; 2]);
    for at in own.moments() {
        for (form, subject) in [&own, &composite].into_iter().enumerate() {
            bytes[form] += cost(subject, &at, &ports)?.1;
            times[form] += fastest(subject, &at, &ports)?;
        }
    }
    let times = times.map(|time| time.as_secs_f64() * 1e3);
    let megabytes = bytes.map(|bytes| bytes as f64 / 1e6);
    Ok(Verdict::Ok(format!(
        "{fused} equal to their composite form; {}: {:.2} ms, not {:.2}; {:.2} MB on the tape, not {:.2}",
        scene.name, times[0], times[1], megabytes[0], megabytes[1]
    )))
}

/// The part as it is, and with the composite forms of its operations.
fn both(kit: &Kit<'_>, scene: &Scene, float: DType) -> Result<[Subject; 2], Trouble> {
    let (own, composite) = (kit.subject(float, scene)?, kit.subject(float, scene)?);
    composite.part.set_manner(Manner { unfused: true, ..Manner::default() });
    Ok([own, composite])
}

/// Number of own operations, and bytes of all that operations make.
fn cost(subject: &Subject, at: &Moment, ports: &[PortIn<'_>]) -> Result<(usize, usize), Trouble> {
    let traced = subject.trace(at, ports)?;
    let (mut fused, mut bytes) = (0, 0);
    for (node, meta) in traced.trace.nodes() {
        fused += usize::from(matches!(node, Node::Fused { .. }));
        let is_made = !matches!(node, Node::Leaf(_));
        bytes += if is_made { meta.count() * meta.dtype.size() } else { 0 };
    }
    Ok((fused, bytes))
}

fn fastest(subject: &Subject, at: &Moment, ports: &[PortIn<'_>]) -> Result<Duration, Trouble> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        subject.run(at, ports)?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

/// What differs between the two forms.
fn differing(own: &Outcome, composite: &Outcome) -> Result<Option<String>, Trouble> {
    let gradients = |outcome: &Outcome| {
        outcome
            .gradients
            .iter()
            .filter_map(|(name, value)| Some((format!("the gradient of {name}"), value.clone()?)))
            .collect::<Vec<_>>()
    };
    let all = |outcome: &Outcome| results(&outcome.given).into_iter().chain(gradients(outcome)).collect::<Vec<_>>();
    let (own, composite) = (all(own), all(composite));
    if own.len() != composite.len() {
        return Ok(Some("the composite form has other results or gradients".into()));
    }
    let mut largest = 1e-6f64;
    for (_, value) in &composite {
        largest = numbers(value)?.iter().fold(largest, |most, value| most.max(value.abs()));
    }
    for ((name, a), (_, b)) in own.iter().zip(&composite) {
        let (a, b) = (numbers(a)?, numbers(b)?);
        let error = a.iter().zip(&b).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max);
        if a.len() != b.len() || error.is_nan() || error > TOLERANCE {
            return Ok(Some(format!("{} differs from the composite form by {error:.1e}", name.trim_end())));
        }
    }
    Ok(None)
}
