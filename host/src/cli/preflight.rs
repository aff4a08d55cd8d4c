//! What `check` and `run` try before any training.

use crate::manifest::{Diagnostic, ManifestPath, Part};
use crate::plugin::last_words;
use crate::report::tidy;
use crate::train::{
    Depth, Needs, Preflight, RunPlan, Setup, existing, free, held, peak_memory, preflight, try_to_write,
};
use std::path::{Path, PathBuf};

/// Folder of the run.
pub(super) fn folder(setup: &Setup) -> PathBuf {
    let run = &setup.manifest.run;
    tidy(&setup.sources.resolve(&ManifestPath::of(["run", "dir"]), &run.dir).join(&run.name))
}

/// Whether the disk has room for what the run leaves there; what lies in a run that goes on counts as there.
pub(super) fn room(setup: &Setup, plan: &RunPlan, resume: bool) -> Result<(), Diagnostic> {
    let (folder, needs) = (folder(setup), Needs::of(setup, plan));
    let there = if resume { held(&folder) } else { 0 };
    let wanted = needs.total().saturating_sub(there);
    match free(&folder) {
        Some(free) if free < wanted => {
            let message = format!("the run needs about {} on the disk, and {} are free", size(wanted), size(free));
            let parts =
                [("checkpoints", needs.checkpoints), ("weights", needs.weights), ("recordings", needs.recordings)];
            let parts = parts.iter().filter(|(_, bytes)| *bytes > 0);
            let parts: Vec<String> = parts.map(|(what, bytes)| format!("{what} {}", size(*bytes))).collect();
            let found = Diagnostic::error(message).at(&ManifestPath::of(["run"]), Part::Key).note(parts.join(", "));
            let found = found.note(format!("of the disk that has {}", existing(&folder).display()));
            Err(found.hint("make room, give the run another `dir`, or keep less: `checkpoint = { keep = 1 }`"))
        }
        _ => Ok(()),
    }
}

/// Whether the folder of the run can be written.
pub(super) fn writable(setup: &Setup) -> Result<(), Diagnostic> {
    let folder = folder(setup);
    let above = folder.parent().unwrap_or(Path::new("."));
    try_to_write(above).map_err(|(tried, error)| {
        let message = format!("the folder of the run cannot be made: {}: {error}", tried.display());
        Diagnostic::error(message).at(&ManifestPath::of(["run"]), Part::Key).hint("give the run another `dir`")
    })
}

/// A step of every stage; a part that ends the process there is named.
pub(super) fn steps(setup: &Setup, plan: &RunPlan, depth: Depth) -> Result<Preflight, Diagnostic> {
    last_words::arm(Path::new(""), Path::new(""));
    preflight(setup, plan, depth)
}

/// What a run takes: seconds, memory and room on the disk in bytes.
pub(super) struct Estimate {
    pub(super) seconds: f64,
    pub(super) memory: Option<u64>,
    pub(super) disk: u64,
    free: Option<u64>,
    folder: PathBuf,
}

impl Estimate {
    pub(super) fn of(setup: &Setup, plan: &RunPlan, tried: &Preflight) -> Estimate {
        let folder = existing(&folder(setup));
        let disk = Needs::of(setup, plan).total();
        Estimate { seconds: tried.seconds, memory: peak_memory(), disk, free: free(&folder), folder }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let memory = self.memory.map_or(String::new(), |bytes| format!(", {} of memory", size(bytes)));
        let free = self
            .free
            .map_or(String::new(), |bytes| format!(" of {} that are free in {}", size(bytes), self.folder.display()));
        format!(
            "a step of every stage works; the run takes about {}{memory}, {} on the disk{free}\n",
            duration(self.seconds),
            size(self.disk)
        )
    }
}

/// `40 seconds`, `12 minutes`, `3.5 hours`.
fn duration(seconds: f64) -> String {
    match seconds {
        ..0.95 => "a second".to_owned(),
        ..90.0 => format!("{seconds:.0} seconds"),
        ..5400.0 => format!("{:.0} minutes", seconds / 60.0),
        _ => format!("{:.1} hours", seconds / 3600.0),
    }
}

/// `0.3 MB`, `12 MB`, `1.5 GB`.
fn size(bytes: u64) -> String {
    match bytes as f64 / 1e6 {
        megabytes if megabytes < 9.95 => format!("{megabytes:.1} MB"),
        megabytes if megabytes < 999.5 => format!("{megabytes:.0} MB"),
        megabytes => format!("{:.1} GB", megabytes / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, size};

    #[test]
    fn sizes_and_durations_are_round() {
        assert_eq!([0, 250_000, 12_400_000, 1_500_000_000].map(size), ["0.0 MB", "0.2 MB", "12 MB", "1.5 GB"]);
        assert_eq!([0.1, 40.2, 700.0, 12600.0].map(duration), ["a second", "40 seconds", "12 minutes", "3.5 hours"]);
    }
}
