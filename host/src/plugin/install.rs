//! Puts a plugin file where it will be found.

use super::error::PluginError;
use super::find::unreadable;
use super::verify::verify;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Verifies a plugin file and copies it to `folder`, which is made where it is absent; gives the path of the copy.
///
/// A file of that name is replaced as a whole: hosts that have it open keep the old one, and nobody ever sees half of the new
/// one.
///
/// # Errors
/// The file is no plugin for this host, or cannot be copied.
pub fn install(file: &Path, folder: &Path, allow_abort: bool) -> Result<PathBuf, PluginError> {
    verify(file, allow_abort)?;
    let Some(name) = file.file_name() else {
        return Err(PluginError::NotFile { path: file.to_owned(), what: "a folder" });
    };
    fs::create_dir_all(folder).map_err(|error| unreadable(folder, &error))?;
    // Its extension is no library's, so that a search passes it over.
    let unfinished = folder.join(format!("{}.{}.unfinished", name.to_string_lossy(), std::process::id()));
    let target = folder.join(name);
    place(file, &unfinished, &target).map_err(|error| {
        // The error of the copy is the one to tell.
        let _ = fs::remove_file(&unfinished);
        unreadable(&target, &error)
    })?;
    Ok(target)
}

fn place(file: &Path, unfinished: &Path, target: &Path) -> io::Result<()> {
    fs::copy(file, unfinished)?;
    File::open(unfinished)?.sync_all()?;
    fs::rename(unfinished, target)
}
