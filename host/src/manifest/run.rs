//! `[run]` and `[plugins]`.

use super::checkpoint::Checkpoint;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;

/// How to run the manifest.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Name of the run and of its folder; the file's stem unless written.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub name: String,
    /// One run per seed; with several, reports give mean and spread.
    #[serde(default = "default_seeds")]
    #[schemars(length(min = 1))]
    pub seeds: Vec<u64>,
    /// Where tensors live.
    #[serde(default)]
    pub device: Device,
    /// Also train each student alone on the same schedule, to compare with.
    #[serde(default)]
    pub baseline: bool,
    /// Threads to compute with, at most 256; all cores unless written. The numbers do not depend on it.
    #[schemars(range(min = 1, max = 256))]
    pub threads: Option<usize>,
    /// Folder of the runs, relative to the manifest.
    #[serde(default = "default_dir")]
    pub dir: String,
    /// What executes the graphs.
    #[serde(default)]
    pub executor: Executor,
    /// When the run is written down, to go on from there.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// Keep the inputs of a call of a part that fails, for `plugin eval --case`.
    #[serde(default)]
    pub dump_inputs: bool,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            name: String::new(),
            seeds: default_seeds(),
            device: Device::default(),
            baseline: false,
            threads: None,
            dir: default_dir(),
            executor: Executor::default(),
            checkpoint: Checkpoint::default(),
            dump_inputs: false,
        }
    }
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU; needs a build with the feature `cuda`.
    Cuda,
    /// An Apple GPU; needs a build with the feature `metal`.
    Metal,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        })
    }
}

/// What executes the graphs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Executor {
    /// The fastest one that can run the graph on the device.
    #[default]
    Auto,
    /// Candle, whatever the graph.
    Candle,
    /// The fast one for processors; candle where it cannot run the graph.
    Fast,
}

/// Where to look for plugins before the usual places.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugins {
    /// Folders or library files, relative to the manifest.
    #[serde(default)]
    pub paths: Vec<String>,
}

fn default_seeds() -> Vec<u64> {
    vec![0]
}

fn default_dir() -> String {
    "runs".to_owned()
}
