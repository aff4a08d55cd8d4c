//! Everything that crosses between host and plugin. Only the host's `plugin` room and this crate's own `sdk` look in here.
//!
//! The parts, in the order in which a host meets them: [`Preamble`] (read from the file, before any of its code runs),
//! [`PluginModule`] behind a `LibHeader`, component descriptions as JSON, one [`Part`] object whatever its kind, and the
//! other way [`HostApi`], the table through which a part computes.
//!
//! # Ownership
//! Inputs are borrowed for the call; what is returned is owned by the receiver; `R*` containers are freed by their maker.
//! Handles belong to one call: the host frees those that are left over when it returns, and a handle used later is an error.
//!
//! # Versions
//! The major number must match. A minor only appends: operations at the end of the table, fields after
//! `last_prefix_field`, keys in JSON. No signature and no meaning changes.
// The derive macros of abi_stable 0.11 predate these lints.
#![allow(
    non_local_definitions,
    non_camel_case_types,
    missing_docs,
    unreachable_pub,
    clippy::undocumented_unsafe_blocks
)]

mod fused;
mod host;
mod module;
mod part;
mod preamble;
mod safe;
mod types;

pub use abi_stable;
pub use fused::{Fused, Fused_TO, FusedBox, View, ViewMut};
pub use host::{HostApi, HostApi_Ref, ParallelFn, StepInfo, TensorInfo, text};
pub use module::{PluginModule, PluginModule_Ref, export_header, host_layout};
pub use part::{Named, Part, Part_TO, PartBox, PortValue, event, role};
pub use preamble::{MAGIC, Preamble, padded};
pub use safe::{Element, parallel_for, view_slice, view_slice_mut};
pub use types::{AbiError, AbiResult, Ctx, Handle, code};

/// First number of the interface's version: it must be equal on both sides.
pub const ABI_MAJOR: u32 = 0;
/// Second number: it grows when something is appended.
pub const ABI_MINOR: u32 = 1;
/// Exported symbol of the [`Preamble`].
pub const PREAMBLE_SYMBOL: &str = "STILLHOUSE_PREAMBLE";
/// Exported symbol of the `LibHeader`.
pub const HEADER_SYMBOL: &str = "STILLHOUSE_HEADER";
