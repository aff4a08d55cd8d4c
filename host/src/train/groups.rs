//! Which parameters are updated together, and by what.

use super::binding::Scene;
use super::problem::Problem;
use super::term::{BoundTerm, Found, Read};
use crate::graph::{Glob, Source};
use crate::manifest::{ManifestPath, Optimizer, Part, nearest};
use crate::ops::{ParamKind, ParamSet};
use std::collections::HashSet;
use std::rc::Rc;
use stillhouse_plugin::desc;

/// A parameter that is updated.
#[derive(Debug, Clone)]
pub struct Member {
    /// Where it is.
    pub set: Rc<ParamSet>,
    /// Its name there.
    pub name: String,
    /// Its name in messages and logs: `student.fc.weight`, `hint.connector.conv.weight`.
    pub full: String,
    /// Who has it: the model's name or the term's.
    pub owner: String,
    /// Its path within a model, where it is a model's.
    pub path: Option<String>,
}

/// Parameters that are updated together.
pub struct GroupPlan {
    /// Name: a trained model, a group of the manifest, or `<term>.<group>`.
    pub name: String,
    /// Another name by which phases may call it.
    pub origin: String,
    /// Optimizer, its rate scaled.
    pub optimizer: Optimizer,
    /// Follows the stage's schedule; a method's own optimizer does not.
    pub scheduled: bool,
    /// Parameters.
    pub members: Vec<Member>,
}

/// True when the pattern is the path, a glob of it, or either for something above it.
pub(super) fn covers(pattern: &str, path: &str) -> bool {
    let glob = Glob::new(pattern);
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    ends.into_iter().any(|end| glob.matches(&path[..end]))
}

/// Names of parameters of the trained models that one of the patterns covers.
pub(super) fn matching(scene: &Scene<'_>, patterns: &[String]) -> Vec<String> {
    let is_covered = |path: &String| patterns.iter().any(|pattern| covers(pattern, path));
    trained_paths(scene).into_iter().filter(is_covered).collect()
}

/// Names of all parameters of the trained models.
fn trained_paths(scene: &Scene<'_>) -> Vec<String> {
    scene.trained.iter().flat_map(|name| model_members(scene, name)).filter_map(|member| member.path).collect()
}

/// Names of parameters of the trained models that no group updates.
pub(super) fn left_out(scene: &Scene<'_>, groups: &[GroupPlan]) -> Vec<String> {
    let updated: HashSet<&str> =
        groups.iter().flat_map(|group| &group.members).filter_map(|member| member.path.as_deref()).collect();
    trained_paths(scene).into_iter().filter(|path| !updated.contains(path.as_str())).collect()
}

/// The first pattern that covers no parameter of a trained model, with what may have been meant.
pub(super) fn unmatched<'p>(scene: &Scene<'_>, patterns: &'p [String]) -> Option<(usize, &'p str, Option<String>)> {
    let paths = trained_paths(scene);
    let (at, pattern) =
        patterns.iter().enumerate().find(|(_, pattern)| !paths.iter().any(|path| covers(pattern, path)))?;
    let above = paths.iter().flat_map(|path| path.match_indices('.').map(|(at, _)| &path[..at]));
    let close =
        nearest(pattern, paths.iter().map(String::as_str).chain(above)).map(|close| format!("did you mean `{close}`?"));
    Some((at, pattern, close))
}

/// The first pattern that covers none of a term's own parameters.
pub(super) fn unmatched_own<'p>(term: &BoundTerm, patterns: &'p [String]) -> Option<&'p String> {
    let members = term_members(term);
    patterns.iter().find(|pattern| !members.iter().any(|member| covers(pattern, &member.name)))
}

fn model_members(scene: &Scene<'_>, name: &str) -> Vec<Member> {
    let Some(model) = scene.models.get(name) else { return vec![] };
    let member = |prefix: &str, set: &Rc<ParamSet>, inner: String| {
        let path = format!("{prefix}{inner}");
        let full = format!("{name}.{path}");
        Member { set: set.clone(), name: inner, full, owner: name.to_owned(), path: Some(path) }
    };
    let of_set = |(prefix, set): &(String, Rc<ParamSet>)| {
        let names = set.names(ParamKind::Parameter).into_iter();
        names.map(|inner| member(prefix, set, inner)).collect::<Vec<_>>()
    };
    model.network.sets().iter().flat_map(of_set).collect()
}

fn term_members(term: &BoundTerm) -> Vec<Member> {
    let member = |set: &Rc<ParamSet>, name: String| {
        let full = format!("{}.{name}", set.owner());
        Member { set: set.clone(), name, full, owner: term.name.clone(), path: None }
    };
    term.sets().flat_map(|set| set.names(ParamKind::Parameter).into_iter().map(move |name| member(set, name))).collect()
}

