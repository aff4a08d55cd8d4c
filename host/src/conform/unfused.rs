//! Own operations of a part beside their composite form.

use super::close::{Allowed, compare};
use super::kit::{Kit, Seen};
use super::report::Verdict;
use super::scene::{Fill, LARGE, Optional, Scene};
use super::subject::{Subject, Trouble};
use super::values::{POINTS, SINGLE};
use crate::ops::{Manner, Moment, Node, OpError, PortIn};
use candle_core::DType;
use std::time::{Duration, Instant};
use stillhouse_plugin::abi::{ABI_MAJOR, ABI_MINOR, code};

/// Allowed difference of the two forms in `f64`.
const DOUBLE: Allowed = Allowed { by: 1e-8, floor: 1e-6 };
/// Runs of each form; the fastest counts.
const RUNS: usize = 5;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    if kit.component.desc.dynamic {
        return Ok(Verdict::NotApplicable("it reads values, so there is no graph to look at".into()));
    }
    let mut fused = 0;
    let (mut with, mut without): (Option<&Scene>, Option<(&Scene, String)>) = (None, None);
    for scene in kit.scenes.iter().chain(&kit.wide) {
        for float in [DType::F64, DType::F32] {
            match forms(kit, scene, float)? {
                Forms::None => {}
                Forms::Lacking(why) => without = without.or(Some((scene, why))),
                Forms::Equal(count) => (fused, with) = (fused.max(count), with.or(Some(scene))),
                Forms::Differing(wrong) => return Ok(Verdict::Failed(format!("{}: {wrong}", scene.name))),
            }
        }
    }
    match (with, without) {
        (Some(with), Some((scene, why))) => Ok(Verdict::Failed(format!(
            "{}: there is a composite form, {}: there is none: {why}",
            with.name, scene.name
        ))),
        (None, Some((_, why))) => {
            Ok(Verdict::NotApplicable(format!("no composite form, so it runs on the CPU only ({why})")))
        }
        (None, None) => Ok(Verdict::NotApplicable("no operations of its own".into())),
        (Some(_), None) => costs(kit, fused),
    }
}

/// What one scene shows.
enum Forms {
    /// No operation of the part's own.
    None,
    /// The part says that there is no composite form.
    Lacking(String),
    /// So many, alike.
    Equal(usize),
    Differing(String),
}

fn forms(kit: &Kit<'_>, scene: &Scene, float: DType) -> Result<Forms, Trouble> {
    let is_single = float == DType::F32;
    if is_single && scene.is_narrow {
        return Ok(Forms::None);
    }
    let [own, composite] = both(kit, scene, float)?;
    let mut fused = 0;
    for at in own.moments() {
        let mut wrong = None;
        for point in 0..POINTS {
            let ports = scene.values(float, Fill::Random(point))?;
            let count = cost(&own, &at, &ports)?.0;
            if count == 0 {
                break;
            }
            fused = fused.max(count);
            if let Err(error) = composite.traced(&at, &ports)? {
                return match lacks(&error) {
                    true => Ok(Forms::Lacking(error.to_string())),
                    false => Err(Trouble::from(error).within(&format!("{}: the composite form", scene.name))),
                };
            }
            let run = composite.run(&at, &ports);
            let run = run.map_err(|trouble| trouble.within(&format!("{}: the composite form", scene.name)))?;
            let apart = compare(&own.run(&at, &ports)?, &run, if is_single { SINGLE } else { DOUBLE })?.err();
            let is_kink = apart.as_ref().is_some_and(|apart| apart.is_gradient);
            wrong = apart.map(|own| format!("{} differs from the composite form by {:.1e}", own.what, own.error));
            if !is_kink {
                break;
            }
        }
        if let Some(wrong) = wrong {
            return Ok(Forms::Differing(if is_single { format!("{wrong} in `f32`") } else { wrong }));
        }
    }
    Ok(if fused == 0 { Forms::None } else { Forms::Equal(fused) })
}

/// Whether a composite form is missing by the part's own words, rather than broken: the host does not speak, and nothing failed.
fn lacks(error: &OpError) -> bool {
    let of_host = format!("host {ABI_MAJOR}.{ABI_MINOR} has no ");
    match error {
        OpError::Part { message, code, .. } => {
            matches!(*code, code::COMPONENT | code::UNSUPPORTED) && !message.contains(&of_host)
        }
        _ => false,
    }
}

/// Time and memory of both forms on a large scene.
fn costs(kit: &Kit<'_>, fused: usize) -> Seen {
    let ports = kit.subject(DType::F32, &kit.scenes[0])?.ports();
    let large = LARGE.iter().filter_map(|family| Scene::new(&ports, family, 64, Optional::Usual));
    let Some(scene) = large.into_iter().find(|scene| kit.takes(scene).is_ok()) else {
        return Ok(Verdict::Ok(format!("{fused} equal to their composite form")));
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
