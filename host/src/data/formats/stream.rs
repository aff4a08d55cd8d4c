//! Files read front to back, with every announced length checked against what the file can hold
//! before it is allocated.

use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::data::error::DataError;

/// Deflate packs at most 1032 bytes into one.
const DEFLATE_RATIO: u64 = 1032;
/// Most bytes reserved at once for an item whose length only a header vouches for.
const MOST_RESERVED: u64 = 1 << 26;

/// The most bytes that `packed` deflated bytes can unpack to.
pub(super) fn most_unpacked(packed: u64) -> u64 {
    packed.saturating_mul(DEFLATE_RATIO).saturating_add(DEFLATE_RATIO)
}

/// A file or a piece of memory, unpacked on the way where it is gzip.
pub(super) struct Stream<'a> {
    path: PathBuf,
    reader: Box<dyn Read + 'a>,
    packed: bool,
    most: u64,
    offset: u64,
}

impl<'a> Stream<'a> {
    /// Opens a plain or gzip file, told apart by its first bytes.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let failed = |cause| DataError::Read { path: path.to_owned(), cause };
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut mark = Vec::new();
        (&mut file).take(2).read_to_end(&mut mark).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let gzip = mark == [0x1f, 0x8b];
        Ok(Self::new(path, BufReader::with_capacity(1 << 16, file), length, gzip))
    }

    /// Gzip bytes in memory; `path` is what errors call them.
    pub(super) fn gzip(path: &Path, bytes: &'a [u8]) -> Self {
        Self::new(path, Cursor::new(bytes), bytes.len() as u64, true)
    }

    /// Any reader of at most `most` bytes; `path` is what errors call it.
    pub(super) fn plain(path: &Path, reader: impl Read + 'a, most: u64) -> Self {
        Self::new(path, reader, most, false)
    }

    fn new(path: &Path, reader: impl Read + 'a, length: u64, gzip: bool) -> Self {
        let (reader, most): (Box<dyn Read + 'a>, u64) = if gzip {
            (Box::new(BufReader::new(MultiGzDecoder::new(reader))), most_unpacked(length))
        } else {
            (Box::new(reader), length)
        };
        Self { path: path.to_owned(), reader, packed: gzip, most, offset: 0 }
    }

    /// What errors call the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the bytes are unpacked on the way.
    pub(super) fn is_packed(&self) -> bool {
        self.packed
    }

    /// Bytes read so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `wanted` bytes; `what` names them in errors.
    pub(super) fn take(&mut self, wanted: u64, what: &str) -> Result<Vec<u8>, DataError> {
        let truncated = |stream: &Self, got| DataError::Truncated {
            path: stream.path.clone(),
            what: what.to_owned(),
            offset: stream.offset,
            got,
            wanted,
        };
        let most = self.most.saturating_sub(self.offset);
        if wanted > most {
            return Err(truncated(self, most));
        }
        let mut bytes = Vec::with_capacity(wanted.min(MOST_RESERVED) as usize);
        match (&mut self.reader).take(wanted).read_to_end(&mut bytes) {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Err(truncated(self, bytes.len() as u64)),
            Err(cause) => Err(self.damaged(&cause)),
            Ok(read) if (read as u64) < wanted => Err(truncated(self, read as u64)),
            Ok(_) => {
                self.offset = self.offset.saturating_add(wanted);
                Ok(bytes)
            }
        }
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], DataError> {
        let bytes = self.take(N as u64, what)?;
        let mut array = [0; N];
        array.copy_from_slice(&bytes);
        Ok(array)
    }

    /// Checks that nothing follows, and a packed file's checksum with it.
    pub(super) fn end(mut self) -> Result<(), DataError> {
        let mut more = Vec::new();
        match (&mut self.reader).take(1).read_to_end(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(DataError::TrailingBytes { path: self.path, wanted: self.offset }),
            Err(cause) => Err(self.damaged(&cause)),
        }
    }

    fn damaged(&self, cause: &io::Error) -> DataError {
        DataError::Malformed {
            path: self.path.clone(),
            what: "its packed bytes are damaged".into(),
            offset: self.offset,
            got: cause.to_string(),
            wanted: "bytes that unpack and match their checksum".into(),
        }
    }
}

/// Bytes of an array, or `Malformed` when no memory holds its dimensions (those of 0 counted as 1).
pub(super) fn volume(stream: &Stream<'_>, dims: &[usize], bytes_each: u64) -> Result<u64, DataError> {
    let most = dims.iter().try_fold(bytes_each, |bytes, &dim| bytes.checked_mul(dim.max(1) as u64));
    match most.filter(|&bytes| isize::try_from(bytes).is_ok()) {
        Some(_) if dims.contains(&0) => Ok(0),
        Some(bytes) => Ok(bytes),
        None => Err(DataError::Malformed {
            path: stream.path().to_owned(),
            what: "its dimensions exceed any memory".into(),
            offset: stream.offset(),
            got: format!("{dims:?}"),
            wanted: "dimensions whose product fits the file".into(),
        }),
    }
}

/// Values of `N` bytes each, decoded one by one.
pub(super) fn each<const N: usize, T>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&value| decode(value)).collect()
}

/// Entries of a folder, sorted by name.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |cause| DataError::Read { path: folder.to_owned(), cause };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Name of a file or folder; empty when it is not Unicode.
pub(super) fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// First file whose name is accepted, in `folder` or one folder down.
pub(super) fn find(folder: &Path, accepts: impl Fn(&str) -> bool) -> Result<Option<PathBuf>, DataError> {
    let here = entries(folder)?;
    let found = |paths: &[PathBuf]| paths.iter().find(|path| path.is_file() && accepts(file_name(path))).cloned();
    if let Some(path) = found(&here) {
        return Ok(Some(path));
    }
    for below in here.iter().filter(|path| path.is_dir()) {
        // A folder that may not be read cannot be the one that is meant.
        if let Some(path) = entries(below).ok().and_then(|paths| found(&paths)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
