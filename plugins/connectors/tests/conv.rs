//! Tests of the convolution.
#![allow(missing_docs)]

use stillhouse_connectors::Conv;
use stillhouse_plugin::testing::{Bench, numbers};

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn conv(config: &str, from: &[usize], to: &[usize]) -> Bench {
    let bench = Bench::connector::<Conv>(config).expect("a right configuration");
    bench.input("from", from, &numbers(1.0, count(from))).input("to", to, &numbers(2.0, count(to)))
}

fn values(bench: Bench) -> Vec<f64> {
    bench.ran().output().values.clone()
}

#[track_caller]
fn refused(config: &str) -> String {
    Bench::connector::<Conv>(config).err().expect("refused").to_string()
}

#[track_caller]
fn assert_close(found: &[f64], wanted: &[f64]) {
    let near = found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(near, "{found:?} is not {wanted:?}");
}

/// A row of four as the map, one channel, a kernel of three along it.
fn row(config: &str, weight: &[f64]) -> Bench {
    let bench = conv(config, &[1, 1, 1, 4], &[1, 1, 1, 4]).input("from", &[1, 1, 1, 4], &[1.0, 2.0, 3.0, 5.0]);
    bench.param("conv.weight", weight)
}

#[test]
fn conv_of_a_row_is_as_worked_by_hand() {
    let config = |more: &str| format!(r#"{{"kernel": [1, 3], "bias": false, "out": 1{more}}}"#);
    let weight = [1.0, 10.0, 100.0];
    // Padded by one: 0 1 2 3 5 0.
    assert_eq!(values(row(&config(""), &weight)), [210.0, 321.0, 532.0, 53.0]);
    assert_eq!(values(row(&config(r#", "padding": 0"#), &weight)), [321.0, 532.0]);
    assert_eq!(values(row(&config(r#", "stride": [1, 2]"#), &weight)), [210.0, 532.0]);
    // Elements two apart, padded by two: 0 0 1 2 3 5 0 0.
    assert_eq!(values(row(&config(r#", "dilation": 2"#), &weight)), [310.0, 520.0, 31.0, 52.0]);
    // Each value spreads the kernel over places two apart: 1 10 100+2 20 200+3 30 300+5 50 500, the first cut off.
    let spread = values(row(&config(r#", "stride": [1, 2], "transposed": true"#), &weight));
    assert_eq!(spread, [10.0, 102.0, 20.0, 203.0, 30.0, 305.0, 50.0]);
    let longer = values(row(&config(r#", "stride": [1, 2], "transposed": true, "output_padding": [0, 1]"#), &weight));
    assert_eq!(longer, [10.0, 102.0, 20.0, 203.0, 30.0, 305.0, 50.0, 500.0]);
}

#[test]
fn conv_groups_do_not_see_each_other() {
    let grouped = r#"{"groups": 2, "bias": false}"#;
    let bench = |config: &str| {
        let bench = conv(config, &[1, 2, 1, 1], &[1, 2, 1, 1]).input("from", &[1, 2, 1, 1], &[3.0, 5.0]);
        bench.param("conv.weight", &[10.0, 100.0])
    };
    assert_eq!(values(bench(grouped)), [30.0, 500.0]);
    let transposed = r#"{"groups": 2, "bias": false, "transposed": true}"#;
    assert_eq!(values(bench(transposed)), [30.0, 500.0]);
}

#[test]
fn conv_activations_are_as_worked_by_hand() {
    let (below, above) = (-1.0f64, 8.0f64);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    // Phi(-1) and Phi(8).
    let phi = [0.158_655_253_931_457_05, 1.0];
    for (activation, wanted) in [
        ("none", [below, above]),
        ("relu", [0.0, 8.0]),
        ("relu6", [0.0, 6.0]),
        ("leaky_relu", [-0.2, 8.0]),
        ("gelu", [below * phi[0], above * phi[1]]),
        ("silu", [below * sigmoid(below), above * sigmoid(above)]),
        ("tanh", [below.tanh(), above.tanh()]),
        ("sigmoid", [sigmoid(below), sigmoid(above)]),
        ("softplus", [below.exp().ln_1p(), above.exp().ln_1p()]),
    ] {
        let config = format!(r#"{{"bias": false, "slope": 0.2, "activation": "{activation}"}}"#);
        let bench = conv(&config, &[1, 1, 1, 2], &[1, 1, 1, 2]).input("from", &[1, 1, 1, 2], &[below, above]);
        assert_close(&values(bench.param("conv.weight", &[1.0])), &wanted);
    }
}

/// Channels (1, 3), (5, 9) of two places, scaled by 2 and 10, shifted by 0 and 1.
fn normed(norm: &str) -> Bench {
    let config = format!(r#"{{"groups": 2, {norm}}}"#);
    let bench = conv(&config, &[1, 2, 1, 2], &[1, 2, 1, 2]).input("from", &[1, 2, 1, 2], &[1.0, 3.0, 5.0, 9.0]);
    let bench = bench.param("conv.weight", &[1.0, 1.0]);
    bench.param("norm.weight", &[2.0, 10.0]).param("norm.bias", &[0.0, 1.0])
}

#[test]
fn conv_norms_are_as_worked_by_hand() {
    let by = |values: [f64; 4], mean: [f64; 4], variance: [f64; 4]| -> Vec<f64> {
        let each = |at: usize| (values[at] - mean[at]) / (variance[at] + 1e-5).sqrt();
        (0..4).map(|at| each(at) * [2.0, 10.0][at / 2] + [0.0, 1.0][at / 2]).collect()
    };
    let x = [1.0, 3.0, 5.0, 9.0];
    let channelwise = by(x, [2.0, 2.0, 7.0, 7.0], [1.0, 1.0, 4.0, 4.0]);
    assert_close(&values(normed(r#""norm": "batch""#)), &channelwise);
    assert_close(&values(normed(r#""norm": "group""#)), &channelwise);
    let whole = by(x, [4.5; 4], [8.75; 4]);
    assert_close(&values(normed(r#""norm": "group", "norm_groups": 1"#)), &whole);
    let placewise = by(x, [3.0, 6.0, 3.0, 6.0], [4.0, 9.0, 4.0, 9.0]);
    assert_close(&values(normed(r#""norm": "layer""#)), &placewise);
}

#[test]
fn conv_batch_norm_in_evaluation_leaves_its_statistics() {
    let bench = || conv(r#"{"norm": "batch"}"#, &[3, 2, 4, 4], &[3, 2, 4, 4]);
    assert!(bench().ran().buffer_after("norm.running_mean").iter().any(|mean| *mean != 0.0));
    let mut evaluated = bench().training(false);
    let first = evaluated.run().expect("runs");
    evaluated.adopt(&first);
    assert_eq!(evaluated.run().expect("runs").output(), first.output());
}

#[test]
fn conv_has_the_bias_that_is_asked_for_and_none_before_a_norm() {
    let biased = |config: &str| {
        let known = conv(config, &[1, 2, 3, 3], &[1, 4, 3, 3]).param("conv.bias", &[0.0; 4]);
        { known }.run().is_ok()
    };
    assert!(biased("{}"));
    assert!(!biased(r#"{"bias": false}"#));
    assert!(!biased(r#"{"norm": "layer"}"#));
    assert!(biased(r#"{"norm": "layer", "bias": true}"#));
}

#[test]
fn conv_takes_channels_of_the_other_end_and_sizes_of_its_own() {
    let shape = |config: &str, from: &[usize], to: &[usize]| conv(config, from, to).ran().output().shape().to_vec();
    let from = [2, 3, 8, 6];
    assert_eq!(shape("{}", &from, &[2, 5, 4, 4]), [2, 5, 8, 6]);
    assert_eq!(shape("{}", &from, &[2, 5]), [2, 5, 8, 6]);
    assert_eq!(shape(r#"{"out": 7}"#, &from, &[2, 5, 4, 4]), [2, 7, 8, 6]);
    assert_eq!(shape(r#"{"out": 7}"#, &from, &[]), [2, 7, 8, 6]);
    for odd in [1, 3, 5, 7] {
        assert_eq!(shape(&format!(r#"{{"kernel": {odd}}}"#), &from, &[2, 5]), [2, 5, 8, 6]);
        let dilated = format!(r#"{{"kernel": {odd}, "dilation": [2, 3]}}"#);
        assert_eq!(shape(&dilated, &from, &[2, 5]), [2, 5, 8, 6]);
        let transposed = format!(r#"{{"kernel": {odd}, "transposed": true}}"#);
        assert_eq!(shape(&transposed, &from, &[2, 5]), [2, 5, 8, 6]);
    }
    for halving in [r#"{"kernel": 3, "stride": 2}"#, r#"{"kernel": 4, "stride": 2}"#, r#"{"kernel": 2, "stride": 2}"#] {
        assert_eq!(shape(halving, &from, &[2, 5]), [2, 5, 4, 3]);
    }
    for doubling in [
        r#"{"kernel": 4, "stride": 2, "transposed": true}"#,
        r#"{"kernel": 2, "stride": 2, "transposed": true}"#,
        r#"{"kernel": 3, "stride": 2, "transposed": true, "output_padding": 1}"#,
    ] {
        assert_eq!(shape(doubling, &from, &[2, 5]), [2, 5, 16, 12]);
    }
    let uneven = r#"{"kernel": [3, 1], "stride": [2, 1], "padding": [1, 0]}"#;
    assert_eq!(shape(uneven, &from, &[2, 5]), [2, 5, 4, 6]);
}

#[test]
fn conv_gradients_match_finite_differences() {
    for (config, to) in [
        (r#"{"kernel": 3}"#, &[2, 3, 4, 4]),
        (r#"{"kernel": 3, "stride": 2, "norm": "batch", "activation": "silu"}"#, &[2, 3, 2, 2]),
        (r#"{"kernel": [3, 1], "dilation": [2, 1], "norm": "layer", "activation": "gelu"}"#, &[2, 3, 4, 4]),
        (r#"{"out": 4, "groups": 2, "norm": "group", "norm_groups": 2, "activation": "tanh"}"#, &[2, 4, 4, 4]),
        (
            r#"{"out": 4, "groups": 2, "kernel": 3, "stride": 2, "transposed": true, "output_padding": 1}"#,
            &[2, 4, 8, 8],
        ),
        (r#"{"norm": "group", "activation": "sigmoid", "bias": true}"#, &[2, 3, 4, 4]),
    ] {
        let weights = numbers(9.0, count(to));
        let mut bench = conv(config, &[2, 2, 4, 4], to).cotangent("output", &weights);
        bench.check_gradients(1e-6).unwrap_or_else(|error| panic!("{config}: {error}"));
    }
}

#[test]
fn conv_parameters_all_have_gradients() {
    for (config, names) in [
        (r#"{"kernel": 3}"#, &["conv.weight", "conv.bias"][..]),
        (r#"{"norm": "batch"}"#, &["conv.weight", "norm.weight", "norm.bias"]),
        (r#"{"norm": "group"}"#, &["conv.weight", "norm.weight", "norm.bias"]),
        (r#"{"norm": "layer"}"#, &["conv.weight", "norm.weight", "norm.bias"]),
    ] {
        let weights = numbers(9.0, count(&[2, 3, 4, 4]));
        let run = conv(config, &[2, 2, 4, 4], &[2, 3, 4, 4]).cotangent("output", &weights).finite();
        for name in names {
            assert!(run.grad_param(name).iter().all(|grad| *grad != 0.0), "{name} with {config}");
        }
    }
}

#[test]
fn conv_of_ends_that_do_not_fit_is_error() {
    let of = |config: &str, from: &[usize], to: &[usize]| conv(config, from, to).refusal();
    assert_eq!(of("{}", &[2, 3], &[2, 3]), "`conv` wants feature maps [N, C, H, W], got [2, 3]");
    assert_eq!(of("{}", &[0, 3, 2, 2], &[0, 3]), "`conv` got an empty batch: [0, 3, 2, 2]");
    assert_eq!(
        of("{}", &[2, 3, 2, 2], &[2]),
        "`conv` takes its channels from the other end [N, C, ...], which is [2]\n\nhint: `out = ...` says them"
    );
    assert_eq!(
        of(r#"{"groups": 2}"#, &[1, 4, 2, 2], &[1, 3, 2, 2]),
        "`conv` cannot split its channels into 2 `groups`\n  channels in: 4\n  channels out: 3\n\nhint: `groups` divides both"
    );
    assert_eq!(
        of(r#"{"norm": "group", "norm_groups": 2}"#, &[1, 4, 2, 2], &[1, 3, 2, 2]),
        "`conv` cannot split 3 channels into 2 groups (`norm_groups`)\n\nhint: choose a divisor of 3"
    );
    assert_eq!(
        of(r#"{"norm": "group"}"#, &[1, 4, 1, 1], &[1, 2, 1, 1]),
        "`conv` normalises groups of one value, which has no deviation: 2 groups of a map [2, 1, 1]\n\nhint: fewer `norm_groups`"
    );
    assert!(
        of(r#"{"norm": "layer"}"#, &[1, 4, 2, 2], &[1, 1])
            .starts_with("`conv` has one channel, which has no deviation")
    );
    assert!(of(r#"{"norm": "batch"}"#, &[1, 4, 1, 1], &[1, 2]).contains("one value a channel has no variance"));
    assert!(of(r#"{"kernel": 5, "padding": 0}"#, &[1, 4, 3, 3], &[1, 2]).contains("a window of 5 does not fit into 3"));
}

#[test]
fn conv_of_wrong_settings_is_error() {
    assert_eq!(refused(r#"{"kernel": 0}"#), "`kernel` must be between 1 and 1024, got 0");
    assert_eq!(refused(r#"{"kernel": [3, 1025]}"#), "`kernel` must be between 1 and 1024, got 1025");
    assert_eq!(refused(r#"{"stride": 0}"#), "`stride` must be between 1 and 1024, got 0");
    assert_eq!(refused(r#"{"dilation": [1, 0]}"#), "`dilation` must be between 1 and 1024, got 0");
    assert_eq!(refused(r#"{"padding": 2000}"#), "`padding` must be between 0 and 1024, got 2000");
    assert_eq!(refused(r#"{"groups": 0}"#), "`groups` must be between 1 and 1048576, got 0");
    assert_eq!(refused(r#"{"out": 0}"#), "`out` must be between 1 and 1048576, got 0");
    assert_eq!(refused(r#"{"norm": "group", "norm_groups": 0}"#), "`norm_groups` must be between 1 and 1048576, got 0");
    assert!(refused(r#"{"norm_groups": 2}"#).starts_with("`norm_groups` belongs to `norm = \"group\"`"));
    assert_eq!(refused(r#"{"slope": 2}"#), "`slope` must be between 0 and 1, got 2");
    assert!(refused(r#"{"output_padding": 1}"#).starts_with("`output_padding` belongs to a transposed convolution"));
    assert_eq!(
        refused(r#"{"transposed": true, "stride": 2, "output_padding": [0, 2]}"#),
        "`output_padding` must be below `stride` or `dilation`, got [0, 2] beside [2, 2] and [1, 1]"
    );
    let kind = refused(r#"{"kernel": "wide"}"#);
    assert!(kind.contains("expected a number or a pair of them, [height, width]"), "{kind}");
    let norm = refused(r#"{"norm": "instance"}"#);
    assert!(norm.contains("unknown variant `instance`, expected one of `none`, `batch`, `group`, `layer`"), "{norm}");
    assert!(refused(r#"{"channels": 3}"#).contains("unknown field `channels`"));
}
