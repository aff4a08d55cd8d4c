//! Samples in memory: named fields, and the rows of them that make a part.

use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;

use super::error::{DataError, list, nearest};
use super::field::{Field, Values};

/// Field that holds pictures, `[C, H, W]` or `[F]` a sample.
pub const IMAGE: &str = "image";
/// Field that holds clips, `[T, C, H, W]` or `[T, F]` a sample.
pub const FRAMES: &str = "frames";
/// Field that holds class labels, `[]` a sample, counted from 0.
pub const LABEL: &str = "label";
/// Field that holds the map to predict, `[C, H, W]` a sample: it moves with the pictures.
pub const MAP: &str = "map";
/// Field that holds the places that a map is to find, `[C, H, W]` a sample, those above 0: it moves with the pictures.
pub const FIXATIONS: &str = "fixations";
/// Field that holds what the map was at the newest frame, `[C, H, W]` a sample: predictions are measured beside it.
pub const STILL: &str = "still";
/// Field of a batch that holds each sample's index.
pub const INDEX: &str = "index";
/// What a view's field in a batch begins with.
pub const VIEW_PREFIX: &str = "view.";

/// Samples of one part: fields, and the rows of them that belong to the part.
///
/// Clones and subsets share the fields' memory.
#[derive(Clone, Debug)]
pub struct Samples {
    fields: Arc<IndexMap<String, Field>>,
    rows: Arc<[usize]>,
    /// Mean and deviation of every channel, once somebody asked: samples that are read take long.
    pub(super) statistics: Arc<OnceLock<(Vec<f32>, Vec<f32>)>>,
}

