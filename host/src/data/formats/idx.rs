//! IDX, the format of MNIST: a mark, the dimensions, the values; plain or gzip.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::stream::{Stream, each, find, volume};
use super::streamed::FileRows;
use crate::data::dataset::DataSet;
use crate::data::error::DataError;
use crate::data::field::{Field, Values};
use crate::data::reading::Reading;
use crate::data::samples::{FRAMES, IMAGE, LABEL, Samples};

/// One IDX file: `dims[0]` samples of shape `dims[1..]`.
pub(super) struct Idx {
    dims: Vec<usize>,
    values: Values,
}

/// Reads `train-images-idx*-ubyte`, `train-labels-..`, `t10k-images-..`, `t10k-labels-..` (also
/// `.gz`, also `images.idx3-ubyte`) from `folder` or one folder down.
///
/// Streamed, files of bytes that are not packed are read row by row.
pub(super) fn load(
    name: &str,
    folder: &Path,
    classes: Option<Vec<String>>,
    reading: &Reading,
) -> Result<DataSet, DataError> {
    let train = part(folder, "train", reading)?;
    let test = part(folder, "t10k", reading)?;
    DataSet::checked(name, (train, None, test), classes, &reading.damage)
}

fn part(folder: &Path, prefix: &str, reading: &Reading) -> Result<Samples, DataError> {
    let path = find_file(folder, prefix, "images")?;
    let labels = open(&find_file(folder, prefix, "labels")?)?;
    if let Some((dims, rows)) = rows_of(&path, reading)? {
        let (name, shape) = image_shape(&dims);
        return Samples::new(IndexMap::from([
            (name.to_owned(), Field::made(shape, Arc::new(rows))?),
            label_field(labels)?,
        ]));
    }
    let images = open(&path)?;
    samples(images, labels)
}

/// Pictures and labels as samples; see [`image_field`] and [`label_field`].
pub(super) fn samples(images: Idx, labels: Idx) -> Result<Samples, DataError> {
    Samples::new(IndexMap::from([image_field(images)?, label_field(labels)?]))
}

fn find_file(folder: &Path, prefix: &str, what: &str) -> Result<PathBuf, DataError> {
    let stem = format!("{prefix}-{what}");
    let accepts = |name: &str| {
        let rest = name.strip_prefix(&stem).unwrap_or_default();
        let rest = rest.strip_suffix(".gz").unwrap_or(rest);
        (rest.starts_with("-idx") || rest.starts_with(".idx")) && rest.ends_with("-ubyte")
    };
    find(folder, accepts)?.ok_or_else(|| DataError::MissingFile {
        folder: folder.to_owned(),
        wanted: format!("`{stem}-idx*-ubyte` or `{stem}-idx*-ubyte.gz`, here or one folder down"),
        hint: "a data set has four files: train and t10k, images and labels".into(),
    })
}

/// The rows of a file that are to stay there: of bytes, not packed, as long as its header says.
fn rows_of(path: &Path, reading: &Reading) -> Result<Option<(Vec<usize>, FileRows)>, DataError> {
    let failed = |cause| DataError::Read { path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if !reading.streams(length) {
        return Ok(None);
    }
    let mut stream = Stream::open(path)?;
    let (dtype, dims) = header(&mut stream)?;
    let begin = stream.offset();
    if stream.is_packed() || dtype != 0x08 {
        return reading.refuse_stream(&format!("`{}`", path.display())).map(|()| None);
    }
    let wanted = volume(&stream, &dims, 1)?;
    let got = length - begin;
    if got < wanted {
        let (path, what) = (path.to_owned(), "the values".to_owned());
        return Err(DataError::Truncated { path, what, offset: begin, got, wanted });
    }
    if got > wanted {
        return Err(DataError::TrailingBytes { path: path.to_owned(), wanted: begin + wanted });
    }
    let (rows, size) = (dims.first().copied().unwrap_or(0), dims.iter().skip(1).product());
    Ok(Some((dims, FileRows { path: path.to_owned(), file, begin, size, rows })))
}

fn open(path: &Path) -> Result<Idx, DataError> {
    let mut stream = Stream::open(path)?;
    let idx = read(&mut stream)?;
    stream.end()?;
    Ok(idx)
}

/// Type and dimensions.
fn header(stream: &mut Stream<'_>) -> Result<(u8, Vec<usize>), DataError> {
    let mark: [u8; 4] = stream.array("the mark")?;
    let (dtype, rank) = match mark {
        [0, 0, dtype, rank] if rank > 0 => (dtype, rank),
        _ => {
            return Err(DataError::WrongMagic {
                path: stream.path().to_owned(),
                format: "an IDX file",
                got: format!("{mark:02x?}"),
                wanted: "00 00, a type, the number of dimensions (1 or more)",
            });
        }
    };
    if !matches!(dtype, 0x08 | 0x09 | 0x0B..=0x0E) {
        return Err(unsupported(stream, dtype));
    }
    let dims: Vec<usize> = stream
        .take(4 * u64::from(rank), "the dimensions")?
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| u32::from_be_bytes(bytes) as usize)
        .collect();
    Ok((dtype, dims))
}

