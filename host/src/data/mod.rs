//! Data: from files to batches. Knows neither tensors nor devices; what it serves are plain vectors
//! with shapes.
//!
//! In the order in which a sample passes through: [`open`] (presets and formats) gives a
//! [`DataSet`] of [`Samples`], whose fields are shared and whose parts are lists of rows; a
//! [`Loader`] takes its samples in a random order, augments each one once ([`Augment`]), renders it
//! for every model ([`ViewSpec`]) and serves [`Batch`]es ahead of time.
//!
//! What is served follows from the samples, the seeds, the epoch and the samples' indices alone:
//! random numbers are counted, not drawn in turn ([`Rng`]), so neither threads, nor batch sizes,
//! nor a restart change a sample.
//!
//! No file, however damaged, makes this room panic or reserve memory that the file could not fill:
//! what is wrong is a [`DataError`].

mod augment;
mod batch;
mod damage;
mod dataset;
mod digest;
mod error;
mod field;
mod fit;
mod formats;
mod layout;
mod loader;
mod next_map;
mod prefetch;
mod reading;
mod recipe;
mod resize;
mod rng;
mod samples;
mod split;
mod stats;
#[cfg(test)]
mod tests;
mod view;

pub use augment::Augment;
pub use batch::{Array, ArrayValues, Batch};
pub use damage::Damage;
pub use dataset::DataSet;
pub use error::DataError;
pub use field::{Field, Made, Rows, Values};
pub use fit::Fit;
pub use formats::{FORMATS, PRESETS, open, open_as};
pub use loader::{Loader, LoaderSpec, batches};
pub use next_map::NextMap;
pub use reading::Reading;
pub use resize::Filter;
pub use rng::{Rng, RngKey};
pub use samples::{FIXATIONS, FRAMES, IMAGE, INDEX, LABEL, MAP, STILL, Samples, VIEW_PREFIX};
pub use stats::channel_stats;
pub use view::ViewSpec;
