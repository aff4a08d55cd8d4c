//! What a run began with, kept in its folder: a run that goes on is held to it.

use super::HashedData;
use crate::data::DataSet;
use crate::disk::replace;
use crate::manifest::load_str;
use crate::train::{Lock, Setup};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Its name in the folder of a run.
const NAME: &str = "inputs.toml";

/// Plugins, files and data of a run, and what changed of them, and of the manifest, while it was interrupted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// What was accepted when the run went on, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    lock: Lock,
    #[serde(default)]
    data: Vec<HashedData>,
}

impl Inputs {
    /// Those of this moment, for a run in a folder.
    ///
    /// # Errors
    /// The resolved manifest cannot be read: one line.
    pub fn now(setup: &Setup, folder: &Path) -> Result<Inputs, String> {
        // Files are named as the folder's own manifest names them, wherever the user's lies.
        let text = setup.sources.resolved_toml(folder);
        let (manifest, sources) =
            load_str(&folder.join(NAME), &text, &[]).map_err(|error| format!("the resolved manifest: {error}"))?;
        // Files that samples stay in are not read before their turn comes: there may be more of them than memory.
        let every = |set: &DataSet| if set.train.are_read() { 0 } else { set.every() };
        let data = setup.data.iter().map(|(name, set)| HashedData::read(name, set, every(set))).collect();
        Ok(Inputs { changed: vec![], lock: Lock::of_use(&manifest, &sources, &setup.registry), data })
    }

    /// Those that the folder of a run tells of; none where it does not.
    pub fn read(folder: &Path) -> Option<Inputs> {
        toml::from_str(&fs::read_to_string(folder.join(NAME)).ok()?).ok()
    }

    /// Plugins, files and data that are others than they were `before`, a line each. What a changed manifest names anew is not
    /// told. Samples that stay in files are compared by the names and lengths of these.
    pub fn changes(&self, setup: &Setup, before: &Inputs) -> Vec<String> {
        let mut all = self.lock.replaced(&before.lock);
        for now in &self.data {
            let Some(old) = before.data.iter().find(|old| old.name == now.name) else { continue };
            let again = setup.data.get(&now.name).filter(|_| now.every != old.every && now.every > 0 && old.every > 0);
            let now = again.map_or_else(|| now.clone(), |set| HashedData::read(&now.name, set, old.every));
            all.extend(old.difference(&now).map(|told| format!("data {}: {told}", now.name)));
        }
        all
    }

    /// What is known of a data set.
    pub(super) fn data(&self, name: &str, set: &DataSet) -> HashedData {
        let known = self.data.iter().find(|known| known.name == name && known.every > 0);
        known.cloned().unwrap_or_else(|| HashedData::of(name, set))
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        replace(&folder.join(NAME), |file| file.write_all(text.as_bytes()))
    }
}
