use crate::data::augment::*;
use crate::data::layout::Layout;
use crate::data::rng::Rng;

fn layout(shape: &[usize]) -> Layout {
    Layout::of("image", shape).unwrap()
}

fn applied(drawn: Drawn, sample: &[f32], shape: &[usize]) -> Vec<f32> {
    let mut sample = sample.to_vec();
    apply(&[drawn], true, &mut sample, &layout(shape));
    sample
}

#[test]
fn flip_reverses_every_row() {
    let out = applied(Drawn::Flip, &[1., 2., 3., 4., 5., 6.], &[1, 2, 3]);
    assert_eq!(out, [3., 2., 1., 6., 5., 4.]);
}

#[test]
fn shift_moves_and_brings_zeros() {
    let sample = [1., 2., 3., 4., 5., 6.];
    assert_eq!(applied(Drawn::Shift { down: 0, right: 1 }, &sample, &[1, 2, 3]), [2., 3., 0., 5., 6., 0.]);
    assert_eq!(applied(Drawn::Shift { down: -1, right: -2 }, &sample, &[1, 2, 3]), [0., 0., 0., 0., 0., 1.]);
    assert_eq!(applied(Drawn::Shift { down: 1, right: 0 }, &sample, &[1, 2, 3]), [4., 5., 6., 0., 0., 0.]);
    assert_eq!(applied(Drawn::Shift { down: 3, right: -3 }, &sample, &[1, 2, 3]), [0.; 6]);
}

#[test]
fn hole_zeroes_its_rows_and_columns_in_every_channel() {
    let out = applied(Drawn::Hole { rows: 0..1, columns: 1..3 }, &[1.; 12], &[2, 2, 3]);
    assert_eq!(out, [1., 0., 0., 1., 1., 1., 1., 0., 0., 1., 1., 1.]);
}

#[test]
fn noise_is_the_same_in_every_frame() {
    let mut clip = vec![0.0; 3 * 4];
    apply(&[Drawn::Noise { seed: 1, deviation: 0.5 }], true, &mut clip, &Layout::of("frames", &[3, 1, 2, 2]).unwrap());
    assert!(clip[..4].iter().all(|value| *value != 0.0));
    assert_eq!(clip[..4], clip[4..8]);
    assert_eq!(clip[..4], clip[8..]);
}

#[test]
fn prop_flip_and_crop_draws_keep_values() {
    let shape = [2, 5, 4];
    let sample: Vec<f32> = (1..=40).map(|value| value as f32).collect();
    for position in 0..200 {
        let mut rng = Rng::new(1, "test", position);
        let drawn = draw(&[Augment::Flip, Augment::Crop(2), Augment::Cutout(2)], &mut rng, &layout(&shape));
        let mut out = sample.clone();
        apply(&drawn, true, &mut out, &layout(&shape));
        let mut kept: Vec<f32> = out.into_iter().filter(|value| *value != 0.0).collect();
        kept.sort_by(f32::total_cmp);
        kept.dedup();
        assert!(!kept.is_empty() && kept.iter().all(|value| sample.contains(value)));
        let mut flipped = sample.clone();
        apply(&[Drawn::Flip, Drawn::Flip], true, &mut flipped, &layout(&shape));
        assert_eq!(flipped, sample);
    }
}

#[test]
fn draw_crop_reaches_every_shift() {
    let mut seen = std::collections::BTreeSet::new();
    for position in 0..2000 {
        match draw(&[Augment::Crop(1)], &mut Rng::new(0, "test", position), &layout(&[1, 4, 4]))[..] {
            [Drawn::Shift { down, right }] => seen.insert((down, right)),
            ref other => panic!("{other:?}"),
        };
    }
    assert_eq!(seen.len(), 9);
}

#[test]
fn augment_impossible_settings_are_errors() {
    let picture = layout(&[1, 4, 4]);
    assert!(Augment::Noise(f32::NAN).check(&picture).is_err());
    assert!(Augment::Crop(5).check(&picture).is_err());
    assert!(Augment::Cutout(usize::MAX).check(&picture).is_err());
    let vector = Layout::of("image", &[9]).unwrap();
    assert!(Augment::Flip.check(&vector).is_err());
    assert!(Augment::Noise(0.1).check(&vector).is_ok());
}

#[test]
fn augment_manifest_spelling_is_read() {
    let augments: Vec<Augment> = serde_json::from_str(r#"[{"crop": 4}, "flip", {"noise": 0.5}]"#).unwrap();
    assert_eq!(augments, [Augment::Crop(4), Augment::Flip, Augment::Noise(0.5)]);
}
