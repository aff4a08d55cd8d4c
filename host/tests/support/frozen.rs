//! Plugins built with the interface as 1.0 froze it, under `tests/abi/`, in several ways of building.

use super::library;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// How a plugin is built: its package, and what is added to the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Built {
    /// As authors do.
    Plainly,
    /// Without optimisation, with the assertions of the debug profile; its interface is built as ever.
    Unoptimised,
    /// With an allocator of its own.
    OwnAllocator,
    /// With `panic = "abort"`.
    Aborting,
    /// The whole of it in the debug profile.
    Debug,
    /// By the compiler of the toolchain that `$STILLHOUSE_TOOLCHAIN` names, `nightly` unless set.
    OtherCompiler,
    /// With the interface 1.1.
    Next,
}

impl Built {
    fn command(self) -> (&'static [&'static str], &'static [&'static str]) {
        const SAMPLE: &[&str] = &["build", "--profile", "fixture", "-p", "frozen-sample"];
        const RUSTC: &[&str] = &["rustc", "--profile", "fixture", "-p", "frozen-sample", "--lib"];
        match self {
            Built::Plainly | Built::OtherCompiler => (SAMPLE, &[]),
            Built::Unoptimised => (RUSTC, &["--", "-C", "opt-level=0", "-C", "debug-assertions=on"]),
            Built::OwnAllocator => (SAMPLE, &["--features", "own-allocator"]),
            Built::Aborting => (RUSTC, &["--", "-C", "panic=abort"]),
            Built::Debug => (&["build", "-p", "frozen-sample"], &[]),
            Built::Next => (&["build", "--profile", "fixture", "-p", "frozen-next"], &[]),
        }
    }
}

/// The library, built once; all of them would have one name, so that each is copied.
pub fn frozen(built: Built) -> PathBuf {
    static DONE: Mutex<BTreeMap<Built, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut done = DONE.lock().unwrap_or_else(|lock| lock.into_inner());
    done.entry(built).or_insert_with(|| build(built)).clone()
}

fn build(built: Built) -> PathBuf {
    let (command, rest) = built.command();
    let mut cargo = if built == Built::OtherCompiler { other() } else { Command::new(env!("CARGO")) };
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).args(command);
    let output = cargo.arg("--message-format=json-render-diagnostics").args(rest).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let (_, file) = lines.lines().filter_map(super::artifact).next_back().expect("a library");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("frozen-{built:?}"));
    fs::create_dir_all(&folder).expect("a folder");
    // Renamed into place: another test program may have the last one open.
    let (path, unfinished) = (folder.join(library("frozen_sample")), folder.join(format!("{}", std::process::id())));
    fs::copy(file, &unfinished).and_then(|_| fs::rename(&unfinished, &path)).expect("the copy is written");
    path
}

/// Another toolchain's cargo, building where the one that runs this keeps nothing.
fn other() -> Command {
    let toolchain = std::env::var("STILLHOUSE_TOOLCHAIN").unwrap_or_else(|_| "nightly".into());
    let mut cargo = Command::new("rustup");
    cargo
        .args(["run", &toolchain, "cargo"])
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("other"));
    // Those of the cargo that runs this test would win.
    cargo.env_remove("RUSTC").env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    cargo
}
