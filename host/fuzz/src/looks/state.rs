//! Files that a run leaves and reads again. A damaged one is an error, never another number; one whose checksum was made anew, as somebody
//! with a bad mind could, is read without a panic and without more memory than it has bytes for.

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use stillhouse::train::{Position, verify_cache, verify_checkpoint, verify_recording};

/// A kind of file.
pub struct Reader {
    /// Its name.
    pub name: &'static str,
    /// A whole file.
    pub whole: fn() -> Vec<u8>,
    /// What a file holds, as bytes; none where it is refused.
    pub read: fn(&[u8]) -> Option<Vec<u8>>,
    /// The file with its checksums made anew.
    pub sealed: fn(&[u8]) -> Vec<u8>,
}

/// A checkpoint of a run.
pub const CHECKPOINT: Reader =
    Reader { name: "checkpoint", whole: checkpoint, read: read_checkpoint, sealed: sealed_checkpoint };

/// A recording of what sources gave.
pub const RECORDING: Reader =
    Reader { name: "recording", whole: recording, read: read_recording, sealed: sealed_recording };

/// What frozen models gave.
pub const CACHE: Reader = Reader { name: "cache", whole: cache, read: read_cache, sealed: sealed_cache };

impl Reader {
    /// Reads a damaged file as it is and sealed anew; true where the latter was taken.
    ///
    /// # Panics
    /// The damage shows in what was read.
    pub fn look(&self, input: &[u8]) -> bool {
        let whole = (self.whole)();
        if let Some(found) = (self.read)(input) {
            assert!(Some(found) == (self.read)(&whole), "a damaged {} was read as something else", self.name);
        }
        (self.read)(&(self.sealed)(input)).is_some()
    }
}

const SUM: usize = 32;

fn checkpoint() -> Vec<u8> {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let position = Position { name: "distil".into(), optimizer_steps: vec![3, 4], ..Position::default() };
        let position = serde_json::to_vec(&position).expect("a position is JSON");
        let tensor = |value: f32, shape: &[usize]| Tensor::full(value, shape, &Device::Cpu).expect("small");
        let tensors: HashMap<String, Tensor> = [
            ("model/student/fc.weight".to_owned(), tensor(1.5, &[4, 3])),
            ("optimizer/0/student.fc.weight#0".to_owned(), tensor(0.5, &[4, 3])),
            ("best/fc.bias".to_owned(), tensor(-2.0, &[4])),
        ]
        .into();
        let payload = safetensors::serialize(&tensors, None).expect("tensors");
        let length = (position.len() as u64).to_le_bytes();
        let content = [&b"stillhouse checkpoint 1\n"[..], &length, &position, &payload].concat();
        [content.as_slice(), Sha256::digest(&content).as_slice()].concat()
    };
    WHOLE.get_or_init(make).clone()
}

fn read_checkpoint(input: &[u8]) -> Option<Vec<u8>> {
    let position = verify_checkpoint(input, Path::new("fuzzed")).ok()?;
    Some([serde_json::to_vec(&position).expect("a position is JSON").as_slice(), input].concat())
}

fn sealed_checkpoint(input: &[u8]) -> Vec<u8> {
    let content = &input[..input.len().saturating_sub(SUM)];
    [content, Sha256::digest(content).as_slice()].concat()
}

const BEFORE: usize = 36;

fn recording() -> Vec<u8> {
    let header = br#"{"arrays":[["bank.0",[2,3]],["bank.0.reversed",[1]]],"index":[5,0,9],"data":1,"models":2}"#;
    let length = (header.len() as u64).to_le_bytes();
    let mut file =
        [&b"stillhouse recording 3\r\n"[..], &length, &crc32fast::hash(header).to_le_bytes(), header].concat();
    for row in 0..3_u64 {
        for (array, values) in [(0_u32, 6), (1, 1)] {
            let values: Vec<u8> = (0..values).flat_map(|at| (row as f32 + at as f32 / 8.0).to_le_bytes()).collect();
            let placed = [&row.to_le_bytes()[..], &array.to_le_bytes(), &values].concat();
            file.extend([values.as_slice(), &crc32fast::hash(&placed).to_le_bytes()].concat());
        }
    }
    file
}

/// A file of this process, in memory where the system has such a place.
fn place() -> PathBuf {
    let folder = Path::new("/dev/shm");
    let folder = if folder.is_dir() { folder.to_owned() } else { std::env::temp_dir() };
    folder.join(format!("stillhouse-fuzz-{}", std::process::id()))
}

fn read_recording(input: &[u8]) -> Option<Vec<u8>> {
    let path = place();
    std::fs::write(&path, input).expect("a file can be written");
    let values = verify_recording(&path).ok()?;
    Some(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// The header's checksum made anew: those of rows follow from its sizes, which may be any.
fn sealed_recording(input: &[u8]) -> Vec<u8> {
    let mut file = input.to_vec();
    let length = input.get(24..32).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(BEFORE));
    if let Some(sum) = end.and_then(|end| input.get(BEFORE..end)).map(crc32fast::hash) {
        file[32..BEFORE].copy_from_slice(&sum.to_le_bytes());
    }
    file
}

const CONTEXT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const KEYS: [u8; 3] = [3, 7, 9];

/// Three logits and a map of 1x2x2 in half precision of each of three samples.
fn cache() -> Vec<u8> {
    let taps = r#"[{"frames":1,"shape":[3],"channels_last":false,"top":null},
        {"frames":1,"shape":[2,2,1],"channels_last":true,"top":null},{"frames":1,"shape":[9],"channels_last":false,"top":2}]"#;
    let header = format!(r#"{{"context":"{CONTEXT}","model":"teacher","layout":{{"half":true,"taps":{taps}}}}}"#);
    let length = (header.len() as u64).to_le_bytes();
    let start = [&b"stillhouse teacher 1\r\n\0\0"[..], &length, header.as_bytes()].concat();
    let mut file = [start.as_slice(), blake3::hash(&start).as_bytes()].concat();
    for key in KEYS {
        let record = [[key; 16].as_slice(), &kept(key)].concat();
        file.extend([record.as_slice(), &blake3::hash(&record).as_bytes()[..8]].concat());
    }
    file
}

/// What the cache holds of a sample: 3 and 4 numbers of 16 bits, then 2 with their places and the mean of the others.
fn kept(key: u8) -> Vec<u8> {
    (0..14 + 2 * 6 + 4).map(|at| key.wrapping_mul(17).wrapping_add(at)).collect()
}

/// A sample that is not found is computed anew: it has its right values.
fn read_cache(input: &[u8]) -> Option<Vec<u8>> {
    let path = place();
    std::fs::write(&path, input).expect("a file can be written");
    let found = verify_cache(&path, CONTEXT).ok()?;
    let of = |key: u8| {
        found.iter().find(|(known, _)| *known == [key; 16]).map_or_else(|| kept(key), |(_, values)| values.clone())
    };
    Some(KEYS.into_iter().flat_map(of).collect())
}

/// The header's hash made anew: how long records are follows from it.
fn sealed_cache(input: &[u8]) -> Vec<u8> {
    let mut file = input.to_vec();
    let length = input.get(24..32).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(32));
    if let Some((end, sum)) = end.and_then(|end| Some((end, blake3::hash(input.get(..end)?))))
        && let Some(place) = file.get_mut(end..end + 32)
    {
        place.copy_from_slice(sum.as_bytes());
    }
    file
}