/// The groups of a stage: one for each trained model (the first takes the parts' parameters, too), less what the manifest's
/// and the method's own groups take.
pub(super) fn plan_groups(
    scene: &Scene<'_>,
    terms: &[Rc<BoundTerm>],
    frozen: &HashSet<String>,
    own: &desc::StagePlan,
    owner: Option<&str>,
) -> Found<Vec<GroupPlan>> {
    let stage = scene.stage;
    let upto = upto(scene, terms, own, owner);
    let kept = |member: &Member| match &member.path {
        Some(path) => {
            let listed = own.train.is_empty() || own.train.iter().any(|pattern| covers(pattern, path));
            !frozen.contains(path) && listed && upto.as_ref().is_none_or(|names| names.contains(path))
        }
        None => {
            Some(member.owner.as_str()) != owner || !own.freeze_own.iter().any(|pattern| covers(pattern, &member.name))
        }
    };
    let mut groups: Vec<GroupPlan> = scene
        .trained
        .iter()
        .map(|name| {
            let origin = scene.models.get(name).map_or(name, |model| &model.origin).clone();
            GroupPlan {
                name: name.clone(),
                origin,
                optimizer: stage.optimizer,
                scheduled: true,
                members: model_members(scene, name),
            }
        })
        .collect();
    let parts: Vec<Member> = terms.iter().flat_map(|term| term_members(term)).collect();
    if let Some(first) = groups.first_mut() {
        first.members.extend(parts);
    }
    groups.iter_mut().for_each(|group| group.members.retain(&kept));
    manifest_groups(scene, owner.is_some(), &mut groups)?;
    method_groups(terms, &mut groups)?;
    Ok(groups)
}

/// Student parameters on which the taps of a method's port depend.
fn upto(
    scene: &Scene<'_>,
    terms: &[Rc<BoundTerm>],
    own: &desc::StagePlan,
    owner: Option<&str>,
) -> Option<HashSet<String>> {
    let port = own.upto_port.as_ref()?;
    let term = terms.iter().find(|term| Some(term.name.as_str()) == owner)?;
    let points: Vec<&Source> = term
        .port(port)?
        .reads
        .iter()
        .filter_map(|read| if let Read::Tap { point, .. } = read { Some(point) } else { None })
        .collect();
    let model = scene.models.get(scene.trained.first()?)?;
    Some(model.network.parameters_behind(points).into_iter().collect())
}

/// Moves the members out of all groups that `wanted` picks.
fn take(groups: &mut [GroupPlan], wanted: impl Fn(&Member) -> bool) -> Vec<Member> {
    groups
        .iter_mut()
        .flat_map(|group| group.members.extract_if(.., |member| wanted(member)).collect::<Vec<_>>())
        .collect()
}

fn manifest_groups(scene: &Scene<'_>, of_method: bool, groups: &mut Vec<GroupPlan>) -> Found<()> {
    // One of a method's stages may freeze all of a group, and a student alone lacks terms: only names can be wrong there.
    let is_alone = scene.trained.iter().any(|name| !scene.setup.manifest.models.contains_key(name));
    let paths = trained_paths(scene);
    let is_elsewhere = |pattern: &String| {
        let of_term = scene.stage.terms.keys().any(|term| pattern.split('.').next() == Some(term));
        of_term || paths.iter().any(|path| covers(pattern, path))
    };
    for (name, group) in &scene.stage.groups {
        let covered = |member: &Member| {
            let names = [member.path.as_deref(), Some(member.full.as_str())];
            group.params.iter().any(|pattern| names.into_iter().flatten().any(|name| covers(pattern, name)))
        };
        let members = take(groups, covered);
        if members.is_empty() && (of_method || is_alone) && group.params.iter().all(is_elsewhere) {
            continue;
        }
        if members.is_empty() {
            let at = ManifestPath::of(["stage", scene.stage_name, "groups", name, "params"]);
            return Err(Problem::new(format!("group `{name}` covers no trained parameter")).at(&at, Part::Value));
        }
        let optimizer = group.optimizer.unwrap_or(scene.stage.optimizer).scaled(group.lr_scale.unwrap_or(1.0));
        groups.push(GroupPlan { name: name.clone(), origin: name.clone(), optimizer, scheduled: true, members });
    }
    Ok(())
}

fn method_groups(terms: &[Rc<BoundTerm>], groups: &mut Vec<GroupPlan>) -> Found<()> {
    for term in terms {
        for group in &term.plan.groups {
            let wrong = |message: String| Problem::new(message).at(&term.path, Part::Key);
            let covered = |member: &Member| {
                member.path.is_none()
                    && member.owner == term.name
                    && group.params.iter().any(|pattern| covers(pattern, &member.name))
            };
            let members = take(groups, covered);
            if members.is_empty()
                && term_members(term)
                    .iter()
                    .any(|member| group.params.iter().any(|pattern| covers(pattern, &member.name)))
            {
                continue; // Frozen in this stage.
            }
            if members.is_empty() {
                return Err(wrong(format!(
                    "group `{}` of {} covers none of its parameters",
                    group.name,
                    term.part.label()
                )));
            }
            let (optimizer, scheduled) = match (&group.optimizer, groups.first()) {
                (Some(json), _) => {
                    let read = serde_json::from_value(json.clone());
                    (
                        read.map_err(|error| {
                            wrong(format!("optimizer of group `{}` of {}: {error}", group.name, term.part.label()))
                        })?,
                        false,
                    )
                }
                (None, Some(first)) => (first.optimizer, true),
                (None, None) => continue,
            };
            groups.push(GroupPlan {
                name: format!("{}.{}", term.name, group.name),
                origin: group.name.clone(),
                optimizer,
                scheduled,
                members,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn covers_takes_what_is_below() {
        assert!(covers("layer1", "layer1.0.conv1.weight") && covers("layer1.*", "layer1.0.conv1.weight"));
        assert!(covers("layer*", "layer2.0.bn1.bias") && covers("fc.weight", "fc.weight"));
        assert!(
            !covers("layer1", "layer10.0.bias")
                && !covers("fc.bias", "fc.weight")
                && !covers("*.weight", "layer1.0.conv1.weight")
        );
    }
}
