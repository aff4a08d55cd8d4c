//! Channels-last normalisation against the kernels for `[N, C, plane]`, where a pixel is an image with one position.

mod common;

use common::{Cases, assert_close, assert_gradient, dot, double, single, with_threads};
use stillhouse_kernels::nhwc::group_norm::GroupNorm;
use stillhouse_kernels::nhwc::layer_norm::{layer_norm_backward, layer_norm_forward};
use stillhouse_kernels::nhwc::norm::{
    Coefficients, Statistics, apply, channel_sums, form, mask_and_sums, mask_by_output, mask_by_sum, product_sums,
};
use stillhouse_kernels::nhwc::{Activation, Grad, Level, Load};
use stillhouse_kernels::norm as reference;

const ACTIVATIONS: [Activation; 9] = [
    Activation::None,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu(0.1),
    Activation::Silu,
    Activation::HardSwish,
    Activation::Gelu,
    Activation::Sigmoid,
    Activation::Tanh,
];

/// The same numbers at each level, and those numbers.
fn at_levels<R: PartialEq + std::fmt::Debug>(task: impl Fn() -> R) -> R {
    let mut results = Level::available().map(|level| level.with(&task));
    let first = results.next().expect("a level");
    results.for_each(|other| assert_eq!(first, other, "levels differ"));
    first
}

fn sizes(cases: &mut Cases, round: usize) -> (usize, usize) {
    let channels = [1, 2, 3, 5, 8, 16, 17, 24, 48, 64, 65, 100][round % 12];
    (cases.whole(1, [3, 40, 900][round % 3]), channels)
}

fn reals(cases: &mut Cases, len: usize) -> Vec<f32> {
    single(&cases.reals(len))
}

#[test]
fn channel_sums_random_shapes_match_the_definition() {
    let mut cases = Cases::new(31);
    for round in 0..60 {
        let (pixels, channels) = sizes(&mut cases, round);
        let (x, dz) = (reals(&mut cases, pixels * channels), reals(&mut cases, pixels * channels));
        let (got, product) = at_levels(|| {
            let (mut sums, mut products) = (vec![7.0; 2 * channels], vec![7.0; 2 * channels]);
            channel_sums(&x, channels, &mut sums);
            product_sums(&dz, &x, channels, &mut products);
            (sums, products)
        });
        let (mut want, mut want_product) = (vec![0.0; 2 * channels], vec![0.0; 2 * channels]);
        for (at, (x, dz)) in x.iter().zip(&dz).enumerate() {
            let (c, x, dz) = (at % channels, f64::from(*x), f64::from(*dz));
            want[c] += x;
            want[channels + c] += x * x;
            want_product[c] += dz;
            want_product[channels + c] += dz * x;
        }
        assert_close(&got, &want, 2e-5, "sums");
        assert_close(&product, &want_product, 2e-5, "products");
    }
}

#[test]
fn batch_norm_random_shapes_match_the_reference() {
    let mut cases = Cases::new(32);
    for round in 0..60 {
        let (pixels, channels) = sizes(&mut cases, round);
        let pixels = pixels + 1;
        let dims = [pixels, channels, 1];
        let (x, dz) = (cases.reals(pixels * channels), cases.reals(pixels * channels));
        let (weight, bias) = (cases.reals(channels), cases.reals(channels));
        let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
        reference::batch_statistics(&x, dims, &mut mean, &mut variance);
        let rstd: Vec<f64> = variance.iter().map(|v| 1.0 / (v + 1e-2).sqrt()).collect();
        let mut want_dx = vec![0.0; x.len()];
        let given = [&x[..], &dz[..]];
        let want = reference::batch_norm_backward(given, dims, [&mean, &rstd], Some(&weight), Some(&mut want_dx));

        let (x, dz, weight, bias) = (single(&x), single(&dz), single(&weight), single(&bias));
        let mut sums = vec![7.0; 2 * channels];
        channel_sums(&x, channels, &mut sums);
        let mut statistics = Statistics::new(channels);
        statistics.finish(&sums, pixels, Some(&weight), Some(&bias), 1e-2);
        assert_close(&double(&statistics.mean), &mean, 1e-6, "mean");
        assert_close(&double(&statistics.variance), &variance, 1e-5, "variance");
        let scale: Vec<f64> = rstd.iter().zip(&weight).map(|(r, w)| r * f64::from(*w)).collect();
        assert_close(&double(&statistics.scale), &scale, 1e-5, "scale");

        product_sums(&dz, &x, channels, &mut sums);
        let mut coefficients = Coefficients::new(channels);
        coefficients.finish(&sums, pixels, &statistics);
        assert_close(&double(&coefficients.weight), &want.weight, 1e-4, "gradient of the weight");
        assert_close(&double(&coefficients.bias), &want.bias, 1e-4, "gradient of the bias");
        let dx = at_levels(|| {
            let mut dx = vec![1.0; x.len()];
            form(coefficients.grad(&dz, &x), channels, &mut dx, true);
            form(Grad::plain(&dz), channels, &mut dx, true);
            dx
        });
        let want: Vec<f64> = want_dx.iter().zip(&dz).map(|(dx, dz)| dx + 1.0 + f64::from(*dz)).collect();
        assert_close(&double(&dx), &want, 1e-4, "gradient of the input");
    }
}

