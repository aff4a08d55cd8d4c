//! The processes of a run, one behind the other: when each began, how long it ran, and what memory it held.
//!
//! `parts.json` in the folder of the run. It is written at the beginning, at every checkpoint and at the end of a process, so
//! that one that is killed counts up to its last checkpoint.

use super::NAME;
use super::machine::utc;
use crate::disk::place;
use crate::train::peak_memory;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// One process.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    started: String,
    seconds: f64,
    peak_memory: Option<u64>,
}

/// The processes of a run, this one last.
#[derive(Debug)]
pub struct Parts {
    path: PathBuf,
    all: Vec<Part>,
    began: Instant,
}

/// What they come to.
pub(super) struct Total {
    pub(super) started: String,
    pub(super) seconds: f64,
    pub(super) resumed: usize,
    pub(super) peak_memory: Option<u64>,
}

impl Parts {
    /// A process begins, or goes on, in the folder of a run: what it has of a receipt is one no more.
    ///
    /// # Errors
    /// A file cannot be written or removed; the file goes with the error.
    pub fn begin(folder: &Path) -> Result<Parts, (PathBuf, io::Error)> {
        let (receipt, path) = (folder.join(NAME), folder.join("parts.json"));
        match fs::remove_file(&receipt) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err((receipt, error)),
            _ => {}
        }
        // Times that are damaged are not worth a run.
        let before = fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str::<Vec<Part>>(&text).ok());
        let mut parts = Parts { path, all: before.unwrap_or_default(), began: Instant::now() };
        parts.all.push(Part { started: utc(SystemTime::now()), seconds: 0.0, peak_memory: None });
        parts.write().map_err(|error| (parts.path.clone(), error))?;
        Ok(parts)
    }

    /// Notes how far this process has come. What cannot be written is missing in the time of a run that is interrupted, no more.
    pub fn note(&mut self) {
        if let Some(own) = self.all.last_mut() {
            (own.seconds, own.peak_memory) = (self.began.elapsed().as_secs_f64(), peak_memory());
        }
        let _ = self.write();
    }

    pub(super) fn total(&self) -> Total {
        Total {
            started: self.all.first().map(|part| part.started.clone()).unwrap_or_default(),
            seconds: self.all.iter().map(|part| part.seconds).sum(),
            resumed: self.all.len().saturating_sub(1),
            peak_memory: self.all.iter().filter_map(|part| part.peak_memory).max(),
        }
    }

    fn write(&self) -> io::Result<()> {
        let text = serde_json::to_string(&self.all).map_err(io::Error::other)?;
        place(&self.path, |file| file.write_all(text.as_bytes()))
    }
}
