//! Tests of resizing, normalising, flattening, Gram matrices and attention maps, alone and in a row.
#![allow(missing_docs)]

use stillhouse_connectors::{AttentionMap, Conv, Flatten, Gram, Interpolate, Normalize};
use stillhouse_plugin::Connector;
use stillhouse_plugin::testing::{Bench, numbers};

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn part<T: Connector>(config: &str, from: &[usize], to: &[usize]) -> Bench {
    let bench = Bench::connector::<T>(config).expect("a right configuration");
    bench.input("from", from, &numbers(1.0, count(from))).input("to", to, &numbers(2.0, count(to)))
}

/// What a connector gives for these values, whatever the other end.
fn given<T: Connector>(config: &str, shape: &[usize], values: &[f64]) -> Vec<f64> {
    part::<T>(config, shape, shape).input("from", shape, values).ran().output().values.clone()
}

fn shape<T: Connector>(config: &str, from: &[usize], to: &[usize]) -> Vec<usize> {
    part::<T>(config, from, to).ran().output().shape().to_vec()
}

#[track_caller]
fn refused<T: Connector>(config: &str) -> String {
    Bench::connector::<T>(config).err().expect("refused").to_string()
}

#[track_caller]
fn assert_close(found: &[f64], wanted: &[f64]) {
    let near = found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(near, "{found:?} is not {wanted:?}");
}

#[track_caller]
fn assert_gradients<T: Connector>(config: &str, from: &[usize], to: &[usize]) {
    let elements = count(&shape::<T>(config, from, to));
    let mut bench = part::<T>(config, from, to).cotangent("output", &numbers(9.0, elements));
    bench.check_gradients(1e-6).unwrap_or_else(|error| panic!("`{}` with {config}: {error}", T::NAME));
}

