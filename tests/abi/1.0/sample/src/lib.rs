//! One part of every kind and one for everything that a part may ask of a host, built with the interface as 1.0 froze it.

mod allocator;
mod cell;
mod kinks;
mod losses;
mod operation;
mod stages;

use stillhouse_plugin::prelude::*;

/// No settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoConfig {}

export_plugin!();
