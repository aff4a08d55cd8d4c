//! A recording on disk: written front to back, read row by row.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MARK: &[u8; 24] = b"stillhouse recording 1\r\n";
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
    /// A number that models with other weights do not have.
    pub(super) models: u64,
}

impl Header {
    fn row(&self) -> usize {
        self.arrays.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// A recording that is being written; it has its name only when it is whole.
pub(super) struct Writer {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    /// # Errors
    /// The file cannot be written.
    pub(super) fn new(path: &Path, header: &Header) -> io::Result<Writer> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let partial = crate::disk::beside(path);
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
        let text = serde_json::to_vec(header)?;
        file.write_all(MARK)?;
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(&text)?;
        Ok(Writer { path: path.into(), partial, file })
    }

    /// Appends values of the row that is being written.
    pub(super) fn write(&mut self, values: &[f32]) -> io::Result<()> {
        values.iter().try_for_each(|value| self.file.write_all(&value.to_le_bytes()))
    }

    /// Gives the file its name.
    pub(super) fn finish(self) -> io::Result<()> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&self.partial, &self.path)
    }
}

/// A whole recording. Rows are read from the file when they are asked for: none is kept.
#[derive(Debug)]
pub(super) struct Recording {
    file: File,
    pub(super) header: Header,
    rows: HashMap<usize, usize>,
    begin: u64,
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
        let (mut mark, mut size) = ([0; 24], [0; 8]);
        let read = file.read_exact(&mut mark).and_then(|()| file.read_exact(&mut size));
        if read.is_err() || mark != *MARK {
            return Err(wrong("is no recording"));
        }
        let size = u64::from_le_bytes(size);
        let begin = (MARK.len() as u64 + 8).saturating_add(size);
        if begin > length || size > LONGEST_HEADER {
            return Err(wrong("is cut within its header"));
        }
        let mut text = vec![0; size as usize];
        file.read_exact(&mut text).map_err(told)?;
        let header: Header =
            serde_json::from_slice(&text).map_err(|error| wrong(&format!("has a header that {error}")))?;
        let bytes = (header.row() as u64).checked_mul(4).and_then(|row| row.checked_mul(header.index.len() as u64));
        if bytes.and_then(|bytes| bytes.checked_add(begin)) != Some(length) {
            return Err(wrong(&format!("has {length} bytes, which is not what its header says: record it anew")));
        }
        let rows = header.index.iter().enumerate().map(|(row, index)| (*index, row)).collect();
        Ok(Recording { file, header, rows, begin })
    }

    /// Values of an array for these samples, `[N, ..]`.
    ///
    /// # Errors
    /// A sample that was not recorded, or the file cannot be read.
    pub(super) fn read(&self, array: usize, samples: &[i64]) -> Result<Vec<f32>, String> {
        let size = |(_, shape): &(String, Vec<usize>)| shape.iter().product::<usize>();
        let before: usize = self.header.arrays.iter().take(array).map(size).sum();
        let len = self.header.arrays.get(array).map_or(0, size);
        let (mut raw, mut values) = (vec![0; len * 4], Vec::with_capacity(len * samples.len()));
        for sample in samples {
            let row = usize::try_from(*sample).ok().and_then(|sample| self.rows.get(&sample));
            let row = row.ok_or_else(|| format!("sample {sample} was not recorded"))?;
            let at = self.begin + 4 * (row * self.header.row() + before) as u64;
            let mut file = &self.file;
            file.seek(SeekFrom::Start(at))
                .and_then(|_| file.read_exact(&mut raw))
                .map_err(|error| error.to_string())?;
            values.extend(raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        Ok(values)
    }
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

    #[test]
    fn damaged_recordings_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rec");
        let mut writer = Writer::new(&path, &header()).unwrap();
        writer.write(&[0.0; 10]).unwrap();
        writer.finish().unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Recording::open(&path).is_err(), "{length} bytes");
        }
        assert!(Recording::open(&folder.path().join("none")).unwrap_err().contains("could not be read"));
    }
}
