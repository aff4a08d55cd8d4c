use indexmap::IndexMap;

use super::pictures;
use crate::data::{
    Array, ArrayValues, Augment, Batch, DataError, DataSet, Field, Loader, LoaderSpec, Samples, Values, ViewSpec,
    batches,
};

fn all(samples: &Samples, spec: LoaderSpec) -> Vec<Batch> {
    Loader::new(samples, spec).unwrap().map(|batch| batch.unwrap()).collect()
}

fn augmented(batch: usize) -> LoaderSpec {
    LoaderSpec {
        views: vec![ViewSpec::new("a"), ViewSpec { size: Some([3, 3]), ..ViewSpec::new("b") }],
        augment: vec![Augment::Crop(2), Augment::Flip, Augment::Cutout(3), Augment::Noise(0.1)],
        shuffle: Some(5),
        seed: 9,
        ..LoaderSpec::new(batch)
    }
}

/// Values of a view by sample index.
fn by_index(batches: &[Batch], view: &str) -> IndexMap<usize, Vec<f32>> {
    let mut samples = IndexMap::new();
    for batch in batches {
        let values = batch.fields[view].f32().unwrap();
        for (index, sample) in batch.index.iter().zip(values.chunks_exact(values.len() / batch.len())) {
            assert!(samples.insert(*index, sample.to_vec()).is_none(), "sample {index} came twice");
        }
    }
    samples.sort_keys();
    samples
}

