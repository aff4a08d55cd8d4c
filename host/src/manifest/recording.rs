//! `[recordings]`: what models hold at taps, kept on disk.

use schemars::JsonSchema;
use serde::Deserialize;

/// Values of models at taps over the training samples of a data set, as they are (not augmented, true frames), on disk. Terms
/// read them as fields `NAME.0`, `NAME.1`, .. in the order of the taps, and `NAME.0.reversed`, .. of clips from last frame to
/// first.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// The data set; the first one unless written.
    pub data: Option<String>,
    /// What is recorded: `MODEL:TAP`. Without taps the file must be there, and its models are not needed.
    #[serde(default)]
    pub taps: Vec<String>,
    /// Record clips from last frame to first, too.
    #[serde(default = "yes")]
    pub reversed: bool,
    /// The file, relative to the manifest; in the run's folder unless written.
    pub file: Option<String>,
    /// Samples that are recorded at once.
    #[serde(default = "few")]
    #[schemars(range(min = 1))]
    pub batch: usize,
}

fn yes() -> bool {
    true
}

fn few() -> usize {
    8
}
