//! The right name for a misspelt one.

/// The candidate most like `name`, if one is like it: few typing errors, or the same beginning.
///
/// ```
/// # use stillhouse::manifest::nearest;
/// assert_eq!(nearest("temprature", ["temperature", "weight"]), Some("temperature"));
/// assert_eq!(nearest("aug", ["augment", "split"]), Some("augment"));
/// assert_eq!(nearest("kdd", ["dkd", "kd"]), Some("kd"));
/// assert_eq!(nearest("lr", ["temperature", "weight"]), None);
/// ```
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(name);
    let allowed = name.chars().count().max(3) / 3;
    let score = |candidate: &str| {
        let candidate = plain(candidate);
        let distance = strsim::damerau_levenshtein(&name, &candidate);
        let is_long = name.len().min(candidate.len()) >= 3;
        let begins = is_long && (candidate.starts_with(&name) || name.starts_with(&candidate));
        // Of two that are as near, the one that begins alike.
        let differs_early = candidate.chars().next() != name.chars().next();
        (distance <= allowed || begins).then_some((distance > allowed, distance, differs_early))
    };
    let scored = candidates.into_iter().filter_map(|candidate| Some((score(candidate)?, candidate)));
    scored.min_by_key(|(score, _)| *score).map(|(_, candidate)| candidate)
}

/// The hint for a misspelt name: the nearest candidate, or all of them.
pub(super) fn hint_for(name: &str, candidates: &[&str], kind: &str) -> Option<String> {
    match nearest(name, candidates.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if candidates.is_empty() => None,
        None => Some(format!("{kind}: {}", quoted(candidates))),
    }
}

/// Names in backticks, separated by commas.
pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
