//! Finds the branch of a schema that a value was meant for.

use super::check::fits;
use super::diagnostic::Diagnostic;
use super::nearest::{hint_for, nearest, quoted};
use super::node::Node;
use super::path::{ManifestPath, Part};
use indexmap::IndexMap;
use serde_json::Value;

/// The branch that `node` was meant for, or what keeps it from all of them.
pub(super) fn choose<'s>(node: &Node, branches: &[&'s Value], path: &ManifestPath) -> Result<&'s Value, Diagnostic> {
    let fitting: Vec<&'s Value> = branches.iter().copied().filter(|branch| fits(node, branch)).collect();
    match (&fitting[..], node.table(), node.string()) {
        ([], ..) => Err(wrong_type(node, branches, path)),
        (several, _, Some(text)) => choose_string(text, several, path),
        ([only], ..) => Ok(only),
        (several, Some(table), _) => choose_table(table, several, path),
        ([first, ..], ..) => Ok(first),
    }
}

fn wrong_type(node: &Node, branches: &[&Value], path: &ManifestPath) -> Diagnostic {
    let mut words: Vec<&str> = Vec::new();
    for branch in branches {
        let word = match branch.get("type").and_then(Value::as_str) {
            Some("string") => "a string",
            Some("number") => "a number",
            Some("integer") => "an integer",
            Some("boolean") => "`true` or `false`",
            Some("array") => "a list",
            Some("object") => "a table",
            _ => continue,
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let expected = alternatives(&words);
    Diagnostic::error(format!("`{}` must be {expected}, got {}", path.tail(), node.describe())).at(path, Part::Value)
}

/// Strings: one that is allowed by name, or any where a branch takes any.
fn choose_string<'s>(text: &str, several: &[&'s Value], path: &ManifestPath) -> Result<&'s Value, Diagnostic> {
    if let Some(open) = several.iter().find(|branch| constants(branch).is_empty()) {
        return Ok(open);
    }
    if let Some(named) = several.iter().find(|branch| constants(branch).contains(&text)) {
        return Ok(named);
    }
    let known: Vec<&str> = several.iter().flat_map(|branch| constants(branch)).collect();
    Err(unknown_value(text, &known, path))
}

/// Tables: by the key whose value is fixed in every branch, else by the keys that they share with `table`.
fn choose_table<'s>(
    table: &IndexMap<String, Node>,
    several: &[&'s Value],
    path: &ManifestPath,
) -> Result<&'s Value, Diagnostic> {
    if let Some(tag) = common_tag(several) {
        return choose_tagged(table.get(tag), tag, several, path);
    }
    let shared = |branch: &Value| {
        let properties = branch.get("properties").and_then(Value::as_object);
        properties.map_or(0, |properties| table.keys().filter(|key| properties.contains_key(*key)).count())
    };
    let best = several.iter().rev().max_by_key(|branch| shared(branch)).filter(|branch| shared(branch) > 0);
    let open = || several.iter().find(|branch| branch.get("properties").is_none());
    best.or_else(open).copied().ok_or_else(|| no_known_key(table, several, path))
}

fn no_known_key(table: &IndexMap<String, Node>, several: &[&Value], path: &ManifestPath) -> Diagnostic {
    let names = several.iter().filter_map(|branch| branch.get("properties")?.as_object());
    let names: Vec<&str> = names.flat_map(|properties| properties.keys().map(String::as_str)).collect();
    let message = format!("`{}` has none of the keys {}", path.tail(), quoted(&names));
    let near = table.keys().find_map(|key| nearest(key, names.iter().copied()));
    let hint = near.map(|near| format!("did you mean `{near}`?"));
    Diagnostic::error(message).at(path, Part::Value).maybe_hint(hint)
}

fn choose_tagged<'s>(
    tag: Option<&Node>,
    name: &str,
    several: &[&'s Value],
    path: &ManifestPath,
) -> Result<&'s Value, Diagnostic> {
    let fixed = |branch: &'s Value| branch.get("properties").and_then(|properties| properties[name]["const"].as_str());
    let known: Vec<&str> = several.iter().filter_map(|branch| fixed(branch)).collect();
    let Some(node) = tag else {
        let hint = format!("give one of {}", quoted(&known));
        return Err(Diagnostic::error(format!("missing key `{name}` in `{path}`")).at(path, Part::Key).hint(hint));
    };
    let path = path.key(name);
    let Some(text) = node.string() else {
        let message = format!("`{name}` must be a string, got {}", node.describe());
        return Err(Diagnostic::error(message).at(&path, Part::Value));
    };
    let chosen = several.iter().find(|branch| fixed(branch) == Some(text));
    chosen.copied().ok_or_else(|| unknown_value(text, &known, &path))
}

fn unknown_value(text: &str, known: &[&str], path: &ManifestPath) -> Diagnostic {
    let hint = hint_for(text, known, "known values");
    Diagnostic::error(format!("unknown value `{text}` for `{}`", path.tail())).at(path, Part::Value).maybe_hint(hint)
}

/// The strings that a branch allows by name.
fn constants(branch: &Value) -> Vec<&str> {
    let listed = branch.get("enum").and_then(Value::as_array);
    let listed = listed.into_iter().flatten();
    listed.chain(branch.get("const")).filter_map(Value::as_str).collect()
}

/// The key whose value is fixed in every branch.
fn common_tag<'s>(several: &[&'s Value]) -> Option<&'s str> {
    let is_fixed =
        |branch: &Value, key: &str| branch.get("properties").is_some_and(|all| all[key].get("const").is_some());
    let first = several.first()?.get("properties")?.as_object()?;
    first.keys().map(String::as_str).find(|key| several.iter().all(|branch| is_fixed(branch, key)))
}

/// `a`, `a or b`, `a, b or c`.
fn alternatives(words: &[&str]) -> String {
    match words {
        [] => "something else".to_owned(),
        [only] => (*only).to_owned(),
        [start @ .., last] => format!("{} or {last}", start.join(", ")),
    }
}
