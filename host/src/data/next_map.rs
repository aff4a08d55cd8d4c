//! From clips to pictures with a map: what the next frame looks like, or where it is above a value.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use super::dataset::DataSet;
use super::error::DataError;
use super::field::{Field, Rows};
use super::samples::{FRAMES, IMAGE, MAP, STILL, Samples, unit};

/// The map of the frame behind some frames. In a manifest: `map = { frames = 2, above = 1.0 }`.
///
/// Of a clip `[T, C, H, W]` the last frame becomes field `map` `[C, H, W]`, and the frames before it become field `image`
/// `[frames C, H, W]`, the newest last; field `still` is the map of the newest of these, for comparison. Nothing is copied before it
/// is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextMap {
    /// Frames that are seen.
    pub frames: usize,
    /// The map is 1 where the frame is above this value and 0 elsewhere; without it the map is the frame.
    pub above: Option<f32>,
}

impl NextMap {
    /// The data set whose clips became pictures with maps; its other fields stay, and so do its parts and indices.
    ///
    /// # Errors
    /// `UnknownField` (no clips), `SampleShape` (frames without height and width, clips that are too short), `InvalidOption`
    /// (no frames; `above` is no number; the set has pictures or maps).
    pub fn apply(self, set: DataSet) -> Result<DataSet, DataError> {
        let invalid = |option: &str, got: String, wanted: &str| {
            let option = format!("map.{option}");
            Err(DataError::InvalidOption { option, got, wanted: wanted.into() })
        };
        if self.frames == 0 {
            return invalid("frames", "0".into(), "1 or more");
        }
        if let Some(above) = self.above.filter(|above| !above.is_finite()) {
            return invalid("above", above.to_string(), "a finite number");
        }
        let part = |samples: &Samples| self.part(samples);
        let DataSet { name, train, val, test, classes, damage } = set;
        let parts = (part(&train)?, val.as_ref().map(part).transpose()?, part(&test)?);
        let set = DataSet::new(&name, parts, Some(classes).filter(|classes| !classes.is_empty()))?;
        Ok(DataSet { damage, ..set })
    }

    fn part(self, samples: &Samples) -> Result<Samples, DataError> {
        let clips = Arc::new(samples.require("map", FRAMES)?.clone());
        let [time, channels, height, width] = *clips.shape() else {
            return Err(wrong(&clips, "[T, C, H, W]", "a map has height and width"));
        };
        if time <= self.frames {
            let wanted = format!("{} frames or more", self.frames + 1);
            return Err(wrong(&clips, &wanted, "a clip has the frames that are seen, and one more"));
        }
        let others = samples.fields().iter().filter(|(name, _)| *name != FRAMES);
        let mut fields: IndexMap<String, Field> = others.map(|(name, field)| (name.clone(), field.clone())).collect();
        if let Some(taken) = [IMAGE, MAP, STILL].into_iter().find(|name| fields.contains_key(*name)) {
            let option = "map".to_owned();
            return Err(DataError::InvalidOption { option, got: taken.into(), wanted: "clips alone".into() });
        }
        let first = time - 1 - self.frames;
        let cuts =
            [(IMAGE, first, self.frames, None), (MAP, time - 1, 1, self.above), (STILL, time - 2, 1, self.above)];
        for (name, first, frames, above) in cuts {
            let cut = Cut { clips: clips.clone(), first, frames, above };
            fields.insert(name.into(), Field::made(vec![frames * channels, height, width], Arc::new(cut))?);
        }
        Ok(Samples::new(fields)?.select(samples.indices()))
    }
}

/// Some frames of every clip, side by side, perhaps compared with a value.
#[derive(Debug)]
struct Cut {
    clips: Arc<Field>,
    first: usize,
    frames: usize,
    above: Option<f32>,
}

impl Rows for Cut {
    fn rows(&self) -> usize {
        self.clips.rows()
    }

    fn push(&self, row: usize, _unit: f32, out: &mut Vec<f32>) -> Result<(), DataError> {
        let mut clip = Vec::with_capacity(self.clips.size());
        self.clips.push_f32(row, unit(FRAMES), &mut clip)?;
        let frame = self.clips.size() / self.clips.shape()[0];
        let cut = &clip[self.first * frame..(self.first + self.frames) * frame];
        out.extend(cut.iter().map(|value| self.above.map_or(*value, |above| f32::from(u8::from(*value > above)))));
        Ok(())
    }

