//! No bytes make a reader panic: every format, cut off everywhere and changed at random.

use std::fs;
use std::path::{Path, PathBuf};

use super::{cifar, gzip, idx, npy, npz, write_idx};
use crate::data::{DataError, DataSet, Rng, open};

/// Opens the set after the file was cut at every `step`-th length and after `rounds` random changes
/// of its first `head` bytes.
fn damage(text: &str, base: &Path, file: &Path, head: usize, rounds: u64) {
    let bytes = fs::read(file).unwrap();
    let step = (bytes.len() / 200).max(1);
    for length in (0..bytes.len()).step_by(step) {
        fs::write(file, &bytes[..length]).unwrap();
        attempt(text, base).unwrap_err();
    }
    for round in 0..rounds {
        let mut rng = Rng::new(1, text, round);
        let mut changed = bytes.clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(head.min(bytes.len()));
            changed[at] = [0, 1, 0x7f, 0xff, rng.next_u64() as u8][rng.below(5)];
        }
        fs::write(file, changed).unwrap();
        let _ = attempt(text, base);
    }
    fs::write(file, bytes).unwrap();
    attempt(text, base).unwrap();
}

/// The set or its error, whose text must be whole.
fn attempt(text: &str, base: &Path) -> Result<DataSet, DataError> {
    open(text, base).inspect_err(|error| assert!(!error.headline().is_empty()))
}

#[test]
fn idx_damaged_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    write_idx(folder.path());
    for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte.gz"] {
        damage("idx:.", folder.path(), &folder.path().join(name), 64, 1500);
    }
}

#[test]
fn idx_labels_of_any_type_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    write_idx(folder.path());
    let file = folder.path().join("train-labels-idx1-ubyte");
    fs::write(&file, idx(12, &[3], &[0; 12])).unwrap();
    damage("idx:.", folder.path(), &file, 64, 1500);
}

#[test]
fn cifar_damaged_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("test.bin"), cifar(2, 2, 100)).unwrap();
    let file = folder.path().join("train.bin");
    fs::write(&file, cifar(2, 2, 100)).unwrap();
    let bytes = fs::read(&file).unwrap();
    for length in [0, 1, 3073, 3075, 6147] {
        fs::write(&file, &bytes[..length]).unwrap();
        attempt("cifar100:.", folder.path()).unwrap_err();
    }
    // A gzip mark where records are wanted.
    fs::write(&file, [&[0x1f, 0x8b][..], &bytes[2..]].concat()).unwrap();
    attempt("cifar100:.", folder.path()).unwrap_err();
    fs::write(&file, gzip(&bytes)).unwrap();
    attempt("cifar100:.", folder.path()).unwrap_err();
}

fn small_npz(folder: &Path, deflate: bool) -> PathBuf {
    let image = npy("<f4", false, "(2, 1, 2, 2)", &[0; 32]);
    let label = npy("<i8", true, "(2,)", &[0; 16]);
    let arrays =
        [("train_image", image.clone()), ("train_label", label.clone()), ("test_image", image), ("test_label", label)];
    let file = folder.join("set.npz");
    fs::write(&file, npz(&arrays, deflate)).unwrap();
    file
}

#[test]
fn npz_damaged_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    for deflate in [false, true] {
        let file = small_npz(folder.path(), deflate);
        damage("npz:set.npz", folder.path(), &file, usize::MAX, 4000);
    }
}

#[test]
fn npy_damaged_headers_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let whole = npy("<f4", true, "(2, 3, 4, 5)", &[0; 480]);
    for round in 0..4000 {
        let mut rng = Rng::new(2, "npy", round);
        let mut image = whole.clone();
        for _ in 0..=rng.below(3) {
            let digits = b"0123456789(),'<f8ubi \x00\xff";
            image[rng.below(80)] = digits[rng.below(digits.len())];
        }
        fs::write(folder.path().join("set.npz"), npz(&[("x_train", image), ("x_test", whole.clone())], false)).unwrap();
        let _ = attempt("npz:set.npz", folder.path());
    }
}

#[test]
fn npz_announcing_more_than_it_can_hold_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    for (shape, wanted) in [("(1000000000000,)", "bytes"), ("(4000000000, 4000000000)", "memory")] {
        fs::write(folder.path().join("set.npz"), npz(&[("train_image", npy("<f8", false, shape, &[0; 64]))], true))
            .unwrap();
        let error = attempt("npz:set.npz", folder.path()).unwrap_err();
        assert!(matches!(error, DataError::Truncated { .. } | DataError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn folder_damaged_pictures_never_panic() {
    for ending in ["png", "jpg", "bmp", "gif", "webp"] {
        let folder = tempfile::tempdir().unwrap();
        let picture = image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, 77]));
        for part in ["train", "test"] {
            fs::create_dir_all(folder.path().join(part).join("a")).unwrap();
            picture.save(folder.path().join(format!("{part}/a/1.{ending}"))).unwrap();
        }
        let file = folder.path().join(format!("train/a/1.{ending}"));
        let bytes = fs::read(&file).unwrap();
        for round in 0..400 {
            let mut rng = Rng::new(3, ending, round);
            let mut changed = bytes.clone();
            (0..=rng.below(4)).for_each(|_| changed[rng.below(bytes.len())] = rng.next_u64() as u8);
            changed.truncate(if round % 3 == 0 { rng.below(bytes.len()) } else { bytes.len() });
            fs::write(&file, changed).unwrap();
            let _ = attempt("folder:.", folder.path());
        }
    }
}
