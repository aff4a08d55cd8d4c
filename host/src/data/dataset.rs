//! A data set: its parts and its classes.

use std::sync::Arc;

use super::damage::Damage;
use super::error::DataError;
use super::samples::{MAP, Samples};
use super::split::stratified;

/// Most classes that are counted from labels; a larger label is taken for damage.
const MOST_CLASSES: i64 = 65_536;

/// A data set in memory.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// What it is called: the preset's name or the `use` text.
    pub name: String,
    /// What students are trained on.
    pub train: Samples,
    /// What choices are made on, if it was brought along or split off.
    pub val: Option<Samples>,
    /// What results are reported on.
    pub test: Samples,
    /// Class names by label; `"0"`, `"1"`, ... where the source names none; empty without labels.
    pub classes: Vec<String>,
    /// Samples that cannot be read: those that were left out when the set was opened, and those that are found later.
    pub damage: Arc<Damage>,
}

impl DataSet {
    /// Puts parts together and checks that they fit each other. Without `classes`, they are counted
    /// from the labels.
    ///
    /// # Errors
    /// `EmptyPart`, `PartMismatch` (a field of another shape or absent), `LabelOutOfRange`.
    pub fn new(
        name: &str,
        (train, val, test): (Samples, Option<Samples>, Samples),
        classes: Option<Vec<String>>,
    ) -> Result<Self, DataError> {
        Self::checked(name, (train, val, test), classes, &Damage::stop())
    }

