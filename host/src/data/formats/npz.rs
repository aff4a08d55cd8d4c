//! NPZ, a zip of NumPy arrays: whole data sets from one file.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use indexmap::IndexMap;
use zip::ZipArchive;

use super::npy::{self, Npy};
use super::stream::{Stream, most_unpacked};
use crate::data::damage::Damage;
use crate::data::dataset::DataSet;
use crate::data::error::DataError;
use crate::data::field::{Field, Values};
use crate::data::samples::{FIXATIONS, FRAMES, IMAGE, LABEL, MAP, STILL, Samples};

const WANTED: &str = "train_NAME, val_NAME, test_NAME, or x_train, y_train, x_test, y_test";
const PARTS: [&str; 3] = ["train", "val", "test"];

type Fields = IndexMap<String, Field>;

/// Reads `train_image`, `train_label`, `test_frames`, ..., or `x_train`, `y_train`, ... as Keras
/// names them.
///
/// `image` is `[N, C, H, W]`, `[N, H, W]` or `[N, F]`; `frames` `[N, T, C, H, W]`, `[N, T, H, W]` or `[N, T, F]`;
/// `map` and `fixations` `[N, C, H, W]` or `[N, H, W]`; `x_train` has its channels last.
pub(super) fn load(name: &str, path: &Path, damage: &Damage) -> Result<DataSet, DataError> {
    let mut parts: [Fields; 3] = Default::default();
    for (array, npy) in arrays(path)? {
        let Some(place) = place(&array) else {
            return Err(DataError::UnknownArray { path: path.to_owned(), array, wanted: WANTED });
        };
        let inside = path.join(&array);
        let (field, field_name) = (field(&inside, &place, npy)?, place.field.to_owned());
        if parts[place.part].insert(field_name.clone(), field).is_some() {
            return Err(DataError::DuplicateField {
                path: path.to_owned(),
                part: PARTS[place.part],
                field: field_name,
            });
        }
    }
    let [train, val, test] = parts;
    let val = if val.is_empty() { None } else { Some(Samples::new(val)?) };
    DataSet::checked(name, (Samples::new(train)?, val, Samples::new(test)?), None, damage)
}

fn arrays(path: &Path) -> Result<Vec<(String, Npy)>, DataError> {
    let failed = |cause| DataError::Read { path: path.to_owned(), cause };
    let archive = |cause: zip::result::ZipError| DataError::Archive { path: path.to_owned(), cause: cause.to_string() };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(archive)?;
    let mut arrays = Vec::new();
    for number in 0..zip.len() {
        let entry = zip.by_index(number).map_err(archive)?;
        let name = entry.name().map_err(archive)?.into_owned();
        let array = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        let most = entry.size().min(most_unpacked(entry.compressed_size().min(length)));
        let npy = npy::read(Stream::plain(&path.join(&name), entry, most))?;
        arrays.push((array, npy));
    }
    Ok(arrays)
}

/// Where an array goes: part, field, and whether its channels come last.
#[derive(Debug, PartialEq)]
struct Place<'a> {
    part: usize,
    field: &'a str,
    channels_last: bool,
}

fn place(array: &str) -> Option<Place<'_>> {
    let part = |name: &str| PARTS.iter().position(|&part| part == name);
    let (first, rest) = array.split_once('_')?;
    match (first, part(first), part(rest)) {
        ("x", _, Some(part)) => Some(Place { part, field: IMAGE, channels_last: true }),
        ("y", _, Some(part)) => Some(Place { part, field: LABEL, channels_last: false }),
        (_, Some(part), _) if !rest.is_empty() => Some(Place { part, field: rest, channels_last: false }),
        _ => None,
    }
}

fn field(path: &Path, place: &Place<'_>, npy: Npy) -> Result<Field, DataError> {
    let Some((&count, sample)) = npy.shape.split_first() else {
        return Err(shape_error(path, &npy.shape, "an array with the samples as first dimension"));
    };
    match (place.field, sample) {
        (IMAGE | MAP | FIXATIONS | STILL, [height, width]) => Field::new(vec![1, *height, *width], npy.values),
        (IMAGE, &[height, width, channels]) if place.channels_last => {
            let values = channels_first(npy.values, [count, height * width, channels]);
            Field::new(vec![channels, height, width], values)
        }
        (IMAGE, [channels, _, last]) if *channels > 4 && *last <= 4 => {
            Err(shape_error(path, sample, "[C, H, W] with at most 4 channels first"))
        }
        (FRAMES, [time, height, width]) => Field::new(vec![*time, 1, *height, *width], npy.values),
        (IMAGE, []) => Field::new(vec![1], npy.values),
        (LABEL, [] | [1]) => Field::new(vec![], integers(npy.values)),
        _ => Field::new(sample.to_vec(), npy.values),
    }
}

fn shape_error(path: &Path, got: &[usize], wanted: &str) -> DataError {
    DataError::SampleShape {
        subject: path.display().to_string(),
        got: got.to_vec(),
        wanted: wanted.to_owned(),
        hint: "transpose the array before saving it",
    }
}

/// Labels may be stored as bytes or truth values.
fn integers(values: Values) -> Values {
    match values {
        Values::U8(values) => Values::I64(values.into_iter().map(i64::from).collect()),
        other => other,
    }
}

/// From `[N, H * W, C]` to `[N, C, H * W]`.
fn channels_first(values: Values, dims: [usize; 3]) -> Values {
    fn moved<T: Copy>(values: &[T], [count, pixels, channels]: [usize; 3]) -> Vec<T> {
        let mut out = Vec::with_capacity(values.len());
        for sample in 0..count {
            let sample = &values[sample * pixels * channels..(sample + 1) * pixels * channels];
            for channel in 0..channels {
                out.extend((0..pixels).map(|pixel| sample[pixel * channels + channel]));
            }
        }
        out
    }
    match values {
        Values::U8(values) => Values::U8(moved(&values, dims)),
        Values::F32(values) => Values::F32(moved(&values, dims)),
        Values::I64(values) => Values::I64(moved(&values, dims)),
        made @ Values::Made(_) => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_names_give_part_and_field() {
        let place = |name| place(name).map(|place| (PARTS[place.part], place.field, place.channels_last));
        assert_eq!(place("train_image"), Some(("train", "image", false)));
        assert_eq!(place("val_rain_rate"), Some(("val", "rain_rate", false)));
        assert_eq!(place("x_test"), Some(("test", "image", true)));
        assert_eq!(place("y_train"), Some(("train", "label", false)));
        assert_eq!([place("image"), place("x_label"), place("train_")], [None, None, None]);
    }

    #[test]
    fn channels_last_pixels_become_planes() {
        let planes = channels_first(Values::U8(vec![1, 2, 3, 4, 5, 6]), [1, 2, 3]);
        assert_eq!(planes, Values::U8(vec![1, 4, 2, 5, 3, 6]));
    }
}
