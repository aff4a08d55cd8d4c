//! What a run needs beside time: room on the disk, memory.

use super::checkpoint;
use super::optim::slots;
use super::plan::{RunPlan, StagePlan};
use super::setup::Setup;
use crate::ops::ParamSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Bytes that a run leaves on the disk, its logs not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Checkpoints, the one that is being written included.
    pub checkpoints: u64,
    /// Weights of every stage, the best and the last.
    pub weights: u64,
    /// Recordings that are still to be made.
    pub recordings: u64,
}

impl Needs {
    /// Of all seeds of a run, by the plan of one.
    pub fn of(setup: &Setup, run: &RunPlan) -> Needs {
        let (run_spec, state) = (&setup.manifest.run, checkpoint::sets(run));
        let state: u64 = state.iter().map(|(_, set)| bytes(set)).sum();
        let extra = run.stages.iter().map(|stage| beside(stage, run)).max().unwrap_or_default();
        let weights: u64 = run.stages.iter().map(|stage| 2 * students(stage, run)).sum();
        let recordings: u64 = run.recordings.values().map(|plan| plan.bytes(setup)).sum();
        let seeds = run_spec.seeds.len() as u64;
        let kept = run_spec.checkpoint.keep.max(1) as u64;
        Needs {
            checkpoints: (kept * seeds + 1) * (state + extra),
            weights: weights * seeds,
            recordings: recordings * seeds,
        }
    }

    /// All of it.
    pub fn total(self) -> u64 {
        self.checkpoints + self.weights + self.recordings
    }
}

/// Bytes of the weights that a stage trains.
fn students(stage: &StagePlan, run: &RunPlan) -> u64 {
    let models = stage.trained.iter().filter_map(|name| run.models.get(name));
    models.flat_map(|model| model.network.sets()).map(|(_, set)| bytes(&set)).sum()
}

/// What a checkpoint of a stage holds beside models and parts: optimizers, averages of gradients, the best weights, their average.
fn beside(stage: &StagePlan, run: &RunPlan) -> u64 {
    let of_group = |group: &super::groups::GroupPlan| {
        let entries = group.members.iter().filter_map(|member| member.set.get(&member.name));
        let all: usize = entries.map(|entry| entry.var.elem_count() * entry.var.dtype().size_in_bytes()).sum();
        (all * (slots(&group.optimizer) + usize::from(stage.spec.gradient_ema.is_some()))) as u64
    };
    let optimizers: u64 = stage.groups.iter().map(of_group).sum();
    optimizers + students(stage, run) * (1 + u64::from(stage.spec.ema.is_some()))
}

fn bytes(set: &Rc<ParamSet>) -> u64 {
    let of =
        |(_, entry): (String, crate::ops::Entry)| (entry.var.elem_count() * entry.var.dtype().size_in_bytes()) as u64;
    set.entries().into_iter().map(of).sum()
}

/// The folder itself, or the nearest above it that there is.
pub fn existing(folder: &Path) -> PathBuf {
    let here = folder.ancestors().find(|above| above.exists());
    here.filter(|above| !above.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Bytes that are free for this user where a folder is or would be; none where the system does not say.
pub fn free(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(existing(folder)).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Bytes of the files in a folder and below.
pub fn held(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => held(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

/// Makes a file where the folder is or would be made, and takes it away again.
///
/// # Errors
/// What the system says, with the folder that was tried.
pub fn try_to_write(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    let here = existing(folder);
    let probe = here.join(format!(".stillhouse-{}", std::process::id()));
    let made = fs::File::create(&probe).and_then(|_| fs::remove_file(&probe));
    made.map_err(|error| (here, error))
}

/// The most memory that this process ever held, in bytes; none where the system does not say.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_that_is_not_there_yet_is_tried_where_it_would_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b/c");
        assert_eq!(existing(&deep), folder.path());
        assert!(try_to_write(&deep).is_ok() && !deep.exists());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        fs::write(folder.path().join("a"), "12345").expect("is written");
        let (tried, _) = try_to_write(&deep).expect_err("a file is no folder");
        assert_eq!(tried, folder.path().join("a"));
        fs::create_dir_all(folder.path().join("d/e")).expect("is made");
        fs::write(folder.path().join("d/e/f"), [0; 100]).expect("is written");
        assert_eq!(held(folder.path()), 105);
        assert!(!cfg!(target_os = "linux") || peak_memory().is_some_and(|peak| peak > 1 << 20));
        assert_eq!(existing(Path::new("no-such-folder-here/x")), Path::new("."));
        assert!(cfg!(not(unix)) || free(&deep).is_some_and(|bytes| bytes > 0));
    }
}
