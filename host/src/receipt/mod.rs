//! The receipt of a run: one file that says what was run, with what, where, and what came out, and that is enough to run it again.
//!
//! It is written when a run ends, and only then: a folder with a receipt holds a whole run. What it says of stages comes from the
//! event logs, which are the same however often a run was interrupted; how long its processes took is kept beside it
//! ([`Parts`]).
//!
//! A receipt is the manifest of its repetition, too ([`Given`]): data, plugins and files are held to it ([`differing_data`]),
//! and the numbers of both are compared to the bit ([`agreement`]). Whether what it attests is there still is told without a run, too
//! ([`Present`]).

mod again;
mod agree;
mod attest;
mod begun;
mod machine;
mod parts;
mod stages;
mod write;

pub use again::{Given, differing_data, given};
pub use agree::{Agreement, Row, agreement};
pub use attest::Present;
pub use begun::Inputs;
pub use machine::Machine;
pub use parts::Parts;
pub use stages::{EpochRecord, StageRecord};
pub use write::{Made, write};

use crate::data::DataSet;
use crate::train::{LockedFile, LockedPlugin};
use serde::{Deserialize, Serialize};
use toml::Table;

/// Version of the format.
const FORMAT: u32 = 1;
/// Its name in the folder of a run.
pub const NAME: &str = "receipt.toml";

/// A receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Version of the format.
    receipt: u32,
    /// Name of the run.
    pub name: String,
    /// Version of the host.
    pub stillhouse: String,
    /// Version of the plugin interface.
    pub interface: String,
    /// Where presets of data are looked for: the folder of the manifest, seen from that of the receipt.
    pub presets: String,
    /// When the run began: `2026-11-28T17:00:00Z`.
    pub started: String,
    /// Seconds of its processes, from their start to their end (of one that was killed, to its last checkpoint).
    pub seconds: f64,
    /// How often it went on after an end before its own.
    pub resumed: usize,
    /// What of its manifest, plugins, files and data changed while it was interrupted, a line each; what follows is of its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Most memory that one of the processes held, in bytes; where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Where the last process ran.
    pub machine: Machine,
    /// Plugins of which parts were made.
    #[serde(default, rename = "plugin", skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<LockedPlugin>,
    /// Weights, data and given recordings that are single files.
    #[serde(default, rename = "file", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<LockedFile>,
    /// Data sets, as they were loaded.
    #[serde(default, rename = "data")]
    pub data: Vec<HashedData>,
    /// What came out, seed by seed.
    #[serde(default, rename = "seed")]
    pub seeds: Vec<SeedRecord>,
    /// The resolved manifest.
    #[serde(skip_serializing)]
    pub manifest: Text,
}

/// A text of many lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The text; paths begin at the folder of the receipt.
    pub text: String,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashedData {
    /// Name in the manifest.
    pub name: String,
    /// Samples to train on.
    pub train: usize,
    /// Samples to validate on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val: Option<usize>,
    /// Samples to test on.
    pub test: usize,
    /// SHA-256 of all of them: of their labels, and of the values of one of so many.
    pub sha256: String,
    /// One of how many was read for it: each, where samples lie in memory; none with 0, but names and lengths of their files.
    #[serde(default = "each", skip_serializing_if = "is_each")]
    pub every: usize,
}

fn each() -> usize {
    1
}

fn is_each(every: &usize) -> bool {
    *every == 1
}

impl HashedData {
    fn of(name: &str, set: &DataSet) -> HashedData {
        HashedData::read(name, set, set.every())
    }

    /// With one of so many samples read.
    fn read(name: &str, set: &DataSet, every: usize) -> HashedData {
        HashedData {
            name: name.into(),
            train: set.train.len(),
            val: set.val.as_ref().map(|val| val.len()),
            test: set.test.len(),
            sha256: set.sha256(every),
            every,
        }
    }

    /// What of a data set is not as this says; none where it is the same.
    fn difference(&self, now: &HashedData) -> Option<String> {
        let counts = |data: &HashedData| {
            let val = data.val.map_or(String::new(), |val| format!(", {val} to validate"));
            format!("{} samples to train{val}, {} to test", data.train, data.test)
        };
        if counts(self) != counts(now) {
            return Some(format!("it had {}, and has {}", counts(self), counts(now)));
        }
        if (self.every == 0) != (now.every == 0) {
            let how = |data: &HashedData| if data.every == 0 { "streamed" } else { "in memory" };
            return Some(format!("it was {}, and is {}: its samples cannot be compared", how(self), how(now)));
        }
        let of = if self.every == 0 { "the names and lengths of its files" } else { "its samples" };
        (self.sha256 != now.sha256)
            .then(|| format!("the SHA-256 of {of} was {:.12}.. and is {:.12}..", self.sha256, now.sha256))
    }
}

/// What came out of a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedRecord {
    /// The seed.
    pub seed: u64,
    /// Stages in the order in which they ran.
    #[serde(default, rename = "stage")]
    pub stages: Vec<StageRecord>,
    /// Models in the end.
    #[serde(default, rename = "model")]
    pub models: Vec<ModelRecord>,
}

/// A model in the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// Its name.
    pub name: String,
    /// What it is in the table.
    pub role: String,
    /// The stage that trained it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Trained values.
    pub parameters: usize,
    /// SHA-256 of its weights.
    pub weights: String,
    /// On the test part.
    pub metrics: Table,
}

/// The line of a byte in a text, from 1.
fn line_at(text: &str, at: usize) -> usize {
    text.get(..at.min(text.len())).map_or(1, |before| before.matches('\n').count() + 1)
}
