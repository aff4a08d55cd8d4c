//! Traces every term of a stage: shapes must fit, terms must be scalars, and a gradient must be able to reach every parameter
//! that is trained, over one cycle of phases.

use super::binding::Scene;
use super::plan::{ActiveTerm, PhasePlan, StagePlan};
use super::problem::{AtPath, Problem};
use super::term::{BoundPort, BoundTerm, Found, Read};
use crate::manifest::{Diagnostic, Diagnostics, Part};
use crate::ops::{BoundPart, Leaf, Node, Traced};
use std::collections::HashSet;
use stillhouse_plugin::abi::role;
use stillhouse_plugin::desc::Source as From;
use stillhouse_plugin::op::Op;

/// Checks a stage and notes what is wrong.
pub(super) fn check(stage: &StagePlan, scene: &Scene<'_>, found: &mut Diagnostics) {
    let mut reached: Vec<HashSet<String>> = vec![HashSet::new(); stage.groups.len()];
    let before = found.len();
    for phase in &stage.phases {
        let mut names = HashSet::new();
        for active in &phase.terms {
            match trace(active, stage, phase, scene) {
                Ok(more) => names.extend(more),
                Err(problem) => found.extend(Diagnostics::from(problem)),
            }
        }
        for group in &phase.updates {
            reached[*group].extend(names.iter().cloned());
        }
    }
    if found.len() > before {
        return;
    }
    check_coupling(stage, scene, found);
    check_duplicates(stage, found);
    for (group, reached) in stage.groups.iter().zip(&reached) {
        let missed: Vec<&str> =
            group.members.iter().map(|member| member.full.as_str()).filter(|name| !reached.contains(*name)).collect();
        if !missed.is_empty() {
            let kept = group.members.iter().map(|member| member.full.as_str()).filter(|name| reached.contains(*name));
            found.push(unreached(stage, scene, &missed, &kept.collect::<Vec<_>>()));
        }
    }
}

fn unreached(stage: &StagePlan, scene: &Scene<'_>, missed: &[&str], reached: &[&str]) -> Diagnostic {
    let first = missed.first().copied().unwrap_or_default();
    let more = match missed.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let message = format!("no term reaches the parameter `{first}`{more}, which stage `{}` trains", stage.name);
    let prefix = stage.trained.iter().map(|name| format!("{name}.")).find(|prefix| first.starts_with(prefix));
    let hint = match prefix {
        Some(_) if !stage.inner.is_empty() => {
            "the method plans this stage: its plan may end at a port (`upto_port`) or hold what no term of it reaches (`freeze`)".into()
        }
        Some(prefix) => {
            let within = |names: &[&str]| {
                names.iter().filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned)).collect::<Vec<_>>()
            };
            let list: Vec<String> =
                roots(&within(missed), &within(reached)).iter().map(|root| format!("\"{root}\"")).collect();
            format!("bind a term to something behind it, or let it be: `freeze = [{}]`", list.join(", "))
        }
        None => "a term that owns it must use it in every cycle of phases".into(),
    };
    Diagnostic::error(message).at(&scene.path().key("train"), Part::Value).hint(hint)
}

/// The shortest paths that cover all missed parameters and none of those that are reached.
fn roots(missed: &[String], reached: &[String]) -> Vec<String> {
    let covers =
        |root: &str, path: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let mut roots: Vec<String> = vec![];
    for path in missed {
        let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        let root = ends.map(|end| &path[..end]).find(|root| !reached.iter().any(|path| covers(root, path)));
        if let Some(root) = root.filter(|root| !roots.iter().any(|known| known == root)) {
            roots.push(root.to_owned());
        }
    }
    roots
}

/// What couples the samples of a batch cannot be summed up over pieces of it: terms and connectors that say so, and those that normalise
/// by the statistics of a batch.
fn check_coupling(stage: &StagePlan, scene: &Scene<'_>, found: &mut Diagnostics) {
    if stage.spec.accumulate < 2 {
        return;
    }
    for term in stage.terms() {
        for part in term.parts() {
            let (why, hint) = match () {
                () if part.desc().batch_coupled => ("compares the samples of a batch", "use a larger `batch` instead"),
                () if normalises(part, term, stage, scene) => (
                    "normalises by the statistics of a batch",
                    "use a larger `batch` instead, or leave its batch norm out where it has a setting for that",
                ),
                () => continue,
            };
            let message = format!("{} {why}, so batches cannot be accumulated", part.label());
            found.push(Diagnostic::error(message).at(&stage.path().key("accumulate"), Part::Value).hint(hint));
        }
    }
}

/// Whether a part's trace has a batch norm that trains, in some phase.
fn normalises(part: &BoundPart, term: &BoundTerm, stage: &StagePlan, scene: &Scene<'_>) -> bool {
    if part.desc().dynamic {
        return false;
    }
    let is_term = std::ptr::eq(part, &term.part);
    let phases = stage.phases.iter().map(|phase| scene.moment(&stage.inner, &phase.name));
    phases.into_iter().any(|moment| {
        let ports = if is_term { scene.trace_ports(term).unwrap_or_default() } else { part.shown() };
        let traced = part.trace(&moment, &ports);
        let is_norm = |node: &Node| matches!(node, Node::Op { op: Op::BatchNormTrain { .. }, .. });
        traced.is_ok_and(|traced| traced.trace.nodes().any(|(node, _)| is_norm(node)))
    })
}

