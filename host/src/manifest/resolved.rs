//! The merged manifest as one file, for the folder of a run.

use super::data::format_and_path;
use super::node::{Kind, Node};
use super::path::{ManifestPath, Segment};
use super::sources::Sources;
use std::path::{Component, Path, PathBuf, absolute};

impl Sources {
    /// The manifest with `extends` and `--set` worked in, as TOML that means the same when it stands in `folder`:
    /// relative file paths are rewritten for it, the run keeps its name, and `[sweep]`, of which a run is one point, is
    /// left out.
    pub fn resolved_toml(&self, folder: &Path) -> String {
        let mut root = self.root.clone();
        for path in file_paths(&root) {
            self.rewrite(&mut root, &path, folder);
        }
        if let Some(table) = root.table_mut() {
            table.shift_remove("extends");
            table.shift_remove("sweep");
        }
        let value = root.to_json();
        toml::to_string(&value).unwrap_or_else(|error| format!("# {error}\n"))
    }

    /// [`Sources::folder`] seen from `folder`.
    pub fn folder_from(&self, folder: &Path) -> PathBuf {
        relative_to(&Path::new(".").join(self.folder()), folder)
    }

    /// Rewrites the file path at `path`, with the format before it if there is one, for `folder`.
    fn rewrite(&self, root: &mut Node, path: &ManifestPath, folder: &Path) {
        let Some(text) = self.root.find(path).and_then(Node::string) else { return };
        let is_data = path.to_string().starts_with("data.");
        let (format, file) = match format_and_path(text) {
            Some((format, file)) if is_data => (format!("{format}:"), file),
            _ => (String::new(), text),
        };
        let relative = relative_to(&self.resolve(path, file), folder);
        let text = format!("{format}{}", relative.to_string_lossy());
        if let Some(node) = find_mut(root, path) {
            node.kind = Kind::Leaf(text.into());
        }
    }
}

/// Where a manifest has file paths: plugins, weights, data with a format, recordings, the folders of the runs and of the cache.
fn file_paths(root: &Node) -> Vec<ManifestPath> {
    let plugins = ManifestPath::of(["plugins", "paths"]);
    let mut paths = vec![ManifestPath::of(["run", "dir"]), ManifestPath::of(["cache", "dir"])];
    if let Some(Kind::List(items)) = root.find(&plugins).map(|node| &node.kind) {
        paths.extend((0..items.len()).map(|index| plugins.index(index)));
    }
    for (outer, inner) in [("models", "weights"), ("data", "use"), ("recordings", "file")] {
        let names = root.find(&ManifestPath::of([outer])).and_then(Node::table);
        paths.extend(
            names.into_iter().flat_map(|names| names.keys()).map(|name| ManifestPath::of([outer, name, inner])),
        );
    }
    let is_preset = |path: &ManifestPath| {
        let text = root.find(path).and_then(Node::string).unwrap_or_default();
        path.to_string().starts_with("data.") && format_and_path(text).is_none()
    };
    paths.retain(|path| !is_preset(path));
    paths
}

fn find_mut<'n>(root: &'n mut Node, path: &ManifestPath) -> Option<&'n mut Node> {
    path.segments().iter().try_fold(root, |node, segment| match (&mut node.kind, segment) {
        (Kind::Table(table), Segment::Key(key)) => table.get_mut(key),
        (Kind::List(items), Segment::Index(index)) => items.get_mut(*index),
        _ => None,
    })
}

/// `target` seen from `folder`; absolute if they have nothing in common.
fn relative_to(target: &Path, folder: &Path) -> PathBuf {
    let (Ok(target), Ok(folder)) = (absolute(target), absolute(folder)) else { return target.to_owned() };
    let (target, folder) = (without_dots(&target), without_dots(&folder));
    let common = target.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    if common == 0 {
        return target;
    }
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    up.chain(target.components().skip(common)).collect()
}

/// The path without `.` and `..`, links not followed.
fn without_dots(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut done, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                done.pop();
            }
            other => done.push(other),
        }
        done
    })
}
