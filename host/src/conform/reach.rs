//! What gradients reach: every tap of every student's port and every parameter, and nothing of the teacher.

use super::kit::{Kit, Seen};
use super::report::Verdict;
use super::scene::{Fill, Scene};
use super::subject::{Subject, Trouble, numbers};
use crate::ops::{Leaf, Moment, ParamKind, PortIn};
use candle_core::DType;
use std::collections::BTreeSet;
use stillhouse_plugin::abi::role;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let (mut parameters, mut constant) = (0, BTreeSet::new());
    for scene in &kit.scenes {
        let subject = kit.subject(DType::F64, scene)?;
        let ports = scene.watched(DType::F64, Fill::Random(0))?;
        let mut reached = BTreeSet::new();
        for at in subject.moments() {
            for (result, leaves) in leaves(kit, &subject, &at, &ports)? {
                let for_student = leaves.iter().any(|leaf| match leaf {
                    Leaf::Port { port, .. } => scene.is_student(port),
                    Leaf::State(_) => true,
                    _ => false,
                });
                let of_teacher = leaves.iter().find_map(|leaf| match leaf {
                    Leaf::Port { port, .. } if !scene.is_student(port) => Some(port.clone()),
                    _ => None,
                });
                if let (false, Some(port)) = (for_student, of_teacher) {
                    let text = format!(
                        "{}: the gradient of {result} goes to `{port}` alone, where the host cuts it off",
                        scene.name
                    );
                    return Ok(Verdict::Failed(text));
                }
                reached.extend(leaves);
            }
        }
        for (port, taps, is_read) in scene.student_ports() {
            let is_reached = |wanted: usize| {
                reached
                    .iter()
                    .any(|leaf| matches!(leaf, Leaf::Port { port: own, tap, .. } if own == port && *tap == wanted))
            };
            match (0..taps).find(|tap| !is_reached(*tap)) {
                None => {}
                Some(_) if is_read => _ = constant.insert(port.to_owned()),
                Some(tap) => {
                    let which = if taps > 1 { format!("tap {tap} of ") } else { String::new() };
                    let text = format!("{}: no gradient reaches {which}the student's `{port}`", scene.name);
                    return Ok(Verdict::Failed(text));
                }
            }
        }
        let names = subject.part.params().names(ParamKind::Parameter);
        if let Some(idle) = names.iter().find(|name| !reached.contains(&Leaf::State((*name).clone()))) {
            return Ok(Verdict::Failed(format!("{}: no gradient reaches the parameter `{idle}`", scene.name)));
        }
        if let Some(name) = moved_teacher(&subject, scene)? {
            let hint = "`x.pair` detaches it, else `.detach()`";
            return Ok(Verdict::Failed(format!(
                "{}: a gradient arrives at `{name}` of the teacher: {hint}",
                scene.name
            )));
        }
        parameters = parameters.max(names.len());
    }
    let count = format!("{parameters} parameter{}", if parameters == 1 { "" } else { "s" });
    let constant: Vec<String> = constant.into_iter().map(|port| format!("`{port}`")).collect();
    let without = if constant.is_empty() { String::new() } else { format!(", without {}", constant.join(", ")) };
    Ok(Verdict::Ok(format!("the student's ports{without}, {count}; nothing of the teacher")))
}

/// Each result that counts in training, with the leaves that its gradient reaches: from the trace, or by a run where the part reads values.
fn leaves(
    kit: &Kit<'_>,
    subject: &Subject,
    at: &Moment,
    ports: &[PortIn<'_>],
) -> Result<Vec<(String, BTreeSet<Leaf>)>, Trouble> {
    if !kit.component.desc.dynamic {
        let traced = subject.trace(at, ports)?;
        let counted = traced.results.iter().filter(|(_, _, meta, _)| meta.dtype.is_float());
        return Ok(counted.map(|(kind, name, _, node)| (said(*kind, name), traced.trace.reachable(*node))).collect());
    }
    let outcome = subject.run(at, ports)?;
    let arrived = outcome.gradients.iter().filter(|(_, gradient)| gradient.is_some());
    let leaf = |name: &str| match name.strip_prefix("parameter ") {
        Some(name) => Leaf::State(name.into()),
        None => {
            let (port, at) = name.split_once('[').unwrap_or((name, "0"));
            let at: usize = at.trim_end_matches(']').parse().unwrap_or(0);
            let frames = ports.iter().find(|own| own.name == port).map_or(1, |own| own.frames.max(1));
            Leaf::Port { port: port.into(), tap: at / frames, frame: at % frames }
        }
    };
    Ok(vec![("its results".into(), arrived.map(|(name, _)| leaf(name)).collect())])
}

fn said(kind: u32, name: &str) -> String {
    match kind {
        role::TERM if name.is_empty() => "the loss".into(),
        role::TERM => format!("the term `{name}`"),
        role::OUTPUT => "the output".into(),
        _ => format!("`{name}`"),
    }
}

/// A value of the teacher's side at which a gradient arrives. A host gives them without any, so that one that is meant to be constant and is
/// not would be seen by nobody, until a part is given values that have one.
fn moved_teacher(subject: &Subject, scene: &Scene) -> Result<Option<String>, Trouble> {
    let ports = scene.watched(DType::F64, Fill::Random(2))?;
    for at in subject.moments() {
        let outcome = subject.run(&at, &ports)?;
        for (name, gradient) in &outcome.gradients {
            let Some(gradient) = gradient.as_ref().filter(|_| scene.is_teacher(name.split('[').next().unwrap_or(name)))
            else {
                continue;
            };
            if numbers(gradient)?.iter().any(|value| *value != 0.0) {
                return Ok(Some(name.clone()));
            }
        }
    }
    Ok(None)
}
