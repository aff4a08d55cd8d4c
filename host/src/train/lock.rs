//! The lock file of a manifest: which plugins and files it was used with, `m.lock` beside `m.toml`.

use super::problem::Problem;
use super::setup::data_path;
use crate::disk::replace;
use crate::manifest::{Diagnostics, Manifest, ManifestPath, Sources};
use crate::plugin::{Pinned, Plugin, PluginError, Registry, hash_file, same_name};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Version of the format.
const FORMAT: u32 = 1;
const HEAD: &str = "# Written by `stillhouse lock`: what the manifest beside it is used with. `run` and `check` hold plugins and files to it.\n";

/// What a manifest is used with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of the format.
    lock: u32,
    /// Plugins, by name.
    #[serde(default, rename = "plugin")]
    pub plugins: Vec<LockedPlugin>,
    /// Weights, data and given recordings that are single files, in the order of the manifest.
    #[serde(default, rename = "file")]
    pub files: Vec<LockedFile>,
    /// It is of a receipt, whose files may lie elsewhere by now: where the manifest names them says which is which.
    #[serde(skip)]
    is_receipt: bool,
}

/// A plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPlugin {
    /// Name of its crate.
    pub name: String,
    /// Version of its crate.
    pub version: String,
    /// Version of the interface.
    pub abi: String,
    /// Name of its file.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// Another file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Where the manifest names it.
    pub key: String,
    /// Path as written there.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl LockedPlugin {
    /// A plugin that was found.
    pub fn of(plugin: &Plugin) -> LockedPlugin {
        LockedPlugin {
            name: plugin.name.clone(),
            version: plugin.version.clone(),
            abi: format!("{}.{}", plugin.abi.0, plugin.abi.1),
            file: plugin.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            sha256: plugin.sha256.clone(),
        }
    }
}

/// The lock file of a manifest.
pub fn lock_path(manifest: &Path) -> PathBuf {
    manifest.with_extension("lock")
}

impl Lock {
    /// What the plugins of which parts were made, and the files, are now.
    pub fn of_use(manifest: &Manifest, sources: &Sources, registry: &Registry) -> Lock {
        let mut plugins: Vec<LockedPlugin> = registry.used().map(LockedPlugin::of).collect();
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        Lock { lock: FORMAT, plugins, files: files(manifest, sources, &mut hash), is_receipt: false }
    }

    /// What a receipt says that a run was made with.
    pub fn of_receipt(plugins: &[LockedPlugin], files: &[LockedFile]) -> Lock {
        Lock { lock: FORMAT, plugins: plugins.to_vec(), files: files.to_vec(), is_receipt: true }
    }

    /// These plugins, and the files of a manifest with the hashes that `hash` gives; one that it gives none for is left out.
    pub fn of_parts(
        plugins: Vec<LockedPlugin>,
        manifest: &Manifest,
        sources: &Sources,
        hash: &mut dyn FnMut(&Path) -> Option<String>,
    ) -> Lock {
        Lock { lock: FORMAT, plugins, files: files(manifest, sources, hash), is_receipt: false }
    }

    /// Whether the samples of a data set are a single file that this lock has.
    pub fn has_data(&self, name: &str) -> bool {
        let key = ManifestPath::of(["data", name, "use"]).to_string();
        self.files.iter().any(|file| file.key == key)
    }

    /// Reads the lock file of a manifest, if it has one.
    ///
    /// # Errors
    /// It cannot be read or understood: one line.
    pub fn read(path: &Path) -> Result<Option<Lock>, String> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("`{}` cannot be read: {error}", path.display())),
        };
        let lock: Lock = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("`{}`, line {line}: {}", path.display(), error.message())
        })?;
        if lock.lock != FORMAT {
            return Err(format!("`{}` is of format {}, this host reads {FORMAT}", path.display(), lock.lock));
        }
        Ok(Some(lock))
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        replace(path, |file| file.write_all(format!("{HEAD}{text}").as_bytes()))
    }

    /// What a search for plugins holds them to.
    pub fn pinned(&self) -> Vec<Pinned> {
        let one = |plugin: &LockedPlugin| {
            let LockedPlugin { name, version, sha256, .. } = plugin.clone();
            Pinned { name, version, sha256 }
        };
        self.plugins.iter().map(one).collect()
    }

    /// Plugins and files of both that are others than they were `before`, a line each.
    pub fn replaced(&self, before: &Lock) -> Vec<String> {
        let common = |one: &Lock, other: &Lock| {
            let mut common = one.clone();
            common.plugins.retain(|plugin| other.plugins.iter().any(|known| same_name(&known.name, &plugin.name)));
            common
                .files
                .retain(|file| other.files.iter().any(|known| known.key == file.key && known.path == file.path));
            common
        };
        common(self, before).changes(&common(before, self))
    }

    /// What became of plugins and files since `before`, a line each.
    pub fn changes(&self, before: &Lock) -> Vec<String> {
        let said = |plugin: &LockedPlugin| format!("{} ({:.12}..)", plugin.version, plugin.sha256);
        let mut all = vec![];
        for plugin in &self.plugins {
            match before.plugins.iter().find(|old| same_name(&old.name, &plugin.name)) {
                None => all.push(format!("plugin {} {}, new", plugin.name, said(plugin))),
                Some(old) if old.sha256 == plugin.sha256 => {}
                Some(old) => all.push(format!("plugin {} {}, was {}", plugin.name, said(plugin), said(old))),
            }
        }
        for file in &self.files {
            let same = |old: &&LockedFile| old.key == file.key && old.path == file.path;
            match before.files.iter().find(same) {
                None => all.push(format!("file {} ({:.12}..), new", file.path, file.sha256)),
                Some(old) if old.sha256 == file.sha256 => {}
                Some(old) => all.push(format!("file {} ({:.12}..), was {:.12}..", file.path, file.sha256, old.sha256)),
            }
        }
        let gone = |old: &&LockedPlugin| !self.plugins.iter().any(|plugin| same_name(&old.name, &plugin.name));
        all.extend(before.plugins.iter().filter(gone).map(|old| format!("plugin {} {}, gone", old.name, said(old))));
        let gone = |old: &&LockedFile| !self.files.iter().any(|file| old.key == file.key && old.path == file.path);
        all.extend(before.files.iter().filter(gone).map(|old| format!("file {}, gone", old.path)));
        all
    }
}