/// Reads one IDX block and leaves the stream behind it.
pub(super) fn read(stream: &mut Stream<'_>) -> Result<Idx, DataError> {
    let (dtype, dims) = header(stream)?;
    let bytes_each = match dtype {
        0x0B => 2,
        0x0C | 0x0D => 4,
        0x0E => 8,
        _ => 1,
    };
    let length = volume(stream, &dims, bytes_each)?;
    let bytes = stream.take(length, "the values")?;
    Ok(Idx { dims, values: decode(dtype, bytes) })
}

fn unsupported(stream: &Stream<'_>, dtype: u8) -> DataError {
    DataError::UnsupportedDtype {
        subject: stream.path().display().to_string(),
        got: format!("{dtype:#04x}"),
        wanted: "an IDX type: 0x08 u8, 0x09 i8, 0x0b i16, 0x0c i32, 0x0d f32, 0x0e f64",
    }
}

fn decode(dtype: u8, bytes: Vec<u8>) -> Values {
    match dtype {
        0x09 => Values::I64(each(&bytes, |b| i8::from_be_bytes(b).into())),
        0x0B => Values::I64(each(&bytes, |b| i16::from_be_bytes(b).into())),
        0x0C => Values::I64(each(&bytes, |b| i32::from_be_bytes(b).into())),
        0x0D => Values::F32(each(&bytes, f32::from_be_bytes)),
        0x0E => Values::F32(each(&bytes, |b| f64::from_be_bytes(b) as f32)),
        _ => Values::U8(bytes),
    }
}

/// `[N, H, W]` is `image` `[1, H, W]`; `[N, C, H, W]` and `[N, F]` are `image` as they are; `[N, T,
/// C, H, W]` is `frames`.
fn image_shape(dims: &[usize]) -> (&'static str, Vec<usize>) {
    match dims.get(1..).unwrap_or_default() {
        [] => (IMAGE, vec![1]),
        [height, width] => (IMAGE, vec![1, *height, *width]),
        clip @ [_, _, _, _] => (FRAMES, clip.to_vec()),
        other => (IMAGE, other.to_vec()),
    }
}

fn image_field(idx: Idx) -> Result<(String, Field), DataError> {
    let (name, shape) = image_shape(&idx.dims);
    Ok((name.to_owned(), Field::new(shape, idx.values)?))
}

/// `[N]` and `[N, 1]` are `label`; anything larger is `target`, as it is.
fn label_field(idx: Idx) -> Result<(String, Field), DataError> {
    let (name, shape) = match idx.dims.get(1..).unwrap_or_default() {
        [] | [1] => (LABEL, vec![]),
        other => ("target", other.to_vec()),
    };
    let values = match idx.values {
        Values::U8(values) => Values::I64(values.into_iter().map(i64::from).collect()),
        other => other,
    };
    Ok((name.to_owned(), Field::new(shape, values)?))
}
