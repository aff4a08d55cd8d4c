//! Clips cut from a long series of maps: by time, crop by crop.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::netcdf::{self, Series};
use super::query::Query;
use crate::data::dataset::DataSet;
use crate::data::error::DataError;
use crate::data::field::{Field, Rows};
use crate::data::samples::{FRAMES, Samples};

const KNOWN: &[&str] = &["variable", "frames", "size", "stride", "train", "test", "scale"];

/// Clips `[T, 1, S, S]` from a NetCDF-3 file: crops of a variable over windows of time.
///
/// Options: `variable=NAME` (the only one of three dimensions unless written), `frames=8`, `size=64`, `stride=8` (pixels
/// between crops; windows begin at every time), `train=0-14&test=15-22` (times, both ends counted; the first two thirds and
/// the rest unless written: no time is in both), `scale=1` (values are divided by it; the largest value of the training times
/// unless written). Clips lie in the series: no crop is copied before it is asked for.
pub(super) fn load(name: &str, place: &str, base: &Path) -> Result<DataSet, DataError> {
    let (place, query) = Query::parse("netcdf", place, KNOWN)?;
    let mut series = netcdf::read(&base.join(place), query.text("variable"))?;
    let cut = Cut {
        frames: query.number("frames", 8, 2..=100_000)?,
        size: query.number("size", 64, 1..=1 << 20)?,
        stride: query.number("stride", 8, 1..=1 << 20)?,
    };
    let split = series.times * 2 / 3;
    let train = times(&query, "train", 0..split, series.times)?;
    let test = times(&query, "test", split..series.times, series.times)?;
    if train.start < test.end && test.start < train.end {
        return Err(query.invalid("test", format!("times that are not among {}-{}", train.start, train.end - 1)));
    }
    let map = series.height * series.width;
    let known = &series.values[train.start * map..train.end * map];
    let largest = known.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let scale = query.number("scale", largest, f32::MIN_POSITIVE..=f32::MAX)?;
    series.values.iter_mut().for_each(|value| *value /= scale);
    let series = Arc::new(series);
    let part = |key: &str, times: &Range<usize>| {
        let clips = Clips::new(series.clone(), cut, times.clone());
        if clips.rows() == 0 {
            let (height, width) = (series.height, series.width);
            let wanted = format!(
                "{} times or more, and maps of {} x {} or more (they are {height} x {width})",
                cut.frames, cut.size, cut.size
            );
            return Err(query.invalid(key, wanted));
        }
        let field = Field::made(vec![cut.frames, 1, cut.size, cut.size], Arc::new(clips))?;
        Samples::new(IndexMap::from([(FRAMES.to_owned(), field)]))
    };
    DataSet::new(name, (part("train", &train)?, None, part("test", &test)?), None)
}

/// `first-last` of an option.
fn times(query: &Query<'_>, key: &str, default: Range<usize>, all: usize) -> Result<Range<usize>, DataError> {
    let Some(text) = query.text(key) else { return Ok(default) };
    let range = text.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        (first <= last && last < all).then_some(first..last + 1)
    });
    range.ok_or_else(|| query.invalid(key, format!("`first-last`, times from 0 to {}", all.saturating_sub(1))))
}

/// How a series is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    frames: usize,
    size: usize,
    stride: usize,
}

/// The clips of some times: window by window, in each the crops from top to bottom.
#[derive(Debug)]
struct Clips {
    series: Arc<Series>,
    cut: Cut,
    first: usize,
    /// Windows, rows of crops, columns of crops.
    counts: [usize; 3],
}

impl Clips {
    fn new(series: Arc<Series>, cut: Cut, times: Range<usize>) -> Self {
        let windows = (times.len() + 1).saturating_sub(cut.frames);
        let crops = |side: usize| side.checked_sub(cut.size).map_or(0, |rest| rest / cut.stride + 1);
        let counts = [windows, crops(series.height), crops(series.width)];
        Self { series, cut, first: times.start, counts }
    }
}

impl Rows for Clips {
    fn rows(&self) -> usize {
        self.counts.iter().product()
    }

    fn push(&self, row: usize, _unit: f32, out: &mut Vec<f32>) -> Result<(), DataError> {
        let [_, down, across] = self.counts;
        let (window, crop) = (row / (down * across), row % (down * across));
        let [top, left] = [crop / across, crop % across].map(|at| at * self.cut.stride);
        let Series { height, width, values, .. } = &*self.series;
        for time in self.first + window..self.first + window + self.cut.frames {
            for y in top..top + self.cut.size {
                let from = (time * height + y) * width + left;
                out.extend_from_slice(&values[from..from + self.cut.size]);
            }
        }
        Ok(())
    }
}
