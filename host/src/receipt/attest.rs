//! Whether what a receipt attests is what is there now, without a run.

use super::{HashedData, Receipt};
use crate::manifest::{Data, Diagnostics, Manifest, ManifestPath, Sources, load_str};
use crate::plugin::same_name;
use crate::report::tidy;
use crate::train::{Lock, LockedPlugin, hash, open_data, open_plugins, plugin_paths};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What is there now. It is looked at once, however many receipts are held to it.
#[derive(Debug, Default)]
pub struct Present {
    lock: Option<Lock>,
    allow_abort: bool,
    /// What the search finds, by the paths of manifests.
    plugins: HashMap<Vec<PathBuf>, Vec<LockedPlugin>>,
    files: HashMap<PathBuf, Option<String>>,
    /// Data sets by where they are and what is taken of them, or why they cannot be read.
    data: HashMap<String, Result<HashedData, String>>,
}

impl Present {
    /// Nothing was looked at yet. A plugin that a lock refuses is not loaded, and counts as gone.
    pub fn new(lock: Option<Lock>, allow_abort: bool) -> Present {
        Present { lock, allow_abort, ..Present::default() }
    }

    /// What is not as the receipt in this file says, a line each: the version of this host, plugins that the run used, files,
    /// data sets that are no single file. `manifest` is that of the run as it would begin now.
    pub fn changes(&mut self, receipt: &Receipt, path: &Path, manifest: &Manifest, sources: &Sources) -> Vec<String> {
        // Files are named as the receipt's own manifest names them.
        let text = sources.resolved_toml(path.parent().unwrap_or(Path::new("")));
        let (resolved, own) = match load_str(path, &text, &[]) {
            Ok(read) => read,
            Err(error) => return vec![format!("the resolved manifest: {error}")],
        };
        let mut found = vec![];
        let version = env!("CARGO_PKG_VERSION");
        if receipt.stillhouse != version {
            found.push(format!("stillhouse {version}, was {}", receipt.stillhouse));
        }
        let is_used = |one: &&LockedPlugin| receipt.plugins.iter().any(|known| same_name(&known.name, &one.name));
        let plugins = self.plugins(manifest, sources).iter().filter(is_used).cloned().collect();
        let files = &mut self.files;
        let mut once = |file: &Path| files.entry(tidy(file)).or_insert_with(|| hash(file)).clone();
        let now = Lock::of_parts(plugins, &resolved, &own, &mut once);
        found.extend(now.changes(&receipt.lock()));
        let others = manifest.data.iter().filter(|(name, _)| !now.has_data(name));
        found.extend(others.filter_map(|(name, entry)| self.data_change(receipt, name, entry, sources)));
        found
    }

    fn plugins(&mut self, manifest: &Manifest, sources: &Sources) -> &[LockedPlugin] {
        let (lock, allow_abort) = (self.lock.as_ref(), self.allow_abort);
        self.plugins.entry(plugin_paths(manifest, sources)).or_insert_with(|| {
            // What is wrong with plugins is told when the run is planned.
            let registry = open_plugins(manifest, sources, lock, allow_abort, &mut Diagnostics::default());
            registry.plugins().iter().map(|plugin| LockedPlugin::of(plugin)).collect()
        })
    }

    fn data_change(&mut self, receipt: &Receipt, name: &str, entry: &Data, sources: &Sources) -> Option<String> {
        let Some(known) = receipt.data.iter().find(|known| known.name == name) else {
            return Some(format!("data {name}, new"));
        };
        // Presets lie below the folder of the manifest, paths below that of the file that wrote them.
        let base = sources.resolve(&ManifestPath::of(["data", name, "use"]), "");
        let key = format!("{} {:?} {base:?} {entry:?}", known.every, sources.folder());
        let now = self.data.entry(key).or_insert_with(|| match open_data(name, entry, sources) {
            Ok(set) => Ok(HashedData::read(name, &set, known.every)),
            Err(wrong) => Err(wrong.message.clone()),
        });
        match now {
            Ok(now) => known.difference(now).map(|told| format!("data {name}: {told}")),
            Err(why) => Some(format!("data {name} cannot be read: {why}")),
        }
    }
}
