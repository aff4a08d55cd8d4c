//! Checks a tree against a JSON schema and reports every problem at its place.

use super::choice::choose;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::nearest::{hint_for, nearest};
use super::node::{Kind, Node};
use super::origin::format_problem;
use super::path::{ManifestPath, Part};
use super::schema::{Entry, accepts, branches, checked, entry, named_keys};
use indexmap::IndexMap;
use serde_json::Value;

/// Checks a whole manifest.
pub(super) fn check_manifest(root: &Node) -> Diagnostics {
    let mut checker = Checker { schema: checked(), reserved: &[], depth: 0, problems: Diagnostics::default() };
    checker.node(root, checker.schema, &ManifestPath::root());
    checker.problems
}

/// Checks the keys of a part against the schema of its owner; `reserved` keys are candidates for misspelt ones.
pub(super) fn check_part(node: &Node, path: &ManifestPath, schema: &Value, reserved: &[&str]) -> Diagnostics {
    let mut checker = Checker { schema, reserved, depth: path.segments().len(), problems: Diagnostics::default() };
    checker.node(node, schema, path);
    checker.problems
}

struct Checker<'s> {
    /// The whole schema, in which references are followed.
    schema: &'s Value,
    /// Keys that stand beside those of the outermost table.
    reserved: &'s [&'s str],
    /// Segments of the outermost table's path.
    depth: usize,
    problems: Diagnostics,
}

impl<'s> Checker<'s> {
    fn node(&mut self, node: &Node, schema: &'s Value, path: &ManifestPath) {
        let choices = branches(self.schema, schema);
        match choose(node, &choices, path) {
            Ok(chosen) => self.chosen(node, chosen, path),
            Err(problem) => self.problems.push(problem),
        }
    }

    fn chosen(&mut self, node: &Node, schema: &'s Value, path: &ManifestPath) {
        match &node.kind {
            Kind::Leaf(Value::String(text)) => self.string(text, schema, path),
            Kind::Leaf(Value::Number(number)) => self.number(number, schema, path),
            Kind::Leaf(_) => {}
            Kind::List(items) => self.list(items, schema, path),
            Kind::Table(table) => self.table(table, schema, path),
        }
    }

    fn string(&mut self, text: &str, schema: &Value, path: &ManifestPath) {
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        if let Some(problem) = format_problem(format, text) {
            self.problems.push(Diagnostic::error(problem).at(path, Part::Value));
        } else if text.is_empty() && limit(schema, "minLength") == Some(1.0) {
            self.problems.push(Diagnostic::error(format!("`{}` must not be empty", path.tail())).at(path, Part::Value));
        }
    }

    fn number(&mut self, number: &serde_json::Number, schema: &Value, path: &ManifestPath) {
        let value = number.as_f64().unwrap_or_default();
        let bound = |word: &str, holds: fn(f64, f64) -> bool, words: &str| {
            let bound = limit(schema, word)?;
            (!holds(value, bound)).then(|| format!("{words} {}", schema[word]))
        };
        let range = [limit(schema, "minimum"), limit(schema, "maximum")];
        let broken = match range {
            [Some(least), Some(most)] if least == most && value != least => Some(format!("{}", schema["minimum"])),
            _ => bound("minimum", |value, bound| value >= bound, "at least")
                .or_else(|| bound("exclusiveMinimum", |value, bound| value > bound, "greater than"))
                .or_else(|| bound("maximum", |value, bound| value <= bound, "at most"))
                .or_else(|| bound("exclusiveMaximum", |value, bound| value < bound, "less than")),
        };
        if let Some(broken) = broken {
            let message = format!("`{}` must be {broken}, got {number}", path.tail());
            self.problems.push(Diagnostic::error(message).at(path, Part::Value));
        }
    }

