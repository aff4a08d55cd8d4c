//! A file of kept values: records of one size, appended, found by the key of what was put in.
//!
//! ```text
//! mark (24 bytes)   length of the header (u64, little endian)   header (JSON)   BLAKE3 of all before (32 bytes)
//! record: key (16 bytes)   values   first 8 bytes of the BLAKE3 of key and values
//! ```
//!
//! A record that is cut or damaged is one that is not there. Records are read through a memory map (`mapped.rs`).

use super::folder::Folder;
use super::layout::Layout;
use super::mapped::Mapped;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

const MARK: &[u8; 24] = b"stillhouse teacher 1\r\n\0\0";
const KEY: usize = 16;
const SUM: usize = 8;
const HEADER_SUM: usize = 32;
/// Longest header that is believed.
const LONGEST_HEADER: u64 = 1 << 20;
/// Keys of records up to this size are read in one sweep over the file.
const SMALL: usize = 4096;

/// What stands for an input.
pub(super) type Key = [u8; KEY];

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Everything but the sample that values follow from.
    pub(super) context: String,
    /// Name of the model, for people.
    pub(super) model: String,
    pub(super) layout: Layout,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    file: Mapped,
    pub(super) header: Header,
    /// Records by key.
    index: HashMap<Key, u64>,
    begin: u64,
    values: usize,
    /// Records of the file.
    count: u64,
    /// The file is ours to append to.
    pub(super) writes: bool,
}

impl Store {
    /// The file of a context, where there is one that can be read.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open(path: &Path, context: &str) -> io::Result<Option<Store>> {
        let (file, writes) = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => {
                let writes = file.try_lock().is_ok();
                (file, writes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A folder that cannot be written is read.
            Err(_) => (File::open(path)?, false),
        };
        let mut file = Mapped::new(file);
        let Some((header, begin)) = read_header(&mut file)?.filter(|(header, _)| header.context == context) else {
            return Ok(None);
        };
        let Some(values) = header.layout.bytes().filter(|values| values.checked_add(KEY + SUM).is_some()) else {
            return Ok(None);
        };
        let record = (values + KEY + SUM) as u64;
        let count = file.length()?.saturating_sub(begin) / record;
        let mut store = Store { path: path.into(), file, header, index: HashMap::new(), begin, values, count, writes };
        store.read_keys()?;
        if writes {
            // What was being appended when a process ended.
            store.file.cut(begin + count * record)?;
            store.touch();
        }
        Ok(Some(store))
    }

    /// A new file in place of one that could not be read; none while another process has it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create(path: &Path, header: Header) -> io::Result<Option<Store>> {
        let (Some(values), text) = (header.layout.bytes(), serde_json::to_vec(&header)?) else { return Ok(None) };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        let mut file = Mapped::new(file);
        file.cut(0)?;
        let mut bytes = [&MARK[..], &(text.len() as u64).to_le_bytes(), &text].concat();
        bytes.extend(blake3::hash(&bytes).as_bytes());
        file.write(0, &bytes)?;
        let begin = bytes.len() as u64;
        Ok(Some(Store {
            path: path.into(),
            file,
            header,
            index: HashMap::new(),
            begin,
            values,
            count: 0,
            writes: true,
        }))
    }

    /// All keys.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.index.keys().copied().collect()
    }

    fn record(&self) -> usize {
        KEY + self.values + SUM
    }

    fn place(&self, record: u64) -> u64 {
        self.begin + record * self.record() as u64
    }

    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.place(self.count)
    }

    /// Says that it was used now.
    fn touch(&self) {
        // Where that fails it goes sooner than it would have, when room is wanted.
        let _ = self.file.file().set_modified(std::time::SystemTime::now());
    }

    fn read_keys(&mut self) -> io::Result<()> {
        let size = self.record();
        let at_once = if size <= SMALL { ((1 << 20) / size) as u64 } else { 1 };
        let mut record = 0;
        while record < self.count {
            let records = at_once.min(self.count - record);
            let length = if at_once == 1 { KEY } else { records as usize * size };
            let block = self.file.look(self.begin + record * size as u64, length)?;
            for (number, bytes) in block.chunks(size).enumerate() {
                if let Some(key) = bytes.first_chunk::<KEY>() {
                    self.index.insert(*key, record + number as u64);
                }
            }
            record += records;
        }
        Ok(())
    }

    /// The values of a key; none where it has none, or they are damaged.
    pub(super) fn read(&mut self, key: &Key) -> Option<Vec<u8>> {
        let record = *self.index.get(key)?;
        let (place, length) = (self.place(record), self.record());
        let values = self.file.look(place, length).ok().and_then(|record| whole(key, &record));
        if values.is_none() {
            self.index.remove(key);
        }
        values
    }

    /// Appends values; false when the folder has no room for them.
    ///
    /// # Errors
    /// What the system says. What is there stays readable.
    pub(super) fn append(&mut self, rows: &[(Key, &[u8])], folder: &Folder) -> io::Result<bool> {
        let mut bytes = Vec::with_capacity(rows.len() * self.record());
        for (key, values) in rows {
            bytes.extend(key);
            bytes.extend(*values);
            bytes.extend(sum_of(key, values));
        }
        if !folder.make_room(&self.path, self.bytes() + bytes.len() as u64)? {
            return Ok(false);
        }
        folder.leave_room(bytes.len() as u64)?;
        let end = self.bytes();
        if let Err(error) = self.file.write(end, &bytes) {
            // A half record would shift those behind it.
            let _ = self.file.cut(end);
            return Err(error);
        }
        for (key, _) in rows {
            self.index.insert(*key, self.count);
            self.count += 1;
        }
        Ok(true)
    }
}

/// The header and where records begin; none where there is none that is whole.
fn read_header(file: &mut Mapped) -> io::Result<Option<(Header, u64)>> {
    let length = file.length()?;
    let fixed = (MARK.len() + 8) as u64;
    if length < fixed {
        return Ok(None);
    }
    let start = file.look(0, fixed as usize)?;
    let Some((mark, size)) = start.split_last_chunk::<8>() else { return Ok(None) };
    let size = u64::from_le_bytes(*size);
    if mark != MARK || size > LONGEST_HEADER || fixed + size + HEADER_SUM as u64 > length {
        return Ok(None);
    }
    let bytes = file.look(0, (fixed + size) as usize + HEADER_SUM)?.into_owned();
    let Some((content, sum)) = bytes.split_last_chunk::<HEADER_SUM>() else { return Ok(None) };
    if blake3::hash(content).as_bytes() != sum {
        return Ok(None);
    }
    let header = serde_json::from_slice(&content[fixed as usize..]).ok();
    Ok(header.map(|header| (header, bytes.len() as u64)))
}

/// The values of a record, copied; none where it is not whole, or of another key.
fn whole(key: &Key, record: &[u8]) -> Option<Vec<u8>> {
    let (content, sum) = record.split_last_chunk::<SUM>()?;
    let (own, sum) = (content.first_chunk::<KEY>()?, *sum);
    let values = content.get(KEY..)?.to_vec();
    (own == key && sum_of(key, &values) == sum).then_some(values)
}

fn sum_of(key: &Key, values: &[u8]) -> [u8; SUM] {
    let sum = blake3::Hasher::new().update(key).update(values).finalize();
    sum.as_bytes().first_chunk().copied().unwrap_or_default()
}
