use std::fs;

use super::{npy, npz};
use crate::data::{DataError, DataSet, Values, open};

fn open_npz(arrays: &[(&str, Vec<u8>)]) -> Result<DataSet, DataError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("set.npz"), npz(arrays, true)).unwrap();
    open("npz:set.npz", folder.path())
}

fn bytes_of(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn npz_prefixed_arrays_become_parts() {
    let folder = tempfile::tempdir().unwrap();
    let arrays = [
        ("train_frames", npy("<f4", false, "(2, 3, 1, 1, 2)", &bytes_of(&[0.5; 12]))),
        ("train_label", npy("|u1", false, "(2,)", &[1, 0])),
        ("train_mask", npy("|b1", false, "(2, 2)", &[1, 0, 0, 7])),
        ("test_frames", npy("<f8", false, "(1, 3, 1, 1, 2)", &[0; 48])),
        ("test_label", npy("<i4", false, "(1, 1)", &[1, 0, 0, 0])),
        ("test_mask", npy("|b1", false, "(1, 2)", &[1, 0])),
    ];
    for deflate in [false, true] {
        fs::write(folder.path().join("clips.npz"), npz(&arrays, deflate)).unwrap();
        let set = open("clips:clips.npz", folder.path()).unwrap();
        assert_eq!((set.train.len(), set.test.len(), set.val.is_none()), (2, 1, true));
        assert_eq!(set.train.field("frames").unwrap().shape(), [3, 1, 1, 2]);
        assert_eq!(*set.train.field("mask").unwrap().values(), Values::U8(vec![1, 0, 0, 1]));
        assert_eq!((set.train.labels().unwrap(), set.classes.len()), (vec![1, 0], 2));
    }
}

#[test]
fn npz_keras_names_move_channels_first() {
    let set = open_npz(&[
        ("x_train", npy("|u1", false, "(1, 1, 2, 3)", &[1, 2, 3, 4, 5, 6])),
        ("y_train", npy("<i8", false, "(1, 1)", &[0; 8])),
        ("x_test", npy("|u1", false, "(1, 1, 2, 3)", &[9; 6])),
        ("y_test", npy("<u2", false, "(1,)", &[0, 0])),
    ])
    .unwrap();
    let image = set.train.field("image").unwrap();
    assert_eq!((image.shape(), image.values()), (&[3, 1, 2][..], &Values::U8(vec![1, 4, 2, 5, 3, 6])));
}

#[test]
fn npz_fortran_order_becomes_row_major() {
    // [[0, 1, 2], [3, 4, 5]] column by column.
    let image = npy("|u1", true, "(2, 3)", &[0, 3, 1, 4, 2, 5]);
    let set = open_npz(&[("train_image", image.clone()), ("test_image", image)]).unwrap();
    assert_eq!(*set.train.field("image").unwrap().values(), Values::U8(vec![0, 1, 2, 3, 4, 5]));
}

#[test]
fn npz_wrong_arrays_are_named_errors() {
    let good = || npy("|u1", false, "(1, 2)", &[0, 1]);
    let with = |name: &str, bytes: Vec<u8>| {
        open_npz(&[("train_image", good()), ("test_image", good()), (name, bytes)]).unwrap_err()
    };
    assert!(matches!(with("image", good()), DataError::UnknownArray { .. }));
    assert!(matches!(with("x_train", good()), DataError::DuplicateField { part: "train", .. }));
    assert!(matches!(with("train_index", good()), DataError::ReservedName { .. }));
    assert!(matches!(with("train_extra", good()), DataError::PartMismatch { part: "test", .. }));
    assert!(matches!(with("train_a", npy(">f4", false, "(1,)", &[0; 4])), DataError::UnsupportedDtype { .. }));
    assert!(matches!(with("train_a", npy("<U3", false, "(1,)", &[0; 12])), DataError::UnsupportedDtype { .. }));
    assert!(matches!(
        with("train_a", npy("|u1", false, "(3,)", &[0; 2])),
        DataError::Truncated { got: 2, wanted: 3, .. }
    ));
    assert!(matches!(with("train_a", npy("|u1", false, "(1,)", &[0; 2])), DataError::TrailingBytes { .. }));
    assert!(matches!(with("train_a", npy("|u1", false, "()", &[0])), DataError::SampleShape { .. }));
    assert!(matches!(with("train_a", npy("|u1", false, "(-1,)", &[0])), DataError::Malformed { .. }));
    let huge = "(0, 4294967296, 4294967296)";
    assert!(matches!(with("train_a", npy("|u1", false, huge, &[])), DataError::Malformed { .. }));
    assert!(matches!(with("train_a", b"not an array".to_vec()), DataError::WrongMagic { .. }));
    assert!(matches!(with("train_a", npy("|u1", false, "(2,)", &[0; 2])), DataError::CountMismatch { .. }));
    let last = npy("|u1", false, "(1, 8, 8, 3)", &[0; 192]);
    assert!(matches!(open_npz(&[("train_image", last)]), Err(DataError::SampleShape { .. })));
}
