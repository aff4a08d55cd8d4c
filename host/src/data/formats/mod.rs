//! Where data sets come from: presets by name, and formats by `format:path`.

mod cifar;
mod clips;
mod digits;
mod folder;
mod idx;
mod moving;
mod netcdf;
mod npy;
mod npz;
mod options;
mod preset;
mod query;
mod stream;
mod streamed;
mod windows;

use std::path::Path;

use super::dataset::DataSet;
use super::error::{DataError, list, nearest};
use super::reading::Reading;

pub use preset::PRESETS;

/// Every format that `use = "format:path"` accepts.
pub const FORMATS: [&str; 8] = ["idx", "cifar10", "cifar100", "folder", "npz", "clips", "moving", "netcdf"];

/// Loads a data set by the text of `use` in a manifest; relative paths begin at `base`.
///
/// | text | reads |
/// |---|---|
/// | `digits` | 1797 embedded 8x8 digits: the last 360 are the test part |
/// | `fashion-mnist`, `mnist`, `cifar10`, `cifar100` | the preset's folder |
/// | `idx:DIR` | the four files of MNIST, plain or gzip, of any rank and type |
/// | `cifar10:DIR`, `cifar100:DIR` | the binary versions; fine labels |
/// | `folder:DIR?size=32` | pictures in `train/CLASS`, `test/CLASS`, `val/CLASS`, or in `CLASS` |
/// | `npz:FILE`, `clips:FILE` | arrays `train_image`, `test_frames`, ..., or Keras' `x_train`, ... |
/// | `clips:FILE.npy?test=0.2` | one array of clips, `[N, T, H, W]`; `time=first`: `[T, N, H, W]` |
/// | `moving:PICTURES?digits=2` | clips of pictures (`digits`, `mnist`, `idx:DIR`) that move and bounce |
/// | `netcdf:FILE?size=64` | crops of a variable of a NetCDF-3 file over windows of time |
///
/// Digits keep the order of their source, which does not tell the writers apart: both parts may
/// hold digits by the same hand. A preset's folder is looked for as `$STILLHOUSE_DATA/NAME`, where
/// packages put it, and as `data/NAME`. A folder without `train` gives a fifth of every class to
/// the test part (`?test=0.2&seed=0`); pictures are brought to one size by `?size=32` or
/// `?size=32x48` (height x width), and to grey or colour by `?channels=1` or `3`.
///
/// # Errors
/// Every variant of [`DataError`] but those of loaders and views.
///
/// # Example
/// ```
/// # use std::path::Path;
/// let digits = stillhouse::data::open("digits", Path::new("."))?;
/// assert_eq!((digits.train.len(), digits.test.len(), digits.classes.len()), (1437, 360, 10));
/// # Ok::<(), stillhouse::data::DataError>(())
/// ```
pub fn open(text: &str, base: &Path) -> Result<DataSet, DataError> {
    open_as(text, base, &Reading { stream: Some(false), ..Reading::default() })
}

/// Likewise, read in this way: streamed, or without damaged samples.
///
/// Without the damaged ones a part has fewer samples: labels that name no class and pictures that cannot be decoded are left out
/// when a set is opened; pictures that are decoded later, in the batch that asks for them. A file that is cut off or breaks its
/// format is an error all the same.
///
/// # Errors
/// As [`open`]; `InvalidOption` for a format that cannot be streamed, where that is asked for.
pub fn open_as(text: &str, base: &Path, reading: &Reading) -> Result<DataSet, DataError> {
    let mut set = load(text, base, reading)?;
    set.damage = reading.damage.clone();
    Ok(set)
}

fn load(text: &str, base: &Path, reading: &Reading) -> Result<DataSet, DataError> {
    let Some((format, place)) = text.split_once(':') else {
        return preset::load(text, base, reading);
    };
    let path = base.join(place);
    if !["idx", "folder"].contains(&format) {
        reading.refuse_stream(&format!("`{format}`"))?;
    }
    match format {
        "idx" => idx::load(text, &path, None, reading),
        "cifar10" => cifar::load(text, &path, &cifar::CIFAR10, &reading.damage),
        "cifar100" => cifar::load(text, &path, &cifar::CIFAR100, &reading.damage),
        "npz" => npz::load(text, &path, &reading.damage),
        "clips" => clips::load(text, place, base, &reading.damage),
        "moving" => moving::load(text, place, base),
        "netcdf" => windows::load(text, place, base),
        "folder" => {
            let (folder, options) = options::parse(place)?;
            folder::load(text, &base.join(folder), &options, reading)
        }
        _ => Err(DataError::UnknownFormat {
            got: format.to_owned(),
            nearest: nearest(format, FORMATS),
            known: list(FORMATS),
        }),
    }
}
