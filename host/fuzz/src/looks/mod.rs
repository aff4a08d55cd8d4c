//! What an input is shown to. Nothing of it may panic, whatever the bytes.

pub mod state;

use std::path::Path;
use stillhouse::manifest::{Diagnostics, ManifestPath, Sources, load_str, schema};
use stillhouse::plugin::verify_bytes;

/// A plugin's file, before the system opens it.
///
/// # Panics
/// An error takes more than a line.
pub fn image(input: &[u8]) {
    if let Err(error) = verify_bytes(Path::new("lib"), input, true) {
        assert!(!error.to_string().contains('\n'), "more than a line: {error}");
    }
}

/// A manifest and what is said of it, its resolved form, and its text as a lock file.
pub fn manifest(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = toml::from_str::<stillhouse::train::Lock>(&text);
    let drawn = |sources: &Sources, found: &Diagnostics| found.render(sources, false).len();
    match load_str(Path::new("examples/fuzzed.toml"), &text, &[]) {
        Ok((_, sources)) => {
            drawn(&sources, &sources.check_config(&ManifestPath::of(["run"]), &schema(), &["use"]));
            let _ = sources.resolved_toml(Path::new("runs"));
        }
        Err(error) => assert!(drawn(error.sources(), error.diagnostics()) > 0, "an error without a word"),
    }
}
