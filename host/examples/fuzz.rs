//! Feeds damaged inputs to what reads files that a user may get from anybody: plugin libraries, manifests, lock files, descriptions
//! of parts. None may panic, hang or take long; what does is written to a file, and its seed printed.
//!
//! ```text
//! cargo run --release -p stillhouse --example fuzz -- image --minutes 20 --seed 1
//! ```
//! Targets are `image` (ELF reader and preamble, on the libraries beside the binary), `manifest` (the manifests under `examples`,
//! their diagnostics drawn, and their text as a lock file), and files that a run reads again: `checkpoint`, `recording`, `cache`. The same seed
//! gives the same inputs.

#[path = "fuzz/state.rs"]
mod state;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use stillhouse::manifest::{Sources, load_str, schema};
use stillhouse::plugin::{is_library_name, verify_bytes};

/// An input that takes longer is as bad as one that panics.
const LONG: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, otherwise: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(otherwise)
    };
    let (minutes, seed) = (number("--minutes", 1), number("--seed", 1));
    let name = arguments.first().map(String::as_str).unwrap_or_default();
    let reader = state::READERS.iter().find(|reader| reader.name == name);
    let (corpus, target): (Vec<Vec<u8>>, &Target) = match (name, reader) {
        ("image", _) => (files(&beside(), is_library_name), &image),
        ("manifest", _) => {
            (files(Path::new("examples"), |path| path.extension().is_some_and(|end| end == "toml")), &manifest)
        }
        (_, Some(reader)) => (vec![(reader.whole)()], &|input| reader.look(input)),
        _ => {
            eprintln!("usage: fuzz image|manifest|checkpoint|recording|cache [--minutes N] [--seed N]");
            return ExitCode::from(2);
        }
    };
    if corpus.is_empty() {
        eprintln!("nothing to begin with: build first, and run it at the root of the repository");
        return ExitCode::from(2);
    }
    std::panic::set_hook(Box::new(|_| {}));
    run(name, &corpus, target, Duration::from_secs(minutes * 60), seed)
}

/// Reads an input; true when it was taken.
type Target = dyn Fn(&[u8]) -> bool;

fn run(name: &str, corpus: &[Vec<u8>], target: &Target, time: Duration, seed: u64) -> ExitCode {
    let (started, mut dice) = (Instant::now(), Dice(seed));
    let (mut rounds, mut taken, mut bad) = (0_u64, 0_u64, 0_u64);
    while started.elapsed() < time {
        let mut input = corpus[dice.below(corpus.len() as u64) as usize].clone();
        // Most of a library is code, which nobody reads: many damages to one copy of it, undone one by one.
        for _ in 0..64 {
            let before = dice.damage(&mut input, corpus, name);
            let begun = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
            rounds += 1;
            match outcome {
                Ok(was_taken) if begun.elapsed() < LONG => taken += u64::from(was_taken),
                outcome => {
                    bad += 1;
                    let path = PathBuf::from(format!("fuzz-{name}-{seed}-{rounds}"));
                    let what =
                        outcome.err().map_or_else(|| format!("{:?}", begun.elapsed()), |payload| words(&*payload));
                    println!("{}: {what}", path.display());
                    let _ = std::fs::write(path, &input);
                }
            }
            before.undo(&mut input);
        }
    }
    println!(
        "{name}: {rounds} inputs in {:.0} s from {} files, seed {seed}: {taken} taken, {bad} bad",
        started.elapsed().as_secs_f64(),
        corpus.len()
    );
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without text".into())
}

fn beside() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.parent().and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
}

fn files(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| wanted(path)).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

fn image(input: &[u8]) -> bool {
    match verify_bytes(Path::new("lib"), input, true) {
        Ok(_) => true,
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "more than a line: {error}");
            false
        }
    }
}

fn manifest(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let _ = toml::from_str::<stillhouse::train::Lock>(&text);
    let drawn = |sources: &Sources, found: &stillhouse::manifest::Diagnostics| found.render(sources, false).len();
    match load_str(Path::new("examples/fuzzed.toml"), &text, &[]) {
        Ok((_, sources)) => {
            let settings = sources.check_config(&stillhouse::manifest::ManifestPath::of(["run"]), &schema(), &["use"]);
            drawn(&sources, &settings);
            !sources.resolved_toml(Path::new("runs")).is_empty()
        }
        Err(error) => drawn(error.sources(), error.diagnostics()) == 0,
    }
}

