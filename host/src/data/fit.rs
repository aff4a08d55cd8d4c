//! Pictures of one set brought to the form of another: the middle of them, at another size.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use super::dataset::DataSet;
use super::error::DataError;
use super::field::{Field, Rows};
use super::layout::Layout;
use super::resize::{Filter, Resize};
use super::samples::{FIXATIONS, MAP, STILL, Samples, unit};

/// Which part of every picture is kept, and at which size. In a manifest: `fit = { crop = 20, size = 8 }`.
///
/// A view belongs to a model and is the same on every set that the model sees; this belongs to the set, so that a model can see two
/// sets whose pictures differ in size. Augmentation and statistics are of the pictures as they are after it.
///
/// # Example
/// ```
/// # use std::path::Path;
/// use stillhouse::data::{Filter, Fit, open};
/// let fit = Fit { crop: Some([6, 6]), size: Some([3, 3]), filter: Filter::Area };
/// let digits = fit.apply(open("digits", Path::new("."))?)?;
/// assert_eq!(digits.train.field("image").map(|image| image.shape().to_vec()), Some(vec![1, 3, 3]));
/// # Ok::<(), stillhouse::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// `[H, W]` of the middle that is kept; of an odd rest the larger half lies behind it. Everything when not given.
    pub crop: Option<[usize; 2]>,
    /// `[H, W]` to bring that to; as it is when not given.
    pub size: Option<[usize; 2]>,
    /// How the size is changed.
    pub filter: Filter,
}

impl Fit {
    /// The data set with pictures or clips in this form; its other fields stay, and so do its parts and indices.
    ///
    /// # Errors
    /// `SampleShape` (samples without height and width, or smaller than the crop), `InvalidOption` (a size of nothing, a set with
    /// maps, which would no longer lie over their pictures).
    pub fn apply(self, set: DataSet) -> Result<DataSet, DataError> {
        let part = |samples: &Samples| self.part(samples);
        let DataSet { name, train, val, test, classes, damage } = set;
        let parts = (part(&train)?, val.as_ref().map(part).transpose()?, part(&test)?);
        let set = DataSet::new(&name, parts, Some(classes).filter(|classes| !classes.is_empty()))?;
        Ok(DataSet { damage, ..set })
    }

    fn part(self, samples: &Samples) -> Result<Samples, DataError> {
        if let Some(taken) = [MAP, FIXATIONS, STILL].into_iter().find(|name| samples.field(name).is_some()) {
            let (option, wanted) = ("fit".to_owned(), "pictures or clips without maps".to_owned());
            return Err(DataError::InvalidOption { option, got: taken.into(), wanted });
        }
        let Some((name, field)) = samples.main_field() else {
            let (option, wanted) = ("fit".to_owned(), "pictures or clips".to_owned());
            return Err(DataError::InvalidOption { option, got: "neither".into(), wanted });
        };
        let layout = Layout::of(name, field.shape())?;
        let (start, crop) = self.middle(&layout)?;
        let size = self.size.unwrap_or(crop);
        let resize = (size != crop).then(|| Resize::new("fit", crop, size, self.filter)).transpose()?;
        let shape = Layout { height: size[0], width: size[1], ..layout.clone() }.shape();
        let fitted = Fitted { source: Arc::new(field.clone()), unit: unit(name), layout, start, crop, resize };
        let mut fields: IndexMap<String, Field> = samples.fields().clone();
        fields.insert(name.to_owned(), Field::made(shape, Arc::new(fitted))?);
        Ok(Samples::new(fields)?.select(samples.indices()))
    }

    /// Where the part that is kept begins, and its size.
    fn middle(&self, from: &Layout) -> Result<([usize; 2], [usize; 2]), DataError> {
        let have = [from.height, from.width];
        let crop = self.crop.unwrap_or(have);
        if !from.spatial || crop.iter().zip(&have).any(|(side, have)| !(1..=*have).contains(side)) {
            return Err(DataError::SampleShape {
                subject: "fit".into(),
                got: from.shape(),
                wanted: format!("pictures of at least {}x{}, and a crop of at least 1x1", crop[0], crop[1]),
                hint: "the crop is the middle of a picture: it can be as large as the picture",
            });
        }
        Ok(([(have[0] - crop[0]) / 2, (have[1] - crop[1]) / 2], crop))
    }
}

/// Pictures that are fitted when they are asked for.
#[derive(Debug)]
struct Fitted {
    source: Arc<Field>,
    unit: f32,
    layout: Layout,
    start: [usize; 2],
    crop: [usize; 2],
    resize: Option<Resize>,
}

impl Rows for Fitted {
    fn rows(&self) -> usize {
        self.source.rows()
    }

