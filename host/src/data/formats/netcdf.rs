//! NetCDF-3 classic (`CDF\x01`, `CDF\x02` with 64-bit offsets): one variable of a file, as a series of maps.

use std::path::Path;

use super::stream::{Stream, each};
use crate::data::error::{DataError, list, nearest};

/// Maps one after another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) times: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// `[times, height, width]`; what the file marks as missing is 0.
    pub(super) values: Vec<f32>,
}

/// A variable as the header has it.
#[derive(Debug)]
struct Variable {
    name: String,
    dims: Vec<usize>,
    kind: u32,
    begin: u64,
    scale: f64,
    offset: f64,
    missing: Vec<f64>,
}

/// Tags of lists in a header.
const DIMENSIONS: u32 = 10;
const VARIABLES: u32 = 11;
const ATTRIBUTES: u32 = 12;
/// Largest number of entries of a list that is believed.
const MOST: u32 = 1 << 16;

/// Reads a variable `[time, y, x]`; without a name, the only one of three dimensions.
///
/// Numbers become `value * scale_factor + add_offset` (CF conventions). `_FillValue`, `missing_value` and what is not finite
/// become 0.
///
/// # Errors
/// A file that is no classic NetCDF, is cut, or lacks such a variable.
pub(super) fn read(path: &Path, variable: Option<&str>) -> Result<Series, DataError> {
    let mut file = Header { stream: Stream::open(path)?, wide: false };
    let mark: [u8; 4] = file.stream.array("the mark")?;
    file.wide = match mark {
        [b'C', b'D', b'F', 1] => false,
        [b'C', b'D', b'F', 2] => true,
        _ => {
            return Err(DataError::WrongMagic {
                path: path.to_owned(),
                format: "a NetCDF-3 classic file",
                got: format!("{mark:02x?}"),
                wanted: "`CDF` and 01 or 02 (convert NetCDF-4 with `nccopy -k classic`)",
            });
        }
    };
    let records = file.number("the number of records")?;
    let dims = file.dimensions()?;
    file.attributes()?;
    let variables = file.variables()?;
    let record = |variable: &Variable| variable.dims.first().is_some_and(|dim| dims.get(*dim) == Some(&0));
    let found = pick(path, &variables, variable)?;
    let size = |dim: &usize| dims.get(*dim).map_or(0, |size| if *size == 0 { records as usize } else { *size });
    let &[times, height, width] = found.dims.iter().map(size).collect::<Vec<_>>().as_slice() else {
        return Err(file.malformed(
            "its variable is no series of maps",
            format!("{} dimensions", found.dims.len()),
            "3",
        ));
    };
    let bytes = bytes_of(found.kind).ok_or_else(|| unsupported(path, found.kind))?;
    let map = (height * width) as u64 * bytes;
    // Records of all variables lie side by side, each rounded up to four bytes where there are several.
    let all: Vec<&Variable> = variables.iter().filter(|variable| record(variable)).collect();
    let stride = match (record(found), all.as_slice()) {
        (false, _) | (true, [_]) => map,
        (true, all) => all.iter().map(|variable| record_bytes(variable, &size)).sum(),
    };
    let mut values = vec![];
    let mut at = found.begin;
    for _ in 0..times {
        file.skip_to(at)?;
        let raw = file.stream.take(map, "the values")?;
        values.extend(decode(found, raw));
        at = at.saturating_add(stride);
    }
    Ok(Series { times, height, width, values })
}

fn record_bytes(variable: &Variable, size: &impl Fn(&usize) -> usize) -> u64 {
    let values: u64 = variable.dims.iter().skip(1).map(|dim| size(dim) as u64).product();
    values.saturating_mul(bytes_of(variable.kind).unwrap_or(1)).next_multiple_of(4)
}

fn pick<'v>(path: &Path, variables: &'v [Variable], name: Option<&str>) -> Result<&'v Variable, DataError> {
    let maps: Vec<&Variable> = variables.iter().filter(|variable| variable.dims.len() == 3).collect();
    let names = || maps.iter().map(|variable| variable.name.as_str());
    match (name, maps.as_slice()) {
        (None, [one]) => Ok(one),
        (None, _) => Err(DataError::InvalidOption {
            option: "variable` of `netcdf".into(),
            got: "nothing".into(),
            wanted: match maps.len() {
                0 => format!("a file with a variable of three dimensions, which `{}` has not", path.display()),
                _ => format!("one of {}", list(names())),
            },
        }),
        (Some(name), _) => maps.iter().copied().find(|variable| variable.name == name).ok_or_else(|| {
            let (subject, field) = (path.display().to_string(), name.to_owned());
            DataError::UnknownField { subject, field, nearest: nearest(name, names()), known: list(names()) }
        }),
    }
}

fn bytes_of(kind: u32) -> Option<u64> {
    match kind {
        1 => Some(1),
        3 => Some(2),
        4 | 5 => Some(4),
        6 => Some(8),
        _ => None,
    }
}

fn unsupported(path: &Path, kind: u32) -> DataError {
    DataError::UnsupportedDtype {
        subject: path.display().to_string(),
        got: format!("type {kind}"),
        wanted: "a NetCDF-3 number: byte, short, int, float, double",
    }
}

