//! What a manifest stands on, whatever the seed: data sets in memory, plugins loaded, the device.

use super::binding::TERM_KINDS;
use super::lock::{self, Lock};
use super::problem::{Problem, quoted, settings_hint, told};
use crate::data::{self, DataSet};
use crate::manifest::{self, Diagnostic, Diagnostics, Manifest, ManifestPath, Part, RESERVED_TERM_KEYS, Sources};
use crate::plugin::{Component, PluginError, Refused, Registry, SearchPaths};
use candle_core::{DType, Device};
use indexmap::IndexMap;
use std::path::PathBuf;
use stillhouse_plugin::desc::Kind;

/// Everything that is opened once for a manifest.
pub struct Setup {
    /// The manifest.
    pub manifest: Manifest,
    /// Its texts.
    pub sources: Sources,
    /// Plugins.
    pub registry: Registry,
    /// Data sets by name, validation parts split off.
    pub data: IndexMap<String, DataSet>,
    /// Where tensors are.
    pub device: Device,
    /// The type that trains.
    pub float: DType,
}

impl Setup {
    /// Opens data sets and plugins, which have to be those of the lock where there is one.
    ///
    /// # Errors
    /// Everything that is missing or broken.
    pub fn open(
        manifest: Manifest,
        sources: Sources,
        lock: Option<Lock>,
        allow_abort: bool,
    ) -> Result<Setup, Box<(Diagnostics, Sources)>> {
        let mut found = Diagnostics::default();
        let registry = open_plugins(&manifest, &sources, lock.as_ref(), allow_abort, &mut found);
        if let Some(lock) = &lock {
            found.extend(lock::held(lock, &manifest, &sources, &registry));
            if found.has_errors() {
                // What a part of another plugin would say is of no use.
                return Err(Box::new((found, sources)));
            }
        }
        let mut sets = IndexMap::new();
        for (name, entry) in &manifest.data {
            match open_data(name, entry, &sources) {
                Ok(set) => {
                    sets.insert(name.clone(), set);
                }
                Err(diagnostic) => found.push(*diagnostic),
            }
        }
        let device = match open_device(manifest.run.device) {
            Ok(device) => device,
            Err(message) => {
                let hint = "write `device = \"cpu\"`, or use a build with the feature of the device";
                found.push(Diagnostic::error(message).at(&ManifestPath::of(["run", "device"]), Part::Value).hint(hint));
                Device::Cpu
            }
        };
        if found.has_errors() {
            // The plan, which needs the data, is not reached: what it would say of names and settings is said here.
            check_parts(&manifest, &sources, &registry, &mut found);
            return Err(Box::new((found, sources)));
        }
        Ok(Setup { manifest, sources, registry, data: sets, device, float: DType::F32 })
    }
}

/// The component of this name, told at its place where there is none, beside what was refused.
pub(super) fn find_part<'r>(
    registry: &'r Registry,
    kinds: &[Kind],
    name: &str,
    at: &ManifestPath,
) -> Result<&'r Component, Problem> {
    registry.find_of(kinds, name).map_err(|error| {
        let is_unknown = matches!(error, PluginError::Unknown { .. } | PluginError::UnknownPlugin { .. });
        let problem = told(&error).at(at, Part::Value);
        if is_unknown { beside_refused(problem, registry) } else { problem }
    })
}

/// A plugin that was refused may have had what is not found.
fn beside_refused(problem: Problem, registry: &Registry) -> Problem {
    let (mut unlisted, mut notes) = (vec![], vec![]);
    for refused in registry.refused() {
        match &refused.error {
            PluginError::Unlisted { plugin, .. } => unlisted.push(plugin.as_str()),
            error => notes.push(format!("refused: {error}")),
        }
    }
    let problem = notes.into_iter().take(3).fold(problem, Problem::note);
    if unlisted.is_empty() {
        return problem;
    }
    let near = problem.0.details.hint.clone().filter(|hint| hint.starts_with("did you mean"));
    let hint = near.map_or_else(|| lock::ACCEPT.to_owned(), |near| format!("{near} Otherwise, {}", lock::ACCEPT));
    problem.note(format!("not locked, and so not opened: {}", quoted(&unlisted))).hint(hint)
}

/// What is wrong with the settings of a component that stand at a path.
pub(super) fn check_settings(
    sources: &Sources,
    at: &ManifestPath,
    component: &Component,
    reserved: &[&str],
) -> Diagnostics {
    let mut found = Diagnostics::default();
    for wrong in sources.check_config(at, &component.desc.schema, reserved) {
        let port =
            component.desc.ports.iter().find(|port| wrong.message.starts_with(&format!("unknown key `{}`", port.name)));
        let of_port = port.map(|port| format!("`{0}` is a port: write `ports.{0} = \"...\"`", port.name));
        let hint =
            of_port.or_else(|| wrong.details.hint.clone()).unwrap_or_else(|| settings_hint(&component.desc.name));
        found.push(wrong.hint(hint));
    }
    found
}