/// SHA-256 of a single file.
pub(crate) fn hash(file: &Path) -> Option<String> {
    file.is_file().then(|| hash_file(file).ok()).flatten()
}

/// Weights and data of a manifest that are single files, and recordings that have to be there.
fn files(manifest: &Manifest, sources: &Sources, hash: &mut dyn FnMut(&Path) -> Option<String>) -> Vec<LockedFile> {
    let weights = manifest
        .models
        .iter()
        .filter_map(|(name, model)| Some((ManifestPath::of(["models", name, "weights"]), model.weights.clone()?)));
    let data = manifest.data.iter().filter_map(|(name, data)| {
        let (_, path) = data.format_and_path()?;
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        Some((data_path(name, sources).key("use"), path.to_owned()))
    });
    // One with taps is made by the run.
    let given = manifest.recordings.iter().filter(|(_, recording)| recording.taps.is_empty());
    let recordings = given.filter_map(|(name, recording)| {
        Some((ManifestPath::of(["recordings", name, "file"]), recording.file.clone()?))
    });
    let one = |(key, path): (ManifestPath, String)| {
        let sha256 = hash(&sources.resolve(&key, &path))?;
        Some(LockedFile { key: key.to_string(), path, sha256 })
    };
    weights.chain(data).chain(recordings).filter_map(one).collect()
}

/// What to do about a plugin that was not opened.
pub(super) const ACCEPT: &str = "`stillhouse lock` accepts what is there now, `--ignore-lock` goes on for once";

/// What to do about a difference.
fn accept(lock: &Lock, sources: &Sources) -> String {
    if lock.is_receipt {
        return "a receipt is repeated with what it names; `--ignore-lock` goes on all the same".into();
    }
    let manifest = sources.all().first().map(|source| source.path.display().to_string()).unwrap_or_default();
    format!("`stillhouse lock {manifest}` accepts what is there now, `--ignore-lock` goes on for once")
}

/// Files that differ, and plugins that are missing or others, before any part is made.
pub(super) fn held(lock: &Lock, manifest: &Manifest, sources: &Sources, registry: &Registry) -> Diagnostics {
    let mut found = Diagnostics::default();
    let mut add = |problem: Problem| found.extend(Diagnostics::from(problem.hint(accept(lock, sources))));
    for plugin in &lock.plugins {
        let other = registry.refused().iter().find_map(|refused| match &refused.error {
            error @ PluginError::NotLocked { plugin: name, .. } if same_name(name, &plugin.name) => Some(error),
            _ => None,
        });
        let taken = registry.plugins().iter().find(|known| same_name(&known.name, &plugin.name));
        match (other, taken) {
            (Some(error), behind) => {
                let behind =
                    behind.map(|known| format!("the one that was locked lies behind it: `{}`", known.path.display()));
                add(behind.into_iter().fold(Problem::new(error.to_string()), Problem::note));
            }
            (None, Some(_)) => {}
            (None, None) => {
                let text = format!("plugin `{}` {} was locked and is not found", plugin.name, plugin.version);
                let refused = registry.refused().iter().take(3).map(|refused| format!("refused: {}", refused.error));
                add(refused.fold(Problem::new(text), Problem::note));
            }
        }
    }
    for file in files(manifest, sources, &mut hash) {
        let is_same = |old: &&LockedFile| old.key == file.key && (lock.is_receipt || old.path == file.path);
        match lock.files.iter().find(is_same) {
            Some(old) if old.sha256 == file.sha256 => {}
            Some(old) => add(Problem::new(format!(
                "`{}` is not the file that was locked: its SHA-256 was {:.12}.. and is {:.12}..",
                file.path, old.sha256, file.sha256
            ))),
            None => add(Problem::new(format!("`{}` (`{}`) is used and was not locked", file.path, file.key))),
        }
    }
    found
}
