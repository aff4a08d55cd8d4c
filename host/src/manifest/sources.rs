//! The texts behind a manifest, and where each of its values was written.

use super::check::check_part;
use super::diagnostic::Diagnostics;
use super::node::{Kind, Node};
use super::path::{ManifestPath, Part};
use serde_json::Value;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One text that a manifest was made of: a file, or the overrides as `--set`.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its path as shown in messages.
    pub path: PathBuf,
    /// The folder to which relative paths in it refer.
    pub folder: PathBuf,
    /// The whole text.
    pub text: String,
}

/// Which of the [`Sources`].
pub(super) type SourceId = usize;

/// A place in one of the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Position of the source in [`Sources::all`].
    pub source: usize,
    /// Bytes of its text.
    pub range: Range<usize>,
}

/// The companion of a manifest: its texts, and where each value was written.
#[derive(Debug, Clone)]
pub struct Sources {
    pub(super) all: Vec<Source>,
    pub(super) root: Node,
    pub(super) warnings: Diagnostics,
    pub(super) presets: Option<PathBuf>,
}

impl Sources {
    /// Without a text, for what is told of a file that could not be understood.
    pub fn none() -> Sources {
        Sources { all: vec![], root: Node::empty(), warnings: Diagnostics::default(), presets: None }
    }

    /// The texts: the manifest itself first, then what it extends, then the overrides.
    pub fn all(&self) -> &[Source] {
        &self.all
    }

    /// Where the value at `path` was written.
    ///
    /// A value that nobody wrote (a default, a missing key) is located at the key of the nearest table around it that
    /// somebody did write; `None` if there is none.
    pub fn locate(&self, path: &ManifestPath, part: Part) -> Option<Span> {
        let mut node = &self.root;
        let mut nearest = None;
        for segment in path.segments() {
            match node.child(segment) {
                Some(child) => node = child,
                None => return nearest,
            }
            nearest = node.key.clone().or_else(|| node.span.clone()).or(nearest);
        }
        let wanted = match part {
            Part::Key => node.key.clone(),
            Part::Value => node.span.clone(),
        };
        wanted.or(nearest)
    }

    /// Whether somebody wrote a value at `path`.
    pub fn is_written(&self, path: &ManifestPath) -> bool {
        self.root.find(path).is_some()
    }

    /// The value written at `path`, as JSON; integers stay integers.
    pub fn value(&self, path: &ManifestPath) -> Option<Value> {
        self.root.find(path).map(Node::to_json)
    }

    /// The file path `value`, which stands at `path`, seen from the current folder.
    ///
    /// A relative one refers to the folder of the file that wrote it (from `--set`: to the current folder), a default
    /// to the folder of the manifest.
    pub fn resolve(&self, path: &ManifestPath, value: &str) -> PathBuf {
        let written = self.root.find(path).and_then(|node| node.span.as_ref());
        let source = self.all.get(written.map_or(0, |span| span.source));
        source.map_or_else(|| PathBuf::from(value), |source| source.folder.join(value))
    }

    /// Findings that do not keep the manifest from running.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// Checks the keys at `path` that belong to a part, an architecture or a kind of layer, against their owner's
    /// JSON schema, without those in `reserved`, which belong to the host.
    ///
    /// A string in place of a table (`connector = "conv"`) counts as an empty table.
    pub fn check_config(&self, path: &ManifestPath, schema: &Value, reserved: &[&str]) -> Diagnostics {
        let mut own = self.root.find(path).cloned().unwrap_or_else(Node::empty);
        match own.table_mut() {
            Some(table) => table.retain(|name, _| !reserved.contains(&name.as_str())),
            None => own.kind = Kind::Table(Default::default()),
        }
        check_part(&own, path, schema, reserved)
    }

    /// The folder in which presets of data are looked for: that of the manifest.
    pub fn folder(&self) -> &Path {
        let own = || self.all.first().map_or(Path::new(""), |source| source.folder.as_path());
        self.presets.as_deref().unwrap_or_else(own)
    }

    /// Presets of data are looked for in this folder: that of the manifest that this one was resolved from.
    pub fn look_for_presets_in(&mut self, folder: &Path) {
        self.presets = Some(folder.into());
    }
}
