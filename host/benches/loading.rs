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

fn main() {
    let folder = folder();
    if std::env::var_os(CHILD).is_some() {
        let [a, b, c] = round(&folder);
        return println!("{a} {b} {c}");
    }
    let files = libraries(&folder);
    let mut rounds: Vec<[f64; 4]> = (0..ROUNDS).filter_map(|_| measured(&folder)).collect();
    println!("{} plugins in {}; {} rounds", files.len(), folder.display(), rounds.len());
    println!("{:>8} {:>9}", "least", "median");
    let steps =
        ["read and verified", "hashed", "found, verified, hashed, opened, compared, described", "stillhouse plugins"];
    for (at, what) in steps.iter().enumerate() {
        rounds.sort_by(|a, b| a[at].total_cmp(&b[at]));
        let of = |place: usize| rounds.get(place).map_or(f64::NAN, |round| round[at]);
        println!("{:>8.1} {:>6.1} ms  {what}", of(0), of(rounds.len() / 2));
    }
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
fn round(folder: &Path) -> [f64; 3] {
    let files = libraries(folder);
    let timed = |work: &dyn Fn()| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64() * 1e3
    };
    let verifying = timed(&|| files.iter().for_each(|file| drop(verify(file, false))));
    let hashing = timed(&|| files.iter().for_each(|file| drop(hash_file(file))));
    let around = Surroundings { binary: Some(folder.join("stillhouse")), ..Surroundings::default() };
    let whole = timed(&|| {
        let registry = Registry::discover(&SearchPaths::new(&[], &around), false, RESERVED_TERM_KEYS);
        assert_eq!(registry.plugins().len(), files.len(), "{:?}", registry.refused());
    });
    [verifying, hashing, whole]
}

fn measured(folder: &Path) -> Option<[f64; 4]> {
    let child = Command::new(std::env::current_exe().ok()?).env(CHILD, "1").output().ok()?;
    let text = String::from_utf8(child.stdout).ok()?;
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    let [a, b, c] = [numbers.next()?, numbers.next()?, numbers.next()?];
    let started = Instant::now();
    let done = Command::new(folder.join("stillhouse")).arg("plugins").output().ok()?;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some([a, b, c, started.elapsed().as_secs_f64() * 1e3])
}
