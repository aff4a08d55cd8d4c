//! Samples that cannot be read: an error, or left out and counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::error::DataError;

/// What is done with samples of a data set that cannot be read, and which those were so far.
///
/// Each sample counts once, however often it is asked for.
#[derive(Debug, Default)]
pub struct Damage {
    limit: Option<u64>,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// Samples by name, with what is wrong with them.
    samples: BTreeMap<String, String>,
    /// Names that nobody was told of yet.
    untold: Vec<String>,
}

impl Damage {
    /// The first one is an error.
    pub fn stop() -> Damage {
        Damage::default()
    }

    /// At most so many are left out.
    pub fn skip(limit: u64) -> Damage {
        Damage { limit: Some(limit), found: Mutex::default() }
    }

    /// Takes note of a sample that cannot be read.
    ///
    /// # Errors
    /// The error itself where none may be left out; `TooManyDamaged` where this is one too many.
    pub fn note(&self, sample: String, error: DataError) -> Result<(), DataError> {
        let Some(limit) = self.limit else { return Err(error) };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.samples.contains_key(&sample) {
            return Ok(());
        }
        let text = one_line(&error);
        if found.samples.len() as u64 >= limit {
            return Err(DataError::TooManyDamaged { limit, last: text });
        }
        found.untold.push(sample.clone());
        found.samples.insert(sample, text);
        Ok(())
    }

    /// How many samples were left out so far, and what is wrong with the first of them by name; none without any.
    pub fn first(&self) -> Option<(usize, String)> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.samples.values().next().map(|first| (found.samples.len(), first.clone()))
    }

    /// Samples that were left out so far, with what is wrong with each.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).samples.clone()
    }

    /// Takes up those that an earlier part of the run left out; they were told of then.
    pub fn take_up(&self, samples: &BTreeMap<String, String>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.samples.extend(samples.iter().map(|(name, what)| (name.clone(), what.clone())));
    }

    /// What is wrong with those that were found since this was asked before.
    pub fn news(&self) -> Vec<String> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = std::mem::take(&mut found.untold);
        untold.iter().filter_map(|name| found.samples.get(name).cloned()).collect()
    }
}

/// The headline, and the cause where there is one.
fn one_line(error: &DataError) -> String {
    let text = error.to_string();
    let body = text.split("\n\n").next().unwrap_or_default();
    body.lines().map(str::trim).filter(|line| !line.starts_with("wanted: ")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(row: usize) -> DataError {
        DataError::Picture { path: format!("{row}.png").into(), cause: "cut off".into() }
    }

    #[test]
    fn damage_counts_each_sample_once_up_to_its_limit() {
        assert!(matches!(Damage::stop().note("a".into(), error(1)), Err(DataError::Picture { .. })));
        let damage = Damage::skip(2);
        for name in ["a", "b", "a"] {
            damage.note(name.into(), error(1)).unwrap();
        }
        assert_eq!(damage.first().map(|(count, _)| count), Some(2));
        assert_eq!(damage.news(), ["`1.png` is not a readable picture; cause: cut off"; 2]);
        assert!(damage.news().is_empty());
        let one_more = damage.note("c".into(), error(3)).unwrap_err();
        assert!(matches!(&one_more, DataError::TooManyDamaged { limit: 2, last } if last.starts_with("`3.png` is")));
        let later = Damage::skip(2);
        later.take_up(&damage.all());
        assert!(later.news().is_empty());
        later.note("a".into(), error(1)).unwrap();
        assert!(later.note("c".into(), error(3)).is_err(), "the limit is the run's, not that of its last part");
    }
}
