//! From samples to batches: order, augmentation, views, made ahead of time.

use std::sync::Arc;

use super::augment::Augment;
use super::batch::Batch;
use super::error::DataError;
use super::prefetch::Prefetch;
use super::recipe::Recipe;
use super::rng::RngKey;
use super::samples::Samples;
use super::view::ViewSpec;

/// What a loader serves, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderSpec {
    /// One `view.<name>` field each.
    pub views: Vec<ViewSpec>,
    /// Other fields to serve; all but `image` and `frames` when not given. `image` and `frames`
    /// come as floats, neither augmented nor normalised; `map` and `fixations` as floats, moved as
    /// the pictures are where a view is augmented.
    pub fields: Option<Vec<String>>,
    /// Samples of a batch, > 0; the last batch may have fewer.
    pub batch: usize,
    /// Seed of the order; the order of the part when not given.
    pub shuffle: Option<u64>,
    /// Seed of the augmentation.
    pub seed: u64,
    /// The epoch, counted from 0: every epoch has its own order and augmentation.
    pub epoch: u64,
    /// First batch to serve, counted from 0; more than 0 to go on within an epoch.
    pub start: usize,
    /// Leaves a last batch out that has fewer samples.
    pub drop_last: bool,
    /// What is done to the samples before views are taken, for the views that ask for it.
    pub augment: Vec<Augment>,
    /// Augmentations of a sample, of which each epoch draws one, > 0; a new one each epoch when not given.
    pub variants: Option<usize>,
    /// Threads that make batches, more where samples come from files each time; 0 makes them when they are asked for.
    pub workers: usize,
    /// Batches that each thread keeps ready, > 0.
    pub prefetch: usize,
}

impl LoaderSpec {
    /// Batches of `batch` samples in the order of the part, not augmented, one thread ahead by two
    /// batches.
    pub fn new(batch: usize) -> Self {
        Self {
            views: Vec::new(),
            fields: None,
            batch,
            shuffle: None,
            seed: 0,
            epoch: 0,
            start: 0,
            drop_last: false,
            augment: Vec::new(),
            variants: None,
            workers: 1,
            prefetch: 2,
        }
    }
}

/// The batches of one epoch, in order.
///
/// What it serves follows from the samples and the spec alone, whatever `workers` and `prefetch`
/// are: the order from (`shuffle`, `epoch`), the augmentation of a sample from (`seed`, `epoch`,
/// the sample's index), by way of `variants` where there are some. It may be dropped at any time. After an error it ends. A batch is
/// without the samples that are left out, since they cannot be read.
///
/// # Example
/// ```
/// # use std::path::Path;
/// # use stillhouse::data::{Loader, LoaderSpec, ViewSpec, open};
/// let digits = open("digits", Path::new("."))?;
/// let spec = LoaderSpec { views: vec![ViewSpec::new("student")], shuffle: Some(7), ..LoaderSpec::new(128) };
/// for batch in Loader::new(&digits.train, spec)? {
///     let batch = batch?;
///     assert_eq!(batch.fields["view.student"].shape, [batch.len(), 1, 8, 8]);
/// }
/// # Ok::<(), stillhouse::data::DataError>(())
/// ```
pub struct Loader {
    batches: Prefetch<Result<Batch, DataError>>,
}

impl Loader {
    /// Checks the spec against the samples and starts the threads.
    ///
    /// # Errors
    /// `InvalidOption`, `SampleShape`, `UnknownField`, `ReservedName` (two views of one name).
    pub fn new(samples: &Samples, spec: LoaderSpec) -> Result<Self, DataError> {
        if spec.batch == 0 {
            let option = "batch".to_owned();
            return Err(DataError::InvalidOption { option, got: "0".into(), wanted: "1 or more".into() });
        }
        let mut order: Vec<usize> = (0..samples.len()).collect();
        if let Some(seed) = spec.shuffle {
            RngKey::new(seed, "shuffle").at(spec.epoch).shuffle(&mut order);
        }
        let count = batches(samples.len(), spec.batch, spec.drop_last);
        // Files are read and decoded by as many threads as compute.
        let workers = match spec.workers {
            workers if workers > 0 && samples.are_read() => workers.max(rayon::current_num_threads()),
            workers => workers,
        };
        let (start, ahead) = (spec.start.min(count), spec.prefetch);
        let recipe = Recipe::new(samples.clone(), spec, order)?;
        let make = Arc::new(move |number| recipe.batch(number));
        Ok(Self { batches: Prefetch::new(make, start, count, workers, ahead) })
    }
}

/// Number of batches of an epoch of `len` samples.
pub fn batches(len: usize, batch: usize, drop_last: bool) -> usize {
    let batch = batch.max(1);
    if drop_last { len / batch } else { len.div_ceil(batch) }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (batch, item) = self.batches.next()?;
        let item = item.unwrap_or_else(|cause| Err(DataError::Worker { batch, cause }));
        if item.is_err() {
            self.batches.finish();
        }
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.batches.left(), Some(self.batches.left()))
    }
}

impl ExactSizeIterator for Loader {}

impl std::iter::FusedIterator for Loader {}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(make: fn(usize) -> Result<Batch, DataError>, workers: usize) -> Vec<Result<Batch, DataError>> {
        Loader { batches: Prefetch::new(Arc::new(make), 0, 9, workers, 2) }.collect()
    }

    fn batch(number: usize) -> Batch {
        Batch { index: vec![number], fields: Default::default() }
    }

    #[test]
    fn loader_panicking_thread_is_error_and_ends() {
        for workers in [0, 1, 3] {
            let items = served(|number| if number == 2 { panic!("out of order") } else { Ok(batch(number)) }, workers);
            assert_eq!(items.len(), 3);
            assert!(matches!(&items[2], Err(DataError::Worker { batch: 2, cause }) if cause == "out of order"));
        }
    }

    #[test]
    fn loader_failing_batch_is_error_and_ends() {
        for workers in [0, 1, 3] {
            let fail = |number| match number {
                4 => Err(DataError::ValPresent { name: "x".into() }),
                _ => Ok(batch(number)),
            };
            let items = served(fail, workers);
            assert_eq!(items.iter().filter(|item| item.is_ok()).count(), 4);
            assert!(matches!(items.last(), Some(Err(DataError::ValPresent { .. }))));
        }
    }
}