/// What stood where an input was damaged.
enum Before {
    Bytes(usize, Vec<u8>),
    All(Vec<u8>),
}

impl Before {
    fn undo(self, input: &mut Vec<u8>) {
        match self {
            Before::Bytes(at, bytes) => input[at..at + bytes.len()].copy_from_slice(&bytes),
            Before::All(bytes) => *input = bytes,
        }
    }
}

/// A small generator (SplitMix64), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n.max(1)
    }

    fn damage(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>], name: &str) -> Before {
        match name {
            "image" => self.damage_image(input),
            "manifest" => self.damage_text(input, corpus),
            // Numbers, and the names and shapes between them.
            _ if self.below(3) == 0 => self.damage_text(input, corpus),
            _ => self.damage_number(input),
        }
    }

    /// A number anywhere; sometimes a single bit.
    fn damage_number(&mut self, input: &mut [u8]) -> Before {
        let all = input.to_vec();
        let at = self.below(input.len() as u64) as usize;
        if self.below(4) == 0 {
            input[at] ^= 1 << self.below(8);
            return Before::All(all);
        }
        let width = [1, 2, 4, 8][self.below(4) as usize].min(input.len() - at);
        let value = self.number(input.len() as u64);
        input[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        Before::All(all)
    }

    /// One that readers of sizes stumble over.
    fn number(&mut self, len: u64) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => len,
            3 => len.wrapping_sub(self.below(64)),
            4 => 1 << self.below(64),
            5 => (1_u64 << self.below(64)).wrapping_sub(1),
            6 => self.below(256),
            _ => self.below(u64::MAX),
        }
    }

    /// A number in the tables at both ends of the file, which all the rest is found by; sometimes the length.
    fn damage_image(&mut self, input: &mut Vec<u8>) -> Before {
        let len = input.len() as u64;
        if self.below(16) == 0 {
            let all = input.clone();
            input.truncate(self.below(len) as usize);
            return Before::All(all);
        }
        let near = self.below(8192).min(len - 8);
        let at = match self.below(8) {
            0..4 => self.below(64 + 13 * 56),
            4 => near,
            5 | 6 => len - 8 - near,
            _ => self.below(len - 8),
        } as usize;
        let width = [1, 2, 4, 8][self.below(4) as usize];
        let value = self.number(len);
        let before = input[at..at + width].to_vec();
        input[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        Before::Bytes(at, before)
    }

    /// Pieces cut, doubled, moved in from elsewhere, and words that readers of numbers and names stumble over.
    fn damage_text(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) -> Before {
        const WORDS: [&str; 28] = [
            "1e400",
            "-1",
            "0",
            "99999999999999999999",
            "nan",
            "-inf",
            "\"\"",
            "[]",
            "{}",
            "[[",
            "]]",
            "\"",
            "'''",
            "\n",
            "=",
            ".",
            "*",
            "**",
            "\u{0}",
            "é😀",
            "\u{202e}",
            "true",
            "extends = \"fuzzed.toml\"\n",
            "sweep",
            "\"1 epoch\"",
            "{ from = 1, to = 0 }",
            "stage.",
            "models.student",
        ];
        let all = input.clone();
        for _ in 0..=self.below(3) {
            let len = input.len() as u64;
            let (a, b) = (self.below(len + 1) as usize, self.below(len + 1) as usize);
            let (start, end) = (a.min(b), a.max(b).min(a.min(b) + 400));
            match self.below(7) {
                0 => drop(input.drain(start..end)),
                1 => {
                    let piece = input[start..end].to_vec();
                    drop(input.splice(a.min(input.len())..a.min(input.len()), piece));
                }
                2 => {
                    let other = &corpus[self.below(corpus.len() as u64) as usize];
                    let from = self.below(other.len() as u64) as usize;
                    let piece = other[from..other.len().min(from + 200)].to_vec();
                    drop(input.splice(start..start, piece));
                }
                3 if start < input.len() => input[start] = self.below(256) as u8,
                4 => input.truncate(start.max(1)),
                _ => {
                    let word = WORDS[self.below(WORDS.len() as u64) as usize].bytes();
                    let end = if self.below(2) == 0 { start } else { end.min(start + 8) };
                    drop(input.splice(start..end, word));
                }
            }
        }
        Before::All(all)
    }
}
