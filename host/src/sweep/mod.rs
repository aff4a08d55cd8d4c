//! Grids of runs: a file that names a manifest, what to vary, and the variants to cross it with; and the points that come of it.
//!
//! ```toml
//! manifest = "quickstart.toml"            # beside this file
//! seeds = [1, 2]                          # of every point
//! workers = 2                             # processes at once
//!
//! [grid]
//! stage.distil.terms.kd.temperature = [2, 8]
//!
//! [variant.kd]                            # the manifest as it is
//! [variant.dkd]                           # another method
//! stage.distil.terms.kd.use = "dkd"
//! ```
//!
//! A manifest with a table `[sweep]` is the same without variants. Every point is a run of its own, with a folder of its own; who
//! runs them is no matter of this room.

mod file;
mod names;
mod points;

pub use file::{Sweep, SweepError};
pub use points::Point;