    fn files(&self) -> &[PathBuf] {
        self.clips.files()
    }
}

fn wrong(clips: &Field, wanted: &str, hint: &'static str) -> DataError {
    DataError::SampleShape { subject: FRAMES.into(), got: clips.shape().to_vec(), wanted: wanted.into(), hint }
}

#[cfg(test)]
mod tests {
    use super::super::field::Values;
    use super::*;

    fn clips(shape: &[usize], values: Values) -> DataSet {
        let samples = Samples::new([(FRAMES.to_owned(), Field::new(shape.to_vec(), values).unwrap())].into()).unwrap();
        DataSet::new("x", (samples.clone(), None, samples), None).unwrap()
    }

    /// A field's shape and all its values.
    fn floats(samples: &Samples, name: &str) -> (Vec<usize>, Vec<f32>) {
        let field = samples.field(name).unwrap();
        let mut values = vec![];
        (0..field.rows()).for_each(|row| field.push_f32(row, 1.0, &mut values).unwrap());
        (field.shape().to_vec(), values)
    }

    #[test]
    fn next_map_takes_the_last_frames() {
        // Two clips of three frames of 1x2.
        let set = clips(&[3, 1, 1, 2], Values::F32((0..12).map(|value| value as f32).collect()));
        let two = NextMap { frames: 2, above: Some(4.0) }.apply(set.clone()).unwrap();
        assert_eq!(floats(&two.train, IMAGE), (vec![2, 1, 2], vec![0.0, 1.0, 2.0, 3.0, 6.0, 7.0, 8.0, 9.0]));
        assert_eq!(floats(&two.test, MAP), (vec![1, 1, 2], vec![0.0, 1.0, 1.0, 1.0]));
        assert_eq!(floats(&two.test, STILL), (vec![1, 1, 2], vec![0.0, 0.0, 1.0, 1.0]));
        assert_eq!((two.outputs(), two.train.field(FRAMES)), (1, None));
        let one = NextMap { frames: 1, above: None }.apply(set).unwrap();
        assert_eq!(floats(&one.train, IMAGE).1, [2.0, 3.0, 8.0, 9.0]);
        assert_eq!(floats(&one.train, MAP).1, [4.0, 5.0, 10.0, 11.0]);
    }

    #[test]
    fn next_map_of_bytes_counts_255_as_one() {
        let set = clips(&[2, 1, 1, 1], Values::U8(vec![51, 102]));
        let map = NextMap { frames: 1, above: None }.apply(set).unwrap();
        assert_eq!((floats(&map.train, IMAGE).1, floats(&map.train, MAP).1), (vec![0.2], vec![0.4]));
    }

    #[test]
    fn next_map_keeps_parts_and_indices() {
        let set = clips(&[2, 1, 1, 1], Values::F32((0..8).map(|value| value as f32).collect()));
        let held = DataSet { train: set.train.select(&[3, 1]), val: Some(set.train.select(&[0])), ..set };
        let map = NextMap { frames: 1, above: Some(0.0) }.apply(held).unwrap();
        assert_eq!((map.train.indices(), map.val.unwrap().indices()), (&[3, 1][..], &[0][..]));
    }

    #[test]
    fn next_map_that_cannot_be_is_error() {
        let set = clips(&[2, 1, 1, 1], Values::F32(vec![0.0; 4]));
        let of = |frames, above| NextMap { frames, above }.apply(set.clone());
        assert!(matches!(of(0, None), Err(DataError::InvalidOption { .. })));
        assert!(matches!(of(1, Some(f32::NAN)), Err(DataError::InvalidOption { .. })));
        assert!(matches!(of(2, None), Err(DataError::SampleShape { wanted, .. }) if wanted == "3 frames or more"));
        let made = of(1, None).unwrap();
        let again = NextMap { frames: 1, above: None }.apply(made);
        assert!(matches!(again, Err(DataError::UnknownField { .. })));
        let flat = NextMap { frames: 1, above: None }.apply(clips(&[2, 3], Values::F32(vec![0.0; 6])));
        assert!(matches!(flat, Err(DataError::SampleShape { .. })));
    }
}