fn check_parts(manifest: &Manifest, sources: &Sources, registry: &Registry, found: &mut Diagnostics) {
    // What a file offers that is named and not taken is not known.
    let lacks = registry.refused().iter().any(|refused| refused.named);
    for (stage, spec) in &manifest.stage {
        for (name, term) in &spec.terms {
            let path = ManifestPath::of(["stage", stage, "terms", name]);
            match find_part(registry, TERM_KINDS, &term.use_, &path.key("use")) {
                Ok(component) => found.extend(check_settings(sources, &path, component, RESERVED_TERM_KEYS)),
                Err(_) if lacks => {}
                Err(problem) => found.extend(Diagnostics::from(problem)),
            }
        }
    }
}

/// Where a manifest says that plugins are.
pub(crate) fn plugin_paths(manifest: &Manifest, sources: &Sources) -> Vec<PathBuf> {
    let at = ManifestPath::of(["plugins", "paths"]);
    manifest.plugins.paths.iter().map(|path| sources.resolve(&at, path)).collect()
}

/// The plugins that a manifest finds, held to a lock; what is wrong with those that it names is added to `found`.
pub(crate) fn open_plugins(
    manifest: &Manifest,
    sources: &Sources,
    lock: Option<&Lock>,
    allow_abort: bool,
    found: &mut Diagnostics,
) -> Registry {
    let at = ManifestPath::of(["plugins", "paths"]);
    let paths = plugin_paths(manifest, sources);
    let pinned = lock.map(Lock::pinned);
    let registry =
        Registry::discover_pinned(&SearchPaths::usual(&paths), allow_abort, RESERVED_TERM_KEYS, pinned.as_deref());
    // What differs from the lock is told as such.
    let of_lock = |error: &PluginError| matches!(error, PluginError::NotLocked { .. } | PluginError::Unlisted { .. });
    let is_told = |refused: &&Refused| refused.named && !of_lock(&refused.error);
    for refused in registry.refused().iter().filter(is_told) {
        let written = paths.iter().position(|path| *path == refused.path);
        let at = written.map_or_else(|| at.clone(), |index| at.index(index));
        found.extend(Diagnostics::from(told(&refused.error).at(&at, Part::Value)));
    }
    registry
}

/// The manifest path of a data set: `data` itself when there is one without a name.
pub(super) fn data_path(name: &str, sources: &Sources) -> ManifestPath {
    let single = ManifestPath::of(["data"]);
    if sources.is_written(&single.key("use")) { single } else { single.key(name) }
}

/// The samples of a data set, as its entry in the manifest says.
///
/// # Errors
/// They cannot be read, or not in this form.
pub(crate) fn open_data(name: &str, entry: &manifest::Data, sources: &Sources) -> Result<DataSet, Box<Diagnostic>> {
    let path = data_path(name, sources);
    let wrong = |error: data::DataError, key: &str| Box::new(told(&error).at(&path.key(key), Part::Value).0);
    // Presets look below the current folder; a path of the manifest starts where it was written.
    let base = match entry.format_and_path() {
        Some(_) => sources.resolve(&path.key("use"), ""),
        None => sources.folder().to_path_buf(),
    };
    let damage = match entry.damaged {
        manifest::Damaged::Stop => data::Damage::stop(),
        manifest::Damaged::Skip(limit) => data::Damage::skip(limit),
    };
    let cache = entry.cache_mb.saturating_mul(1_000_000);
    let reading = data::Reading { stream: entry.stream, cache, damage: damage.into() };
    let mut set = data::open_as(&entry.use_, &base, &reading).map_err(|error| wrong(error, "use"))?;
    if let Some(manifest::Fit { crop, size, filter }) = entry.fit {
        let [crop, size] = [crop, size].map(|size| size.map(|size| [size.height, size.width]));
        let fit = data::Fit { crop, size, filter: filter_of(filter) };
        set = fit.apply(set).map_err(|error| wrong(error, "fit"))?;
    }
    if let Some(manifest::NextMap { frames, above }) = entry.map {
        let map = data::NextMap { frames, above: above.map(|above| above as f32) };
        set = map.apply(set).map_err(|error| wrong(error, "map"))?;
    }
    if let Some(limit) = entry.limit {
        set.train = set.train.select(&(0..limit.min(set.train.len())).collect::<Vec<_>>());
    }
    if let Some(limit) = entry.test_limit {
        set.test = set.test.select(&(0..limit.min(set.test.len())).collect::<Vec<_>>());
    }
    match entry.split {
        Some(split) if split.val > 0.0 => set.split(split.val, split.seed).map_err(|error| wrong(error, "split")),
        _ => Ok(set),
    }
}

/// The filter that a manifest names.
pub(super) fn filter_of(filter: manifest::Filter) -> data::Filter {
    match filter {
        manifest::Filter::Bilinear => data::Filter::Bilinear,
        manifest::Filter::Nearest => data::Filter::Nearest,
        manifest::Filter::Area => data::Filter::Area,
    }
}

fn open_device(device: manifest::Device) -> Result<Device, String> {
    match device {
        manifest::Device::Cpu => Ok(Device::Cpu),
        manifest::Device::Cuda => Device::new_cuda(0).map_err(|error| format!("no CUDA device: {error}")),
        manifest::Device::Metal => Device::new_metal(0).map_err(|error| format!("no Metal device: {error}")),
    }
}
