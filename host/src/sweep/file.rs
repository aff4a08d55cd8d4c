//! The file of a sweep.

use super::points::{Point, Setting, Variant, cross};
use crate::manifest::{load, nearest};
use std::fs;
use std::path::{Path, PathBuf};
use toml_edit::{Document, Item, Table, Value};

const KEYS: [&str; 6] = ["manifest", "name", "seeds", "workers", "grid", "variant"];
/// Processes at once.
const MOST_WORKERS: i64 = 256;

/// A sweep, read and crossed.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Its name: that of its folder among the runs.
    pub name: String,
    /// The manifest of all points.
    pub manifest: PathBuf,
    /// Where relative paths in overrides begin: the folder of the file.
    pub folder: PathBuf,
    /// Processes at once.
    pub workers: usize,
    /// The points, the last key of the grid varying fastest, variant by variant.
    pub points: Vec<Point>,
}

/// Why a sweep cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepError {
    /// What is wrong, and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl SweepError {
    pub(super) fn new(message: impl Into<String>) -> SweepError {
        SweepError { message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> SweepError {
        SweepError { hint: Some(hint.into()), ..self }
    }
}

impl Sweep {
    /// Reads a file: a sweep, or a manifest with `[sweep]`.
    ///
    /// # Errors
    /// It cannot be read, has keys that no sweep has, lists without values, nothing to vary, or two points of one name.
    pub fn read(path: &Path) -> Result<Sweep, SweepError> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| SweepError::new(format!("the sweep `{shown}` cannot be read: {error}")))?;
        let reader = Reader { path, text: &text };
        let document = Document::parse(text.as_str()).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            reader.wrong(start, error.message().trim_end_matches('.'))
        })?;
        let table = document.as_table();
        if table.get("manifest").is_some_and(|item| item.is_integer()) {
            return of_manifest(path);
        }
        reader.sweep(table)
    }
}

/// The sweep that a manifest has itself.
fn of_manifest(path: &Path) -> Result<Sweep, SweepError> {
    let (manifest, sources) = load(path, &[]).map_err(|error| SweepError::new(without_level(&error.to_string())))?;
    if manifest.sweep.is_empty() {
        let message = format!("`{}` is a manifest without `[sweep]`", path.display());
        return Err(SweepError::new(message)
            .hint("name what varies there, or in a file of its own: `manifest = \"m.toml\"` and `[grid]`"));
    }
    let setting = |(path, values): (&String, &Vec<serde_json::Value>)| {
        let values = values.iter().filter_map(|value| toml::Value::try_from(value).ok()).collect();
        Setting { path: path.clone(), values }
    };
    let grid: Vec<Setting> = manifest.sweep.iter().map(setting).collect();
    let name = format!("{}-sweep", manifest.run.name);
    let points = cross(&grid, &[], None)?;
    Ok(Sweep { name, manifest: path.into(), folder: sources.folder().into(), workers: 1, points })
}

/// An error's text behind `error: `.
fn without_level(text: &str) -> String {
    text.strip_prefix("error: ").unwrap_or(text).to_owned()
}

struct Reader<'t> {
    path: &'t Path,
    text: &'t str,
}