#[test]
fn apply_every_activation_matches_the_definition() {
    let mut cases = Cases::new(33);
    for (round, outer) in ACTIVATIONS.iter().flat_map(|a| [(0, *a), (1, *a), (2, *a)]).enumerate() {
        let (kind, outer) = outer;
        let (pixels, channels) = sizes(&mut cases, round);
        let len = pixels * channels;
        let (x, r) = (reals(&mut cases, len), reals(&mut cases, len));
        let x: Vec<f32> = x.iter().map(|x| 8.0 * x).collect();
        let vectors: Vec<Vec<f32>> = (0..4).map(|_| reals(&mut cases, channels)).collect();
        let inner = ACTIVATIONS[(round * 5) % 9];
        let a = Load { values: &x, affine: Some([&vectors[0], &vectors[1]]), activation: Activation::None };
        let lazy = Load { values: &r, affine: Some([&vectors[2], &vectors[3]]), activation: inner };
        let residual = [None, Some(Load::plain(&r)), Some(lazy)][kind];
        let a = if kind == 1 { a } else { Load { activation: ACTIVATIONS[(round * 2) % 9], ..a } };
        let got = at_levels(|| {
            let mut out = vec![7.0; len];
            apply(a, residual, outer, channels, &mut out);
            out
        });
        let read = |load: Load<'_>, at: usize| {
            let [scale, shift] = load.affine.map_or([1.0, 0.0], |v| [v[0][at % channels], v[1][at % channels]]);
            load.activation.apply(load.values[at] * scale + shift)
        };
        let value = |at: usize| outer.apply(read(a, at) + residual.map_or(0.0, |residual| read(residual, at)));
        let want: Vec<f64> = (0..len).map(|at| f64::from(value(at))).collect();
        assert_close(&double(&got), &want, 1e-6, &format!("{outer:?} {inner:?} {kind}"));
    }
}

#[test]
fn masks_every_activation_match_the_definition() {
    let mut cases = Cases::new(34);
    for round in 0..36 {
        let activation = ACTIVATIONS[round % 9];
        let (pixels, channels) = sizes(&mut cases, round);
        let len = pixels * channels;
        let (x, r, dz) = (reals(&mut cases, len), reals(&mut cases, len), reals(&mut cases, len));
        let x: Vec<f32> = x.iter().map(|x| 8.0 * x).collect();
        let (scale, shift) = (reals(&mut cases, channels), reals(&mut cases, channels));
        let below = Load { values: &x, affine: Some([&scale, &shift]), activation };
        let z = Load { activation: Activation::None, ..below };
        let check = |(got, sums): (Vec<f32>, Vec<f64>), residual: Option<&[f32]>, what: &str| {
            let mut want_sums = vec![0.0; 2 * channels];
            let want: Vec<f64> = (0..len)
                .map(|at| {
                    let c = at % channels;
                    let sum = (x[at] * scale[c] + shift[c]) + residual.map_or(0.0, |r| r[at]);
                    let dz = dz[at] * activation.slope(sum);
                    want_sums[c] += f64::from(dz);
                    want_sums[channels + c] += f64::from(dz) * f64::from(x[at]);
                    f64::from(dz)
                })
                .collect();
            assert_close(&double(&got), &want, 1e-6, &format!("{what} {activation:?}"));
            assert_close(&sums, &want_sums, 5e-5, &format!("{what} {activation:?}: sums"));
        };
        let lazy = at_levels(|| {
            let (mut dz, mut sums) = (dz.clone(), vec![7.0; 2 * channels]);
            mask_and_sums(&mut dz, below, channels, &mut sums);
            (dz, sums)
        });
        check(lazy, None, "mask_and_sums");
        let by_sum = at_levels(|| {
            let (mut dz, mut sums) = (dz.clone(), vec![7.0; 2 * channels]);
            mask_by_sum(&mut dz, z, Load::plain(&r), activation, channels, &mut sums);
            (dz, sums)
        });
        check(by_sum, Some(&r), "mask_by_sum");
        if round % 9 > 3 {
            continue;
        }
        let mut output = vec![7.0; len];
        apply(z, Some(Load::plain(&r)), activation, channels, &mut output);
        let by_output = at_levels(|| {
            let (mut dz, mut sums) = (dz.clone(), vec![7.0; 2 * channels]);
            let mut alone = dz.clone();
            mask_by_output(&mut alone, &output, activation, channels, None);
            mask_by_output(&mut dz, &output, activation, channels, Some((&x, &mut sums)));
            assert_eq!(alone, dz);
            (dz, sums)
        });
        check(by_output, Some(&r), "mask_by_output");
    }
}

