//! NPY, one NumPy array: a mark, a header in Python's notation, the values.

use super::stream::{Stream, each, volume};
use crate::data::error::DataError;
use crate::data::field::Values;

const MARK: &[u8; 6] = b"\x93NUMPY";
/// Longest header that is read; NumPy's own are some hundred bytes.
const LONGEST_HEADER: u64 = 1 << 16;

/// One array.
pub(super) struct Npy {
    /// Dimensions, samples first.
    pub(super) shape: Vec<usize>,
    /// Values in row-major order: bool as `U8`, f64 as `F32`, every integer but u8 as `I64`.
    pub(super) values: Values,
}

/// Reads an array to the end of the stream; Fortran order becomes row-major order.
pub(super) fn read(mut stream: Stream<'_>) -> Result<Npy, DataError> {
    let mark: [u8; 6] = stream.array("the mark")?;
    if &mark != MARK {
        return Err(DataError::WrongMagic {
            path: stream.path().to_owned(),
            format: "a NumPy array",
            got: format!("{mark:02x?}"),
            wanted: "93 4e 55 4d 50 59 (\\x93NUMPY)",
        });
    }
    let header = header(&mut stream)?;
    let (bytes_each, decode) = decoder(&header.descr).ok_or_else(|| DataError::UnsupportedDtype {
        subject: stream.path().display().to_string(),
        got: header.descr.clone(),
        wanted: "bool, u8, i8..i64, u16, u32, f32 or f64, little-endian",
    })?;
    let length = volume(&stream, &header.shape, bytes_each)?;
    let values = decode(stream.take(length, "the values")?);
    stream.end()?;
    let values = if header.fortran && header.shape.len() > 1 { row_major(values, &header.shape) } else { values };
    Ok(Npy { shape: header.shape, values })
}

struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

fn header(stream: &mut Stream<'_>) -> Result<Header, DataError> {
    let [major, _minor] = stream.array("the version")?;
    let what = "the header's length";
    let length = match major {
        1 => u64::from(u16::from_le_bytes(stream.array(what)?)),
        2 | 3 => u64::from(u32::from_le_bytes(stream.array(what)?)),
        _ => {
            let got = major.to_string();
            return Err(malformed(stream, "its version is unknown", got, "1, 2 or 3"));
        }
    };
    if length > LONGEST_HEADER {
        let got = length.to_string();
        return Err(malformed(stream, "its header is too long", got, "at most 65536 bytes"));
    }
    let bytes = stream.take(length, "the header")?;
    let text = String::from_utf8_lossy(&bytes);
    let wanted = "{'descr': '<f4', 'fortran_order': False, 'shape': (N, ..)}";
    parsed(&text).ok_or_else(|| {
        let got = text.trim().to_owned();
        malformed(stream, "its header cannot be read", got, wanted)
    })
}

fn parsed(text: &str) -> Option<Header> {
    Some(Header {
        descr: quoted(value(text, "descr")?)?.to_owned(),
        fortran: flag(value(text, "fortran_order")?)?,
        shape: tuple(value(text, "shape")?)?,
    })
}

fn malformed(stream: &Stream<'_>, what: &str, got: String, wanted: &str) -> DataError {
    let (path, offset) = (stream.path().to_owned(), stream.offset());
    DataError::Malformed { path, what: what.to_owned(), offset, got, wanted: wanted.to_owned() }
}

/// Text behind `'key':`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.split_once('\'').map(|(inside, _)| inside)
}

fn flag(text: &str) -> Option<bool> {
    match text {
        _ if text.starts_with("True") => Some(true),
        _ if text.starts_with("False") => Some(false),
        _ => None,
    }
}

fn tuple(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let inside = inside.trim();
    let inside = inside.strip_suffix(',').unwrap_or(inside);
    if inside.is_empty() {
        return Some(Vec::new());
    }
    inside.split(',').map(|dim| dim.trim().parse().ok()).collect()
}

type Decode = fn(Vec<u8>) -> Values;

fn decoder(descr: &str) -> Option<(u64, Decode)> {
    Some(match descr {
        "|u1" | "u1" | "<u1" => (1, Values::U8),
        "|b1" | "?" => (1, |bytes| Values::U8(each(&bytes, |[b]| u8::from(b != 0)))),
        "|i1" | "i1" | "<i1" => (1, |bytes| Values::I64(each(&bytes, |b| i8::from_le_bytes(b).into()))),
        "<i2" => (2, |bytes| Values::I64(each(&bytes, |b| i16::from_le_bytes(b).into()))),
        "<u2" => (2, |bytes| Values::I64(each(&bytes, |b| u16::from_le_bytes(b).into()))),
        "<i4" => (4, |bytes| Values::I64(each(&bytes, |b| i32::from_le_bytes(b).into()))),
        "<u4" => (4, |bytes| Values::I64(each(&bytes, |b| u32::from_le_bytes(b).into()))),
        "<i8" => (8, |bytes| Values::I64(each(&bytes, i64::from_le_bytes))),
        "<f4" => (4, |bytes| Values::F32(each(&bytes, f32::from_le_bytes))),
        "<f8" => (8, |bytes| Values::F32(each(&bytes, |b| f64::from_le_bytes(b) as f32))),
        _ => return None,
    })
}

fn row_major(values: Values, shape: &[usize]) -> Values {
    match values {
        Values::U8(values) => Values::U8(transposed(&values, shape)),
        Values::F32(values) => Values::F32(transposed(&values, shape)),
        Values::I64(values) => Values::I64(transposed(&values, shape)),
        made @ Values::Made(_) => made,
    }
}

/// From first-dimension-fastest to last-dimension-fastest order.
fn transposed<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1usize;
    for &dim in shape {
        strides.push(stride);
        stride = stride.saturating_mul(dim);
    }
    let mut at = vec![0usize; shape.len()];
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        out.push(values[at.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>()]);
        for axis in (0..shape.len()).rev() {
            at[axis] += 1;
            if at[axis] < shape[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    out
}
