//! Checkpoints on disk: each whole or not there, with a checksum, the newest few of them.
//!
//! ```text
//! seed-<s>/checkpoints/<n>.checkpoint      n = 1, 2, ..., the newest has the largest number
//!
//! mark (24 bytes)   length of the position (u64, little endian)   position (JSON)   tensors (safetensors)
//! SHA-256 of all that stands before (32 bytes)
//! ```

use super::error::TrainError;
use crate::disk::replace;
use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const MARK: &[u8; 24] = b"stillhouse checkpoint 1\n";
const SUM: usize = 32;
const ENDING: &str = "checkpoint";

/// Tensors by name.
pub(super) type Tensors = HashMap<String, Tensor>;

/// The checkpoints of a seed.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    keep: usize,
    /// Number of the newest that is whole.
    newest: u64,
}

/// One that was read and is whole.
pub(super) struct Whole {
    /// Its position, as JSON.
    pub(super) position: Vec<u8>,
    /// Its tensors.
    pub(super) tensors: Tensors,
}

impl Store {
    /// The checkpoints of a seed's folder, of which `keep` stay.
    pub(super) fn new(folder: &Path, keep: usize) -> Store {
        Store { folder: folder.join("checkpoints"), keep: keep.max(1), newest: 0 }
    }

    /// Writes the next one; older ones go, and those that were found damaged.
    ///
    /// # Errors
    /// It cannot be written. Those that were there stay.
    pub(super) fn save(&mut self, position: &[u8], tensors: &Tensors) -> Result<(), TrainError> {
        let number = self.newest + 1;
        let path = self.path(number);
        let told = |error| TrainError::file(&path, error);
        let payload = safetensors::serialize(tensors, None).map_err(|error| TrainError::Other(error.to_string()))?;
        fs::create_dir_all(&self.folder).map_err(told)?;
        let mut sum = Sha256::new();
        let length = (position.len() as u64).to_le_bytes();
        replace(&path, |file| {
            for piece in [MARK, &length[..], position, &payload] {
                sum.update(piece);
                file.write_all(piece)?;
            }
            file.write_all(&sum.finalize())
        })
        .map_err(told)?;
        self.newest = number;
        for old in numbers(&self.folder).into_iter().filter(|old| *old > number || old + self.keep as u64 <= number) {
            // One that stays does no harm.
            let _ = fs::remove_file(self.path(old));
        }
        Ok(())
    }

    /// The newest that is whole, none where none was ever written; and what is wrong with newer ones.
    ///
    /// # Errors
    /// There are some, and none is whole.
    pub(super) fn load(&mut self) -> Result<(Option<Whole>, Vec<String>), TrainError> {
        let (mut numbers, mut wrong) = (numbers(&self.folder), vec![]);
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        for number in numbers {
            match read(&self.path(number)) {
                Ok(whole) => {
                    self.newest = number;
                    return Ok((Some(whole), wrong));
                }
                Err(why) => wrong.push(why),
            }
        }
        if wrong.is_empty() { Ok((None, wrong)) } else { Err(TrainError::Damaged(wrong)) }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number}.{ENDING}"))
    }
}

/// Whether a seed's folder has a checkpoint, whole or not.
pub fn has_checkpoint(folder: &Path) -> bool {
    !numbers(&folder.join("checkpoints")).is_empty()
}

/// Numbers of the files in a folder of checkpoints.
fn numbers(folder: &Path) -> Vec<u64> {
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()?.strip_suffix(ENDING)?.strip_suffix('.')?.parse().ok()
    };
    fs::read_dir(folder).into_iter().flatten().flatten().filter_map(number).collect()
}

/// Reads one; a sentence that says what is wrong with it.
fn read(path: &Path) -> Result<Whole, String> {
    let wrong = |what: &str| format!("`{}` {what}", path.display());
    let bytes = fs::read(path).map_err(|error| wrong(&format!("could not be read: {error}")))?;
    parse(&bytes, path)
}

