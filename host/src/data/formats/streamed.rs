//! Samples that stay in their files until they are asked for: pictures, and rows of one file.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::data::damage::Damage;
use crate::data::error::DataError;
use crate::data::field::Rows;

/// Room for decoded samples, shared by the parts of a set. Every epoch asks for every sample once, so those that found room stay.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Room {
    pub(super) fn new(bytes: usize) -> Room {
        Room(Arc::new(AtomicUsize::new(bytes)))
    }

    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// Decodes a picture, `[C, H, W]`.
type Decode = dyn Fn(&std::path::Path) -> Result<Vec<u8>, DataError> + Send + Sync;

/// Pictures that are decoded when they are asked for.
pub(super) struct Pictures {
    paths: Vec<PathBuf>,
    decode: Box<Decode>,
    kept: Mutex<HashMap<usize, Arc<[u8]>>>,
    room: Room,
    damage: Arc<Damage>,
}

impl Pictures {
    pub(super) fn new(paths: Vec<PathBuf>, decode: Box<Decode>, room: Room, damage: Arc<Damage>) -> Pictures {
        Pictures { paths, decode, kept: Mutex::default(), room, damage }
    }

    fn bytes(&self, row: usize) -> Result<Arc<[u8]>, DataError> {
        let known = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&row).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        match (self.decode)(&self.paths[row]) {
            Ok(bytes) => {
                let bytes: Arc<[u8]> = bytes.into();
                if self.room.take(bytes.len()) {
                    self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(row, bytes.clone());
                }
                Ok(bytes)
            }
            Err(error) => {
                self.damage.note(self.paths[row].display().to_string(), error)?;
                Err(DataError::LeftOut { row })
            }
        }
    }
}

impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pictures").field("count", &self.paths.len()).finish_non_exhaustive()
    }
}

impl Rows for Pictures {
    fn rows(&self) -> usize {
        self.paths.len()
    }

    fn push(&self, row: usize, unit: f32, out: &mut Vec<f32>) -> Result<(), DataError> {
        out.extend(self.bytes(row)?.iter().map(|&value| f32::from(value) / unit));
        Ok(())
    }

    fn are_bytes(&self) -> bool {
        true
    }

    fn files(&self) -> &[PathBuf] {
        &self.paths
    }
}

/// Rows of bytes in one file, behind its header.
#[derive(Debug)]
pub(super) struct FileRows {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Where the first row begins.
    pub(super) begin: u64,
    /// Bytes of a row.
    pub(super) size: usize,
    pub(super) rows: usize,
}

impl FileRows {
    #[cfg(unix)]
    fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, at)
    }

    /// A place of its own in the file for each read, since threads share the one of `file`.
    #[cfg(not(unix))]
    fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        use std::io::{Read, Seek};
        let mut file = File::open(&self.path)?;
        file.seek(io::SeekFrom::Start(at))?;
        file.read_exact(bytes)
    }
}

impl Rows for FileRows {
    fn rows(&self) -> usize {
        self.rows
    }

    fn push(&self, row: usize, unit: f32, out: &mut Vec<f32>) -> Result<(), DataError> {
        let mut bytes = vec![0; self.size];
        let at = self.begin + row as u64 * self.size as u64;
        self.read(&mut bytes, at).map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => DataError::Truncated {
                path: self.path.clone(),
                what: format!("sample {row}"),
                offset: at,
                got: self.file.metadata().map_or(0, |file| file.len().saturating_sub(at)),
                wanted: self.size as u64,
            },
            _ => DataError::Read { path: self.path.clone(), cause },
        })?;
        out.extend(bytes.iter().map(|&value| f32::from(value) / unit));
        Ok(())
    }

    fn are_bytes(&self) -> bool {
        true
    }

    fn files(&self) -> &[PathBuf] {
        std::slice::from_ref(&self.path)
    }
}
