//! Clips from an archive, or from one array.

use std::path::Path;

use indexmap::IndexMap;

use super::npy;
use super::npz;
use super::query::Query;
use super::stream::Stream;
use crate::data::damage::Damage;
use crate::data::dataset::DataSet;
use crate::data::error::DataError;
use crate::data::field::{Field, Values};
use crate::data::samples::{FRAMES, Samples};

/// Reads `FILE.npz` as [`npz::load`] does, and `FILE.npy` as one array of clips, of which the last ones are the test part.
///
/// Options of `.npy`: `test=0.2` (share of the test part), `time=first` for an array `[T, N, ..]`, as the public test clips of
/// Moving MNIST have it. Clips are `[T, H, W]`, `[T, C, H, W]` or `[T, F]`.
pub(super) fn load(name: &str, place: &str, base: &Path, damage: &Damage) -> Result<DataSet, DataError> {
    if !place.split('?').next().unwrap_or_default().ends_with(".npy") {
        return npz::load(name, &base.join(place), damage);
    }
    let (place, query) = Query::parse("clips", place, &["test", "time"])?;
    let path = base.join(place);
    let mut array = npy::read(Stream::open(&path)?)?;
    match query.text("time") {
        None | Some("second") => {}
        Some("first") => time_second(&mut array.shape, &mut array.values),
        Some(_) => return Err(query.invalid("time", "`first` or `second`")),
    }
    let shape = match array.shape.get(1..).unwrap_or_default() {
        &[time, height, width] => vec![time, 1, height, width],
        clip @ ([_, _] | [_, _, _, _]) => clip.to_vec(),
        other => {
            return Err(DataError::SampleShape {
                subject: path.display().to_string(),
                got: other.to_vec(),
                wanted: "[T, H, W], [T, C, H, W] or [T, F]".into(),
                hint: "the array's first dimension is that of the clips",
            });
        }
    };
    let all = Samples::new(IndexMap::from([(FRAMES.to_owned(), Field::new(shape, array.values)?)]))?;
    let share = query.number("test", 0.2, 0.0..=1.0)?;
    let held = ((all.len() as f64 * share).round() as usize).clamp(1, all.len().max(1));
    let cut = all.len().saturating_sub(held);
    let part = |range: std::ops::Range<usize>| all.select(&range.collect::<Vec<_>>());
    DataSet::new(name, (part(0..cut), None, part(cut..all.len())), None)
}

/// From `[T, N, ..]` to `[N, T, ..]`.
fn time_second(shape: &mut [usize], values: &mut Values) {
    let &mut [times, clips, ..] = shape else { return };
    let size = shape.iter().skip(2).product::<usize>();
    fn turned<T: Copy>(values: &[T], [times, clips, size]: [usize; 3]) -> Vec<T> {
        let place = |clip, time| &values[(time * clips + clip) * size..][..size];
        (0..clips).flat_map(|clip| (0..times).flat_map(move |time| place(clip, time))).copied().collect()
    }
    let dims = [times, clips, size];
    match values {
        Values::U8(all) => *all = turned(all, dims),
        Values::F32(all) => *all = turned(all, dims),
        Values::I64(all) => *all = turned(all, dims),
        Values::Made(_) => {}
    }
    shape.swap(0, 1);
}
