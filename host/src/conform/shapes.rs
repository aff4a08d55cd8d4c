//! Inputs of any shape are taken or refused in words.

use super::kit::{BATCH, Kit, Seen};
use super::report::Verdict;
use super::scene::{FAMILIES, Fill, Optional, Scene};
use super::subject::{Subject, Trouble, not_finite};
use candle_core::DType;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    if let (true, Some(unfit)) = (kit.scenes.iter().all(|scene| scene.is_narrow), &kit.unfit) {
        return Ok(Verdict::Failed(format!("takes one number a sample and nothing else; {unfit}")));
    }
    let ports = Subject::make(kit.component, kit.config, DType::F64)?.ports();
    let (mut taken, mut refused) = (0, 0);
    for scene in scenes(kit, &ports) {
        match attempt(kit, &scene) {
            Ok(()) => taken += 1,
            Err(Trouble::Refused(text) | Trouble::Unfit(text)) if text.len() >= 12 => refused += 1,
            Err(Trouble::Refused(text) | Trouble::Unfit(text)) => {
                return Ok(Verdict::Failed(format!("{}: says only {text:?}", scene.name)));
            }
            Err(Trouble::Panicked(text)) => return Ok(Verdict::Failed(format!("{}: {text}", scene.name))),
        }
    }
    let names: Vec<&str> =
        kit.scenes.iter().map(|scene| scene.name.split(", 4").next().unwrap_or(&scene.name)).collect();
    Ok(Verdict::Ok(format!(
        "takes {}; {taken} of {} taken, the others refused in words",
        names.join("; "),
        taken + refused
    )))
}

/// Every family at several batch sizes; what is taken is bent, too.
fn scenes(kit: &Kit<'_>, ports: &[stillhouse_plugin::desc::Port]) -> Vec<Scene> {
    let mut all = vec![];
    for family in &FAMILIES {
        for optional in [Optional::Usual, Optional::All, Optional::None] {
            all.extend([BATCH, 1, 2, 0].into_iter().filter_map(|batch| Scene::new(ports, family, batch, optional)));
        }
    }
    let more =
        |shape: &[usize]| shape.iter().enumerate().map(|(at, size)| if at == 0 { size + 1 } else { *size }).collect();
    let longer = |shape: &[usize]| shape.iter().copied().chain([2]).collect();
    let wider =
        |shape: &[usize]| shape.iter().enumerate().map(|(at, size)| if at == 1 { size + 1 } else { *size }).collect();
    for scene in &kit.scenes {
        for student in [true, false] {
            all.push(scene.bent(student, more, "with one sample more"));
            all.push(scene.bent(student, longer, "with a dimension more"));
            all.push(scene.bent(student, wider, "with a channel more"));
            all.push(scene.bent(student, |_: &[usize]| vec![], "a scalar"));
        }
        all.extend((0..ports.len()).filter_map(|at| scene.without(at)));
    }
    all
}

/// Bound, traced and run; a result that is taken is finite.
fn attempt(kit: &Kit<'_>, scene: &Scene) -> Result<(), Trouble> {
    let subject = kit.subject(DType::F64, scene)?;
    let ports = scene.values(DType::F64, Fill::Random(1))?;
    for at in subject.moments() {
        if !kit.component.desc.dynamic {
            subject.trace(&at, &ports)?;
        }
        let outcome = subject.run(&at, &ports)?;
        if let Some(wrong) = not_finite(&outcome)? {
            // Told as a failure, since a host would go on with it.
            return Err(Trouble::Panicked(format!("taken, but {wrong}")));
        }
    }
    Ok(())
}