#[test]
fn prop_epoch_serves_every_index_once() {
    let samples = pictures(37, [1, 4, 4]);
    for batch in [1, 5, 36, 37, 38, 1000] {
        for workers in [0, 1, 3] {
            for epoch in 0..3 {
                let got = all(&samples, LoaderSpec { epoch, workers, shuffle: Some(1), ..LoaderSpec::new(batch) });
                assert_eq!(got.len(), batches(37, batch, false));
                let mut indices: Vec<usize> = got.iter().flat_map(|batch| batch.index.clone()).collect();
                indices.sort_unstable();
                assert_eq!(indices, (0..37).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn prop_sample_is_the_same_for_any_batch_and_threads() {
    let samples = pictures(23, [3, 6, 5]);
    let wanted = all(&samples, LoaderSpec { workers: 0, ..augmented(4) });
    for (batch, workers, prefetch) in [(4, 1, 1), (4, 3, 2), (7, 2, 0), (23, 5, 1), (1, 4, 9)] {
        let got = all(&samples, LoaderSpec { workers, prefetch, ..augmented(batch) });
        for view in ["view.a", "view.b"] {
            assert_eq!(by_index(&got, view), by_index(&wanted, view));
        }
        if batch == 4 {
            assert_eq!(got, wanted);
        }
    }
    let unshuffled = all(&samples, LoaderSpec { shuffle: None, ..augmented(4) });
    assert_eq!(by_index(&unshuffled, "view.a"), by_index(&wanted, "view.a"));
}

#[test]
fn loader_other_epoch_or_seed_is_other_data() {
    let samples = pictures(23, [1, 6, 6]);
    let base = all(&samples, augmented(23));
    let epoch = all(&samples, LoaderSpec { epoch: 1, ..augmented(23) });
    let seed = all(&samples, LoaderSpec { seed: 10, ..augmented(23) });
    assert_ne!(base[0].index, epoch[0].index);
    assert_eq!(base[0].index, seed[0].index);
    assert_ne!(by_index(&base, "view.a"), by_index(&epoch, "view.a"));
    assert_ne!(by_index(&base, "view.a"), by_index(&seed, "view.a"));
}

#[test]
fn loader_started_later_goes_on_the_same() {
    let samples = pictures(23, [1, 6, 6]);
    let whole = all(&samples, augmented(4));
    for start in [0, 2, 5, 6, 100] {
        let rest = all(&samples, LoaderSpec { start, workers: 2, ..augmented(4) });
        assert_eq!(rest, whole[start.min(whole.len())..]);
    }
}

#[test]
fn loader_last_batch_is_smaller_or_dropped() {
    let samples = pictures(10, [1, 2, 2]);
    let sizes = |drop_last| {
        let loader = Loader::new(&samples, LoaderSpec { drop_last, ..LoaderSpec::new(4) }).unwrap();
        assert_eq!(loader.len(), batches(10, 4, drop_last));
        loader.map(|batch| batch.unwrap().len()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(false), [4, 4, 2]);
    assert_eq!(sizes(true), [4, 4]);
    assert!(all(&samples.select(&[]), LoaderSpec::new(4)).is_empty());
}

#[test]
fn loader_dropped_early_returns() {
    let samples = pictures(200, [3, 16, 16]);
    for taken in 0..4 {
        let mut loader = Loader::new(&samples, LoaderSpec { workers: 3, prefetch: 1, ..augmented(2) }).unwrap();
        assert!((0..taken).all(|_| loader.next().is_some()));
    }
}

#[test]
fn loader_split_keeps_indices() {
    let test = pictures(2, [1, 2, 2]);
    let set = DataSet::new("x", (pictures(30, [1, 2, 2]), None, test), None).unwrap().split(0.2, 3).unwrap();
    let val = set.val.unwrap();
    let got = all(&val, LoaderSpec { views: vec![ViewSpec::new("v")], ..LoaderSpec::new(100) });
    let whole = all(&pictures(30, [1, 2, 2]), LoaderSpec { views: vec![ViewSpec::new("v")], ..LoaderSpec::new(100) });
    let whole = by_index(&whole, "view.v");
    for (index, sample) in by_index(&got, "view.v") {
        assert_eq!(sample, whole[&index]);
    }
    assert_eq!(got[0].labels().unwrap(), val.labels().unwrap());
}

#[test]
fn loader_other_fields_come_as_they_are() {
    let fields = IndexMap::from([
        ("image".to_owned(), Field::new(vec![1, 1, 1], Values::U8(vec![0, 255])).unwrap()),
        ("mask".to_owned(), Field::new(vec![2], Values::U8(vec![0, 1, 255, 3])).unwrap()),
        ("depth".to_owned(), Field::new(vec![], Values::F32(vec![0.5, -1.0])).unwrap()),
        ("label".to_owned(), Field::new(vec![], Values::I64(vec![4, 7])).unwrap()),
    ]);
    let samples = Samples::new(fields).unwrap();
    let batch = all(&samples, LoaderSpec::new(8)).remove(0);
    assert_eq!(batch.fields.keys().collect::<Vec<_>>(), ["mask", "depth", "label", "index"]);
    let mask = Array { shape: vec![2, 2], values: ArrayValues::F32(vec![0.0, 1.0, 255.0, 3.0]) };
    assert_eq!(batch.fields["mask"], mask);
    assert_eq!(batch.fields["depth"].f32().unwrap(), [0.5, -1.0]);
    assert_eq!((batch.labels().unwrap(), batch.fields["index"].i64().unwrap()), (&[4, 7][..], &[0, 1][..]));
    let chosen = LoaderSpec { fields: Some(vec!["image".into()]), ..LoaderSpec::new(8) };
    assert_eq!(all(&samples, chosen)[0].fields["image"].f32().unwrap(), [0.0, 1.0]);
}

#[test]
fn loader_impossible_specs_are_errors() {
    let samples = pictures(3, [1, 2, 2]);
    let fails = |spec: LoaderSpec| Loader::new(&samples, spec).err().unwrap();
    assert!(matches!(fails(LoaderSpec::new(0)), DataError::InvalidOption { .. }));
    let twice = vec![ViewSpec::new("v"), ViewSpec::new("v")];
    assert!(matches!(fails(LoaderSpec { views: twice, ..LoaderSpec::new(1) }), DataError::ReservedName { .. }));
    let unknown = LoaderSpec { fields: Some(vec!["labels".into()]), ..LoaderSpec::new(1) };
    assert_eq!(fails(unknown).hint().as_deref(), Some("did you mean `label`?"));
    let view = ViewSpec { field: Some("frames".into()), ..ViewSpec::new("v") };
    assert!(matches!(fails(LoaderSpec { views: vec![view], ..LoaderSpec::new(1) }), DataError::UnknownField { .. }));
    let crop = LoaderSpec { augment: vec![Augment::Crop(9)], views: vec![ViewSpec::new("v")], ..LoaderSpec::new(1) };
    assert!(matches!(fails(crop), DataError::InvalidOption { .. }));
}
