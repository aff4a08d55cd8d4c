//! Files that are whole under their names, whenever the process or the machine ends.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that is being written beside its place. It has its name when it is whole; dropped before, nothing is left of it.
#[derive(Debug)]
pub(crate) struct Beside {
    path: PathBuf,
    beside: PathBuf,
    file: File,
    has_name: bool,
}

impl Beside {
    /// # Errors
    /// What the system says.
    pub(crate) fn create(path: &Path) -> io::Result<Beside> {
        let beside = beside(path);
        let file = File::create(&beside)?;
        Ok(Beside { path: path.to_owned(), beside, file, has_name: false })
    }

    /// Brings it to the disk and gives it its name, in place of a file that has it.
    ///
    /// # Errors
    /// What the system says; an old file stays as it was.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        self.name()?;
        self.path.parent().map_or(Ok(()), sync_folder)
    }

    fn name(&mut self) -> io::Result<()> {
        fs::rename(&self.beside, &self.path)?;
        self.has_name = true;
        Ok(())
    }
}

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.has_name {
            // What was written of it takes room that the disk may not have. Nobody is helped by a second error.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Writes a file beside, brings it to the disk, and gives it its name, in place of one that has it. Where that fails nothing
/// is left beside, and the old file stays as it was.
///
/// # Errors
/// What the system says.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut beside = Beside::create(path)?;
    write(&mut beside.file)?;
    beside.finish()
}

/// As [`replace`], for what a run can make again: the system brings it to the disk when it likes.
///
/// # Errors
/// What the system says.
pub(crate) fn place(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut beside = Beside::create(path)?;
    write(&mut beside.file)?;
    beside.name()
}

/// The name of a file that is not whole yet.
fn beside(path: &Path) -> PathBuf {
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
