//! The manifest: what a user writes, read into types, with every mistake shown at its line.
//!
//! [`load`] reads a file, merges what it `extends`, applies `--set` overrides, checks the whole table against the
//! [`schema`] (the one source of truth: editors get the same), deserializes it and checks what refers to what. It
//! returns the [`Manifest`] and its [`Sources`], which know where each value was written, so that other rooms report
//! *their* findings the same way:
//!
//! ```
//! # use stillhouse::manifest::{Diagnostic, ManifestPath, Part, load_str};
//! # use std::path::Path;
//! let text = "manifest = 1
//! data.use = 'digits'
//! models.student.arch = 'resnet8'
//! [stage.alone]
//! train = 'student'
//! epochs = 2
//! optimizer = { kind = 'sgd', lr = 0.1 }
//! terms.task.use = 'cross_entropi'
//! ";
//! let (manifest, sources) = load_str(Path::new("alone.toml"), text, &[])?;
//! let path = ManifestPath::of(["stage", "alone", "terms", "task", "use"]);
//! let unknown = Diagnostic::error("unknown part `cross_entropi`")
//!     .at(&path, Part::Value)
//!     .hint("did you mean `cross_entropy`?");
//! assert!(unknown.render(&sources, false).contains("--> alone.toml:8:18"));
//! # Ok::<(), stillhouse::manifest::LoadError>(())
//! ```
//!
//! Invariants: this room knows no plugin, no architecture and no data set by name; keys that belong to them are kept as
//! JSON maps ([`Config`]) and checked by their owners with [`Sources::check_config`].

mod cache;
mod check;
mod checkpoint;
mod choice;
mod data;
mod diagnostic;
mod document;
mod duration;
mod load;
mod model;
mod nearest;
mod node;
mod one_or_many;
mod optimizer;
mod origin;
mod overrides;
mod path;
mod published;
mod recording;
mod resolved;
mod run;
mod schedule;
mod schema;
mod semantics;
mod sources;
mod stage;
mod sweep;
mod term;
mod weight;

pub use cache::{Cache, Keep, Numbers};
pub use checkpoint::{Checkpoint, Every};
pub use data::{Augment, Damaged, Data, Filter, Fit, NextMap, Size, Split, View};
pub use diagnostic::{Details, Diagnostic, Diagnostics, Place, Severity, wants_color};
pub use document::Manifest;
pub use duration::Duration;
pub use load::{LoadError, load, load_str, load_with};
pub use model::{Arch, Config, FrozenPrecision, Input, Layer, Model, PartUse, Predict};
pub use nearest::nearest;
pub use one_or_many::OneOrMany;
pub use optimizer::Optimizer;
pub use origin::Origin;
pub use path::{ManifestPath, Part, Segment};
pub use published::schema;
pub use recording::Recording;
pub use run::{Device, Executor, Plugins, Run};
pub use schedule::Schedule;
pub use sources::{Source, Sources, Span};
pub use stage::{Best, Goal, GradientEma, Group, NonFinite, PassDef, PassMode, Phase, Sampling, Stage};
pub use term::{Connectors, RESERVED_TERM_KEYS, Side, Term};
pub use weight::Weight;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_errors;
#[cfg(test)]
mod tests_merge;
#[cfg(test)]
mod tests_references;
#[cfg(test)]
mod tests_values;
