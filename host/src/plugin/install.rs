//! Puts a plugin file where it will be found, and takes it away.

use super::error::PluginError;
use super::find::{is_library_name, unreadable};
use super::note;
use super::registry::same_name;
use super::verify::{Verified, verify};
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A plugin in the folder of installed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its file.
    pub path: PathBuf,
    /// What it says of itself.
    pub verified: Verified,
    /// SHA-256 of the file, in hexadecimal; noted beside it.
    pub sha256: String,
}

/// Verifies a plugin file and copies it to `folder`, which is made where it is absent.
///
/// A file of that name that is the same plugin is replaced as a whole: hosts that have it open keep the old one, and nobody ever sees half of the new
/// one. A file that is not named like a library gets the name of its plugin. The copy's hash is noted beside it.
///
/// # Errors
/// The file is no plugin for this host, another plugin has its place, or it cannot be copied.
pub fn install(file: &Path, folder: &Path, allow_abort: bool) -> Result<Installed, PluginError> {
    let verified = verify(file, allow_abort)?;
    let own = format!("{DLL_PREFIX}{}{DLL_SUFFIX}", verified.name.replace('-', "_"));
    let name = file.file_name().filter(|_| is_library_name(file)).map_or(own.into(), ToOwned::to_owned);
    fs::create_dir_all(folder).map_err(|error| unreadable(folder, &error))?;
    // Its extension is no library's, so that a search passes it over.
    let unfinished = folder.join(format!("{}.{}.unfinished", name.to_string_lossy(), std::process::id()));
    let target = folder.join(name);
    if let Some(got) = occupant(&target).filter(|got| !same_name(got, &verified.name)) {
        return Err(PluginError::Occupied { path: target, plugin: verified.name, got });
    }
    let sha256 = place(file, &unfinished, &target).map_err(|error| {
        // The error of the copy is the one to tell.
        let _ = fs::remove_file(&unfinished);
        unreadable(&target, &error)
    })?;
    Ok(Installed { path: target, verified, sha256 })
}

/// The plugin that is there, of this interface or another. One that is not the file which was installed there is none: to install again is how
/// that is mended.
fn occupant(target: &Path) -> Option<String> {
    let name = match verify(target, true) {
        Ok(verified) => verified.name,
        Err(PluginError::Version { plugin, .. }) => plugin,
        Err(_) => return None,
    };
    let is_installed = note::read(target).is_none_or(|noted| note::hash(target).is_ok_and(|got| got == noted));
    is_installed.then_some(name)
}

fn place(file: &Path, unfinished: &Path, target: &Path) -> io::Result<String> {
    fs::copy(file, unfinished)?;
    File::open(unfinished)?.sync_all()?;
    let sha256 = note::hash(unfinished)?;
    // Between the two renames a search must not hold the new file against the old note.
    match fs::remove_file(note::place(target)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::rename(unfinished, target)?,
    }
    fs::write(unfinished, note::text(target, &sha256))?;
    fs::rename(unfinished, note::place(target))?;
    Ok(sha256)
}

/// Plugins in a folder of installed ones, sorted by file; what is none is passed over.
pub fn installed(folder: &Path) -> Vec<Installed> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = entries.filter(|path| is_library_name(path)).collect();
    files.sort();
    let one = |path: PathBuf| {
        let (verified, sha256) = (verify(&path, true).ok()?, note::hash(&path).ok()?);
        Some(Installed { path, verified, sha256 })
    };
    files.into_iter().filter_map(one).collect()
}

/// Takes an installed plugin's file and note away. Hosts that have it open keep it.
///
/// # Errors
/// The system refuses.
pub fn remove(plugin: &Installed) -> Result<(), PluginError> {
    fs::remove_file(&plugin.path).map_err(|error| unreadable(&plugin.path, &error))?;
    // Without a note there is nothing to take away.
    let _ = fs::remove_file(note::place(&plugin.path));
    Ok(())
}