#[test]
fn fixed_statistics_fold_to_an_affine_map() {
    let (mean, variance, weight, bias) = ([1.0f32, -2.0], [4.0f32, 0.25], [3.0f32, 1.0], [0.5f32, 0.0]);
    let mut statistics = Statistics::new(2);
    statistics.fixed([&mean, &variance], Some(&weight), Some(&bias), 0.0);
    assert_eq!(statistics.affine(), [&[1.5f32, 2.0][..], &[-1.0, 4.0]]);
    let mut coefficients = Coefficients::new(2);
    coefficients.finish_fixed(&[1.0, 2.0, 3.0, 4.0], &statistics);
    assert_eq!(coefficients.k[0], [1.5, 2.0]);
    assert_eq!(coefficients.weight, [(3.0 - 1.0) * 0.5, (4.0 + 4.0) * 2.0]);
    let (mut running, mut running_variance) = ([0.0f32; 2], [1.0f32; 2]);
    statistics.update_running(5, 0.1, &mut running, &mut running_variance);
    assert_close(&double(&running), &[0.1, -0.2], 1e-7, "running mean");
    assert_close(&double(&running_variance), &[0.9 + 0.5, 0.9 + 0.03125], 1e-7, "running variance");
}

/// Sums of squares are rounded: less than nothing may be left after the mean is taken off.
#[test]
fn batch_norm_constant_channels_have_no_negative_variance() {
    let (pixels, channels) = (37, 64);
    let x: Vec<f32> = (0..pixels * channels).map(|at| 1.1 + (at % channels) as f32 * 0.3).collect();
    let (mut sums, mut statistics) = (vec![7.0; 2 * channels], Statistics::new(channels));
    channel_sums(&x, channels, &mut sums);
    statistics.finish(&sums, pixels, None, None, 0.0);
    assert!(statistics.variance.iter().all(|variance| *variance >= 0.0), "{:?}", statistics.variance);
}