#[test]
fn interpolate_of_a_row_is_as_worked_by_hand() {
    let row = [1.0, 3.0, 11.0];
    let of = |config: &str| given::<Interpolate>(config, &[1, 1, 1, 3], &row);
    // Places at -1/4, 1/4, 3/4, 5/4, 7/4, 9/4.
    assert_close(&of(r#"{"size": [1, 6]}"#), &[1.0, 1.5, 2.5, 5.0, 9.0, 11.0]);
    // Places at 0, 1/2, 1, 3/2, 2.
    assert_close(&of(r#"{"size": [1, 5], "align_corners": true}"#), &[1.0, 2.0, 3.0, 7.0, 11.0]);
    assert_close(&of(r#"{"size": [1, 2], "align_corners": true}"#), &[1.0, 11.0]);
    assert_close(&of(r#"{"size": 1, "align_corners": true}"#), &[1.0]);
    // Places at floor(0), floor(3/5), floor(6/5), floor(9/5), floor(12/5).
    assert_close(&of(r#"{"size": [1, 5], "mode": "nearest"}"#), &[1.0, 1.0, 3.0, 3.0, 11.0]);
    assert_close(&of(r#"{"scale": [1, 2], "mode": "nearest"}"#), &[1.0, 1.0, 3.0, 3.0, 11.0, 11.0]);
}

#[test]
fn interpolate_with_aligned_corners_keeps_the_corners() {
    let map = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let corners = r#"{"size": [3, 4], "align_corners": true}"#;
    let wanted = [
        1.0,
        5.0 / 3.0,
        7.0 / 3.0,
        3.0, //
        2.5,
        9.5 / 3.0,
        11.5 / 3.0,
        4.5, //
        4.0,
        14.0 / 3.0,
        16.0 / 3.0,
        6.0,
    ];
    assert_close(&given::<Interpolate>(corners, &[1, 1, 2, 3], &map), &wanted);
}

#[test]
fn interpolate_takes_its_size_of_the_other_end_or_of_its_settings() {
    let (from, to) = ([2, 3, 5, 7], [2, 9, 4, 8]);
    for mode in [r#""mode": "nearest""#, r#""mode": "bilinear""#, r#""align_corners": true"#] {
        assert_eq!(shape::<Interpolate>(&format!("{{{mode}}}"), &from, &to), [2, 3, 4, 8]);
        assert_eq!(shape::<Interpolate>(&format!(r#"{{{mode}, "size": [1, 9]}}"#), &from, &to), [2, 3, 1, 9]);
        assert_eq!(shape::<Interpolate>(&format!(r#"{{{mode}, "size": 6}}"#), &from, &[2, 9]), [2, 3, 6, 6]);
        assert_eq!(shape::<Interpolate>(&format!(r#"{{{mode}, "scale": 0.5}}"#), &from, &[]), [2, 3, 2, 3]);
        assert_eq!(shape::<Interpolate>(&format!(r#"{{{mode}, "scale": [2, 1.5]}}"#), &from, &to), [2, 3, 10, 10]);
    }
}

#[test]
fn prop_interpolate_to_its_own_size_changes_nothing() {
    let (from, values) = ([2, 2, 3, 5], numbers(1.0, 60));
    for config in ["{}", r#"{"mode": "nearest"}"#, r#"{"align_corners": true}"#, r#"{"scale": 1}"#] {
        assert_close(&given::<Interpolate>(config, &from, &values), &values);
    }
}

#[test]
fn normalize_is_as_worked_by_hand() {
    // Channels (3, 1), (-4, 1) at two places.
    let (shape, map) = ([1, 2, 1, 2], [3.0, 1.0, -4.0, 1.0]);
    let of = |config: &str| given::<Normalize>(config, &shape, &map);
    let root = |sum: f64| sum.sqrt();
    assert_close(&of("{}"), &[0.6, 1.0 / root(2.0), -0.8, 1.0 / root(2.0)]);
    assert_close(&of(r#"{"by": "l1"}"#), &[3.0 / 7.0, 0.5, -4.0 / 7.0, 0.5]);
    let l2 = [3.0, 1.0, -4.0, 1.0].map(|value| value / root(27.0));
    assert_close(&of(r#"{"dims": "sample"}"#), &l2);
    assert_close(&of(r#"{"by": "l1", "dims": "sample"}"#), &[3.0 / 9.0, 1.0 / 9.0, -4.0 / 9.0, 1.0 / 9.0]);
    assert_close(&of(r#"{"by": "l1", "dims": "places"}"#), &[0.75, 0.25, -0.8, 0.2]);
    // Means 2 and -1.5, variances 1 and 6.25, and an eps of 3/4.
    let deviation = [1.0 / root(1.75), -1.0 / root(1.75), -2.5 / root(7.0), 2.5 / root(7.0)];
    assert_close(&of(r#"{"by": "deviation", "dims": "places", "eps": 0.75}"#), &deviation);
    // Mean 1/4, variance (2.75^2 + 2 0.75^2 + 4.25^2) / 4 = 6.6875.
    let whole = [2.75, 0.75, -4.25, 0.75].map(|value| value / root(6.6875 + 1e-5));
    assert_close(&of(r#"{"by": "deviation", "dims": "sample"}"#), &whole);
}

#[test]
fn normalize_of_small_values_divides_by_eps() {
    for config in [r#"{"eps": 0.5}"#, r#"{"eps": 0.5, "by": "l1"}"#] {
        let run = part::<Normalize>(config, &[2, 2], &[2, 2]).input("from", &[2, 2], &[0.1, 0.0, 0.0, 0.0]);
        let run = run.cotangent("output", &[1.0, 3.0, 5.0, 7.0]).finite();
        assert_close(&run.output().values, &[0.2, 0.0, 0.0, 0.0]);
        assert_close(&run.grad("from")[2..], &[10.0, 14.0]);
    }
}

#[test]
fn normalize_of_equal_values_has_finite_gradients() {
    for config in [r#"{}"#, r#"{"by": "l1"}"#, r#"{"by": "deviation"}"#, r#"{"by": "deviation", "dims": "sample"}"#] {
        for value in [0.0, 1.0, 1e4] {
            part::<Normalize>(config, &[2, 3, 2, 2], &[2]).input("from", &[2, 3, 2, 2], &[value; 24]).finite();
        }
    }
}

#[test]
fn prop_normalize_does_not_know_scale() {
    let (shape, values) = ([2, 3, 2, 2], numbers(4.0, 24));
    let larger: Vec<f64> = values.iter().map(|value| 3.0 * value).collect();
    for by in ["l1", "l2"] {
        for dims in ["channels", "places", "sample"] {
            let config = format!(r#"{{"by": "{by}", "dims": "{dims}"}}"#);
            let [one, other] = [&values, &larger].map(|values| given::<Normalize>(&config, &shape, values));
            assert_close(&one, &other);
        }
    }
    let moved: Vec<f64> = values.iter().map(|value| 2.0 * value + 5.0).collect();
    let config = r#"{"by": "deviation", "eps": 1e-15}"#;
    let [one, other] = [&values, &moved].map(|values| given::<Normalize>(config, &shape, values));
    assert_close(&one, &other);
}

#[test]
fn flatten_keeps_the_order_of_values() {
    let values = numbers(1.0, 24);
    for dims in [&[2, 3, 2, 2][..], &[2, 4, 3], &[2, 3, 2, 2, 1]] {
        assert_eq!(shape::<Flatten>("{}", dims, &[2]), [2, 12]);
        assert_eq!(given::<Flatten>("{}", dims, &values), values);
    }
}

#[test]
fn gram_is_as_worked_by_hand() {
    // Two samples of two channels at three places.
    let (shape, map) = ([2, 2, 1, 3], [1.0, 2.0, 2.0, 0.0, -1.0, 4.0, 1.0, 0.0, 0.0, 6.0, 0.0, 0.0]);
    let products = [9.0, 6.0, 6.0, 17.0, 1.0, 6.0, 6.0, 36.0];
    for (normalize, divisor) in [("none", 1.0), ("positions", 3.0), ("elements", 6.0)] {
        let config = format!(r#"{{"normalize": "{normalize}"}}"#);
        assert_close(&given::<Gram>(&config, &shape, &map), &products.map(|product| product / divisor));
    }
    assert_eq!(self::shape::<Gram>("{}", &[2, 3, 4, 5], &[2]), [2, 3, 3]);
}

#[test]
fn prop_gram_does_not_know_places() {
    let values = numbers(1.0, 12);
    let turned: Vec<f64> = (0..12).map(|at| values[at / 6 * 6 + (at + 2) % 6]).collect();
    assert_close(&given::<Gram>("{}", &[1, 2, 2, 3], &turned), &given::<Gram>("{}", &[1, 2, 3, 2], &values));
}

#[test]
fn attention_map_is_as_worked_by_hand() {
    // Two samples of two channels at two places.
    let (shape, map) = ([2, 2, 1, 2], [1.0, -2.0, 2.0, 0.0, 3.0, 0.0, 0.0, -1.0]);
    let of = |config: &str| given::<AttentionMap>(config, &shape, &map);
    assert_close(&of(r#"{"normalize": false, "channels": "sum", "p": 1}"#), &[3.0, 2.0, 3.0, 1.0]);
    assert_close(&of(r#"{"normalize": false, "channels": "sum"}"#), &[5.0, 4.0, 9.0, 1.0]);
    assert_close(&of(r#"{"normalize": false, "channels": "sum", "p": 3}"#), &[9.0, 8.0, 27.0, 1.0]);
    assert_close(&of(r#"{"normalize": false}"#), &[2.5, 2.0, 4.5, 0.5]);
    let (first, second) = (41f64.sqrt(), 82f64.sqrt());
    let attention = [5.0 / first, 4.0 / first, 9.0 / second, 1.0 / second];
    assert_close(&of("{}"), &attention);
    assert_close(&of(r#"{"channels": "sum"}"#), &attention);
    assert_close(&of(r#"{"keep_shape": true}"#), &attention);
}

#[test]
fn attention_map_is_a_vector_or_a_map_of_one_channel() {
    assert_eq!(shape::<AttentionMap>("{}", &[2, 3, 4, 5], &[2]), [2, 20]);
    assert_eq!(shape::<AttentionMap>(r#"{"keep_shape": true}"#, &[2, 3, 4, 5], &[2]), [2, 1, 4, 5]);
}

#[test]
fn attention_map_of_zeros_has_finite_gradients() {
    for p in [1, 2, 3] {
        let config = format!(r#"{{"p": {p}}}"#);
        part::<AttentionMap>(&config, &[1, 2, 2, 2], &[1]).input("from", &[1, 2, 2, 2], &[0.0; 8]).finite();
    }
}

#[test]
fn connector_gradients_match_finite_differences() {
    let (from, to) = (&[2, 2, 3, 4], &[2, 5, 4, 3]);
    for config in ["{}", r#"{"mode": "nearest"}"#, r#"{"align_corners": true}"#, r#"{"scale": 0.5}"#] {
        assert_gradients::<Interpolate>(config, from, to);
    }
    for by in ["l1", "l2", "deviation"] {
        for dims in ["channels", "places", "sample"] {
            assert_gradients::<Normalize>(&format!(r#"{{"by": "{by}", "dims": "{dims}"}}"#), from, to);
        }
        assert_gradients::<Normalize>(&format!(r#"{{"by": "{by}"}}"#), &[3, 4], &[3, 4]);
    }
    assert_gradients::<Flatten>("{}", from, to);
    for normalize in ["none", "positions", "elements"] {
        assert_gradients::<Gram>(&format!(r#"{{"normalize": "{normalize}"}}"#), from, to);
    }
    for config in [
        "{}",
        r#"{"p": 1}"#,
        r#"{"p": 4, "keep_shape": true}"#,
        r#"{"normalize": false}"#,
        r#"{"normalize": false, "channels": "sum"}"#,
    ] {
        assert_gradients::<AttentionMap>(config, from, to);
    }
}

/// `["interpolate", "conv"]`: both see the other end, and what comes out has its shape.
#[test]
fn interpolate_then_conv_gives_the_shape_of_the_other_end() {
    let (from, to) = (&[2, 3, 8, 8], &[2, 5, 4, 6]);
    let resized = part::<Interpolate>("{}", from, to).ran();
    let conv = part::<Conv>(r#"{"kernel": 3, "norm": "batch", "activation": "relu"}"#, from, to);
    assert_eq!({ conv.array("from", resized.output()) }.ran().output().shape(), to);
}

/// `["gram", "flatten"]` and `[attention_map, "interpolate"]`.
#[test]
fn connectors_in_a_row_take_what_the_one_before_gives() {
    let from = &[2, 3, 4, 4];
    let gram = part::<Gram>("{}", from, &[2, 9]).ran();
    let flat = part::<Flatten>("{}", from, &[2, 9]).array("from", gram.output()).ran();
    assert_eq!((flat.output().shape(), &flat.output().values), (&[2, 9][..], &gram.output().values));
    let attention = part::<AttentionMap>(r#"{"keep_shape": true}"#, from, &[2, 1, 2, 2]).ran();
    let small = part::<Interpolate>("{}", from, &[2, 1, 2, 2]).array("from", attention.output()).ran();
    assert_eq!(small.output().shape(), [2, 1, 2, 2]);
}

#[test]
fn connector_of_ends_that_do_not_fit_is_error() {
    let vectors: &[usize] = &[2, 3];
    assert_eq!(
        part::<Interpolate>("{}", vectors, vectors).refusal(),
        "`interpolate` wants feature maps [N, C, H, W], got [2, 3]"
    );
    assert_eq!(
        part::<Interpolate>("{}", &[2, 3, 4, 4], vectors).refusal(),
        "`interpolate` takes its size from the other end [N, C, H, W], which is [2, 3]\n\nhint: `size = ...` or `scale = ...` says it"
    );
    assert_eq!(
        part::<Interpolate>(r#"{"scale": 0.2}"#, &[2, 3, 4, 5], vectors).refusal(),
        "`interpolate` cannot bring a map of 4x5 to 0x1: each must be between 1 and 65536"
    );
    assert!(part::<Gram>("{}", vectors, vectors).refusal().starts_with("`gram` wants feature maps [N, C, H, W]"));
    assert!(part::<AttentionMap>("{}", vectors, vectors).refusal().starts_with("`attention_map` wants feature maps"));
    assert_eq!(part::<Flatten>("{}", &[2], vectors).refusal(), "`flatten` wants features [N, ...], got [2]");
    assert_eq!(
        part::<Flatten>("{}", vectors, vectors).refusal(),
        "`flatten` got vectors [N, D] already: [2, 3]\n\nhint: leave it out"
    );
    assert_eq!(part::<Normalize>("{}", &[2], vectors).refusal(), "`normalize` wants features [N, ...], got [2]");
    assert_eq!(
        part::<Normalize>(r#"{"dims": "places"}"#, vectors, vectors).refusal(),
        "`normalize` wants maps [N, C, H, W] for `dims = \"places\"`, got [2, 3]\n\nhint: `dims = \"sample\"`"
    );
    assert_eq!(
        part::<Normalize>(r#"{"by": "deviation"}"#, &[2, 1, 3, 3], vectors).refusal(),
        "`normalize` got one value, which has no deviation: [2, 1, 3, 3] over dimensions [1]"
    );
}

#[test]
fn connector_of_an_empty_batch_is_error() {
    let empty: &[usize] = &[0, 3, 2, 2];
    assert_eq!(part::<Interpolate>("{}", empty, empty).refusal(), "`interpolate` got an empty batch: [0, 3, 2, 2]");
    assert_eq!(part::<Normalize>("{}", empty, empty).refusal(), "`normalize` got an empty batch: [0, 3, 2, 2]");
    assert_eq!(part::<Flatten>("{}", empty, empty).refusal(), "`flatten` got an empty batch: [0, 3, 2, 2]");
    assert_eq!(part::<Gram>("{}", empty, empty).refusal(), "`gram` got an empty batch: [0, 3, 2, 2]");
    assert_eq!(part::<AttentionMap>("{}", empty, empty).refusal(), "`attention_map` got an empty batch: [0, 3, 2, 2]");
}

#[test]
fn connector_of_wrong_settings_is_error() {
    assert_eq!(refused::<Interpolate>(r#"{"size": [4, 0]}"#), "`size` must be between 1 and 65536, got 0");
    assert_eq!(refused::<Interpolate>(r#"{"scale": 0}"#), "`scale` must be above 0 and at most 1024, got 0");
    assert_eq!(refused::<Interpolate>(r#"{"scale": [1, 2000]}"#), "`scale` must be above 0 and at most 1024, got 2000");
    assert!(refused::<Interpolate>(r#"{"size": 4, "scale": 2}"#).starts_with("`size` and `scale` both say"));
    assert_eq!(
        refused::<Interpolate>(r#"{"mode": "nearest", "align_corners": true}"#),
        "`align_corners` belongs to `mode = \"bilinear\"`, got \"nearest\""
    );
    let mode = refused::<Interpolate>(r#"{"mode": "bicubic"}"#);
    assert!(mode.contains("unknown variant `bicubic`, expected `bilinear` or `nearest`"), "{mode}");
    assert_eq!(refused::<Normalize>(r#"{"eps": 0}"#), "`eps` must be between 1e-15 and 1, got 0");
    assert!(
        refused::<Normalize>(r#"{"by": "l3"}"#)
            .contains("unknown variant `l3`, expected one of `l1`, `l2`, `deviation`")
    );
    assert!(refused::<Normalize>(r#"{"p": 2}"#).contains("unknown field `p`, expected `by`, `dims`, `eps`"));
    assert!(refused::<Flatten>(r#"{"from": 1}"#).contains("unknown field `from`"));
    assert!(refused::<Gram>(r#"{"normalize": "all"}"#).contains("unknown variant `all`"));
    assert_eq!(refused::<AttentionMap>(r#"{"p": 0}"#), "`p` must be between 1 and 16, got 0");
    assert_eq!(refused::<AttentionMap>(r#"{"p": 17}"#), "`p` must be between 1 and 16, got 17");
}
