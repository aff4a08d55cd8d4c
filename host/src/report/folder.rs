//! The folder of a run.
//!
//! ```text
//! runs/<name>/manifest.toml            resolved: everything that was extended and overridden, in one file
//!             plugins.json             name, version, file and SHA-256 of every plugin that was loaded
//!             inputs.toml              plugins, weights and data by SHA-256: what a run that goes on is held to
//!             receipt.toml             when the run has ended: all that is needed to repeat it, and what came out
//!             parts.json               processes of the run: when they began, how long they ran
//!             run.lock                 locked while a process runs here; its number
//!             results.json             outcome of every model and seed on the test part
//!             seed-<s>/metrics.jsonl   one JSON object a line: stage starts, epochs, what parts said
//!                      checkpoints/    the newest states of the whole run, to go on from
//!                      <stage>/best.safetensors, last.safetensors    weights of the student alone
//!                              <term>.<name>.csv, .svg               matrices that a part reports, epoch by epoch
//! ```

use super::log::EventLog;
use super::tables::TableFiles;
use crate::disk::replace;
use crate::manifest::Sources;
use crate::plugin::Plugin;
use crate::train::Outcome;
use serde::Serialize;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A file or folder that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct FolderError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    pub error: io::Error,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FolderError + '_ {
    |error| FolderError { path: path.into(), error }
}

/// The folder of a run.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Kept open: the lock goes with it, however the process ends.
    _lock: File,
}

/// The path without `.` and inner `..`, links not followed: `runs` for `examples/../runs`.
pub fn tidy(path: &Path) -> PathBuf {
    let step = |mut done: PathBuf, component: Component<'_>| {
        match component {
            Component::CurDir => {}
            Component::ParentDir if done.components().next_back() == Some(Component::RootDir) => {}
            Component::ParentDir if matches!(done.components().next_back(), Some(Component::Normal(_))) => {
                done.pop();
            }
            other => done.push(other),
        }
        done
    };
    let tidied = path.components().fold(PathBuf::new(), step);
    if tidied.as_os_str().is_empty() { PathBuf::from(".") } else { tidied }
}

impl RunFolder {
    /// Makes the folder. One that is there already is moved aside (`<name>.1`, `<name>.2`, ...), unless the run resumes.
    ///
    /// # Errors
    /// The folder cannot be made or moved; or another process runs there (`ResourceBusy`).
    pub fn create(path: &Path, resume: bool) -> Result<(RunFolder, Option<PathBuf>), FolderError> {
        let mut moved = None;
        // Whatever is wrong with it, but that another process runs there, is found when it is moved or made below.
        let _ = fs::create_dir_all(path);
        let held = match lock(path) {
            Err(found) if found.error.kind() == io::ErrorKind::ResourceBusy => return Err(found),
            held => held.ok(),
        };
        let is_new = held.is_some() && fs::read_dir(path).is_ok_and(|entries| entries.count() == 1);
        if !resume && !is_new && path.exists() {
            let aside =
                |n: u32| path.with_file_name(format!("{}.{n}", path.file_name().unwrap_or_default().to_string_lossy()));
            let free = (1..).map(aside).find(|aside| !aside.exists()).unwrap_or_else(|| aside(0));
            fs::rename(path, &free).map_err(at(path))?;
            moved = Some(free);
        }
        fs::create_dir_all(path).map_err(at(path))?;
        // That of a folder that was moved is held until the new one's is: nobody takes the place in between.
        let lock = match held {
            Some(held) if moved.is_none() => held,
            _ => lock(path)?,
        };
        Ok((RunFolder { path: path.into(), _lock: lock }, moved))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Folder of a seed.
    pub fn seed(&self, seed: u64) -> PathBuf {
        self.path.join(format!("seed-{seed}"))
    }

    /// Writes the manifest and what plugins were loaded.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn describe(&self, sources: &Sources, plugins: &[Arc<Plugin>]) -> Result<(), FolderError> {
        self.write("manifest.toml", &sources.resolved_toml(&self.path))?;
        let list: Vec<serde_json::Value> = plugins
            .iter()
            .map(|plugin| {
                serde_json::json!({
                    "name": plugin.name, "version": plugin.version, "file": plugin.path, "sha256": plugin.sha256,
                    "abi": format!("{}.{}", plugin.abi.0, plugin.abi.1), "built_with": plugin.built_with,
                })
            })
            .collect();
        self.write("plugins.json", &pretty(&list))
    }

    /// Writes the outcome of every model and seed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn results(&self, outcomes: &[Outcome]) -> Result<(), FolderError> {
        self.write("results.json", &pretty(&outcomes))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), FolderError> {
        let path = self.path.join(name);
        replace(&path, |file| file.write_all(text.as_bytes())).map_err(at(&path))
    }

    /// Tables and pictures of a seed.
    pub fn tables(&self, seed: u64) -> TableFiles {
        TableFiles::new(self.seed(seed))
    }

    /// The event log of a seed; a resumed run appends, from its checkpoint on.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn log(&self, seed: u64) -> Result<EventLog, FolderError> {
        let folder = self.seed(seed);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let path = folder.join("metrics.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(at(&path))?;
        Ok(EventLog::new(file))
    }
}

/// How long a process that is leaving is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Locks a folder for this process, where the file system can.
fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join("run.lock");
    let (begun, own) = (Instant::now(), std::process::id().to_string());
    loop {
        // Opened each time: the folder may have been moved aside by then, and be another.
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(at(&path))?;
        let is_held = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        if !is_held {
            file.set_len(0).and_then(|()| file.write_all(own.as_bytes())).map_err(at(&path))?;
            // What is locked may have been moved in between; a file that cannot be read while it is locked is the own one.
            let found = fs::read_to_string(&path);
            if found.map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |found| found == own) {
                return Ok(file);
            }
        }
        if begun.elapsed() > PATIENCE {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let error = io::Error::new(io::ErrorKind::ResourceBusy, format!("process {holder} runs here"));
            return Err(FolderError { path: folder.into(), error });
        }
        sleep(Duration::from_millis(50));
    }
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{RunFolder, tidy};
    use std::fs;
    use std::io::ErrorKind;
    use std::path::Path;
    use std::sync::Barrier;

    /// One of those that begin at once gets the folder, new or used before; what was there is kept once.
    #[test]
    fn folder_is_of_one_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run");
        for used in [false, true] {
            if used {
                fs::write(path.join("kept"), "").unwrap();
            }
            let start = Barrier::new(4);
            let create = || {
                start.wait();
                RunFolder::create(&path, false)
            };
            let all: Vec<_> = std::thread::scope(|scope| {
                let begun: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
                begun.into_iter().map(|one| one.join().unwrap()).collect()
            });
            let (got, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
            assert_eq!((got.len(), refused.len()), (1, 3));
            assert!(refused.iter().all(|one| matches!(one, Err(why) if why.error.kind() == ErrorKind::ResourceBusy)));
            assert_eq!((path.with_file_name("run.1").join("kept").exists(), path.join("kept").exists()), (used, false));
            assert!(!path.with_file_name("run.2").exists());
        }
    }

    #[test]
    fn tidy_path_has_no_inner_dots() {
        let tidied = |path: &str| tidy(Path::new(path)).to_string_lossy().into_owned();
        assert_eq!(tidied("examples/../runs/quickstart"), "runs/quickstart");
        assert_eq!(tidied("./a/./b"), "a/b");
        assert_eq!(tidied("../../runs"), "../../runs");
        assert_eq!(tidied("/a/../../b"), "/b");
        assert_eq!(tidied("a/.."), ".");
    }
}
