//! A recording on disk: written front to back, read row by row.
//!
//! ```text
//! mark (24 bytes)   length of the header (u64)   its CRC-32 (u32)   header (JSON)
//! row by row, array by array: values (f32)   CRC-32 of row (u64), array (u32) and values (u32)      all little endian
//! ```

use crate::disk::Beside;
use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

const MARK: &[u8; 24] = b"stillhouse recording 3\r\n";
/// Bytes before the header.
const BEFORE: u64 = 24 + 8 + 4;
/// Longest header that is believed.
const LONGEST_HEADER: u64 = 1 << 30;

/// What a recording holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Names and shapes of what is kept of each sample.
    pub(super) arrays: Vec<(String, Vec<usize>)>,
    /// Sample index of each row.
    pub(super) index: Vec<usize>,
    /// A number that other samples do not have.
    pub(super) data: u64,
    /// A number that other models, weights and points do not have.
    pub(super) models: u64,
}

/// Bytes of an array of this shape in a row; none where no file could hold it.
pub(super) fn bytes_of(shape: &[usize]) -> Option<u64> {
    let values = shape.iter().try_fold(1u64, |values, &dim| values.checked_mul(dim as u64))?;
    values.checked_mul(4)?.checked_add(4)
}

impl Header {
    /// Bytes of each array in a row.
    fn sizes(&self) -> Option<Vec<u64>> {
        self.arrays.iter().map(|(_, shape)| bytes_of(shape)).collect()
    }
}

/// The beginning of an array's checksum: the place where it belongs.
fn sum_at(row: usize, array: usize) -> Hasher {
    let mut sum = Hasher::new();
    sum.update(&(row as u64).to_le_bytes());
    sum.update(&(array as u32).to_le_bytes());
    sum
}

/// A recording that is being written; it has its name only when it is whole.
pub(super) struct Writer {
    file: BufWriter<Beside>,
    /// Values of each array.
    sizes: Vec<usize>,
    row: usize,
    array: usize,
    /// Values that the array has so far.
    have: usize,
    sum: Hasher,
}

impl Writer {
    /// # Errors
    /// The file cannot be written.
    pub(super) fn new(path: &Path, header: &Header) -> io::Result<Writer> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = BufWriter::with_capacity(1 << 20, Beside::create(path)?);
        let text = serde_json::to_vec(header)?;
        file.write_all(MARK)?;
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(&crc32fast::hash(&text).to_le_bytes())?;
        file.write_all(&text)?;
        let sizes = header.arrays.iter().map(|(_, shape)| shape.iter().product()).collect();
        Ok(Writer { file, sizes, row: 0, array: 0, have: 0, sum: sum_at(0, 0) })
    }

    /// Appends values of the row that is being written.
    pub(super) fn write(&mut self, values: &[f32]) -> io::Result<()> {
        for value in values {
            let bytes = value.to_le_bytes();
            self.sum.update(&bytes);
            self.file.write_all(&bytes)?;
            self.have += 1;
            if self.sizes.get(self.array).is_some_and(|size| *size == self.have) {
                self.end_array()?;
            }
        }
        Ok(())
    }

    fn end_array(&mut self) -> io::Result<()> {
        (self.array, self.have) = (self.array + 1, 0);
        if self.array == self.sizes.len() {
            (self.row, self.array) = (self.row + 1, 0);
        }
        let sum = std::mem::replace(&mut self.sum, sum_at(self.row, self.array));
        self.file.write_all(&sum.finalize().to_le_bytes())
    }

    /// Gives the file its name.
    pub(super) fn finish(self) -> io::Result<()> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    }
}

/// A whole recording. Rows are read from the file when they are asked for: none is kept.
#[derive(Debug)]
pub(super) struct Recording {
    file: File,
    pub(super) header: Header,
    rows: HashMap<usize, usize>,
    begin: u64,
    /// Bytes of each array in a row.
    sizes: Vec<u64>,
}

