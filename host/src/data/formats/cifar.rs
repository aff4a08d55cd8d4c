//! CIFAR-10 and CIFAR-100, binary version: records of one or two label bytes and 3 x 32 x 32 colour
//! bytes.

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::stream::{Stream, find};
use crate::data::damage::Damage;
use crate::data::dataset::DataSet;
use crate::data::error::DataError;
use crate::data::field::{Field, Values};
use crate::data::samples::{IMAGE, LABEL, Samples};

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// How one of the two sets is laid out.
pub(super) struct Layout {
    train: &'static [&'static str],
    test: &'static [&'static str],
    names: &'static str,
    /// Label bytes of a record; the last one is the class.
    label_bytes: usize,
    classes: usize,
}

pub(super) const CIFAR10: Layout = Layout {
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: &["test_batch.bin"],
    names: "batches.meta.txt",
    label_bytes: 1,
    classes: 10,
};

/// Records hold a coarse and a fine label; the fine one is `label`.
pub(super) const CIFAR100: Layout =
    Layout { train: &["train.bin"], test: &["test.bin"], names: "fine_label_names.txt", label_bytes: 2, classes: 100 };

/// Reads the set from `folder` or one folder down (`cifar-10-batches-bin`, `cifar-100-binary`).
pub(super) fn load(name: &str, folder: &Path, layout: &Layout, damage: &Damage) -> Result<DataSet, DataError> {
    let train = part(folder, layout.train, layout)?;
    let test = part(folder, layout.test, layout)?;
    DataSet::checked(name, (train, None, test), Some(class_names(folder, layout)?), damage)
}

fn part(folder: &Path, files: &[&str], layout: &Layout) -> Result<Samples, DataError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for file in files {
        let path = locate(folder, file)?;
        records(&path, layout, &mut pixels, &mut labels)?;
    }
    Samples::new(IndexMap::from([
        (IMAGE.to_owned(), Field::new(SHAPE.to_vec(), Values::U8(pixels))?),
        (LABEL.to_owned(), Field::new(vec![], Values::I64(labels))?),
    ]))
}

fn locate(folder: &Path, file: &str) -> Result<PathBuf, DataError> {
    find(folder, |name| name == file)?.ok_or_else(|| DataError::MissingFile {
        folder: folder.to_owned(),
        wanted: format!("`{file}`, here or one folder down"),
        hint: "use the binary version of the set, not the Python version".into(),
    })
}

fn records(path: &Path, layout: &Layout, pixels: &mut Vec<u8>, labels: &mut Vec<i64>) -> Result<(), DataError> {
    let bytes = whole_records(path, layout)?;
    for (number, record) in bytes.chunks_exact(layout.label_bytes + PIXELS).enumerate() {
        let (label, colours) = record.split_at(layout.label_bytes);
        let label = label[layout.label_bytes - 1];
        if usize::from(label) >= layout.classes {
            return Err(DataError::Malformed {
                path: path.to_owned(),
                what: "a label names no class".into(),
                offset: (number * record.len() + layout.label_bytes - 1) as u64,
                got: label.to_string(),
                wanted: format!("0..{}", layout.classes),
            });
        }
        labels.push(i64::from(label));
        pixels.extend_from_slice(colours);
    }
    Ok(())
}

/// The file's bytes, which must be a whole number of records.
fn whole_records(path: &Path, layout: &Layout) -> Result<Vec<u8>, DataError> {
    let failed = |cause| DataError::Read { path: path.to_owned(), cause };
    let record = (layout.label_bytes + PIXELS) as u64;
    let length = fs::metadata(path).map_err(failed)?.len();
    let over = length % record;
    if over > 0 {
        return Err(DataError::Truncated {
            path: path.to_owned(),
            what: "the last record".into(),
            offset: length - over,
            got: over,
            wanted: record,
        });
    }
    let mut stream = Stream::open(path)?;
    let bytes = stream.take(length, "the records")?;
    stream.end()?;
    Ok(bytes)
}

/// Names from the text file beside the records, when it is there and complete; numbers otherwise.
fn class_names(folder: &Path, layout: &Layout) -> Result<Vec<String>, DataError> {
    let text = find(folder, |name| name == layout.names)?.and_then(|path| fs::read_to_string(path).ok());
    let names: Vec<String> = text
        .iter()
        .flat_map(|text| text.lines())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(Into::into)
        .collect();
    if names.len() == layout.classes {
        return Ok(names);
    }
    Ok((0..layout.classes).map(|label| label.to_string()).collect())
}