    fn push(&self, row: usize, _unit: f32, out: &mut Vec<f32>) -> Result<(), DataError> {
        let mut sample = Vec::with_capacity(self.source.size());
        self.source.push_f32(row, self.unit, &mut sample)?;
        let ([top, left], [height, width]) = (self.start, self.crop);
        for plane in sample.chunks_exact(self.layout.plane()) {
            let rows = plane.chunks_exact(self.layout.width).skip(top).take(height);
            let middle = rows.flat_map(|row| row[left..][..width].iter().copied());
            match &self.resize {
                Some(resize) => out.extend(resize.plane(&middle.collect::<Vec<_>>())),
                None => out.extend(middle),
            }
        }
        Ok(())
    }

    fn files(&self) -> &[PathBuf] {
        self.source.files()
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::Values;
    use super::*;

    fn set(name: &str, shape: &[usize], values: Values) -> DataSet {
        let samples = Samples::new([(name.to_owned(), Field::new(shape.to_vec(), values).unwrap())].into()).unwrap();
        DataSet::new("x", (samples.clone(), None, samples), None).unwrap()
    }

    /// The main field's shape and all its values.
    fn floats(samples: &Samples) -> (Vec<usize>, Vec<f32>) {
        let (_, field) = samples.main_field().unwrap();
        let mut values = vec![];
        (0..field.rows()).for_each(|row| field.push_f32(row, 255.0, &mut values).unwrap());
        (field.shape().to_vec(), values)
    }

    #[test]
    fn fit_keeps_the_middle_at_its_size() {
        // Two pictures of 3x4, 0 to 23; the middle 2x2 of the first begins at row 0, column 1: 1 2 5 6.
        let pictures = set("image", &[1, 3, 4], Values::F32((0..24).map(|value| value as f32).collect()));
        let crop = Fit { crop: Some([2, 2]), ..Fit::default() };
        let kept = crop.apply(pictures.clone()).unwrap();
        let middle = vec![1.0, 2.0, 5.0, 6.0, 13.0, 14.0, 17.0, 18.0];
        assert_eq!(floats(&kept.train), (vec![1, 2, 2], middle.clone()));
        assert_eq!(floats(&kept.test), (vec![1, 2, 2], middle));
        let small = Fit { size: Some([1, 1]), ..crop }.apply(pictures).unwrap();
        assert_eq!(floats(&small.train), (vec![1, 1, 1], vec![3.5, 15.5]));
    }

    #[test]
    fn fit_of_bytes_counts_255_as_one_in_every_frame_and_channel() {
        let clips = set("frames", &[2, 2, 1, 2], Values::U8(vec![51, 51, 102, 102, 153, 153, 255, 255]));
        let fitted = Fit { size: Some([1, 1]), ..Fit::default() }.apply(clips).unwrap();
        assert_eq!(floats(&fitted.train), (vec![2, 2, 1, 1], vec![0.2, 0.4, 0.6, 1.0]));
    }

    #[test]
    fn fit_keeps_parts_and_indices() {
        let pictures = set("image", &[1, 1, 1], Values::F32(vec![0.0, 1.0, 2.0, 3.0]));
        let held =
            DataSet { train: pictures.train.select(&[3, 1]), val: Some(pictures.train.select(&[0])), ..pictures };
        let fitted = Fit::default().apply(held).unwrap();
        assert_eq!((fitted.train.indices(), fitted.val.unwrap().indices()), (&[3, 1][..], &[0][..]));
    }

    #[test]
    fn fit_that_cannot_be_is_error() {
        let pictures = || set("image", &[1, 2, 2], Values::F32(vec![0.0; 4]));
        let of = |crop, size| Fit { crop, size, filter: Filter::Area }.apply(pictures());
        assert!(matches!(of(Some([2, 3]), None), Err(DataError::SampleShape { got, .. }) if got == [1, 2, 2]));
        assert!(matches!(of(Some([0, 1]), None), Err(DataError::SampleShape { .. })));
        assert!(matches!(of(None, Some([0, 1])), Err(DataError::InvalidOption { .. })));
        let flat = Fit::default().apply(set("image", &[4], Values::F32(vec![0.0; 4])));
        assert!(matches!(flat, Err(DataError::SampleShape { .. })));
        let bare = Fit::default().apply(set("other", &[1], Values::F32(vec![0.0])));
        assert!(matches!(bare, Err(DataError::InvalidOption { got, .. }) if got == "neither"));
        let fields = [("image", vec![1, 1, 1]), ("map", vec![1, 1, 1])]
            .map(|(name, shape)| (name.to_owned(), Field::new(shape, Values::F32(vec![0.0])).unwrap()));
        let samples = Samples::new(fields.into()).unwrap();
        let maps = DataSet::new("x", (samples.clone(), None, samples), None).unwrap();
        assert!(matches!(Fit::default().apply(maps), Err(DataError::InvalidOption { got, .. }) if got == "map"));
    }
}
