//! Reads a manifest: the file, what it extends, the overrides, the checks.

use super::check::check_manifest;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::document::Manifest;
use super::node::{Kind, Node, Reader};
use super::overrides::apply_overrides;
use super::path::{ManifestPath, Part, Segment};
use super::semantics::check_references;
use super::sources::{Source, Sources, Span};
use std::fmt;
use std::path::{Path, PathBuf};
use toml_edit::Document;

/// Why a manifest could not be loaded: all its problems, and the texts to show them in.
#[derive(Clone)]
pub struct LoadError(Box<(Diagnostics, Sources)>);

impl LoadError {
    /// The problems.
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.0.0
    }

    /// The texts.
    pub fn sources(&self) -> &Sources {
        &self.0.1
    }

    /// All problems at their lines, without a newline at the end.
    pub fn render(&self, color: bool) -> String {
        self.diagnostics().render(self.sources(), color)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for LoadError {}

/// Loads a manifest with overrides such as `stage.distil.terms.kd.weight=0.5`.
///
/// # Errors
/// Every problem of the manifest that can be found without plugins, models and data; each at its line.
pub fn load(path: &Path, overrides: &[String]) -> Result<(Manifest, Sources), LoadError> {
    load_with(path, overrides, Path::new(""))
}

/// As [`load`]; relative paths in the overrides begin at `folder`.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, overrides: &[String], folder: &Path) -> Result<(Manifest, Sources), LoadError> {
    let mut loader = Loader { set_from: folder.into(), ..Loader::default() };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read the manifest `{}`: {}", path.display(), cause(&error));
            loader.problems.push(Diagnostic::error(message));
            return Err(loader.fail());
        }
    };
    loader.load(path, text, overrides)
}

/// Loads a manifest from a text, as if it stood in the file `path`.
///
/// # Errors
/// As [`load`].
pub fn load_str(path: &Path, text: &str, overrides: &[String]) -> Result<(Manifest, Sources), LoadError> {
    Loader::default().load(path, text.to_owned(), overrides)
}

struct Loader {
    sources: Sources,
    problems: Diagnostics,
    /// The files that extend the one being read, the outermost first.
    chain: Vec<PathBuf>,
    /// Where relative paths in overrides begin.
    set_from: PathBuf,
}

impl Default for Loader {
    fn default() -> Self {
        Self { sources: Sources::none(), problems: Diagnostics::default(), chain: Vec::new(), set_from: PathBuf::new() }
    }
}

impl Loader {
    fn load(mut self, path: &Path, text: String, overrides: &[String]) -> Result<(Manifest, Sources), LoadError> {
        if let Some(root) = self.read(path, text) {
            self.sources.root = root;
        }
        if self.problems.has_errors() {
            return Err(self.fail());
        }
        let was_single = name_single_data(&mut self.sources.root);
        self.problems.extend(apply_overrides(&mut self.sources, overrides, (was_single, &self.set_from)));
        let named = |mut problem: Diagnostic| {
            if was_single {
                // The set has no name in the file.
                problem.message = problem.message.replace("`data.main", "`data");
            }
            problem
        };
        self.problems.extend(check_manifest(&self.sources.root).into_iter().map(named));
        if self.problems.has_errors() {
            return Err(self.fail());
        }
        name_run(&mut self.sources.root, path);
        match self.deserialize() {
            Some(manifest) => self.finish(manifest),
            None => Err(self.fail()),
        }
    }

    fn finish(mut self, manifest: Manifest) -> Result<(Manifest, Sources), LoadError> {
        self.problems.extend(check_references(&manifest, &self.sources.root));
        if self.problems.has_errors() {
            return Err(self.fail());
        }
        self.sources.warnings = self.problems;
        Ok((manifest, self.sources))
    }

    fn fail(self) -> LoadError {
        LoadError(Box::new((self.problems, self.sources)))
    }

    /// Reads one text, and under it what it extends.
    fn read(&mut self, path: &Path, text: String) -> Option<Node> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let source = self.sources.all.len();
        self.sources.all.push(Source { path: path.to_owned(), folder: folder.clone(), text: text.clone() });
        let kind = match Document::parse(text.as_str()) {
            Ok(document) => Reader { source, offset: 0, problems: &mut self.problems }.table(document.as_table()),
            Err(error) => {
                self.problems.push(syntax_error(&error, &text, source, 0));
                return None;
            }
        };
        let node = Node { key: None, span: None, kind };
        let base = node.table().and_then(|table| table.get("extends"));
        let Some((name, span)) = base.and_then(|base| Some((base.string()?, base.span.clone()))) else {
            return Some(node);
        };
        self.chain.push(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        let mut merged = self.read_base(&folder.join(name), span)?;
        self.chain.pop();
        merged.merge(node);
        Some(merged)
    }

