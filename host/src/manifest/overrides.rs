//! Overrides from the command line: `--set stage.distil.terms.kd.weight=0.5`.

use super::diagnostic::{Diagnostic, Diagnostics};
use super::load::syntax_error;
use super::nearest::hint_for;
use super::node::{Kind, Node, Reader};
use super::path::{ManifestPath, Segment};
use super::schema::{Entry, checked, entry, named_keys};
use super::sources::{Source, SourceId, Sources, Span};
use serde_json::Value;
use std::path::{Path, PathBuf};
use toml_edit::Document;

/// Puts the overrides into the tree, as a source named `--set` with one override a line.
///
/// `was_single`: the manifest has one data set without a name, so that `data.limit` means `data.main.limit`. Relative paths begin
/// at `folder`.
pub(super) fn apply_overrides(
    sources: &mut Sources,
    overrides: &[String],
    (was_single, folder): (bool, &Path),
) -> Diagnostics {
    let mut problems = Diagnostics::default();
    if overrides.is_empty() {
        return problems;
    }
    let source = sources.all.len();
    let text = overrides.join("\n");
    sources.all.push(Source { path: PathBuf::from("--set"), folder: folder.into(), text });
    let mut offset = 0;
    for text in overrides {
        let read = Override::read(text, source, offset, &mut problems);
        if let Err(problem) = read.and_then(|read| read.apply(&mut sources.root, was_single)) {
            problems.push(problem);
        }
        offset += text.len() + 1;
    }
    problems
}

/// One override: the keys of its path with their places, and the value.
struct Override {
    keys: Vec<(String, Option<Span>)>,
    value: Node,
}

impl Override {
    /// Reads `path=value`: TOML, or a path and a bare string.
    fn read(text: &str, source: SourceId, offset: usize, problems: &mut Diagnostics) -> Result<Self, Diagnostic> {
        let whole = Span { source, range: offset..offset + text.len() };
        let Some(equals) = equals_sign(text) else {
            let problem = Diagnostic::error(format!("an override has the form `path=value`, got `{text}`"));
            return Err(problem.at_span(Some(whole)));
        };
        let value = text[equals + 1..].trim();
        let mut reader = Reader { source, offset, problems };
        let (node, is_bare) = match Document::parse(text) {
            Ok(document) => (reader.table(document.as_table()), false),
            Err(error) if value.starts_with(['"', '\'', '[', '{']) => {
                return Err(syntax_error(&error, text, source, offset));
            }
            Err(_) => {
                let key_alone = format!("{}=0", &text[..equals]);
                let document =
                    Document::parse(key_alone).map_err(|error| syntax_error(&error, text, source, offset))?;
                (reader.table(document.as_table()), true)
            }
        };
        let depth = toml_edit::Key::parse(text[..equals].trim()).map_or(1, |keys| keys.len());
        let several = || Diagnostic::error("an override sets one value").at_span(Some(whole));
        let mut read = Self::unfold(Node { key: None, span: None, kind: node }, depth).ok_or_else(several)?;
        if is_bare {
            let start = offset + text.len() - text[equals + 1..].trim_start().len();
            read.value.span = Some(Span { source, range: start..start + value.len() });
            read.value.kind = Kind::Leaf(value.into());
        }
        Ok(read)
    }

    /// Follows the only entries of `depth` nested tables; none if one has several.
    fn unfold(mut node: Node, depth: usize) -> Option<Self> {
        let mut keys = Vec::with_capacity(depth);
        for _ in 0..depth {
            let table = node.table_mut().filter(|table| table.len() == 1)?;
            let (name, child) = table.pop()?;
            keys.push((name, child.key.clone()));
            node = child;
        }
        Some(Self { keys, value: node })
    }

    fn apply(mut self, root: &mut Node, was_single: bool) -> Result<(), Diagnostic> {
        let names: Vec<&str> = self.keys.iter().map(|(name, _)| name.as_str()).collect();
        if let (true, ["data", second, ..]) = (was_single, &names[..])
            && *second != "main"
        {
            let span = self.keys.get(1).and_then(|(_, span)| span.clone());
            self.keys.insert(1, ("main".to_owned(), span));
        }
        let path = ManifestPath::of(self.keys.iter().map(|(name, _)| name.as_str()));
        if let Err(misstep) = check_place(root, &path) {
            let span = self.keys.get(misstep.at).and_then(|(_, span)| span.clone());
            return Err(Diagnostic::error(misstep.message).at_span(span).maybe_hint(misstep.hint));
        }
        self.put(root);
        Ok(())
    }

    fn put(self, root: &mut Node) {
        let mut node = root;
        for (name, span) in self.keys {
            let Some(table) = node.table_mut() else { return };
            node = table.entry(name).or_insert_with(Node::empty);
            node.key = node.key.take().or(span);
        }
        *node = self.value;
    }
}

/// What is wrong with a path to be set: at which of its keys, and how.
pub(super) struct Misstep {
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Checks that all tables on the way to `path` are there, or have their place in the schema.
pub(super) fn check_place(root: &Node, path: &ManifestPath) -> Result<(), Misstep> {
    let (mut node, mut schema) = (Some(root), Some(checked()));
    let mut so_far = ManifestPath::root();
    let keys: Vec<&str> = path.segments().iter().filter_map(key_of).collect();
    for (at, name) in keys.iter().copied().enumerate() {
        let misstep = |message: String, hint: Option<String>| Err(Misstep { at, message, hint });
        if let Some(here) = node.filter(|here| here.table().is_none()) {
            return misstep(format!("`{so_far}` is {}, it has no key `{name}`", here.describe()), None);
        }
        let known = schema.map(|schema| entry(checked(), schema, name));
        let is_last = at + 1 == keys.len();
        let next = node.and_then(|node| node.table()?.get(name));
        let has_place = match known {
            _ if next.is_some() => true,
            Some(Entry::Chosen(_)) => is_last,
            Some(Entry::Unknown) => false,
            Some(Entry::Named(_) | Entry::Free) | None => true,
        };
        if !has_place {
            let candidates = candidates(node, schema);
            let place = if so_far.is_root() { String::new() } else { format!(" in `{so_far}`") };
            let hint = hint_for(name, &candidates, "known keys");
            return misstep(format!("there is no `{name}`{place} to set"), hint);
        }
        (node, schema) = (next, known.and_then(described));
        so_far = so_far.key(name);
    }
    Ok(())
}

fn key_of(segment: &Segment) -> Option<&str> {
    match segment {
        Segment::Key(key) => Some(key),
        Segment::Index(_) => None,
    }
}

fn described(entry: Entry<'_>) -> Option<&Value> {
    match entry {
        Entry::Named(schema) | Entry::Chosen(schema) => Some(schema),
        Entry::Free | Entry::Unknown => None,
    }
}

/// The keys that are there, and those that the schema names.
fn candidates<'a>(node: Option<&'a Node>, schema: Option<&'a Value>) -> Vec<&'a str> {
    let written = node.and_then(Node::table).into_iter().flat_map(|table| table.keys().map(String::as_str));
    let mut names: Vec<&str> = written.collect();
    for name in schema.map(|schema| named_keys(checked(), schema)).unwrap_or_default() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The position of the `=` after the path, quoted keys passed over.
fn equals_sign(text: &str) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(position, letter)| {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '=') => return Some(position),
            _ => {}
        }
        None
    })
}
