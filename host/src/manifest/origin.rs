//! Where initial values of parameters come from.

use super::checkpoint::Every;
use super::duration::Duration;
use std::str::FromStr;

/// The source named in `init`: `stage:NAME:PREFIX` or `model:NAME:PREFIX`.
///
/// Parameters whose path starts with the key of `init` start as those of the source, with the key replaced by the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// What an earlier stage trained.
    Stage {
        /// Name of the stage.
        name: String,
        /// Start of the paths in its model; may be empty.
        prefix: String,
    },
    /// A model of the manifest, as loaded.
    Model {
        /// Name of the model.
        name: String,
        /// Start of the paths in it; may be empty.
        prefix: String,
    },
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let (name, prefix) = rest.split_once(':').unwrap_or((rest, ""));
        let (name, prefix) = (name.to_owned(), prefix.to_owned());
        match kind {
            "stage" if !name.is_empty() => Ok(Self::Stage { name, prefix }),
            "model" if !name.is_empty() => Ok(Self::Model { name, prefix }),
            _ => Err(format!("`{text}` is no source of parameters; write `stage:NAME:PREFIX` or `model:NAME:PREFIX`")),
        }
    }
}

/// Name of the schema's format for [`Origin`].
pub(super) const ORIGIN_FORMAT: &str = "stillhouse-origin";

/// What is wrong with a text in one of the formats of this room; other formats are not looked at.
pub(super) fn format_problem(format: &str, text: &str) -> Option<String> {
    match format {
        super::duration::DURATION_FORMAT => text.parse::<Duration>().err(),
        super::checkpoint::EVERY_FORMAT => text.parse::<Every>().err(),
        ORIGIN_FORMAT => text.parse::<Origin>().err(),
        _ => None,
    }
}
