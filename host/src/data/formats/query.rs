//! The options behind `?` of `FORMAT:PLACE?key=value&..`.

use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::data::error::{DataError, list, nearest};

/// Options by name, each taken once.
pub(super) struct Query<'a> {
    format: &'static str,
    items: Vec<(&'a str, &'a str)>,
}

impl<'a> Query<'a> {
    /// Splits a text into the place and its options; a name that is not in `known` is refused.
    pub(super) fn parse(
        format: &'static str,
        text: &'a str,
        known: &'static [&'static str],
    ) -> Result<(&'a str, Self), DataError> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let mut items = vec![];
        for item in query.split('&').filter(|item| !item.is_empty()) {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            if !known.contains(&key) {
                return Err(DataError::UnknownOption {
                    format: format.into(),
                    got: key.to_owned(),
                    nearest: nearest(key, known.iter().copied()),
                    known: list(known.iter().copied()),
                });
            }
            items.push((key, value));
        }
        Ok((place, Self { format, items }))
    }

    /// The text of an option; the last one where it is given twice.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.items.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// A number within a range, or its default.
    pub(super) fn number<T: FromStr + PartialOrd + std::fmt::Display + Copy>(
        &self,
        key: &str,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, DataError> {
        let Some(text) = self.text(key) else { return Ok(default) };
        let wanted = || format!("a number from {} to {}", range.start(), range.end());
        text.parse().ok().filter(|value| range.contains(value)).ok_or_else(|| self.invalid(key, wanted()))
    }

    /// The error of an option.
    pub(super) fn invalid(&self, key: &str, wanted: impl Into<String>) -> DataError {
        let got = self.text(key).unwrap_or_default().to_owned();
        DataError::InvalidOption { option: format!("{key}` of `{}", self.format), got, wanted: wanted.into() }
    }
}