impl Reader<'_> {
    fn wrong(&self, at: usize, message: impl std::fmt::Display) -> SweepError {
        let line = self.text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        SweepError::new(format!("`{}`, line {line}: {message}", self.path.display()))
    }

    fn sweep(&self, table: &Table) -> Result<Sweep, SweepError> {
        for (key, _) in table.iter() {
            if !KEYS.contains(&key) {
                let known = || format!("a sweep has {}", KEYS.map(|key| format!("`{key}`")).join(", "));
                let hint = nearest(key, KEYS).map_or_else(known, |close| format!("did you mean `{close}`?"));
                return Err(self.wrong(key_at(table, key), format!("unknown key `{key}`")).hint(hint));
            }
        }
        let at = |key: &str| key_at(table, key);
        let Some(manifest) = self.string(table, "manifest")? else {
            return Err(self
                .wrong(0, "a sweep names its manifest")
                .hint("write `manifest = \"m.toml\"`, the path seen from this file"));
        };
        let folder = self.path.parent().unwrap_or(Path::new("")).to_owned();
        let file = folder.join(&manifest);
        if !file.is_file() {
            return Err(self.wrong(at("manifest"), format!("there is no manifest `{}`", file.display())));
        }
        let stem = self.path.file_stem().map_or_else(|| "sweep".into(), |stem| stem.to_string_lossy().into_owned());
        let name = self.string(table, "name")?.unwrap_or(stem);
        if !super::names::is_plain(&name) {
            let message = format!("`name` is the name of a folder, got `{name}`");
            return Err(self.wrong(at("name"), message));
        }
        let workers = match table.get("workers") {
            None => 1,
            Some(item) => match item.as_integer() {
                Some(count @ 1..=MOST_WORKERS) => usize::try_from(count).unwrap_or(1),
                _ => return Err(self.wrong(at("workers"), format!("`workers` is a number from 1 to {MOST_WORKERS}"))),
            },
        };
        let seeds = match table.get("seeds") {
            None => None,
            Some(item) => Some(self.values("seeds", item.as_value(), at("seeds"))?),
        };
        let (mut grid, mut variants) = (vec![], vec![]);
        if let Some(item) = table.get("grid") {
            self.settings(item, "", &mut grid, true)?;
        }
        match table.get("variant").map(Item::as_table) {
            None => {}
            Some(None) => return Err(self.wrong(at("variant"), "variants are tables, `[variant.NAME]`")),
            Some(Some(all)) => {
                for (name, item) in all.iter() {
                    variants.push(self.variant(name, item, key_at(all, name))?);
                }
            }
        }
        let located = |error: SweepError| SweepError {
            message: format!("`{}`: {}", self.path.display(), error.message),
            ..error
        };
        let points = cross(&grid, &variants, seeds).map_err(located)?;
        Ok(Sweep { name, manifest: file, folder, workers, points })
    }

    fn variant(&self, name: &str, item: &Item, at: usize) -> Result<Variant, SweepError> {
        if !super::names::is_plain(name) {
            let message = format!("a variant's name is part of a folder's name, got `{name}`");
            return Err(self.wrong(at, message).hint("use letters, digits, `.`, `_`, `+` and `-`"));
        }
        if !item.is_table() {
            return Err(self.wrong(at, format!("variant `{name}` is no table, `[variant.{name}]`")));
        }
        let mut settings = vec![];
        self.settings(item, "", &mut settings, false)?;
        Ok(Variant { name: name.into(), settings })
    }

    /// Paths with their values: keys of nested tables, or a whole path as one key, as `--set` takes it.
    fn settings(&self, item: &Item, before: &str, found: &mut Vec<Setting>, lists: bool) -> Result<(), SweepError> {
        let Some(table) = item.as_table() else {
            let at = item.span().map_or(0, |span| span.start);
            return Err(self.wrong(at, "settings are a table of paths of the manifest and their values"));
        };
        for (key, item) in table.iter() {
            // A whole path stands at the front only.
            let key_text = if before.is_empty() || super::names::is_bare(key) {
                key.to_owned()
            } else {
                toml::Value::String(key.into()).to_string()
            };
            let path = if before.is_empty() { key_text } else { format!("{before}.{key_text}") };
            if item.is_table() {
                self.settings(item, &path, found, lists)?;
                continue;
            }
            let at = key_at(table, key);
            let values = match (lists, item.as_value()) {
                (true, value) => self.values(&path, value, at)?,
                (false, Some(value)) => vec![self.value(value, at)?],
                (false, None) => return Err(self.wrong(at, format!("`{path}` has no value"))),
            };
            found.push(Setting { path, values });
        }
        Ok(())
    }

    /// A list with values.
    fn values(&self, path: &str, value: Option<&Value>, at: usize) -> Result<Vec<toml::Value>, SweepError> {
        let Some(list) = value.and_then(Value::as_array) else {
            let hint = format!("write `{path} = [1, 2]`");
            return Err(self.wrong(at, format!("`{path}` is no list of values")).hint(hint));
        };
        if list.is_empty() {
            return Err(self.wrong(at, format!("`{path}` has no values to sweep over")));
        }
        list.iter().map(|value| self.value(value, at)).collect()
    }

    fn value(&self, value: &Value, at: usize) -> Result<toml::Value, SweepError> {
        let mut bare = value.clone();
        bare.decor_mut().clear();
        let table: Result<toml::Table, _> = toml::from_str(&format!("value = {bare}"));
        let read = table.ok().and_then(|mut table| table.remove("value"));
        read.ok_or_else(|| self.wrong(at, format!("`{bare}` is no value")))
    }

    fn string(&self, table: &Table, key: &str) -> Result<Option<String>, SweepError> {
        match table.get(key) {
            None => Ok(None),
            Some(item) => match item.as_str() {
                Some(text) if !text.is_empty() => Ok(Some(text.into())),
                _ => Err(self.wrong(key_at(table, key), format!("`{key}` is a text"))),
            },
        }
    }
}

/// Where a key stands.
fn key_at(table: &Table, key: &str) -> usize {
    let span = table.get_key_value(key).and_then(|(key, item)| key.span().or_else(|| item.span()));
    span.map_or(0, |span| span.start)
}