impl Recording {
    /// Opens a file and compares its length with what its header says.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn open(path: &Path) -> Result<Recording, String> {
        let wrong = |what: &str| format!("`{}` {what}", path.display());
        let told = |error: io::Error| wrong(&format!("could not be read: {error}"));
        let mut file = File::open(path).map_err(told)?;
        let length = file.metadata().map_err(told)?.len();
        let (mut mark, mut size, mut sum) = ([0; 24], [0; 8], [0; 4]);
        let read = file.read_exact(&mut mark).and_then(|()| file.read_exact(&mut size));
        if read.and_then(|()| file.read_exact(&mut sum)).is_err() || mark != *MARK {
            return Err(wrong("is no recording of this version"));
        }
        let size = u64::from_le_bytes(size);
        let begin = BEFORE.saturating_add(size);
        if begin > length || size > LONGEST_HEADER {
            return Err(wrong("is cut within its header"));
        }
        let mut text = vec![0; size as usize];
        file.read_exact(&mut text).map_err(told)?;
        if crc32fast::hash(&text) != u32::from_le_bytes(sum) {
            return Err(wrong("has a damaged header"));
        }
        let header: Header =
            serde_json::from_slice(&text).map_err(|error| wrong(&format!("has a header that {error}")))?;
        let sizes = header.sizes();
        let row = sizes.as_ref().and_then(|sizes| sizes.iter().try_fold(0u64, |sum, size| sum.checked_add(*size)));
        let bytes = row.and_then(|row| row.checked_mul(header.index.len() as u64));
        let (Some(sizes), true) = (sizes, bytes.and_then(|bytes| bytes.checked_add(begin)) == Some(length)) else {
            return Err(wrong(&format!("has {length} bytes, which is not what its header says: record it anew")));
        };
        let rows = header.index.iter().enumerate().map(|(row, index)| (*index, row)).collect();
        Ok(Recording { file, header, rows, begin, sizes })
    }

    /// Values of an array for these samples, `[N, ..]`.
    ///
    /// # Errors
    /// A sample that was not recorded, values that are damaged, or the file cannot be read.
    pub(super) fn read(&self, array: usize, samples: &[i64]) -> Result<Vec<f32>, String> {
        let before: u64 = self.sizes.iter().take(array).sum();
        let size = self.sizes.get(array).copied().ok_or_else(|| format!("there is no array {array}"))?;
        let row_size: u64 = self.sizes.iter().sum();
        let (mut raw, mut values) = (vec![0; size as usize], Vec::with_capacity(samples.len()));
        for sample in samples {
            let row = usize::try_from(*sample).ok().and_then(|sample| self.rows.get(&sample)).copied();
            let row = row.ok_or_else(|| format!("sample {sample} was not recorded"))?;
            let at = self.begin + row as u64 * row_size + before;
            let mut file = &self.file;
            file.seek(SeekFrom::Start(at))
                .and_then(|_| file.read_exact(&mut raw))
                .map_err(|error| error.to_string())?;
            let Some((bytes, sum)) = raw.split_last_chunk::<4>() else { continue };
            let mut found = sum_at(row, array);
            found.update(bytes);
            if found.finalize() != u32::from_le_bytes(*sum) {
                return Err(format!(
                    "what it holds of sample {sample} is damaged: remove the file, and it is made anew"
                ));
            }
            values.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        Ok(values)
    }
}

/// Reads a recording from its beginning to its end; gives all values.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn verify_recording(path: &Path) -> Result<Vec<f32>, String> {
    let recording = Recording::open(path)?;
    let mut values = vec![];
    for sample in &recording.header.index {
        for array in 0..recording.sizes.len() {
            values.extend(recording.read(array, &[*sample as i64])?);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let arrays = vec![("a".to_owned(), vec![2]), ("b".to_owned(), vec![1, 3])];
        Header { arrays, index: vec![7, 2], data: 1, models: 2 }
    }

    #[test]
    fn recording_gives_rows_by_sample_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/x.rec");
        let mut writer = Writer::new(&path, &header()).unwrap();
        writer.write(&[0.0, 1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!(!path.exists(), "it has its name when it is whole");
        writer.write(&[5.0, 6.0, 7.0, 8.0, 9.0]).unwrap();
        writer.finish().unwrap();
        let read = Recording::open(&path).unwrap();
        assert_eq!(read.header, header());
        assert_eq!(read.read(0, &[2, 7, 2]).unwrap(), [5.0, 6.0, 0.0, 1.0, 5.0, 6.0]);
        assert_eq!(read.read(1, &[7]).unwrap(), [2.0, 3.0, 4.0]);
        assert_eq!(read.read(1, &[3]).unwrap_err(), "sample 3 was not recorded");
    }

    fn written(path: &Path) -> Vec<u8> {
        let mut writer = Writer::new(path, &header()).unwrap();
        writer.write(&[0.0, 1.5, -2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).unwrap();
        writer.finish().unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn damaged_recordings_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rec");
        let whole = written(&path);
        assert_eq!(verify_recording(&path).unwrap().len(), 10);
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Recording::open(&path).is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(&path, changed).unwrap();
            assert!(verify_recording(&path).is_err(), "byte {at}");
        }
        assert!(Recording::open(&folder.path().join("none")).unwrap_err().contains("could not be read"));
    }

    /// Rows that changed places are whole, each for itself.
    #[test]
    fn rows_in_each_others_place_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rec");
        let whole = written(&path);
        let row = (whole.len() - whole.iter().rposition(|byte| *byte == b'}').unwrap() - 1) / 2;
        let (start, rows) = whole.split_at(whole.len() - 2 * row);
        std::fs::write(&path, [start, &rows[row..], &rows[..row]].concat()).unwrap();
        assert!(verify_recording(&path).unwrap_err().contains("of sample 7 is damaged"));
    }

    /// A header that is whole and asks for more than there is.
    #[test]
    fn headers_of_impossible_sizes_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rec");
        for shape in [vec![usize::MAX, usize::MAX], vec![1 << 40], vec![usize::MAX / 4]] {
            let large = Header { arrays: vec![("a".into(), shape)], ..header() };
            let text = serde_json::to_vec(&large).unwrap();
            let sum = crc32fast::hash(&text).to_le_bytes();
            std::fs::write(&path, [&MARK[..], &(text.len() as u64).to_le_bytes(), &sum, &text].concat()).unwrap();
            assert!(Recording::open(&path).unwrap_err().contains("not what its header says"));
        }
    }

    #[test]
    fn recording_that_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(&folder.path().join("x.rec"), &header()).unwrap();
        writer.write(&[1.0; 7]).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
