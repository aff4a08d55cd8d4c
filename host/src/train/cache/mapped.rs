//! A file that grows, read through a memory map.
//!
//! A map ends the process (`SIGBUS`) where it reaches behind the end of its file. So every look asks for the file's length first,
//! and a file that was cut is an error to read; what is left is the moment between the two, and a disk that cannot read. A file
//! system that maps nothing is read by position.

use memmap2::{Mmap, MmapOptions};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

/// An open file and what of it is mapped.
#[derive(Debug)]
pub(super) struct Mapped {
    file: File,
    map: Option<Mmap>,
}

impl Mapped {
    pub(super) fn new(file: File) -> Mapped {
        Mapped { file, map: None }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Length of the file now.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// `length` bytes from `place` on. Another program may write to them: they are to be copied before they are believed.
    ///
    /// # Errors
    /// The file ends before, or what the system says.
    pub(super) fn look(&mut self, place: u64, length: usize) -> io::Result<Cow<'_, [u8]>> {
        let there = self.length()?;
        let Some(end) = place.checked_add(length as u64).filter(|end| *end <= there) else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        if self.mapped() < end {
            self.map = map(&self.file, there).ok();
        }
        if let Some(bytes) = self.map.as_ref().and_then(|map| map.get(place as usize..end as usize)) {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(place))?;
        self.file.read_exact(&mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    /// Writes at a place, the end of what is of worth.
    ///
    /// # Errors
    /// What the system says; a part may be written.
    pub(super) fn write(&mut self, place: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(place))?;
        self.file.write_all(bytes)
    }

    /// Cuts the file. Some systems refuse that while it is mapped.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn cut(&mut self, length: u64) -> io::Result<()> {
        self.map = None;
        self.file.set_len(length)
    }

    /// Bytes that the map covers.
    pub(super) fn mapped(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| map.len() as u64)
    }
}

fn map(file: &File, length: u64) -> io::Result<Mmap> {
    let length = usize::try_from(length).map_err(|_| ErrorKind::FileTooLarge)?;
    // SAFETY: The file is only ever appended to, under a lock, and no byte of it is believed before it was copied and its checksum
    // found right. `look` gives no byte behind the end of the file. A program that writes to it in spite of the lock changes bytes
    // that are read one by one into a copy.
    unsafe { MmapOptions::new().len(length).map(file) }
}
