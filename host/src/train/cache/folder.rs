//! The folder of kept values, and the room that it may take.

use crate::train::needs::free;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const ENDING: &str = "cache";

/// A folder with a limit.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Most bytes of all its files.
    pub(super) limit: u64,
    /// Bytes of the disk that are left to others: what the run is to leave there.
    pub(super) reserve: u64,
}

impl Folder {
    /// The file of a context.
    pub(super) fn file(&self, context: &str) -> PathBuf {
        self.path.join(format!("{:.32}.{ENDING}", context))
    }

    /// Removes what was not used for longest until a file may have so many bytes. False where it may not: it is larger than the
    /// limit, or the others are in use.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn make_room(&self, own: &Path, bytes: u64) -> io::Result<bool> {
        let mut others = self.others(own)?;
        others.sort();
        let mut sum = others.iter().map(|(_, size, _)| size).sum::<u64>();
        if bytes > self.limit {
            return Ok(false);
        }
        for (_, size, path) in others {
            if bytes.saturating_add(sum) <= self.limit {
                break;
            }
            let is_free = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if is_free && fs::remove_file(&path).is_ok() {
                sum -= size;
            }
        }
        Ok(bytes.saturating_add(sum) <= self.limit)
    }

    /// # Errors
    /// The disk would not have room for the run any more.
    pub(super) fn leave_room(&self, bytes: u64) -> io::Result<()> {
        let needed = self.reserve.saturating_add(bytes);
        match free(&self.path) {
            Some(free) if free < needed => {
                let kept = self.reserve as f64 / 1e6;
                Err(io::Error::other(format!("the run needs the {kept:.0} MB that are free on the disk")))
            }
            _ => Ok(()),
        }
    }

    fn others(&self, own: &Path) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let one = |entry: fs::DirEntry| {
            let path = entry.path();
            let meta = entry.metadata().ok().filter(|_| path.extension().is_some_and(|ending| ending == ENDING))?;
            (path != own).then(|| (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len(), path))
        };
        Ok(fs::read_dir(&self.path)?.flatten().filter_map(one).collect())
    }
}