    fn list(&mut self, items: &[Node], schema: &'s Value, path: &ManifestPath) {
        let (least, most) = (limit(schema, "minItems"), limit(schema, "maxItems"));
        let len = items.len() as f64;
        let wanted = match (least, most) {
            (Some(least), Some(most)) if least == most && len != least => Some(format!("must have {least} entries")),
            (Some(1.0), _) if items.is_empty() => Some("must not be empty".to_owned()),
            (Some(least), _) if len < least => Some(format!("must have at least {least} entries")),
            (_, Some(most)) if len > most => Some(format!("must have at most {most} entries")),
            _ => None,
        };
        if let Some(wanted) = wanted {
            let message = format!("`{}` {wanted}, got {}", path.tail(), items.len());
            let message = if items.is_empty() { format!("`{}` {wanted}", path.tail()) } else { message };
            return self.problems.push(Diagnostic::error(message).at(path, Part::Value));
        }
        let prefix = schema.get("prefixItems").and_then(Value::as_array);
        for (index, item) in items.iter().enumerate() {
            let own = prefix.and_then(|prefix| prefix.get(index)).or_else(|| schema.get("items"));
            if let Some(own) = own {
                self.node(item, own, &path.index(index));
            }
        }
    }

    fn table(&mut self, table: &IndexMap<String, Node>, schema: &'s Value, path: &ManifestPath) {
        if table.is_empty() && limit(schema, "minProperties") == Some(1.0) {
            self.problems.push(Diagnostic::error(format!("`{path}` must not be empty")).at(path, Part::Key));
        }
        let mut misspelt = Vec::new();
        for (name, node) in table {
            let path = path.key(name);
            match entry(self.schema, schema, name) {
                Entry::Named(own) | Entry::Chosen(own) => self.node(node, own, &path),
                Entry::Free => {}
                Entry::Unknown => misspelt.extend(self.unknown_key(name, schema, &path)),
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !table.contains_key(name) && !misspelt.iter().any(|meant| meant == name) {
                self.missing_key(name, path);
            }
        }
    }

    /// Reports an unknown key; returns the one that was meant.
    fn unknown_key(&mut self, name: &str, schema: &Value, path: &ManifestPath) -> Option<String> {
        let mut candidates = named_keys(self.schema, schema);
        let is_outermost = path.segments().len() == self.depth + 1;
        candidates.extend(self.reserved.iter().filter(|_| is_outermost));
        let message = format!("unknown key `{name}`{}", within(path));
        let hint = hint_for(name, &candidates, "known keys");
        self.problems.push(Diagnostic::error(message).at(path, Part::Key).maybe_hint(hint));
        nearest(name, candidates).map(str::to_owned)
    }

    fn missing_key(&mut self, name: &str, path: &ManifestPath) {
        let message = match path.is_root() {
            true => format!("missing key `{name}`"),
            false => format!("missing key `{name}` in `{path}`"),
        };
        let hint = (path.is_root() && name == "manifest").then(|| "begin the file with `manifest = 1`".to_owned());
        self.problems.push(Diagnostic::error(message).at(path, Part::Key).maybe_hint(hint));
    }
}

/// ` in ` and the table around the last key; nothing at the top.
fn within(path: &ManifestPath) -> String {
    match path.segments() {
        [] | [_] => String::new(),
        [outer @ .., _] => {
            let outer = outer.iter().fold(ManifestPath::root(), |path, segment| path.with(segment.clone()));
            format!(" in `{outer}`")
        }
    }
}

fn limit(schema: &Value, word: &str) -> Option<f64> {
    schema.get(word)?.as_f64()
}

/// The types of JSON that a node may pass as.
pub(super) fn fits(node: &Node, schema: &Value) -> bool {
    let json_type = match &node.kind {
        Kind::Leaf(Value::String(_)) => "string",
        Kind::Leaf(Value::Bool(_)) => "boolean",
        Kind::Leaf(Value::Number(number)) if number.is_f64() => "number",
        Kind::Leaf(_) => "integer",
        Kind::List(_) => "array",
        Kind::Table(_) => "object",
    };
    schema.as_bool() != Some(false) && accepts(schema, json_type)
}
