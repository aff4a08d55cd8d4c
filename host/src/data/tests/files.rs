use std::fs;
use std::path::Path;

use super::{cifar, gzip, idx, write_idx};
use crate::data::{DataError, Values, open};

#[test]
fn idx_plain_and_gzip_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    write_idx(folder.path());
    let set = open("idx:.", folder.path()).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (3, 2));
    assert_eq!(set.train.field("image").unwrap().shape(), [1, 2, 2]);
    assert_eq!(*set.test.field("image").unwrap().values(), Values::U8((0..8).collect()));
    assert_eq!(set.train.labels().unwrap(), [2, 0, 1]);
    assert_eq!(set.classes, ["0", "1", "2"]);
}

#[test]
fn idx_one_folder_down_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("raw")).unwrap();
    write_idx(&folder.path().join("raw"));
    assert_eq!(open("idx:.", folder.path()).unwrap().train.len(), 3);
}

#[test]
fn idx_other_ranks_and_types_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let clip: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|value| value.to_be_bytes()).collect();
    for part in ["train", "t10k"] {
        fs::write(folder.path().join(format!("{part}-images.idx5-ubyte")), idx(13, &[1, 2, 1, 1, 1], &clip)).unwrap();
        fs::write(folder.path().join(format!("{part}-labels.idx2-ubyte")), idx(11, &[1, 2], &[0, 1, 255, 254]))
            .unwrap();
    }
    let set = open("idx:.", folder.path()).unwrap();
    let frames = set.train.field("frames").unwrap();
    assert_eq!((frames.shape(), frames.values()), (&[2, 1, 1, 1][..], &Values::F32(vec![1.0, 2.0])));
    assert_eq!(*set.train.field("target").unwrap().values(), Values::I64(vec![1, -2]));
    assert!(set.classes.is_empty());
}

#[test]
fn idx_wrong_files_are_named_errors() {
    let folder = tempfile::tempdir().unwrap();
    write_idx(folder.path());
    let path = folder.path().join("train-images-idx3-ubyte");
    let with = |bytes: Vec<u8>| {
        fs::write(&path, bytes).unwrap();
        open("idx:.", folder.path()).unwrap_err()
    };
    assert!(matches!(with(vec![1, 2, 3, 4, 5]), DataError::WrongMagic { .. }));
    assert!(matches!(with(vec![0, 0]), DataError::Truncated { offset: 0, got: 2, wanted: 4, .. }));
    assert!(matches!(with(idx(7, &[3, 2, 2], &[0; 12])), DataError::UnsupportedDtype { .. }));
    assert!(matches!(with(idx(8, &[3, 2, 2], &[0; 11])), DataError::Truncated { offset: 16, got: 11, wanted: 12, .. }));
    assert!(matches!(with(idx(8, &[3, 2, 2], &[0; 13])), DataError::TrailingBytes { wanted: 28, .. }));
    assert!(matches!(with(idx(8, &[2, 2, 2], &[0; 8])), DataError::CountMismatch { got: 3, wanted: 2, .. }));
    assert!(matches!(with(idx(8, &[u32::MAX; 3], &[])), DataError::Malformed { .. }));
    assert!(matches!(with(idx(8, &[u32::MAX, 1, 1], &[])), DataError::Truncated { .. }));
    assert!(matches!(with(gzip(&idx(8, &[u32::MAX, 1, 1], &[]))), DataError::Truncated { .. }));
    assert!(matches!(with(idx(8, &[3, 0, 2], &[])), DataError::SampleShape { .. }));
    assert!(matches!(with(idx(12, &[3, 1, 1], &[0; 12])), DataError::UnsupportedDtype { .. }));
    fs::remove_file(&path).unwrap();
    assert!(matches!(open("idx:.", folder.path()), Err(DataError::MissingFile { .. })));
    assert!(matches!(open("idx:absent", folder.path()), Err(DataError::Read { .. })));
}

#[test]
fn idx_no_samples_is_error() {
    let folder = tempfile::tempdir().unwrap();
    write_idx(folder.path());
    fs::write(folder.path().join("train-images-idx3-ubyte"), idx(8, &[0, 2, 2], &[])).unwrap();
    fs::write(folder.path().join("train-labels-idx1-ubyte"), idx(8, &[0], &[])).unwrap();
    assert!(matches!(open("idx:.", folder.path()), Err(DataError::EmptyPart { part: "train", .. })));
}

#[test]
fn cifar_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("cifar-10-batches-bin");
    fs::create_dir(&below).unwrap();
    for number in 1..=5 {
        fs::write(below.join(format!("data_batch_{number}.bin")), cifar(4, 1, 10)).unwrap();
    }
    fs::write(below.join("test_batch.bin"), cifar(3, 1, 10)).unwrap();
    let names: Vec<String> = (0..10).map(|i| format!("class{i}")).collect();
    fs::write(below.join("batches.meta.txt"), names.join("\n") + "\n\n").unwrap();
    let set = open("cifar10:.", folder.path()).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (20, 3));
    assert_eq!(set.train.field("image").unwrap().shape(), [3, 32, 32]);
    assert_eq!(set.classes, names);
    fs::write(below.join("train.bin"), cifar(5, 2, 100)).unwrap();
    fs::write(below.join("test.bin"), cifar(2, 2, 100)).unwrap();
    let fine = open("cifar100:.", folder.path()).unwrap();
    assert_eq!(fine.train.labels().unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!((fine.classes.len(), fine.classes[99].as_str()), (100, "99"));
}

#[test]
fn cifar_wrong_files_are_named_errors() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("test.bin"), cifar(2, 2, 100)).unwrap();
    let with = |bytes: &[u8]| {
        fs::write(folder.path().join("train.bin"), bytes).unwrap();
        open("cifar100:.", folder.path()).unwrap_err()
    };
    let mut bytes = cifar(2, 2, 100);
    assert!(matches!(with(&bytes[..3080]), DataError::Truncated { offset: 3074, got: 6, wanted: 3074, .. }));
    bytes[3075] = 100;
    assert!(matches!(with(&bytes), DataError::Malformed { offset: 3075, .. }));
    assert!(matches!(with(&[]), DataError::EmptyPart { part: "train", .. }));
    assert!(matches!(open("cifar10:.", folder.path()), Err(DataError::MissingFile { .. })));
}

#[test]
fn open_unknown_names_suggest_the_nearest() {
    let hint = |text: &str| open(text, Path::new(".")).unwrap_err().hint();
    assert_eq!(hint("cifar_10").as_deref(), Some("did you mean `cifar10`?"));
    assert_eq!(hint("foldr:x").as_deref(), Some("did you mean `folder`?"));
    assert_eq!(hint("folder:x?seeds=1").as_deref(), Some("did you mean `seed`?"));
    assert!(matches!(open("qqq", Path::new(".")), Err(DataError::UnknownPreset { nearest: None, .. })));
}
