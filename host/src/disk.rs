//! Files that are whole under their names, whenever the process or the machine ends.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Writes a file beside, brings it to the disk, and gives it its name, in place of one that has it. Where that fails nothing
/// is left beside, and the old file stays as it was.
///
/// # Errors
/// What the system says.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    place(path, |file| {
        write(file)?;
        file.sync_all()
    })?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// As [`replace`], for what a run can make again: the system brings it to the disk when it likes.
///
/// # Errors
/// What the system says.
pub(crate) fn place(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let beside = beside(path);
    let made = File::create(&beside).and_then(|mut file| write(&mut file)).and_then(|()| fs::rename(&beside, path));
    if made.is_err() {
        // What was written of it takes room that the disk may not have. Nobody is helped by a second error.
        let _ = fs::remove_file(&beside);
    }
    made
}

/// The name of a file that is not whole yet.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Brings the names in a folder to the disk.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        return File::open(folder)?.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn replace_that_fails_leaves_the_old_file_and_nothing_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        replace(&path, |file| file.write_all(b"old")).expect("is written");
        let failed = replace(&path, |file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.expect_err("it failed").kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).expect("is there"), b"old");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