/// Two terms of one log name would overwrite each other.
fn check_duplicates(stage: &StagePlan, found: &mut Diagnostics) {
    for phase in &stage.phases {
        let mut seen = HashSet::new();
        for (term, inner) in
            phase.terms.iter().flat_map(|active| active.inner.iter().map(move |inner| (&active.term, inner)))
        {
            if !seen.insert(term.label(inner)) {
                let message = format!("two terms are named `{}`", term.label(inner));
                found.push(
                    Diagnostic::error(message)
                        .at(&term.path, Part::Key)
                        .hint("names keep terms apart in logs: change one"),
                );
            }
        }
    }
}

/// Full names of the trained parameters that the active terms reach.
fn trace(active: &ActiveTerm, stage: &StagePlan, phase: &PhasePlan, scene: &Scene<'_>) -> Found<HashSet<String>> {
    let term = &active.term;
    let ports = scene.trace_ports(term)?;
    if term.part.desc().dynamic {
        return Ok(everything(term, scene));
    }
    let moment = scene.moment(&stage.inner, &phase.name);
    let traced = term.part.trace(&moment, &ports).at_key(&term.path);
    let traced = traced.map_err(|problem| scene.explain(problem, term, Some(&moment)))?;
    check_terms(active, &traced)?;
    let mut names = HashSet::new();
    let is_active = |role: u32, name: &String| role == role::TERM && active.inner.contains(name);
    for (.., node) in traced.results.iter().filter(|(role, name, ..)| is_active(*role, name)) {
        for leaf in traced.trace.reachable(*node) {
            names.extend(behind_leaf(&leaf, term, scene, updates_student(stage, phase)));
        }
    }
    Ok(names)
}

/// True when the phase updates a trained model, so that gradients go into it.
pub(super) fn updates_student(stage: &StagePlan, phase: &PhasePlan) -> bool {
    phase.updates.iter().any(|group| stage.groups[*group].members.iter().any(|member| member.path.is_some()))
}

fn check_terms(active: &ActiveTerm, traced: &Traced) -> Found<()> {
    let term = &active.term;
    let given: Vec<&str> =
        traced.results.iter().filter(|(role, ..)| *role == role::TERM).map(|(_, name, ..)| name.as_str()).collect();
    let wrong = |message: String| Err(Problem::new(message).at(&term.path, Part::Key));
    if let Some(name) = active.inner.iter().find(|name| !given.contains(&name.as_str())) {
        return wrong(format!("{} planned the term `{name}` and gave {}", term.part.label(), list(&given)));
    }
    if let Some(name) = given.iter().find(|name| !term.inner().iter().any(|inner| inner.name == **name)) {
        return wrong(format!("{} gave the term `{name}`, which it did not plan", term.part.label()));
    }
    Ok(())
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "none".into()
    } else {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }
}

/// Parameters behind a leaf of a trace.
fn behind_leaf(leaf: &Leaf, term: &BoundTerm, scene: &Scene<'_>, into_model: bool) -> Vec<String> {
    match leaf {
        Leaf::State(name) => vec![format!("{}.{name}", term.part.params().owner())],
        Leaf::Port { port, tap, .. } => {
            let Some(bound) = term.port(port) else { return vec![] };
            behind_read(bound, *tap, term, scene, into_model)
        }
        Leaf::Buffer(_) | Leaf::Constant | Leaf::Random => vec![],
    }
}

fn behind_read(port: &BoundPort, tap: usize, term: &BoundTerm, scene: &Scene<'_>, into_model: bool) -> Vec<String> {
    let mut names = vec![];
    if let Some(connector) = term.connectors.iter().find(|c| c.port == port.name && c.tap == tap) {
        for part in &connector.chain {
            let own = part.params().names(crate::ops::ParamKind::Parameter);
            names.extend(own.into_iter().map(|name| format!("{}.{name}", part.params().owner())));
        }
    }
    if !into_model || matches!(port.from, From::Teacher | From::TeacherParameter) {
        return names;
    }
    match port.reads.get(tap) {
        Some(Read::Tap { pass, point, .. }) => {
            let model = scene.passes.get(pass).filter(|pass| pass.track).and_then(|pass| scene.models.get(&pass.model));
            if let Some(model) = model {
                let behind = model.network.parameters_behind([point]);
                names.extend(behind.into_iter().map(|name| format!("{}.{name}", model.name)));
            }
        }
        Some(Read::Parameter { model, name }) => names.push(format!("{model}.{name}")),
        _ => {}
    }
    names
}

/// What a part that cannot be traced may reach: all that it reads and owns.
fn everything(term: &BoundTerm, scene: &Scene<'_>) -> HashSet<String> {
    let own = term.part.params().names(crate::ops::ParamKind::Parameter);
    let mut names: HashSet<String> =
        own.into_iter().map(|name| format!("{}.{name}", term.part.params().owner())).collect();
    for port in &term.ports {
        for tap in 0..port.reads.len() {
            names.extend(behind_read(port, tap, term, scene, true));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::roots;

    #[test]
    fn roots_of_missed_parameters_spare_those_reached() {
        let paths = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        let missed = paths(&["layer2.1.weight", "layer3.0.weight", "layer3.1.bias", "fc.weight", "fc.bias"]);
        let reached = paths(&["layer1.weight", "layer2.0.weight", "layer30.weight"]);
        assert_eq!(roots(&missed, &reached), ["layer2.1", "layer3", "fc"]);
    }
}