    /// Likewise, but samples whose label names no class may be left out.
    pub(crate) fn checked(
        name: &str,
        (train, val, test): (Samples, Option<Samples>, Samples),
        classes: Option<Vec<String>>,
        damage: &Damage,
    ) -> Result<Self, DataError> {
        let bound = classes.as_ref().map_or(MOST_CLASSES, |classes| classes.len() as i64);
        let labelled = |part, samples| labelled(part, samples, bound, damage);
        let (train, test) = (labelled("train", train)?, labelled("test", test)?);
        let val = val.map(|val| labelled("val", val)).transpose()?;
        let parts: Vec<(&'static str, &Samples)> =
            [("train", Some(&train)), ("val", val.as_ref()), ("test", Some(&test))]
                .into_iter()
                .filter_map(|(part, samples)| Some((part, samples?)))
                .collect();
        for &(part, samples) in &parts {
            check_part(name, part, samples, &train)?;
        }
        let classes = named_classes(&parts, classes);
        Ok(Self { name: name.to_owned(), train, val, test, classes, damage: Arc::default() })
    }

    /// What a network gives for a sample: a score for each class, or a map of so many channels; 0 where neither is known.
    pub fn outputs(&self) -> usize {
        let map = || self.train.field(MAP).and_then(|map| map.shape().first().copied());
        if self.classes.is_empty() { map().unwrap_or_default() } else { self.classes.len() }
    }

    /// Moves `fraction` of the training part to a validation part: the same share of every class,
    /// drawn by `seed`.
    ///
    /// Without labels the samples are drawn from all. Indices stay those of the training part as
    /// loaded.
    ///
    /// # Errors
    /// `InvalidOption` (a fraction outside 0..1, or one that leaves a side empty), `ValPresent`.
    pub fn split(mut self, fraction: f64, seed: u64) -> Result<Self, DataError> {
        if self.val.is_some() {
            return Err(DataError::ValPresent { name: self.name });
        }
        let (kept, held) = stratified(self.train.labels().as_deref(), self.train.len(), fraction, seed)?;
        self.val = Some(self.train.select(&held));
        self.train = self.train.select(&kept);
        Ok(self)
    }
}

fn check_part(name: &str, part: &'static str, samples: &Samples, train: &Samples) -> Result<(), DataError> {
    if samples.is_empty() {
        let hint = "each data set needs samples to train on and samples to test on";
        return Err(DataError::EmptyPart { name: name.to_owned(), part, hint });
    }
    let shape = |samples: &Samples, field: &str| {
        samples.field(field).map_or("absent".to_owned(), |field| format!("{:?}", field.shape()))
    };
    for field in samples.fields().keys().chain(train.fields().keys()) {
        let (got, wanted) = (shape(samples, field), shape(train, field));
        if got != wanted {
            return Err(DataError::PartMismatch { field: field.clone(), part, got, wanted });
        }
    }
    Ok(())
}

/// The samples whose label names a class, `bound` of which there are.
fn labelled(part: &'static str, samples: Samples, bound: i64, damage: &Damage) -> Result<Samples, DataError> {
    let Some(labels) = samples.labels() else { return Ok(samples) };
    let mut kept = Vec::with_capacity(labels.len());
    for (position, &label) in labels.iter().enumerate() {
        if (0..bound).contains(&label) {
            kept.push(position);
            continue;
        }
        let index = samples.indices()[position];
        let error = DataError::LabelOutOfRange { part, index, got: label, classes: bound as usize };
        damage.note(format!("{part} {index}"), error)?;
    }
    Ok(if kept.len() == labels.len() { samples } else { samples.select(&kept) })
}

fn named_classes(parts: &[(&'static str, &Samples)], given: Option<Vec<String>>) -> Vec<String> {
    let labels = parts.iter().filter_map(|(_, samples)| samples.labels()).flatten();
    let largest = labels.max();
    match (largest, given) {
        (None, _) => Vec::new(),
        (Some(_), Some(given)) => given,
        (Some(largest), None) => (0..=largest).map(|label| label.to_string()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::{Field, Values};
    use super::super::samples::LABEL;
    use super::*;

    fn labelled(labels: Vec<i64>) -> Samples {
        Samples::new([(LABEL.to_owned(), Field::new(vec![], Values::I64(labels)).unwrap())].into_iter().collect())
            .unwrap()
    }

    #[test]
    fn split_classes_give_equal_shares() {
        let labels: Vec<i64> = (0..100).map(|i| i64::from(i % 10 == 0)).collect();
        let set = DataSet::new("x", (labelled(labels), None, labelled(vec![0])), None).unwrap();
        let split = set.clone().split(0.2, 4).unwrap();
        let val = split.val.as_ref().unwrap();
        let ones = |part: &Samples| part.labels().unwrap().iter().sum::<i64>();
        assert_eq!((val.len(), ones(val)), (20, 2));
        assert_eq!((split.train.len(), ones(&split.train)), (80, 8));
        let mut all: Vec<usize> = val.indices().iter().chain(split.train.indices()).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        let again = set.clone().split(0.2, 4).unwrap().val.unwrap();
        assert_eq!(val.indices(), again.indices());
        let other = set.split(0.2, 5).unwrap().val.unwrap();
        assert_ne!(val.indices(), other.indices());
    }

    #[test]
    fn split_twice_is_error() {
        let set = DataSet::new("x", (labelled(vec![0; 9]), None, labelled(vec![0])), None).unwrap();
        let twice = set.split(0.3, 0).unwrap().split(0.3, 0);
        assert!(matches!(twice, Err(DataError::ValPresent { .. })));
    }

    #[test]
    fn data_set_bad_labels_are_errors() {
        for (labels, classes) in [(vec![3], Some(vec!["a".to_owned(); 3])), (vec![-1], None), (vec![1 << 40], None)] {
            let set = DataSet::new("x", (labelled(vec![0]), None, labelled(labels)), classes);
            assert!(matches!(set, Err(DataError::LabelOutOfRange { part: "test", index: 0, .. })), "{set:?}");
        }
        let set = DataSet::new("x", (labelled(vec![0, 2]), None, labelled(vec![1])), None).unwrap();
        assert_eq!(set.classes, ["0", "1", "2"]);
    }

    #[test]
    fn data_set_unfit_parts_are_errors() {
        let empty = DataSet::new("x", (labelled(vec![0]), None, labelled(vec![])), None);
        assert!(matches!(empty, Err(DataError::EmptyPart { part: "test", .. })));
        let other = Samples::new([("y".to_owned(), Field::new(vec![], Values::I64(vec![1])).unwrap())].into()).unwrap();
        let unfit = DataSet::new("x", (labelled(vec![0]), Some(other), labelled(vec![0])), None);
        assert!(matches!(unfit, Err(DataError::PartMismatch { part: "val", .. })));
    }
}
