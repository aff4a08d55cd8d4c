//! Plugins: found, verified from the file, loaded, asked what they offer, and looked up by name.
//!
//! A file goes through four gates, and the first that it fails names the reason ([`PluginError`]):
//!
//! 1. [`SearchPaths`] lists where plugins may lie, in order: the manifest's paths, `$STILLHOUSE_PLUGINS`, the user's folder,
//!    beside the binary.
//! 2. [`verify`] reads the file, and nothing of it runs: it is whole, for this machine, a plugin, of this interface.
//! 3. It is opened, and the interface that it was compiled with is compared with the host's, type by type.
//! 4. It describes its components; descriptions that cannot work here are refused.
//!
//! [`Registry::discover`] does all of it. What was refused is kept with its reason ([`Registry::refused`]), so that one broken
//! file in a folder stops nobody who does not need it; [`Registry::check_named`] gives the error of a file that the manifest
//! named itself. A library is never unloaded: its threads, its thread-local values and its errors live as long as the host.
//!
//! ```
//! use stillhouse::plugin::{Registry, SearchPaths, Surroundings};
//!
//! let paths = SearchPaths::new(&["no/such/folder".into()], &Surroundings::default());
//! let registry = Registry::discover(&paths, false, &["use", "weight"]);
//! let missing = registry.check_named().unwrap_err();
//! assert_eq!(missing.to_string(), "`no/such/folder` does not exist");
//! let unknown = registry.find(None, "kd").unwrap_err();
//! assert_eq!(unknown.to_string(), "no plugin has a part `kd`");
//! ```
//!
//! Invariants: only [`Component::create`] and what it returns run code of a plugin after discovery; `unsafe` is in one file
//! (`load.rs`); this room names no plugin and no method.

mod component;
mod describe;
mod discover;
mod error;
mod find;
mod image;
mod install;
pub mod last_words;
mod layout;
mod load;
mod note;
mod registry;
mod verify;

pub use component::{Component, Pinned, Plugin};
pub use error::PluginError;
pub use find::{Origin, Place, SearchPaths, Surroundings, is_library_name};
pub use install::{Installed, install, installed, remove};
pub use note::hash as hash_file;
pub use registry::{Fate, Refused, Registry, Seen, Shadowed, same_name};
pub use verify::{Verified, verify, verify_bytes};
