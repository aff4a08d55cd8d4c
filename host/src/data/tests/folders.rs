use std::fs;
use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};

use crate::data::{DataError, Values, open};

fn grey(path: &Path, size: [u32; 2], value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_pixel(size[1], size[0], Luma([value])).save(path).unwrap();
}

#[test]
fn folder_parts_and_classes_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for (path, value) in [("train/cat/b.png", 2), ("train/cat/a.png", 1), ("train/dog/a.PNG", 3), ("test/dog/x.png", 4)]
    {
        grey(&folder.path().join(path), [2, 3], value);
    }
    fs::write(folder.path().join("train/cat/notes.txt"), "x").unwrap();
    let set = open("folder:.", folder.path()).unwrap();
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!((set.train.labels().unwrap(), set.test.labels().unwrap()), (vec![0, 0, 1], vec![1]));
    let image = set.train.field("image").unwrap();
    assert_eq!(image.shape(), [1, 2, 3]);
    let Values::U8(values) = image.values() else { panic!("bytes") };
    assert_eq!([values[0], values[6], values[12]], [1, 2, 3]);
}

#[test]
fn folder_val_serves_as_test_only_alone() {
    let folder = tempfile::tempdir().unwrap();
    grey(&folder.path().join("train/a/1.png"), [1, 1], 1);
    grey(&folder.path().join("val/a/1.png"), [1, 1], 2);
    let set = open("folder:.", folder.path()).unwrap();
    assert!(set.val.is_none() && set.test.len() == 1);
    grey(&folder.path().join("test/a/1.png"), [1, 1], 3);
    assert_eq!(open("folder:.", folder.path()).unwrap().val.unwrap().len(), 1);
}

#[test]
fn folder_without_parts_holds_out_a_fifth_of_each_class() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..20 {
        let class = if number % 2 == 0 { "a" } else { "b" };
        grey(&folder.path().join(format!("{class}/{number:02}.png")), [1, 1], number);
    }
    let set = open("folder:.", folder.path()).unwrap();
    assert_eq!((set.train.len(), set.test.labels().unwrap()), (16, vec![0, 0, 1, 1]));
    assert_eq!(set.train.indices(), (0..16).collect::<Vec<_>>());
    let again = open("folder:.?seed=0&test=0.2", folder.path()).unwrap();
    assert_eq!(set.test.field("image"), again.test.field("image"));
    let other = open("folder:.?seed=1", folder.path()).unwrap();
    assert_ne!(set.test.field("image"), other.test.field("image"));
}

#[test]
fn folder_sizes_differ_is_error_unless_a_size_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (path, size) in [("train/a/1.png", [4, 4]), ("train/a/2.png", [2, 2]), ("test/a/1.png", [4, 4])] {
        grey(&folder.path().join(path), size, 9);
    }
    let error = open("folder:.", folder.path()).unwrap_err();
    let DataError::PictureSize { path, got: [2, 2], wanted: [4, 4] } = &error else { panic!("{error}") };
    assert!(path.ends_with("train/a/2.png"));
    assert!(error.to_string().contains("2.png` differs in size from the first picture of the folder\n"), "{error}");
    let set = open("folder:.?size=2x3", folder.path()).unwrap();
    let image = set.train.field("image").unwrap();
    assert_eq!((image.shape(), image.values()), (&[1, 2, 3][..], &Values::U8(vec![9; 12])));
}

#[test]
fn folder_colours_and_transparency_become_planes() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["train", "test"] {
        grey(&folder.path().join(part).join("a/1.png"), [1, 2], 5);
    }
    let colours = RgbImage::from_fn(2, 1, |x, _| Rgb([10 + x as u8, 20 + x as u8, 30 + x as u8]));
    colours.save(folder.path().join("train/a/2.png")).unwrap();
    let clear = RgbaImage::from_fn(2, 1, |x, _| Rgba([0, 100, 200, if x == 0 { 0 } else { 255 }]));
    clear.save(folder.path().join("train/a/3.png")).unwrap();
    let set = open("folder:.", folder.path()).unwrap();
    let wanted = vec![5, 5, 5, 5, 5, 5, 10, 11, 20, 21, 30, 31, 255, 0, 255, 100, 255, 200];
    assert_eq!(*set.train.field("image").unwrap().values(), Values::U8(wanted));
    assert_eq!(open("folder:.?channels=1", folder.path()).unwrap().train.field("image").unwrap().shape(), [1, 1, 2]);
}

#[test]
fn folder_wrong_contents_are_named_errors() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(open("folder:.", folder.path()), Err(DataError::EmptyPart { .. })));
    grey(&folder.path().join("train/a/1.png"), [1, 1], 1);
    assert!(matches!(open("folder:.", folder.path()), Err(DataError::EmptyPart { part: "test", .. })));
    grey(&folder.path().join("test/b/1.png"), [1, 1], 1);
    assert!(matches!(open("folder:.", folder.path()), Err(DataError::UnknownClass { .. })));
    fs::remove_dir_all(folder.path().join("test")).unwrap();
    grey(&folder.path().join("test/a/1.png"), [1, 1], 1);
    fs::write(folder.path().join("train/a/2.png"), b"\x89PNG\r\n\x1a\nrest").unwrap();
    assert!(matches!(open("folder:.", folder.path()), Err(DataError::Picture { .. })));
}
