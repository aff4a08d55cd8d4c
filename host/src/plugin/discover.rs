//! From search paths to a registry.

use super::component::{Component, Pinned, Plugin};
use super::describe::{self, Fault};
use super::error::PluginError;
use super::find::{Candidate, Origin, SearchPaths, candidates, unreadable};
use super::load;
use super::note;
use super::registry::{Fate, Refused, Registry, Seen, Shadowed, same_name};
use super::verify::{Verified, verify};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use stillhouse_plugin::abi::ABI_MINOR;
use stillhouse_plugin::abi::abi_stable::std_types::RResult;

/// A search under way.
struct Discovery<'a> {
    allow_abort: bool,
    reserved: &'a [&'a str],
    pinned: Option<&'a [Pinned]>,
    registry: Registry,
    /// Files that were looked at, by their real path.
    files: HashSet<PathBuf>,
    /// Plugins that were taken or shadowed, by their content.
    contents: HashMap<String, String>,
}

impl Registry {
    /// Finds, verifies and loads all plugins of these paths.
    ///
    /// With `allow_abort`, a plugin is taken although a panic in it ends the process. A component with a setting that is
    /// named like one of the `reserved` keys of a manifest is refused with its plugin, since no manifest could reach it.
    pub fn discover(paths: &SearchPaths, allow_abort: bool, reserved: &[&str]) -> Registry {
        Registry::discover_pinned(paths, allow_abort, reserved, None)
    }

    /// Likewise; where plugins are pinned, any other file is refused before any of its code runs.
    pub fn discover_pinned(
        paths: &SearchPaths,
        allow_abort: bool,
        reserved: &[&str],
        pinned: Option<&[Pinned]>,
    ) -> Registry {
        let registry = Registry { places: paths.places().to_vec(), ..Registry::default() };
        let (files, contents) = Default::default();
        let mut discovery = Discovery { allow_abort, reserved, pinned, registry, files, contents };
        for (at, place) in paths.places().iter().enumerate() {
            match candidates(place) {
                Ok(found) => found.iter().for_each(|candidate| discovery.take(candidate, at, place.origin)),
                Err(error) => {
                    let named = place.origin == Origin::Manifest;
                    discovery.registry.refused.push(Refused { path: place.path.clone(), named, error });
                }
            }
        }
        discovery.registry
    }
}

impl Discovery<'_> {
    fn take(&mut self, candidate: &Candidate, place: usize, origin: Origin) {
        let path = &candidate.path;
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        if !self.files.insert(real) {
            return;
        }
        let fate = match self.add(path, origin) {
            Ok(fate) => fate,
            Err(PluginError::NotPlugin { .. }) if candidate.among_others => return,
            Err(error) => {
                self.registry.refused.push(Refused { path: path.clone(), named: candidate.named, error });
                Fate::Refused
            }
        };
        self.registry.seen.push(Seen { path: path.clone(), place, fate });
    }

    fn add(&mut self, path: &Path, origin: Origin) -> Result<Fate, PluginError> {
        let verified = verify(path, self.allow_abort)?;
        let sha256 = note::hash(path).map_err(|error| unreadable(path, &error))?;
        if let Some(noted) = note::read(path).filter(|noted| origin == Origin::User && *noted != sha256) {
            return Err(PluginError::Changed { path: path.to_owned(), plugin: verified.name, noted, got: sha256 });
        }
        if let Some(first) = self.contents.get(&sha256) {
            return Ok(Fate::Same(first.clone()));
        }
        if let Some(first) = self.registry.plugins.iter().find(|plugin| plugin.name == verified.name) {
            let by = Arc::clone(first);
            let Verified { name, version, .. } = verified;
            self.contents.insert(sha256, name.clone());
            self.registry.shadowed.push(Shadowed { name: name.clone(), version, path: path.to_owned(), by });
            return Ok(Fate::Shadowed(name));
        }
        if let Some(pinned) = self.pinned {
            hold(pinned, path, &verified, &sha256)?;
        }
        let name = verified.name.clone();
        self.load(path, verified, sha256.clone())?;
        // Not before: the same bytes may be of use in another place, where what they need is found.
        self.contents.insert(sha256, name.clone());
        Ok(Fate::Taken(name))
    }

    fn load(&mut self, path: &Path, verified: Verified, sha256: String) -> Result<(), PluginError> {
        let module = load::open(path, &verified)?;
        let bad = |cause| PluginError::Description { path: path.to_owned(), plugin: verified.name.clone(), cause };
        let json = match module.components()() {
            RResult::ROk(json) => json,
            RResult::RErr(error) => return Err(bad(error.message.into_string())),
        };
        let newer = verified.abi.1 > ABI_MINOR;
        let (descs, notes) = describe::read(&json, newer, self.reserved).map_err(|fault| match fault {
            Fault::Bad(cause) => bad(cause),
            Fault::Reserved { kind, component, key } => {
                let (path, plugin) = (path.to_owned(), verified.name.clone());
                PluginError::ReservedKey { path, plugin, kind, component, key }
            }
        })?;
        let Verified { name, version, abi, built_with, .. } = verified;
        let plugin = Arc::new(Plugin { name, version, path: path.to_owned(), sha256, abi, built_with, notes });
        let used = Arc::new(AtomicBool::new(false));
        let component = |desc| Component { desc, plugin: Arc::clone(&plugin), module, used: Arc::clone(&used) };
        self.registry.components.extend(descs.into_iter().map(component));
        self.registry.plugins.push(plugin);
        Ok(())
    }
}

/// Refuses a file that is none of the pinned ones.
fn hold(pinned: &[Pinned], path: &Path, found: &Verified, sha256: &str) -> Result<(), PluginError> {
    let (path, plugin, version) = (path.to_owned(), found.name.clone(), found.version.clone());
    match pinned.iter().find(|one| same_name(&one.name, &plugin)) {
        Some(locked) if locked.sha256 == sha256 => Ok(()),
        Some(locked) => {
            let got = Pinned { name: plugin.clone(), version, sha256: sha256.to_owned() };
            Err(PluginError::NotLocked { path, plugin, locked: Box::new(locked.clone()), got: Box::new(got) })
        }
        None => Err(PluginError::Unlisted { path, plugin, version }),
    }
}