    fn read_base(&mut self, path: &Path, written: Option<Span>) -> Option<Node> {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.chain.contains(&real) {
            let message = format!("`{}` extends itself", path.display());
            let mut problem = Diagnostic::error(message).at_span(written);
            if self.chain.len() > 1 {
                problem = problem.note(format!("by way of {}", self.way()));
            }
            self.problems.push(problem);
            return None;
        }
        match std::fs::read_to_string(path) {
            Ok(text) => self.read(path, text),
            Err(error) => {
                let message =
                    format!("cannot read `{}`, which this manifest extends: {}", path.display(), cause(&error));
                let problem = Diagnostic::error(message).at_span(written);
                self.problems.push(problem.hint("the path starts at the folder of this manifest"));
                None
            }
        }
    }

    /// The names of the files on the way to the one being read.
    fn way(&self) -> String {
        let names = self.chain.iter().filter_map(|path| path.file_name());
        names.map(|name| format!("`{}`", name.to_string_lossy())).collect::<Vec<_>>().join(", then ")
    }

    /// The types; what the schema cannot say is found here.
    fn deserialize(&mut self) -> Option<Manifest> {
        let value = self.sources.root.to_json();
        match serde_path_to_error::deserialize(value) {
            Ok(manifest) => Some(manifest),
            Err(error) => {
                let path = error.path().iter().fold(ManifestPath::root(), |path, step| match step {
                    serde_path_to_error::Segment::Map { key } => path.with(Segment::Key(key.clone())),
                    serde_path_to_error::Segment::Seq { index } => path.with(Segment::Index(*index)),
                    _ => path,
                });
                self.problems.push(Diagnostic::error(error.inner().to_string()).at(&path, Part::Value));
                None
            }
        }
    }
}

/// An error of the TOML parser, in a `text` that starts at `offset` in its source.
pub(super) fn syntax_error(error: &toml_edit::TomlError, text: &str, source: usize, offset: usize) -> Diagnostic {
    let start = error.span().map_or(0, |range| range.start);
    let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
    let is_bare_equals = before.trim_end_matches([' ', '\t']).ends_with('=')
        && after.lines().next().is_none_or(|line| line.trim().is_empty());
    let said = error.message().trim_end_matches('.');
    let (message, hint) = match said {
        _ if is_bare_equals => ("missing value after `=`".to_owned(), None),
        "duplicate key" => {
            let key = error.span().and_then(|range| text.get(range)).unwrap_or_default();
            (format!("the key `{key}` is there already"), Some("rename one of the two, or remove it".to_owned()))
        }
        _ if text.trim_start().starts_with('{') => {
            (said.to_owned(), Some("a manifest is TOML: `key = value`".to_owned()))
        }
        _ => (said.to_owned(), None),
    };
    let span = error.span().map(|range| Span { source, range: range.start + offset..range.end + offset });
    Diagnostic::error(message).at_span(span).maybe_hint(hint)
}

/// What the system says of a file, without its number.
fn cause(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::InvalidData => "it is no text in UTF-8".to_owned(),
        _ => error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase(),
    }
}

/// Brings `[data]` with the keys of one set to the form `[data.main]`; whether it was that.
fn name_single_data(root: &mut Node) -> bool {
    let Some(data) = root.table_mut().and_then(|table| table.get_mut("data")) else { return false };
    let is_single = data.table().is_some_and(|sets| sets.values().any(|set| set.table().is_none()));
    if is_single {
        let set = Node { key: data.key.clone(), ..data.clone() };
        data.kind = Kind::Table([("main".to_owned(), set)].into_iter().collect());
    }
    is_single
}

/// Names the run after the file, unless it has a name.
fn name_run(root: &mut Node, path: &Path) {
    let stem = path.file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy());
    let Some(table) = root.table_mut() else { return };
    let run = table.entry("run".to_owned()).or_insert_with(Node::empty);
    if let Some(run) = run.table_mut() {
        run.entry("name".to_owned()).or_insert_with(|| Node::text(&stem));
    }
}
