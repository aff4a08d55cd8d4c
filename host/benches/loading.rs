//! What it takes to find, verify, open and describe every plugin that ships, and a whole `stillhouse plugins`.
//!
//! ```text
//! cargo build --release && cargo bench -p stillhouse --bench loading
//! ```
//! Libraries stay open, so that a process opens them once: each round is a process of its own, which is asked for its figures.
//! The least and the median of all rounds; files are in the system's cache.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use stillhouse::manifest::RESERVED_TERM_KEYS;
use stillhouse::plugin::{Registry, SearchPaths, Surroundings, hash_file, is_library_name, verify};

const ROUNDS: usize = 21;
/// Set in the processes of the rounds.
const CHILD: &str = "STILLHOUSE_LOADING_ROUND";

fn main() -> Result<(), String> {
    let folder = folder();
    if std::env::var_os(CHILD).is_some() {
        let [a, b, c] = round(&folder)?;
        println!("{a} {b} {c}");
        return Ok(());
    }
    let files = libraries(&folder);
    let mut rounds = (0..ROUNDS).map(|_| measured(&folder)).collect::<Result<Vec<[f64; 4]>, String>>()?;
    println!("{} plugins in {}; {} rounds", files.len(), folder.display(), rounds.len());
    println!("{:>8} {:>9}", "least", "median");
    let steps =
        ["read and verified", "hashed", "found, verified, hashed, opened, compared, described", "stillhouse plugins"];
    for (at, what) in steps.iter().enumerate() {
        rounds.sort_by(|a, b| a[at].total_cmp(&b[at]));
        println!("{:>8.1} {:>6.1} ms  {what}", rounds[0][at], rounds[rounds.len() / 2][at]);
    }
    Ok(())
}

/// Where the binary and its plugins are.
fn folder() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.parent().and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
}

fn libraries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| is_library_name(path) && verify(path, false).is_ok()).collect()
}

/// One round in this process, in milliseconds: verifying, hashing, the whole.
fn round(folder: &Path) -> Result<[f64; 3], String> {
    let files = libraries(folder);
    let ((), verifying) = timed(|| files.iter().for_each(|file| drop(verify(file, false))));
    let ((), hashing) = timed(|| files.iter().for_each(|file| drop(hash_file(file))));
    let around = Surroundings { binary: Some(folder.join("stillhouse")), ..Surroundings::default() };
    let paths = SearchPaths::new(&[], &around);
    let (registry, whole) = timed(|| Registry::discover(&paths, false, RESERVED_TERM_KEYS));
    if registry.plugins().len() == files.len() {
        return Ok([verifying, hashing, whole]);
    }
    let refused: Vec<_> =
        registry.refused().iter().map(|one| format!("{}: {}", one.path.display(), one.error)).collect();
    let others = "plugins of tests lie beside the binary: build with `cargo build --release` in another folder (CARGO_TARGET_DIR)";
    Err(format!(
        "{} of {} plugins can be used; {others}\n{}",
        registry.plugins().len(),
        files.len(),
        refused.join("\n")
    ))
}

fn measured(folder: &Path) -> Result<[f64; 4], String> {
    let run = |command: &mut Command| {
        let done = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).trim().to_owned());
        }
        String::from_utf8(done.stdout).map_err(|error| error.to_string())
    };
    let exe = std::env::current_exe().map_err(|error| error.to_string())?;
    let text = run(Command::new(exe).env(CHILD, "1"))?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [a, b, c] = numbers[..] else { return Err(format!("a round gave {text:?}")) };
    let (listed, listing) = timed(|| run(Command::new(folder.join("stillhouse")).arg("plugins")));
    listed.map(|_| [a, b, c, listing])
}

/// What the work gives, and its milliseconds.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let started = Instant::now();
    let given = work();
    (given, started.elapsed().as_secs_f64() * 1e3)
}
