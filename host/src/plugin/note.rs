//! The hash of a file, and the note of it that an installed plugin has beside it.

use crate::hex::hex;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// SHA-256 of a file, in hexadecimal.
pub fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(hasher)),
            count => hasher.update(&piece[..count]),
        }
    }
}

/// Where the note of a library lies: its name with `.sha256` behind it.
pub(super) fn place(library: &Path) -> PathBuf {
    let mut name = library.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// The note's text, as `sha256sum --check` reads it.
pub(super) fn text(library: &Path, sha256: &str) -> String {
    format!("{sha256}  {}\n", library.file_name().unwrap_or_default().to_string_lossy())
}

/// The hash that was noted for a library; `None` where there is no note.
pub(super) fn read(library: &Path) -> Option<String> {
    let text = fs::read_to_string(place(library)).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}