impl Samples {
    /// All samples of `fields`.
    ///
    /// # Errors
    /// `CountMismatch` (fields of different lengths), `ReservedName`, `UnsupportedDtype` (an
    /// integer picture or a label that is not one), `SampleShape` (a label that is not a scalar).
    pub fn new(fields: IndexMap<String, Field>) -> Result<Self, DataError> {
        let rows = fields.first().map_or(0, |(_, field)| field.rows());
        for (name, field) in &fields {
            check_field(name, field)?;
            if let (true, Some((other, _))) = (field.rows() != rows, fields.first()) {
                let (field, other) = ((name.clone(), field.rows()), other.clone());
                return Err(DataError::CountMismatch { field: field.0, got: field.1, other, wanted: rows });
            }
        }
        if let Some(map) = fields.get(MAP) {
            let mut others = [FIXATIONS, STILL].into_iter().filter_map(|name| Some((name, fields.get(name)?)));
            if let Some((name, other)) = others.find(|(_, other)| other.shape() != map.shape()) {
                return Err(DataError::SampleShape {
                    subject: name.into(),
                    got: other.shape().to_vec(),
                    wanted: format!("{:?}, as the maps", map.shape()),
                    hint: "a map and what belongs to it have one size",
                });
            }
        }
        Ok(Self { fields: Arc::new(fields), rows: (0..rows).collect(), statistics: Arc::default() })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every field, of all rows, also of those outside this part.
    pub fn fields(&self) -> &IndexMap<String, Field> {
        &self.fields
    }

    /// A field by name, of all rows, also of those outside this part; see [`Samples::indices`].
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    /// The field that views are made of: `image`, or else `frames`.
    pub fn main_field(&self) -> Option<(&str, &Field)> {
        [IMAGE, FRAMES].into_iter().find_map(|name| Some((name, self.field(name)?)))
    }

    /// Index of every sample: its row in the part as it was loaded, stable under splits and
    /// shuffling.
    pub fn indices(&self) -> &[usize] {
        &self.rows
    }

    /// One more than the largest index there can be: the length of a table by sample index (a
    /// memory bank).
    pub fn index_bound(&self) -> usize {
        self.fields.first().map_or(0, |(_, field)| field.rows())
    }

    /// Class of every sample; `None` without labels.
    pub fn labels(&self) -> Option<Vec<i64>> {
        match self.field(LABEL)?.values() {
            Values::I64(values) => Some(self.rows.iter().map(|&row| values[row]).collect()),
            _ => None,
        }
    }

    /// The samples at `positions` (in `0..len`, those beyond are left out), with their indices.
    pub fn select(&self, positions: &[usize]) -> Self {
        let rows = positions.iter().filter_map(|&position| self.rows.get(position).copied()).collect();
        Self { fields: Arc::clone(&self.fields), rows, statistics: Arc::default() }
    }

    /// Whether samples come from files each time they are asked for.
    pub(crate) fn are_read(&self) -> bool {
        self.fields.values().any(Field::are_read)
    }

    /// `field` or `UnknownField`, with `subject` as the one who asks.
    pub(crate) fn require(&self, subject: &str, name: &str) -> Result<&Field, DataError> {
        let known = || self.fields.keys().map(String::as_str);
        self.field(name).ok_or_else(|| DataError::UnknownField {
            subject: subject.to_owned(),
            field: name.to_owned(),
            nearest: nearest(name, known()),
            known: list(known()),
        })
    }
}

/// What bytes of the field are divided by when they become floats.
pub(crate) fn unit(name: &str) -> f32 {
    if name == IMAGE || name == FRAMES { 255.0 } else { 1.0 }
}

fn check_field(name: &str, field: &Field) -> Result<(), DataError> {
    if name == INDEX || name.starts_with(VIEW_PREFIX) {
        let name = name.to_owned();
        return Err(DataError::ReservedName { name });
    }
    let dtype = |wanted| DataError::UnsupportedDtype {
        subject: name.to_owned(),
        got: field.values().dtype().to_owned(),
        wanted,
    };
    let shape = |wanted: &str, hint| DataError::SampleShape {
        subject: name.to_owned(),
        got: field.shape().to_vec(),
        wanted: wanted.to_owned(),
        hint,
    };
    match (name, field.values(), field.shape().len()) {
        (IMAGE | FRAMES, Values::I64(_), _) => Err(dtype("u8 (255 becomes 1.0) or f32")),
        (IMAGE, _, 1 | 3) | (FRAMES, _, 2 | 4) | (LABEL, Values::I64(_), 0) => Ok(()),
        (MAP | FIXATIONS | STILL, _, 3) => Ok(()),
        (MAP | FIXATIONS | STILL, ..) => Err(shape("[C, H, W]", "a map has channels, also where there is one")),
        (IMAGE, ..) => Err(shape("[C, H, W] or [F]", "put channels first")),
        (FRAMES, ..) => Err(shape("[T, C, H, W] or [T, F]", "time first, then channels")),
        (LABEL, Values::I64(_), _) => Err(shape("[]", "rename targets that are not one class")),
        (LABEL, ..) => Err(dtype("integers (rename targets that are not classes)")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(items: Vec<(&str, Vec<usize>, Values)>) -> IndexMap<String, Field> {
        items.into_iter().map(|(name, shape, values)| (name.to_owned(), Field::new(shape, values).unwrap())).collect()
    }

    #[test]
    fn samples_unequal_counts_is_error() {
        let made = Samples::new(fields(vec![
            (IMAGE, vec![1, 1, 2], Values::U8(vec![0; 6])),
            (LABEL, vec![], Values::I64(vec![0; 2])),
        ]));
        assert!(matches!(made, Err(DataError::CountMismatch { got: 2, wanted: 3, .. })), "{made:?}");
    }

    #[test]
    fn samples_unsuitable_fields_are_errors() {
        let cases = [
            (INDEX, vec![], Values::I64(vec![0])),
            ("view.x", vec![], Values::I64(vec![0])),
            (IMAGE, vec![2], Values::I64(vec![0; 2])),
            (IMAGE, vec![2, 2], Values::U8(vec![0; 4])),
            (FRAMES, vec![2], Values::U8(vec![0; 2])),
            (LABEL, vec![2], Values::I64(vec![0; 2])),
            (LABEL, vec![], Values::F32(vec![0.0])),
            (MAP, vec![2, 2], Values::F32(vec![0.0; 4])),
            (FIXATIONS, vec![], Values::U8(vec![0])),
        ];
        for case in cases {
            assert!(Samples::new(fields(vec![case.clone()])).is_err(), "{case:?}");
        }
    }

    #[test]
    fn samples_fixations_of_another_size_are_an_error() {
        let of = |places: Vec<usize>| {
            let count = places.iter().product();
            let map = (MAP, vec![1, 2, 2], Values::F32(vec![0.0; 4]));
            Samples::new(fields(vec![map, (FIXATIONS, places, Values::U8(vec![0; count]))]))
        };
        assert!(of(vec![1, 2, 2]).is_ok());
        assert!(
            matches!(of(vec![1, 4, 1]), Err(DataError::SampleShape { wanted, .. }) if wanted == "[1, 2, 2], as the maps")
        );
    }

    #[test]
    fn select_twice_keeps_indices() {
        let all = Samples::new(fields(vec![(LABEL, vec![], Values::I64(vec![5, 6, 7, 8]))])).unwrap();
        let some = all.select(&[3, 1, 0]).select(&[0, 2, 9]);
        assert_eq!(some.indices(), [3, 0]);
        assert_eq!(some.labels(), Some(vec![8, 5]));
        assert_eq!(some.index_bound(), 4);
    }
}
