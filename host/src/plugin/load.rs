//! Opens a verified library and takes its module. All `unsafe` of this room is here.

use super::error::PluginError;
use super::layout;
use super::verify::Verified;
use libloading::Error as OpenError;
use std::error::Error;
use std::path::Path;
use stillhouse_plugin::abi::abi_stable::library::{AbiHeaderRef, LibHeader, RootModuleError};
use stillhouse_plugin::abi::{HEADER_SYMBOL, PluginModule_Ref};

#[cfg(unix)]
use libloading::os::unix as system;
#[cfg(windows)]
use libloading::os::windows as system;

/// Opens the library and checks its interface against the host's, before any function of it is called.
pub(super) fn open(path: &Path, verified: &Verified) -> Result<PluginModule_Ref, PluginError> {
    let plugin = || verified.name.clone();
    let library = map(path).map_err(|error| PluginError::Open {
        path: path.to_owned(),
        plugin: plugin(),
        cause: shown(path, &error),
    })?;
    let header = header_of(&library);
    // Threads, thread-local destructors and errors of the plugin point into it for as long as the host lives.
    std::mem::forget(library);
    let header = header.map_err(|cause| PluginError::BadHeader { path: path.to_owned(), plugin: plugin(), cause })?;
    layout::check(header, verified.abi.1).map_err(|mismatch| PluginError::Layout {
        path: path.to_owned(),
        plugin: plugin(),
        difference: mismatch.difference,
        report: mismatch.report,
    })?;
    // SAFETY: `layout::check` compared the types behind the header with those of `PluginModule_Ref`.
    let module = unsafe { header.unchecked_layout::<PluginModule_Ref>() };
    module.map_err(|error| PluginError::Start { path: path.to_owned(), plugin: plugin(), cause: started(&error) })
}

#[cfg(unix)]
fn map(path: &Path) -> Result<system::Library, OpenError> {
    #[cfg(target_vendor = "apple")]
    const NODELETE: std::ffi::c_int = 0x80;
    #[cfg(target_os = "linux")]
    const NODELETE: std::ffi::c_int = 0x1000;
    #[cfg(not(any(target_vendor = "apple", target_os = "linux")))]
    const NODELETE: std::ffi::c_int = 0;
    // Without a separator the system would search its own folders.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let flags = system::RTLD_NOW | system::RTLD_LOCAL | NODELETE;
    // SAFETY: constructors of the library run. The file is whole and says that it is a plugin; whoever names a plugin trusts
    // its code.
    unsafe { system::Library::open(Some(&path), flags) }
}

#[cfg(windows)]
fn map(path: &Path) -> Result<system::Library, OpenError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // SAFETY: initialisers of the library run. The file is whole and says that it is a plugin; whoever names a plugin trusts
    // its code.
    unsafe { system::Library::new(&path) }
}

/// The header behind the exported symbol, once it was made by a version of `abi_stable` that this host understands.
fn header_of(library: &system::Library) -> Result<&'static LibHeader, String> {
    // SAFETY: the symbol is the address of a header; `AbiHeaderRef` is a transparent non-null pointer, so that `None` stands
    // for a null address. `verify` found a whole header's bytes at it.
    let symbol = unsafe { library.get::<Option<AbiHeaderRef>>(HEADER_SYMBOL.as_bytes()) };
    let symbol = symbol.map_err(|error| chain(&error))?;
    let header = (*symbol).ok_or_else(|| "its address is null".to_owned())?;
    header.upgrade().map_err(|error| {
        let text = error.to_string();
        let first = text.lines().map(str::trim).find(|line| !line.is_empty());
        first.unwrap_or("made by another version of `abi_stable`").to_owned()
    })
}

fn started(error: &RootModuleError) -> String {
    match error {
        RootModuleError::Unwound => "its constructor panicked".into(),
        other => other.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// An error of the system with its causes, which name the file themselves or not.
fn shown(path: &Path, error: &OpenError) -> String {
    let text = chain(error);
    let file = path.display().to_string();
    if text.contains(&file) { text } else { format!("{text}: {file}") }
}

/// An error and all its causes in one line; `dlopen failed` alone says nothing.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
