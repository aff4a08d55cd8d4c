//! Files that may come from anybody, with every small damage: what reads them says an error, and does not panic. The same readers are fuzzed
//! (`host/fuzz`).
#![allow(missing_docs)]

#[path = "../fuzz/src/looks/mod.rs"]
mod looks;
mod support;

use looks::state::{CACHE, CHECKPOINT, RECORDING, Reader};
use std::fs;
use std::path::Path;
use support::hostile;

/// Every byte of the file changed in some ways, and the file cut behind every byte.
fn every_damage(whole: &[u8], mut look: impl FnMut(&[u8])) {
    for at in 0..whole.len() {
        look(&whole[..at]);
        for change in [1, 0x80, 0xFF, whole[at]] {
            let mut input = whole.to_vec();
            input[at] ^= change;
            look(&input);
        }
    }
}

fn is_never_read_as_something_else(reader: &Reader) {
    let whole = (reader.whole)();
    assert!((reader.read)(&whole).is_some(), "a whole {} is read", reader.name);
    let mut taken = 0;
    every_damage(&whole, |input| taken += usize::from(reader.look(input)));
    assert!(taken > 0, "a {} sealed anew is read", reader.name);
}

#[test]
fn damaged_checkpoint_is_refused() {
    is_never_read_as_something_else(&CHECKPOINT);
}

#[test]
fn damaged_recording_is_refused() {
    is_never_read_as_something_else(&RECORDING);
}

#[test]
fn damaged_cache_is_refused_or_computed_anew() {
    is_never_read_as_something_else(&CACHE);
}

#[test]
fn damaged_library_is_an_error() {
    let whole = fs::read(hostile("plain")).expect("is read");
    let heads = whole.len().min(1024);
    for at in 0..heads {
        for change in [1, 0x80, 0xFF] {
            let mut input = whole.clone();
            input[at] ^= change;
            looks::image(&input);
        }
    }
    (0..200).for_each(|piece| looks::image(&whole[..whole.len() * piece / 200]));
}

#[test]
fn damaged_manifest_is_an_error() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart.toml");
    let whole = fs::read(example).expect("is read");
    every_damage(&whole[..whole.len().min(600)], looks::manifest);
    let text = String::from_utf8(whole).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    for at in 0..lines.len() {
        let without = [&lines[..at], &lines[at + 1..]].concat().join("\n");
        looks::manifest(without.as_bytes());
        looks::manifest(format!("{without}\n{}", lines[at]).as_bytes());
    }
}