/// The content of a file.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Whole, String> {
    let wrong = |what: &str| format!("`{}` {what}", path.display());
    if !bytes.starts_with(MARK) {
        return Err(wrong("is no checkpoint of this version"));
    }
    let Some((content, sum)) = bytes.split_last_chunk::<SUM>() else { return Err(wrong("is cut off")) };
    if Sha256::digest(content).as_slice() != sum {
        return Err(wrong(&format!("is damaged: its {} bytes have another SHA-256 than it says", bytes.len())));
    }
    let rest = content.get(MARK.len()..).unwrap_or_default();
    let parts = rest.split_first_chunk::<8>().and_then(|(length, rest)| {
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        rest.split_at_checked(length)
    });
    let Some((position, payload)) = parts else { return Err(wrong("is cut off")) };
    let tensors = candle_core::safetensors::load_buffer(payload, &Device::Cpu)
        .map_err(|error| wrong(&format!("has tensors that could not be read: {error}")))?;
    Ok(Whole { position: position.to_vec(), tensors })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(value: f32) -> Tensors {
        [("a".to_owned(), Tensor::full(value, (2, 3), &Device::Cpu).expect("small"))].into()
    }

    fn newest(folder: &Path) -> (String, f32, usize) {
        let (whole, wrong) = Store::new(folder, 2).load().expect("one is whole");
        let whole = whole.expect("there are some");
        let value = whole.tensors["a"].flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("values")[5];
        (String::from_utf8(whole.position).expect("text"), value, wrong.len())
    }

    #[test]
    fn store_keeps_the_newest_few_and_gives_the_newest() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::new(folder.path(), 2);
        assert!(store.load().expect("nothing is wrong").0.is_none() && !has_checkpoint(folder.path()));
        for number in 1..=12 {
            store.save(format!("at {number}").as_bytes(), &tensors(number as f32)).expect("is written");
        }
        let mut kept = numbers(&folder.path().join("checkpoints"));
        kept.sort_unstable();
        assert_eq!(kept, [11, 12]);
        assert_eq!(newest(folder.path()), ("at 12".into(), 12.0, 0));
    }

    /// Cut at every byte, and with every byte changed: the one before is taken, and goes on as the newest.
    #[test]
    fn store_falls_back_from_a_damaged_file_to_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::new(folder.path(), 2);
        store.save(b"one", &tensors(1.0)).expect("is written");
        store.save(b"two", &tensors(2.0)).expect("is written");
        let path = store.path(2);
        let whole = fs::read(&path).expect("reads");
        for at in 0..whole.len() {
            fs::write(&path, &whole[..at]).expect("is written");
            assert_eq!(newest(folder.path()), ("one".into(), 1.0, 1), "{at} bytes");
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(&path, &changed).expect("is written");
            assert_eq!(newest(folder.path()), ("one".into(), 1.0, 1), "byte {at}");
        }
        let mut again = Store::new(folder.path(), 2);
        again.load().expect("one is whole");
        again.save(b"anew", &tensors(3.0)).expect("is written");
        assert_eq!(newest(folder.path()), ("anew".into(), 3.0, 0));
    }

    #[test]
    fn store_without_a_whole_file_is_an_error_that_names_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::new(folder.path(), 3);
        (1..=3).for_each(|_| store.save(b"x", &tensors(1.0)).expect("is written"));
        for (number, bytes) in [(1, &b"none"[..]), (2, MARK), (3, &[])] {
            fs::write(store.path(number), bytes).expect("is written");
        }
        let Err(TrainError::Damaged(wrong)) = Store::new(folder.path(), 3).load() else { panic!("nothing was whole") };
        assert!(wrong[0].contains("3.checkpoint` is no checkpoint") && wrong[1].contains("2.checkpoint` is cut off"));
        assert_eq!(wrong.len(), 3);
    }
}
