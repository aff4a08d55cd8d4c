//! What the tests with real plugin files share: builds the plugins under `tests/plugins/hostile/` once, and copies, cuts and
//! patches their files.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod clips;
pub mod close;
pub mod command;
pub mod frozen;
pub mod lab;
pub mod made;
pub mod naive;
pub mod predictors;
pub mod shipped;
pub mod small;
pub mod spots;
pub mod stateful;
pub mod table;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use stillhouse::plugin::{PluginError, Registry, SearchPaths, Surroundings};
use stillhouse_plugin::abi::MAGIC;
use tempfile::TempDir;

/// Plugins that are built as they are.
const PLAIN: [&str; 10] =
    ["parts", "raw", "twin", "reserved", "signature", "forked", "plain", "major", "undefined", "unruly"];
/// The plugin that is built with `panic=abort`.
const ABORTING: &str = "abort";

/// Keys of a manifest that no setting may bear.
pub const RESERVED: &[&str] = &["use", "weight", "at", "student", "teacher", "ports", "connector", "phase"];

/// The built file of `tests/plugins/hostile/<name>`.
pub fn hostile(name: &str) -> &'static Path {
    static BUILT: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(build_all);
    built.get(&format!("hostile-{name}")).unwrap_or_else(|| panic!("no plugin `{name}` was built"))
}

/// Builds all, and gives the files by package. Two test programs may do it at once: cargo's lock keeps them apart.
fn build_all() -> HashMap<String, PathBuf> {
    let packages = PLAIN.iter().flat_map(|name| ["-p".to_owned(), format!("hostile-{name}")]);
    let mut built = cargo(&["build".to_owned()], packages.collect(), &[]);
    let aborting = vec!["-p".to_owned(), format!("hostile-{ABORTING}"), "--lib".to_owned()];
    built.extend(cargo(&["rustc".to_owned()], aborting, &["--", "-C", "panic=abort"]));
    built
}

fn cargo(command: &[String], packages: Vec<String>, rest: &[&str]) -> HashMap<String, PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    // Test plugins go to a folder of their own: beside the binary they would be found as plugins. Those that ship are built
    // together with all that ships, so that nothing is compiled again that is there already.
    let ships = packages.iter().any(|name| name.starts_with("stillhouse-"));
    let packages = if ships { vec![] } else { packages };
    cargo.args(command).args(["--profile", if ships { "release" } else { "fixture" }]);
    cargo.arg("--message-format=json-render-diagnostics").args(packages).args(rest);
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    lines.lines().filter_map(artifact).collect()
}

/// Package and file of a finished library.
fn artifact(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_library = message["target"]["crate_types"].as_array()?.iter().any(|kind| kind == "cdylib");
    let file = message["filenames"].as_array()?.iter().filter_map(|file| file.as_str());
    let file = file.map(PathBuf::from).find(|file| stillhouse::plugin::is_library_name(file))?;
    let name = message["target"]["name"].as_str()?.replace('_', "-");
    is_library.then_some((name, file))
}

/// The registry of these plugins of the workspace (`kd` for `plugins/kd`), built once as real libraries.
pub fn plugins(names: &[&str]) -> Registry {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let package = |name: &&str| format!("stillhouse-{name}");
    let mut built = BUILT.lock().expect("no build panicked");
    let missing: Vec<String> = names.iter().map(package).filter(|name| !built.contains_key(name)).collect();
    if !missing.is_empty() {
        let packages = missing.iter().flat_map(|name| ["-p".to_owned(), name.clone()]);
        built.extend(cargo(&["build".to_owned(), "--lib".to_owned()], packages.collect(), &[]));
    }
    let file =
        |name: &&str| built.get(&package(name)).unwrap_or_else(|| panic!("no plugin `{name}` was built")).as_path();
    let registry = discover(&names.iter().map(file).collect::<Vec<_>>());
    registry.check_named().expect("the plugins are taken");
    registry
}

/// A folder for one test.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

/// A name of a library on this system.
pub fn library(stem: &str) -> String {
    format!("{}{stem}.{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_EXTENSION)
}

/// A copy of a hostile plugin in `folder`, under this stem.
pub fn copied(name: &str, folder: &Path, stem: &str) -> PathBuf {
    let path = folder.join(library(stem));
    fs::copy(hostile(name), &path).expect("the copy is written");
    path
}

/// A file of these bytes in `folder`, named like a library.
pub fn written(folder: &Path, stem: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(library(stem));
    fs::write(&path, bytes).expect("the file is written");
    path
}

/// A copy whose preamble has other bytes at `offset`: 0 magic, 8 major, 12 minor, 16 pointer bits, 17 unwinds, 24 name.
pub fn patched(name: &str, folder: &Path, stem: &str, offset: usize, bytes: &[u8]) -> PathBuf {
    let mut image = fs::read(hostile(name)).expect("the plugin is read");
    let at = preamble_at(&image) + offset;
    image[at..at + bytes.len()].copy_from_slice(bytes);
    written(folder, stem, &image)
}

/// Where the preamble lies in a file: the mark, and 24 bytes on a name.
pub fn preamble_at(image: &[u8]) -> usize {
    let is_preamble = |at: usize| image[at..].starts_with(&MAGIC) && image[at + 24..].starts_with(b"hostile-");
    (0..image.len() - 64).find(|at| is_preamble(*at)).expect("the plugin has a preamble")
}

/// What is found at these paths alone.
pub fn discover(paths: &[&Path]) -> Registry {
    let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
    Registry::discover(&SearchPaths::new(&paths, &Surroundings::default()), false, RESERVED)
}

/// The one reason of a search for one file.
pub fn refusal(path: &Path) -> PluginError {
    let registry = discover(&[path]);
    assert!(registry.plugins().is_empty(), "{} was taken", path.display());
    registry.check_named().expect_err("the file is refused").clone()
}

/// An error's text without the folder of the test.
pub fn text(error: &PluginError, folder: &Path) -> String {
    let prefix = format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR);
    error.to_string().replace(&prefix, "")
}
