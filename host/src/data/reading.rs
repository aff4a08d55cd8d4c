//! How data sets are read: into memory or as they are asked for, and what damaged samples are.

use std::fs;
use std::sync::Arc;

use super::damage::Damage;
use super::error::DataError;

/// How a data set is read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Whether samples stay in their files until they are asked for; where it is not said, when they would fill more than a
    /// quarter of the memory.
    pub stream: Option<bool>,
    /// Bytes of decoded samples that are kept all the same.
    pub cache: usize,
    /// What is done with damaged samples.
    pub damage: Arc<Damage>,
}

impl Default for Reading {
    /// By size, 64 MB of samples kept, the first damaged one is an error.
    fn default() -> Self {
        Self { stream: None, cache: 64_000_000, damage: Arc::default() }
    }
}

impl Reading {
    /// Whether samples of so many bytes in all are to stay in their files.
    pub(crate) fn streams(&self, bytes: u64) -> bool {
        self.stream.unwrap_or_else(|| memory().is_some_and(|memory| bytes > memory / 4))
    }

    /// The error of a format whose samples cannot stay in their files, where that was asked for.
    ///
    /// # Errors
    /// `InvalidOption`.
    pub(crate) fn refuse_stream(&self, format: &str) -> Result<(), DataError> {
        match self.stream {
            Some(true) => Err(DataError::InvalidOption {
                option: "stream".into(),
                got: format!("true, for {format}"),
                wanted: "true for a folder of pictures or IDX files that are not packed".into(),
            }),
            _ => Ok(()),
        }
    }
}

/// Bytes of memory that the process may have; none where the system does not say.
fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let all = line.split_whitespace().next()?.parse::<u64>().ok()? * 1024;
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse::<u64>().ok());
    Some(limit.map_or(all, |limit| limit.min(all)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_streams_what_is_asked_for_or_does_not_fit() {
        let of = |stream| Reading { stream, ..Reading::default() };
        assert!(of(Some(true)).streams(1) && !of(Some(false)).streams(u64::MAX) && !of(None).streams(1000));
        assert_eq!(of(None).streams(u64::MAX), memory().is_some());
        assert!(of(Some(true)).refuse_stream("`npz`").is_err() && of(None).refuse_stream("`npz`").is_ok());
    }
}
