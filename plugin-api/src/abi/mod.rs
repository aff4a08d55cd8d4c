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
//! The major number must match. A minor only appends: operations with new codes, functions after `last_prefix_field` of a table
//! or trait, keys and codes of lists, keys in JSON, a meaning for a reserved word in which 0 is what it was before. No signature, no
//! layout and no meaning changes. Whoever makes a value writes 0 into its reserved words, and whoever reads one passes over them;
//! a part gives no error for an event, and a host none for a text, that it does not know. `tests/abi/1.0/` of the repository has
//! this crate as 1.0 froze it, and `frozen.rs` here holds the crate to it.
//!
//! The version of this crate is another number: types carry that of the interface (see `build.rs`), so that a new release of the
//! SDK builds plugins for the same hosts.
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
pub use host::{HostApi, HostApi_Ref, ParallelFn, StepInfo, TensorInfo, distribution, text};
pub use module::{PluginModule, PluginModule_Ref, export_header, host_layout};
pub use part::{Named, Part, Part_TO, PartBox, PortValue, event, role};
pub use preamble::{MAGIC, Preamble, padded};
pub use safe::{Element, parallel_for, view_slice, view_slice_mut};
pub use types::{AbiError, AbiResult, Ctx, Handle, code};

/// First number of the interface's version: it must be equal on both sides.
pub const ABI_MAJOR: u32 = 1;
/// Second number: it grows when something is appended.
pub const ABI_MINOR: u32 = 0;
/// The context of no call, for the functions that need none.
pub const NO_CALL: Ctx = Ctx(0);
/// Exported symbol of the [`Preamble`].
pub const PREAMBLE_SYMBOL: &str = "STILLHOUSE_PREAMBLE";
/// Exported symbol of the `LibHeader`.
pub const HEADER_SYMBOL: &str = "STILLHOUSE_HEADER";
