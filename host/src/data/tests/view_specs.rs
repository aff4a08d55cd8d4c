use crate::data::layout::Layout;
use crate::data::view::*;

fn rendered(spec: &ViewSpec, shape: &[usize], sample: &[f32]) -> Vec<f32> {
    let view = View::new(spec, Layout::of("image", shape).unwrap()).unwrap();
    let mut out = Vec::new();
    view.render(sample, &mut out);
    assert_eq!(out.len(), view.shape().iter().product::<usize>());
    out
}

#[test]
fn view_mean_and_std_normalise_each_channel() {
    let spec = ViewSpec { mean: vec![1.0, 2.0], std: vec![2.0, 4.0], ..ViewSpec::new("v") };
    assert_eq!(rendered(&spec, &[2, 1, 2], &[1.0, 3.0, 2.0, 10.0]), [0.0, 1.0, 0.0, 2.0]);
}

#[test]
fn view_one_channel_to_three_repeats() {
    let spec = ViewSpec { channels: Some(3), mean: vec![0.0, 1.0, 2.0], ..ViewSpec::new("v") };
    assert_eq!(rendered(&spec, &[1, 1, 2], &[1.0, 2.0]), [1.0, 2.0, 0.0, 1.0, -1.0, 0.0]);
}

#[test]
fn view_three_channels_to_one_is_luma() {
    let out = rendered(&ViewSpec { channels: Some(1), ..ViewSpec::new("v") }, &[3, 1, 2], &[1., 0., 0., 1., 0., 0.]);
    assert_eq!(out, [0.299, 0.587]);
}

#[test]
fn view_vector_is_normalised_by_feature() {
    let spec = ViewSpec { mean: vec![1.0, 2.0, 3.0], ..ViewSpec::new("v") };
    assert_eq!(rendered(&spec, &[3], &[1.0, 1.0, 1.0]), [0.0, -1.0, -2.0]);
}

#[test]
fn view_impossible_specs_are_errors() {
    let new = || ViewSpec::new("v");
    let cases = [
        (ViewSpec { channels: Some(5), ..new() }, vec![3, 4, 4]),
        (ViewSpec { channels: Some(0), ..new() }, vec![1, 4, 4]),
        (ViewSpec { channels: Some(usize::MAX), ..new() }, vec![1, 4, 4]),
        (ViewSpec { size: Some([0, 4]), ..new() }, vec![1, 4, 4]),
        (ViewSpec { size: Some([4, 4]), ..new() }, vec![16]),
        (ViewSpec { mean: vec![0.0; 2], ..new() }, vec![3, 4, 4]),
        (ViewSpec { std: vec![0.0], ..new() }, vec![3, 4, 4]),
        (ViewSpec { mean: vec![f32::NAN], ..new() }, vec![3, 4, 4]),
        (new(), vec![4, 4]),
    ];
    for (spec, shape) in cases {
        assert!(spec.shape("image", &shape).is_err(), "{spec:?} {shape:?}");
    }
}
