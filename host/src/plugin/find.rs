//! Where plugins may lie.

use super::error::PluginError;
use std::collections::HashSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Variable with further paths, separated as in `PATH`.
const VARIABLE: &str = "STILLHOUSE_PLUGINS";

/// Why a place is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The manifest names it.
    Manifest,
    /// `$STILLHOUSE_PLUGINS` names it.
    Environment,
    /// The user's folder, where `plugin install` puts files.
    User,
    /// Beside the binary; most libraries there are no plugins.
    Beside,
}

impl Origin {
    /// In words, for lists.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Manifest => "manifest",
            Origin::Environment => "$STILLHOUSE_PLUGINS",
            Origin::User => "the user's folder",
            Origin::Beside => "beside the binary",
        }
    }
}

/// A file or folder that is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its path.
    pub path: PathBuf,
    /// Why it is searched.
    pub origin: Origin,
}

/// What the search takes from the process around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `$STILLHOUSE_PLUGINS`.
    pub variable: Option<OsString>,
    /// Folder of the user's data; plugins lie in `stillhouse/plugins` in it.
    pub data_home: Option<PathBuf>,
    /// The binary that runs.
    pub binary: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Surroundings {
        Surroundings {
            variable: env::var_os(VARIABLE),
            data_home: data_home(|name| env::var_os(name)),
            binary: env::current_exe().ok(),
        }
    }

    /// Folder of the plugins that the user has installed.
    pub fn user_folder(&self) -> Option<PathBuf> {
        self.data_home.as_ref().map(|home| home.join("stillhouse").join("plugins"))
    }
}

/// `$XDG_DATA_HOME` where it is absolute, as its specification asks, else the usual folder below the user's home.
fn data_home(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let windows = || absolute("LOCALAPPDATA").filter(|_| cfg!(windows));
    let home = || absolute("HOME").map(|home| home.join(".local").join("share"));
    absolute("XDG_DATA_HOME").or_else(windows).or_else(home)
}

/// The places that are searched, in order: of two plugins of one name the first wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPaths {
    places: Vec<Place>,
}

impl SearchPaths {
    /// The manifest's paths (files or folders, already relative to the working folder), then those of the surroundings.
    pub fn new(manifest: &[PathBuf], around: &Surroundings) -> SearchPaths {
        let named = manifest.iter().cloned().map(|path| (path, Origin::Manifest));
        let variable = around.variable.iter().flat_map(env::split_paths);
        let variable = variable.filter(|path| !path.as_os_str().is_empty()).map(|path| (path, Origin::Environment));
        let user = around.user_folder().into_iter().map(|path| (path, Origin::User));
        let binary = around.binary.as_deref().and_then(Path::parent);
        let beside = binary.into_iter().flat_map(|folder| [folder.join("plugins"), folder.to_owned()]);
        let beside = beside.map(|path| (path, Origin::Beside));
        let all = named.chain(variable).chain(user).chain(beside);
        SearchPaths { places: all.map(|(path, origin)| Place { path, origin }).collect() }
    }

    /// The manifest's paths, then the usual ones.
    pub fn usual(manifest: &[PathBuf]) -> SearchPaths {
        SearchPaths::new(manifest, &Surroundings::of_process())
    }

    /// The places in order.
    pub fn places(&self) -> &[Place] {
        &self.places
    }
}

/// A file that may be a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    /// The manifest names this very file: it has to be a plugin.
    pub(super) named: bool,
    /// It lies among ordinary libraries.
    pub(super) among_others: bool,
}

/// True for names such as `libkd.so`: what a shared library is called on this system.
pub fn is_library_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == env::consts::DLL_EXTENSION)
}

/// The files of a place, sorted by name. A folder that nobody named may be absent.
pub(super) fn candidates(place: &Place) -> Result<Vec<Candidate>, PluginError> {
    let path = &place.path;
    let candidate = |path: PathBuf, named| Candidate { path, named, among_others: place.origin == Origin::Beside };
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() && !is_library_name(path) => {
            Ok(library_files(path, place.origin)?.into_iter().map(|file| candidate(file, false)).collect())
        }
        Ok(_) => Ok(vec![candidate(path.clone(), place.origin == Origin::Manifest)]),
        Err(_) if matches!(place.origin, Origin::User | Origin::Beside) => Ok(vec![]),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn library_files(folder: &Path, origin: Origin) -> Result<Vec<PathBuf>, PluginError> {
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let prefixed = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        origin != Origin::Beside || (name.starts_with(env::consts::DLL_PREFIX) && path.is_file())
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| is_library_name(path) && prefixed(path));
    files.sort();
    Ok(files)
}

/// The error of a path that the system refused.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> PluginError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => PluginError::Missing { path },
        _ => PluginError::Unreadable { path, cause: plain(error) },
    }
}

/// What the system said, without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The places as lines of a list, each once.
pub(super) fn listed(places: &[Place]) -> String {
    let mut seen = HashSet::new();
    let fresh = places.iter().filter(|place| seen.insert(&place.path));
    fresh.map(|place| format!("  `{}` ({})", place.path.display(), place.origin.name())).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home_from(pairs: &[(&str, &str)]) -> Option<PathBuf> {
        data_home(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn data_home_of_absolute_variable_wins() {
        assert_eq!(home_from(&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/a")]), Some("/data".into()));
    }

    #[test]
    fn data_home_of_relative_variable_is_ignored() {
        assert_eq!(home_from(&[("XDG_DATA_HOME", "data"), ("HOME", "/home/a")]), Some("/home/a/.local/share".into()));
        assert_eq!(home_from(&[]), None);
    }

    #[test]
    fn search_paths_are_in_order() {
        let around = Surroundings {
            variable: Some(env::join_paths(["/e1", "", "/e2"]).expect("no separator inside")),
            data_home: Some("/home/a/.local/share".into()),
            binary: Some("/opt/bin/stillhouse".into()),
        };
        let paths = SearchPaths::new(&["./mine".into()], &around);
        let got: Vec<_> =
            paths.places().iter().map(|place| (place.path.to_str().expect("text"), place.origin)).collect();
        let wanted = [
            ("./mine", Origin::Manifest),
            ("/e1", Origin::Environment),
            ("/e2", Origin::Environment),
            ("/home/a/.local/share/stillhouse/plugins", Origin::User),
            ("/opt/bin/plugins", Origin::Beside),
            ("/opt/bin", Origin::Beside),
        ];
        assert_eq!(got, wanted);
    }

    #[test]
    fn cause_of_system_is_plain() {
        assert_eq!(plain(&io::Error::from_raw_os_error(13)), "permission denied");
    }
}
