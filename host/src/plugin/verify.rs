//! What can be known of a plugin before any of its code runs.

use super::error::PluginError;
use super::find::unreadable;
use super::image::{self, Flaw, Image};
use object::read::ReadCache;
use std::fs::{self, File};
use std::path::Path;
use stillhouse_plugin::abi::{ABI_MAJOR, ABI_MINOR, MAGIC, Preamble};

/// What a plugin file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Name of the plugin: that of its crate.
    pub name: String,
    /// Version of its crate.
    pub version: String,
    /// Version of the interface that it speaks, major and minor.
    pub abi: (u32, u32),
    /// False when a panic in it ends the process.
    pub unwinds: bool,
    /// Compiler and target.
    pub built_with: String,
}

/// Reads a plugin file without running any of it.
///
/// # Errors
/// It is absent, unreadable, no library, for another machine, cut off, no plugin, of another major version of the interface,
/// or a panic in it would end the process and `allow_abort` is false.
pub fn verify(path: &Path, allow_abort: bool) -> Result<Verified, PluginError> {
    examined(path, &read_image(path)?, allow_abort)
}

/// The same of a file in memory; `path` is what it is called in errors.
///
/// # Errors
/// As [`verify`].
pub fn verify_bytes(path: &Path, bytes: &[u8], allow_abort: bool) -> Result<Verified, PluginError> {
    let len = bytes.len() as u64;
    examined(path, &image::read(bytes, len).map_err(|flaw| flawed(path, len, flaw))?, allow_abort)
}

fn examined(path: &Path, image: &Image, allow_abort: bool) -> Result<Verified, PluginError> {
    let verified = read_preamble(path, &image.preamble)?;
    let plugin = verified.name.clone();
    let path = path.to_owned();
    if !verified.unwinds && !allow_abort {
        return Err(PluginError::Aborts { path, plugin });
    }
    if !image.has_header {
        return Err(PluginError::BadHeader { path, plugin, cause: "it is not exported".into() });
    }
    Ok(verified)
}

fn read_image(path: &Path) -> Result<Image, PluginError> {
    let meta = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !meta.is_file() {
        let what = if meta.is_dir() { "a folder" } else { "a device or a pipe" };
        return Err(PluginError::NotFile { path: path.to_owned(), what });
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let cache = ReadCache::new(file);
    image::read(&cache, meta.len()).map_err(|flaw| flawed(path, meta.len(), flaw))
}

fn flawed(path: &Path, len: u64, flaw: Flaw) -> PluginError {
    let path = path.to_owned();
    match flaw {
        Flaw::NotLibrary(got) => PluginError::NotLibrary { path, got },
        Flaw::OtherMachine(got) => PluginError::OtherMachine { path, got, wanted: image::this_machine() },
        Flaw::CutOff(wanted) => PluginError::CutOff { path, got: len, wanted },
        Flaw::Damaged(cause) => PluginError::Damaged { path, cause },
        Flaw::NotPlugin => PluginError::NotPlugin { path },
    }
}

fn read_preamble(path: &Path, preamble: &Preamble) -> Result<Verified, PluginError> {
    let bad = |cause: &str| Err(PluginError::BadPreamble { path: path.to_owned(), cause: cause.into() });
    if preamble.magic != MAGIC {
        return bad("it does not begin with the mark of Stillhouse");
    }
    let plugin = Preamble::text(&preamble.name);
    let (got, wanted) = ((preamble.abi_major, preamble.abi_minor), (ABI_MAJOR, ABI_MINOR));
    if plugin.is_empty() || !plugin.chars().all(|letter| letter.is_alphanumeric() || "-_".contains(letter)) {
        return bad("its name is not that of a crate");
    }
    if got.0 != wanted.0 {
        return Err(PluginError::Version { path: path.to_owned(), plugin, got, wanted });
    }
    if u32::from(preamble.pointer_bits) != usize::BITS {
        let got = format!("pointers of {} bits", preamble.pointer_bits);
        return Err(PluginError::OtherMachine { path: path.to_owned(), got, wanted: image::this_machine() });
    }
    Ok(Verified {
        name: plugin,
        version: printable(&preamble.version),
        abi: got,
        unwinds: preamble.unwinds == 1,
        built_with: printable(&preamble.built_with),
    })
}

/// The text of a field, without what would upset a terminal.
fn printable(field: &[u8]) -> String {
    Preamble::text(field).chars().filter(|letter| !letter.is_control()).collect()
}
