use std::fs;

use indexmap::IndexMap;

use super::{npy, npz};
use crate::data::{Augment, Field, Loader, LoaderSpec, Samples, Values, ViewSpec, open};

/// Pictures of `[1, 4, 3]`, each value another, whose maps are the same and whose fixations are all places but one.
fn mapped(count: usize) -> Samples {
    let values: Vec<f32> = (1..=count * 12).map(|value| value as f32).collect();
    let places = (0..count * 12).map(|at| u8::from(at % 12 != 5)).collect();
    let field = |values| Field::new(vec![1, 4, 3], values).unwrap();
    Samples::new(IndexMap::from([
        ("image".to_owned(), field(Values::F32(values.clone()))),
        ("map".to_owned(), field(Values::F32(values))),
        ("fixations".to_owned(), field(Values::U8(places))),
    ]))
    .unwrap()
}

fn spec(augments: &[Augment], augment: bool) -> LoaderSpec {
    let view = ViewSpec { augment, ..ViewSpec::new("a") };
    LoaderSpec { views: vec![view], augment: augments.to_vec(), seed: 3, ..LoaderSpec::new(4) }
}

#[test]
fn map_moves_with_its_picture() {
    let samples = mapped(20);
    let (mut moved, mut hidden) = (0, 0);
    for batch in Loader::new(&samples, spec(&[Augment::Flip, Augment::Crop(1), Augment::Cutout(1)], true)).unwrap() {
        let batch = batch.unwrap();
        let [view, map, places] = ["view.a", "map", "fixations"].map(|name| batch.fields[name].f32().unwrap());
        assert_eq!(batch.fields["map"].shape, [4, 1, 4, 3]);
        for (index, at) in batch.index.iter().zip(0..) {
            let range = at * 12..(at + 1) * 12;
            let original: Vec<f32> = (1..=12).map(|value| (index * 12 + value) as f32).collect();
            moved += usize::from(map[range.clone()] != original[..]);
            // What is cut out of the picture stays in its map.
            let differing = view[range.clone()].iter().zip(&map[range.clone()]).filter(|(a, b)| a != b);
            let differing: Vec<_> = differing.collect();
            assert!(differing.iter().all(|(view, _)| **view == 0.0) && differing.len() <= 1);
            hidden += differing.len();
            // The place without a fixation is the sixth of the sample, unless it was moved out.
            for (value, place) in map[range.clone()].iter().zip(&places[range.clone()]) {
                assert_eq!(*place == 1.0, *value != 0.0 && *value != (index * 12 + 6) as f32);
            }
        }
    }
    assert!(moved > 10 && hidden > 0, "{moved} {hidden}");
}

#[test]
fn map_of_pictures_that_are_not_moved_stays() {
    let samples = mapped(4);
    for spec in [spec(&[Augment::Flip, Augment::Crop(2)], false), spec(&[], true), spec(&[Augment::Noise(1.0)], true)] {
        let batch = Loader::new(&samples, spec).unwrap().next().unwrap().unwrap();
        let wanted: Vec<f32> = (1..=48).map(|value| value as f32).collect();
        assert_eq!(batch.fields["map"].f32().unwrap(), wanted);
    }
}

#[test]
fn map_of_another_size_than_what_moves_it_is_error() {
    let fields = IndexMap::from([
        ("image".to_owned(), Field::new(vec![1, 4, 4], Values::F32(vec![0.0; 16])).unwrap()),
        ("map".to_owned(), Field::new(vec![1, 2, 2], Values::F32(vec![0.0; 4])).unwrap()),
    ]);
    let samples = Samples::new(fields).unwrap();
    assert!(Loader::new(&samples, spec(&[Augment::Flip], true)).is_err());
    assert!(Loader::new(&samples, spec(&[Augment::Noise(0.1)], true)).is_ok());
}

#[test]
fn npz_maps_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let floats: Vec<u8> = [0.0f32, 0.25, 0.5, 1.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let part = |part: &str| {
        [
            (format!("{part}_image"), npy("|u1", false, "(1, 2, 2)", &[0, 51, 102, 255])),
            (format!("{part}_map"), npy("<f4", false, "(1, 2, 2)", &floats)),
            (format!("{part}_fixations"), npy("|b1", false, "(1, 1, 2, 2)", &[0, 0, 1, 1])),
        ]
    };
    let arrays = [part("train"), part("test")].concat();
    let arrays: Vec<(&str, Vec<u8>)> = arrays.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    fs::write(folder.path().join("maps.npz"), npz(&arrays, true)).unwrap();
    let set = open("npz:maps.npz", folder.path()).unwrap();
    assert_eq!((set.train.field("map").unwrap().shape(), set.outputs()), (&[1, 2, 2][..], 1));
    assert_eq!(set.test.field("fixations").unwrap().shape(), [1, 2, 2]);
}
