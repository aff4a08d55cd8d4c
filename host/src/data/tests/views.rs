use indexmap::IndexMap;

use super::pictures;
use crate::data::{Augment, Batch, DataError, Field, Filter, Loader, LoaderSpec, Samples, Values, ViewSpec};

fn first(samples: &Samples, spec: LoaderSpec) -> Batch {
    Loader::new(samples, spec).unwrap().next().unwrap().unwrap()
}

fn moving() -> Vec<Augment> {
    vec![Augment::Flip, Augment::Crop(1)]
}

#[test]
fn views_of_one_batch_see_the_same_augmentation() {
    let samples = pictures(16, [1, 8, 8]);
    let low = ViewSpec { size: Some([4, 4]), filter: Filter::Area, ..ViewSpec::new("low") };
    let spec = LoaderSpec { views: vec![ViewSpec::new("high"), low], augment: moving(), ..LoaderSpec::new(16) };
    let batch = first(&samples, spec);
    let (high, low) = (batch.fields["view.high"].f32().unwrap(), batch.fields["view.low"].f32().unwrap());
    assert_eq!(batch.fields["view.low"].shape, [16, 1, 4, 4]);
    for sample in 0..16 {
        for (y, x) in (0..4).flat_map(|y| (0..4).map(move |x| (y, x))) {
            let at = |dy, dx| high[sample * 64 + (2 * y + dy) * 8 + 2 * x + dx];
            let mean = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0;
            assert!((low[sample * 16 + y * 4 + x] - mean).abs() < 1e-6);
        }
    }
}

#[test]
fn view_that_asks_for_none_is_not_augmented() {
    let samples = pictures(8, [1, 4, 4]);
    let plain = ViewSpec { augment: false, ..ViewSpec::new("plain") };
    let views = vec![plain.clone(), ViewSpec::new("moved")];
    let batch = first(&samples, LoaderSpec { views, augment: moving(), ..LoaderSpec::new(8) });
    let bare = first(&samples, LoaderSpec { views: vec![plain], ..LoaderSpec::new(8) });
    assert_eq!(batch.fields["view.plain"], bare.fields["view.plain"]);
    assert_ne!(batch.fields["view.plain"], batch.fields["view.moved"]);
}

#[test]
fn clip_frames_get_one_augmentation() {
    // Every frame of a clip is the same picture, so augmented frames must be equal too.
    let picture: Vec<u8> = (1..=24).collect();
    let values: Vec<u8> = picture.iter().cycle().take(24 * 5 * 6).copied().collect();
    let clips = Field::new(vec![5, 2, 3, 4], Values::U8(values)).unwrap();
    let samples = Samples::new(IndexMap::from([("frames".to_owned(), clips)])).unwrap();
    let augment = vec![Augment::Flip, Augment::Crop(1), Augment::Cutout(2), Augment::Noise(0.2)];
    let batch = first(&samples, LoaderSpec { views: vec![ViewSpec::new("v")], augment, ..LoaderSpec::new(6) });
    assert_eq!(batch.fields["view.v"].shape, [6, 5, 2, 3, 4]);
    let values = batch.fields["view.v"].f32().unwrap();
    for clip in values.chunks_exact(120) {
        assert!(clip.chunks_exact(24).all(|frame| frame == &clip[..24]));
    }
    assert_ne!(values[..120], values[120..240]);
}

#[test]
fn mask_view_moves_with_its_picture_and_stays_binary() {
    // The mask is the picture itself, so after the same flips and shifts it still is.
    let pixels: Vec<u8> = (0..16 * 20).map(|i| u8::from(i % 3 == 0)).collect();
    let fields = IndexMap::from([
        (
            "image".to_owned(),
            Field::new(vec![1, 4, 4], Values::F32(pixels.iter().map(|&v| v.into()).collect())).unwrap(),
        ),
        ("mask".to_owned(), Field::new(vec![1, 4, 4], Values::U8(pixels)).unwrap()),
    ]);
    let samples = Samples::new(fields).unwrap();
    let mask = ViewSpec { field: Some("mask".into()), ..ViewSpec::new("mask") };
    let spec = |augment| LoaderSpec { views: vec![ViewSpec::new("v"), mask.clone()], augment, ..LoaderSpec::new(20) };
    let batch = first(&samples, spec(moving()));
    assert_eq!(batch.fields["view.v"], batch.fields["view.mask"]);
    let batch = first(&samples, spec(vec![Augment::Flip, Augment::Noise(0.5), Augment::Cutout(2)]));
    assert!(batch.fields["view.mask"].f32().unwrap().iter().all(|value| [0.0, 1.0].contains(value)));
}

#[test]
fn mask_of_another_size_is_error_when_moved() {
    let fields = IndexMap::from([
        ("image".to_owned(), Field::new(vec![1, 4, 4], Values::U8(vec![0; 16])).unwrap()),
        ("mask".to_owned(), Field::new(vec![1, 2, 2], Values::U8(vec![0; 4])).unwrap()),
    ]);
    let samples = Samples::new(fields).unwrap();
    let mask = ViewSpec { field: Some("mask".into()), ..ViewSpec::new("mask") };
    let spec = LoaderSpec { views: vec![mask.clone()], augment: moving(), ..LoaderSpec::new(1) };
    assert!(matches!(Loader::new(&samples, spec).err(), Some(DataError::SampleShape { .. })));
    let noise = LoaderSpec { views: vec![mask], augment: vec![Augment::Noise(1.0)], ..LoaderSpec::new(1) };
    assert!(Loader::new(&samples, noise).is_ok());
}

#[test]
fn view_normalisation_follows_scaling() {
    let field = Field::new(vec![1, 1, 3], Values::U8(vec![0, 51, 255])).unwrap();
    let samples = Samples::new(IndexMap::from([("image".to_owned(), field)])).unwrap();
    let view = ViewSpec { mean: vec![0.5], std: vec![0.5], ..ViewSpec::new("v") };
    let batch = first(&samples, LoaderSpec { views: vec![view], ..LoaderSpec::new(1) });
    let values = batch.fields["view.v"].f32().unwrap();
    assert!(values.iter().zip([-1.0, -0.6, 1.0]).all(|(got, wanted): (&f32, f32)| (got - wanted).abs() < 1e-6));
}
