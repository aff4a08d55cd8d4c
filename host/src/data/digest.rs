//! One number for all that a run sees of a data set.

use super::dataset::DataSet;
use super::field::{Field, Values};
use super::samples::Samples;
use crate::hex::hex;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Values of a field that are hashed at most where samples are made when they are asked for.
const MOST_MADE: usize = 1 << 26;

impl DataSet {
    /// SHA-256, in hexadecimal, of the samples as they were loaded: names of classes, and of each part the indices in their
    /// order, names, types and shapes of the fields, labels, and the values of every so many-th sample, the first among them. One that
    /// cannot be read counts by what is said of it. With 0 no file is read: those that samples stay in count by name and length.
    pub fn sha256(&self, every: usize) -> String {
        let mut sum = Sum(Sha256::new());
        sum.number(self.classes.len());
        self.classes.iter().for_each(|class| sum.text(class));
        for (part, samples) in self.parts() {
            sum.text(part);
            sum.samples(samples, every);
        }
        hex(sum.0)
    }

    /// One sample of how many is read for a sum: each, but of those that are made when they are asked for at most 2^26 values of a
    /// field.
    pub fn every(&self) -> usize {
        self.parts().map(|(_, samples)| every(samples)).max().unwrap_or(1)
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, &Samples)> {
        let all = [("train", Some(&self.train)), ("val", self.val.as_ref()), ("test", Some(&self.test))];
        all.into_iter().filter_map(|(part, samples)| Some((part, samples?)))
    }
}

impl Samples {
    /// A number that other samples do not have.
    pub fn number(&self) -> u64 {
        let mut sum = Sum(Sha256::new());
        sum.samples(self, every(self));
        sum.0.finalize().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

fn every(samples: &Samples) -> usize {
    let made = samples.fields().values().filter(|field| matches!(field.values(), Values::Made(_)));
    made.map(|field| (samples.len() * field.size()).div_ceil(MOST_MADE)).max().unwrap_or(1).max(1)
}

struct Sum(Sha256);

impl Sum {
    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }

    /// Its length goes before it, so that no two texts run together.
    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.update(text);
    }

    fn samples(&mut self, samples: &Samples, every: usize) {
        self.number(samples.len());
        samples.indices().iter().for_each(|row| self.number(*row));
        for (name, field) in samples.fields() {
            self.text(name);
            self.text(if field.are_bytes() { "u8" } else { field.values().dtype() });
            self.number(field.shape().len());
            field.shape().iter().for_each(|dim| self.number(*dim));
            self.values(field, samples.indices(), every);
        }
    }

    fn values(&mut self, field: &Field, rows: &[usize], every: usize) {
        let size = field.size();
        let of = |row: usize| row * size..(row + 1) * size;
        if every == 0 && !field.files().is_empty() {
            return field.files().iter().for_each(|file| self.file(file));
        }
        let some = rows.iter().step_by(every.max(1));
        match field.values() {
            Values::U8(values) => some.for_each(|row| self.0.update(&values[of(*row)])),
            Values::F32(values) => some.for_each(|row| self.floats(&values[of(*row)])),
            Values::I64(values) => {
                rows.iter().flat_map(|row| &values[of(*row)]).for_each(|value| self.0.update(value.to_le_bytes()));
            }
            _ => {
                let mut sample = Vec::with_capacity(size);
                for row in some {
                    sample.clear();
                    match field.push_f32(*row, 1.0, &mut sample) {
                        Ok(()) if field.are_bytes() => {
                            self.0.update(sample.iter().map(|value| *value as u8).collect::<Vec<u8>>());
                        }
                        Ok(()) => self.floats(&sample),
                        Err(error) => self.text(&error.to_string()),
                    }
                }
            }
        }
    }

    /// The name in its folder, and the length; a file that is not there has none.
    fn file(&mut self, file: &Path) {
        self.text(&file.file_name().unwrap_or_default().to_string_lossy());
        self.number(file.metadata().map_or(usize::MAX, |file| file.len() as usize));
    }

    fn floats(&mut self, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::DataError;
    use super::super::field::Rows;
    use super::super::samples::{IMAGE, LABEL};
    use super::*;
    use std::sync::Arc;

    /// Ten samples of two bytes: 0, 1, 2, and so on.
    #[derive(Debug)]
    struct Counted;

    impl Rows for Counted {
        fn rows(&self) -> usize {
            10
        }

        fn push(&self, row: usize, unit: f32, out: &mut Vec<f32>) -> Result<(), DataError> {
            out.extend([2 * row, 2 * row + 1].map(|value| value as f32 * unit));
            Ok(())
        }

        fn are_bytes(&self) -> bool {
            true
        }
    }

    fn part(images: Vec<u8>, labels: Vec<i64>) -> Samples {
        let image = Field::new(vec![2], Values::U8(images)).unwrap();
        let label = Field::new(vec![], Values::I64(labels)).unwrap();
        Samples::new([(IMAGE.to_owned(), image), (LABEL.to_owned(), label)].into()).unwrap()
    }

    fn set(images: Vec<u8>, labels: Vec<i64>) -> DataSet {
        DataSet::new("x", (part(images, labels), None, part(vec![9, 9], vec![0])), None).unwrap()
    }

    #[test]
    fn sum_changes_with_any_value_label_order_and_split() {
        let first = set(vec![1, 2, 3, 4, 5, 6], vec![0, 1, 0]);
        let again = set(vec![1, 2, 3, 4, 5, 6], vec![0, 1, 0]);
        assert_eq!((first.sha256(1), first.sha256(1).len()), (again.sha256(1), 64));
        let turned = DataSet { train: first.train.select(&[0, 2, 1]), ..first.clone() };
        let fewer = DataSet { train: first.train.select(&[0, 1]), ..first.clone() };
        let named = DataSet { classes: vec!["a".into(), "b".into()], ..first.clone() };
        let others = [
            set(vec![1, 2, 3, 4, 5, 7], vec![0, 1, 0]),
            set(vec![1, 2, 3, 4, 5, 6], vec![0, 1, 1]),
            turned,
            fewer,
            named,
            again.split(0.4, 1).unwrap(),
        ];
        let mut all: Vec<String> = others.iter().map(|set| set.sha256(1)).chain([first.sha256(1)]).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), others.len() + 1);
    }

    /// What lies outside of a part, as behind `limit`, is not seen and does not count.
    #[test]
    fn sum_is_of_the_samples_of_the_parts_alone() {
        let of = |last: u8| {
            let set = set(vec![1, 2, 3, 4, 5, last], vec![0, 1, 0]);
            DataSet { train: set.train.select(&[0, 1]), ..set }.sha256(1)
        };
        assert_eq!(of(6), of(7));
    }

    /// A set has one sum, whether its samples are kept or made when they are asked for.
    #[test]
    fn sum_does_not_depend_on_where_samples_are() {
        let kept = set((0..20).collect(), (0..10).collect());
        let image = Field::made(vec![2], Arc::new(Counted)).unwrap();
        let label = kept.train.field(LABEL).unwrap().clone();
        let train = Samples::new([(IMAGE.to_owned(), image), (LABEL.to_owned(), label)].into()).unwrap();
        let streamed = DataSet { train, ..kept.clone() };
        for every in [1, 3] {
            assert_eq!(kept.sha256(every), streamed.sha256(every));
        }
        assert_ne!(kept.sha256(1), kept.sha256(3));
        assert_ne!(kept.train.number(), kept.train.select(&[0, 2, 1]).number());
    }
}