fn numbers(kind: u32, raw: &[u8]) -> Vec<f64> {
    match kind {
        1 => raw.iter().map(|&byte| f64::from(byte as i8)).collect(),
        3 => each(raw, |bytes| f64::from(i16::from_be_bytes(bytes))),
        4 => each(raw, |bytes| f64::from(i32::from_be_bytes(bytes))),
        5 => each(raw, |bytes| f64::from(f32::from_be_bytes(bytes))),
        6 => each(raw, f64::from_be_bytes),
        _ => vec![],
    }
}

fn decode(variable: &Variable, raw: Vec<u8>) -> impl Iterator<Item = f32> + use<'_> {
    let value = |raw: f64| {
        let value = raw * variable.scale + variable.offset;
        if !value.is_finite() || variable.missing.contains(&raw) { 0.0 } else { value as f32 }
    };
    numbers(variable.kind, &raw).into_iter().map(value)
}

/// A header on its way.
struct Header<'a> {
    stream: Stream<'a>,
    wide: bool,
}

/// An attribute's name, and its numbers.
type Attribute = (String, Vec<f64>);

impl Header<'_> {
    fn malformed(&self, what: &str, got: String, wanted: &str) -> DataError {
        let (path, offset) = (self.stream.path().to_owned(), self.stream.offset());
        DataError::Malformed { path, what: what.to_owned(), offset, got, wanted: wanted.to_owned() }
    }

    fn number(&mut self, what: &str) -> Result<u32, DataError> {
        Ok(u32::from_be_bytes(self.stream.array(what)?))
    }

    /// Number of entries of a list that begins with `tag`.
    fn list(&mut self, tag: u32, what: &str) -> Result<u32, DataError> {
        let [got, count] = [self.number(what)?, self.number(what)?];
        match (got, count) {
            (0, 0) => Ok(0),
            (got, count) if got == tag && count <= MOST => Ok(count),
            _ => Err(self.malformed(what, format!("tag {got}, {count} entries"), "a list")),
        }
    }

    /// Bytes and what fills them up to four.
    fn padded(&mut self, length: u64, what: &str) -> Result<Vec<u8>, DataError> {
        let mut bytes = self.stream.take(length.next_multiple_of(4), what)?;
        bytes.truncate(length as usize);
        Ok(bytes)
    }

    fn name(&mut self) -> Result<String, DataError> {
        let length = self.number("a name's length")?;
        let bytes = self.padded(length.into(), "a name")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sizes; that of the record dimension is 0.
    fn dimensions(&mut self) -> Result<Vec<usize>, DataError> {
        let count = self.list(DIMENSIONS, "the dimensions")?;
        (0..count).map(|_| self.name().and_then(|_| Ok(self.number("a dimension")? as usize))).collect()
    }

    fn attributes(&mut self) -> Result<Vec<Attribute>, DataError> {
        let count = self.list(ATTRIBUTES, "the attributes")?;
        let mut all = vec![];
        for _ in 0..count {
            let name = self.name()?;
            let (kind, count) = (self.number("an attribute's type")?, self.number("an attribute's length")?);
            let bytes = if kind == 2 { Some(1) } else { bytes_of(kind) };
            let bytes = bytes.ok_or_else(|| unsupported(self.stream.path(), kind))?;
            let raw = self.padded(u64::from(count) * bytes, "an attribute")?;
            all.push((name, numbers(kind, &raw)));
        }
        Ok(all)
    }

    fn variables(&mut self) -> Result<Vec<Variable>, DataError> {
        let count = self.list(VARIABLES, "the variables")?;
        (0..count).map(|_| self.variable()).collect()
    }

    fn variable(&mut self) -> Result<Variable, DataError> {
        let name = self.name()?;
        let rank = self.number("a variable's rank")?;
        if rank > 1024 {
            return Err(self.malformed("a variable's rank is too large", rank.to_string(), "1024 or less"));
        }
        let dims = (0..rank).map(|_| Ok(self.number("a variable's dimension")? as usize)).collect::<Result<_, _>>()?;
        let attributes = self.attributes()?;
        let first = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).and_then(|(_, v)| v.first());
        let [scale, offset] =
            [("scale_factor", 1.0), ("add_offset", 0.0)].map(|(name, or)| first(name).copied().unwrap_or(or));
        let missing = ["_FillValue", "missing_value"].iter().filter_map(|name| first(name).copied()).collect();
        let kind = self.number("a variable's type")?;
        self.number("a variable's size")?;
        let begin = if self.wide {
            u64::from_be_bytes(self.stream.array("a variable's place")?)
        } else {
            self.number("a variable's place")?.into()
        };
        Ok(Variable { name, dims, kind, begin, scale, offset, missing })
    }

    /// Goes on to a place of the file.
    fn skip_to(&mut self, at: u64) -> Result<(), DataError> {
        let Some(mut rest) = at.checked_sub(self.stream.offset()) else {
            return Err(self.malformed("a variable begins within the header", at.to_string(), "a place behind it"));
        };
        while rest > 0 {
            let piece = rest.min(1 << 20);
            self.stream.take(piece, "what lies before the values")?;
            rest -= piece;
        }
        Ok(())
    }
}