#[test]
fn layer_norm_random_shapes_match_the_reference() {
    let mut cases = Cases::new(35);
    for round in 0..40 {
        let (rows, width) = sizes(&mut cases, round);
        let (x, grad) = (cases.reals(rows * width), cases.reals(rows * width));
        let (weight, bias) = (cases.reals(width), cases.reals(width));
        let given = (round % 3 != 0).then_some(&weight[..]);
        let wanted = reference::row_statistics(&x, width, 1e-2);
        let (mut want, mut want_dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        reference::layer_norm_forward(&x, width, &wanted, given, Some(&bias), &mut want);
        let both = [&x[..], &grad[..]];
        let sums = reference::layer_norm_backward(both, width, &wanted, given, Some(&mut want_dx), true).expect("sums");
        let (x, grad, weight, bias) = (single(&x), single(&grad), single(&weight), single(&bias));
        let given = given.map(|_| &weight[..]);
        let (out, dx, by_weight, by_bias) = at_levels(|| {
            let (mut out, mut dx) = (vec![7.0; x.len()], vec![1.0; x.len()]);
            let (mut statistics, mut by_weight, mut by_bias) =
                (vec![[0.0; 2]; rows], vec![7.0; width], vec![7.0; width]);
            layer_norm_forward(&x, width, [given, Some(&bias)], 1e-2, &mut statistics, &mut out);
            let parameters = Some([&mut by_weight[..], &mut by_bias[..]]);
            layer_norm_backward([&x, &grad], width, &statistics, given, Some((&mut dx, true)), parameters);
            (out, dx, by_weight, by_bias)
        });
        let want_dx: Vec<f64> = want_dx.iter().map(|dx| dx + 1.0).collect();
        assert_close(&double(&out), &want, 1e-5, "layer norm");
        assert_close(&double(&dx), &want_dx, 1e-4, "gradient of the input");
        assert_close(&double(&by_weight), &sums.weight, 1e-4, "gradient of the weight");
        assert_close(&double(&by_bias), &sums.bias, 1e-4, "gradient of the bias");
    }
}

/// Group norm in `f64`.
fn group_norm(x: &[f64], norm: GroupNorm, weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let GroupNorm { pixels, channels, groups, .. } = norm;
    let each = channels / groups;
    let mut out = vec![0.0; x.len()];
    for (image, (x, out)) in x.chunks(pixels * channels).zip(out.chunks_mut(pixels * channels)).enumerate() {
        for group in 0..groups {
            let inside: Vec<usize> = (0..x.len()).filter(|at| at % channels / each == group).collect();
            let mean = inside.iter().map(|at| x[*at]).sum::<f64>() / inside.len() as f64;
            let variance = inside.iter().map(|at| (x[*at] - mean).powi(2)).sum::<f64>() / inside.len() as f64;
            for at in inside {
                out[at] = (x[at] - mean) / (variance + 1e-2).sqrt() * weight[at % channels] + bias[at % channels];
            }
        }
        assert!(image < norm.batch);
    }
    out
}

#[test]
fn group_norm_random_shapes_match_the_definition_and_finite_differences() {
    let mut cases = Cases::new(36);
    for _ in 0..25 {
        let (groups, each) = (cases.whole(1, 4), cases.whole(1, 5));
        let (batch, pixels) = (cases.whole(1, 3), cases.whole(2, 9));
        let norm = GroupNorm { batch, pixels, channels: groups * each, groups };
        let channels = norm.channels;
        let (x, grad) = (cases.reals(batch * pixels * channels), cases.reals(batch * pixels * channels));
        let (weight, bias) = (cases.reals(channels), cases.reals(channels));
        let (xs, grads, weights, biases) = (single(&x), single(&grad), single(&weight), single(&bias));
        let (out, dx, by_weight, by_bias) = at_levels(|| {
            let (mut out, mut dx) = (vec![7.0; x.len()], vec![7.0; x.len()]);
            let (mut by_weight, mut by_bias) = (vec![7.0; channels], vec![7.0; channels]);
            let mut statistics = vec![[0.0; 2]; batch * groups];
            norm.forward(&xs, [Some(&weights), Some(&biases)], 1e-2, &mut statistics, &mut out);
            let parameters = Some([&mut by_weight[..], &mut by_bias[..]]);
            norm.backward([&xs, &grads], &statistics, Some(&weights), Some((&mut dx, false)), parameters);
            (out, dx, by_weight, by_bias)
        });
        assert_close(&double(&out), &group_norm(&x, norm, &weight, &bias), 1e-5, "group norm");
        assert_gradient(&x, &double(&dx), 1e-4, |x| dot(&group_norm(x, norm, &weight, &bias), &grad));
        assert_gradient(&weight, &double(&by_weight), 1e-4, |w| dot(&group_norm(&x, norm, w, &bias), &grad));
        assert_gradient(&bias, &double(&by_bias), 1e-4, |b| dot(&group_norm(&x, norm, &weight, b), &grad));
    }
}

#[test]
fn norms_any_thread_count_gives_the_same_bits() {
    let mut cases = Cases::new(37);
    for channels in [3, 16, 100] {
        let pixels = 300_000 / channels;
        let (x, dz) = (reals(&mut cases, pixels * channels), reals(&mut cases, pixels * channels));
        let affine = [reals(&mut cases, channels), reals(&mut cases, channels)];
        let run = || {
            let below = Load { values: &x, affine: Some([&affine[0], &affine[1]]), activation: Activation::Relu };
            let (mut dz, mut sums, mut sums_below) = (dz.clone(), vec![0.0; 2 * channels], vec![0.0; 2 * channels]);
            channel_sums(&x, channels, &mut sums);
            mask_and_sums(&mut dz, below, channels, &mut sums_below);
            let (mut out, mut by_weight, mut by_bias) = (dz.clone(), vec![0.0; channels], vec![0.0; channels]);
            let mut statistics = vec![[0.0; 2]; pixels];
            layer_norm_forward(&x, channels, [None, None], 1e-5, &mut statistics, &mut out);
            let parameters = Some([&mut by_weight[..], &mut by_bias[..]]);
            layer_norm_backward([&x, &dz], channels, &statistics, None, Some((&mut out, false)), parameters);
            (sums, sums_below, dz, out, by_weight, by_bias)
        };
        let one = with_threads(1, run);
        assert_eq!(one, with_threads(2, run));
        assert_eq!(one, with_threads(3, run));
    }
}
