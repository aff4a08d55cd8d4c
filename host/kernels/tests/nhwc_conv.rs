//! Channels-last convolutions against those over `[N, C, H, W]` in `f64`.

mod common;

use common::{Cases, assert_close, double, single, with_threads};
use stillhouse_kernels::conv::{conv2d_backward_data, conv2d_backward_weights, conv2d_forward};
use stillhouse_kernels::nhwc::conv::{
    Below, ConvShape, DataGrad, Epilogue, Packed, Wanted, Window, backward, backward_transposed, forward,
    forward_transposed, pack_backward, pack_bf16, pack_forward, pack_winograd, pack_winograd_backward,
};
use stillhouse_kernels::nhwc::{Activation, Grad, Level, Load};

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

/// `[N, plane, C]` to `[N, C, plane]`.
fn swapped(values: &[f64], channels: usize, plane: usize) -> Vec<f64> {
    let mut out = vec![0.0; values.len()];
    for (i, value) in values.iter().enumerate() {
        let (image, rest) = (i / (channels * plane), i % (channels * plane));
        out[(image * channels + rest % channels) * plane + rest / channels] = *value;
    }
    out
}

fn planes(shape: &ConvShape) -> [usize; 2] {
    [shape.input[0] * shape.input[1], shape.output[0] * shape.output[1]]
}

/// A value or gradient of `channels`: raw values and the vectors that are applied when they are read.
struct Side {
    channels: usize,
    raw: Vec<f32>,
    other: Vec<f32>,
    vectors: [Vec<f32>; 3],
}

impl Side {
    fn new(cases: &mut Cases, len: usize, channels: usize) -> Self {
        let mut reals = |len: usize| single(&cases.reals(len));
        let (raw, other) = (reals(len), reals(len));
        Self { channels, raw, other, vectors: [(); 3].map(|()| reals(channels)) }
    }

    fn load(&self, affine: bool, activation: Activation) -> Load<'_> {
        let affine = affine.then_some([&self.vectors[0][..], &self.vectors[1][..]]);
        Load { values: &self.raw, affine, activation }
    }

    fn grad(&self, norm: bool) -> Grad<'_> {
        let [a, b, c] = &self.vectors;
        Grad { dz: &self.raw, norm: norm.then_some((&self.other[..], [&a[..], &b[..], &c[..]])) }
    }
}

fn pre_activation(load: &Load, channels: usize) -> Vec<f64> {
    let at = |(i, x): (usize, &f32)| match load.affine {
        None => f64::from(*x),
        // As the kernels, so that a corner of the activation is met on the same side.
        Some([scale, shift]) => f64::from(x * scale[i % channels] + shift[i % channels]),
    };
    load.values.iter().enumerate().map(at).collect()
}

fn loaded(load: &Load, channels: usize) -> Vec<f64> {
    pre_activation(load, channels).iter().map(|x| f64::from(load.activation.apply(*x as f32))).collect()
}

fn formed(grad: &Grad, channels: usize) -> Vec<f64> {
    let at = |(i, dz): (usize, &f32)| match grad.norm {
        None => f64::from(*dz),
        Some((y, k)) => {
            let [a, b, c] = k.map(|k| f64::from(k[i % channels]));
            a * f64::from(*dz) + b * f64::from(y[i]) + c
        }
    };
    grad.dz.iter().enumerate().map(at).collect()
}

fn pair_sums(a: &[f64], b: &[f64], channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; 2 * channels];
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        sums[i % channels] += a;
        sums[channels + i % channels] += a * b;
    }
    sums
}

fn random_activation(cases: &mut Cases) -> Activation {
    ACTIVATIONS[cases.whole(0, ACTIVATIONS.len() - 1)]
}

fn random_window(cases: &mut Cases) -> Window {
    let kernel = if cases.whole(0, 3) == 0 { [3, 3] } else { cases.pair(1, 4) };
    Window { kernel, stride: cases.pair(1, 3), padding: cases.pair(0, 3), dilation: cases.pair(1, 2) }
}

fn random_shape(cases: &mut Cases, transposed: bool) -> ConvShape {
    loop {
        let groups = [1, 1, 1, 2, 3, 5][cases.whole(0, 5)];
        let most = [2, 4, 40][cases.whole(0, 2)];
        let (ins, outs) = (groups * cases.whole(1, most), groups * cases.whole(1, most));
        let window = random_window(cases);
        let input = [cases.whole(1, 6), ins, cases.whole(1, 11), cases.whole(1, 11)];
        let shape = if transposed {
            ConvShape::transposed(input, outs, window, cases.pair(0, 1), groups)
        } else {
            ConvShape::new(input, outs, window, groups)
        };
        if let Ok(shape) = shape {
            return shape;
        }
    }
}

fn depthwise_shape(cases: &mut Cases) -> ConvShape {
    loop {
        let channels = cases.whole(2, 70);
        let input = [cases.whole(1, 6), channels, cases.whole(1, 11), cases.whole(1, 11)];
        let outs = channels * [1, 1, 2][cases.whole(0, 2)];
        if let Ok(shape) = ConvShape::new(input, outs, random_window(cases), channels) {
            return shape;
        }
    }
}

/// Everything a forward and a backward pass read.
struct Data {
    shape: ConvShape,
    transposed: bool,
    winograd: bool,
    x: Side,
    dy: Side,
    weights: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
    options: Options,
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    affine: bool,
    activation: Activation,
    norm: bool,
    bias: bool,
    residual: bool,
    after: Activation,
    accumulate: bool,
    below: bool,
    branch: bool,
}

fn random_options(cases: &mut Cases) -> Options {
    let mut coin = || cases.whole(0, 1) == 0;
    let flags: [bool; 8] = std::array::from_fn(|_| coin());
    let [affine, norm, bias, residual, accumulate, below, branch, plain] = flags;
    let activation = if plain { Activation::None } else { random_activation(cases) };
    Options { affine, activation, norm, bias, residual, after: random_activation(cases), accumulate, below, branch }
}

fn data(cases: &mut Cases, shape: ConvShape, transposed: bool) -> Data {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    let [input, output] = [(shape.input_len(), ins), (shape.output_len(), outs)];
    let [(x_len, x_channels), (y_len, y_channels)] = if transposed { [output, input] } else { [input, output] };
    Data {
        shape,
        transposed,
        winograd: false,
        x: Side::new(cases, x_len, x_channels),
        dy: Side::new(cases, y_len, y_channels),
        weights: single(&cases.reals(shape.weights_len())),
        bias: single(&cases.reals(y_channels)),
        residual: single(&cases.reals(y_len)),
        options: random_options(cases),
    }
}

/// Output, its sums, gradients for input (with its sums), weights, bias.
type Results<T> = (Vec<T>, Vec<f64>, Vec<T>, Vec<f64>, Vec<T>, Vec<T>);

fn kernels(d: &Data, level: Level) -> Results<f32> {
    level.with(|| {
        let o = d.options;
        let (mut there, mut back) = (Packed::default(), Packed::default());
        if d.winograd {
            pack_winograd(&d.shape, &d.weights, &mut there);
            pack_winograd_backward(&d.shape, &d.weights, &mut back);
        } else {
            pack_forward(&d.shape, &d.weights, &mut there);
            pack_backward(&d.shape, &d.weights, &mut back);
        }
        if d.transposed {
            std::mem::swap(&mut there, &mut back);
        }
        let x = d.x.load(o.affine, o.activation);
        let mut out = vec![7.0; d.dy.raw.len()];
        let mut sums = vec![7.0; 2 * d.dy.channels];
        let epilogue = Epilogue {
            bias: o.bias.then_some(&d.bias[..]),
            residual: o.residual.then_some(&d.residual[..]),
            activation: o.after,
        };
        let forward = if d.transposed { forward_transposed } else { forward };
        forward(&d.shape, x, &there, epilogue, &mut out, Some(&mut sums));
        let mut dx = if o.accumulate { d.x.other.clone() } else { vec![7.0; d.x.raw.len()] };
        let mut below_sums = vec![7.0; 2 * d.x.channels];
        let (mut dw, mut db) = (vec![7.0; d.weights.len()], vec![7.0; d.dy.channels]);
        let below =
            o.below.then_some(Below { load: x, branch: o.branch.then_some(&d.x.other[..]), sums: &mut below_sums });
        let data = Some(DataGrad { packed: &back, dx: &mut dx, accumulate: o.accumulate, below });
        let wanted = Wanted { data, weights: Some(&mut dw), bias: Some(&mut db) };
        let backward = if d.transposed { backward_transposed } else { backward };
        backward(&d.shape, x, d.dy.grad(o.norm), wanted);
        (out, sums, dx, below_sums, dw, db)
    })
}

fn reference(d: &Data) -> Results<f64> {
    let o = d.options;
    let shape = &d.shape;
    let [in_plane, out_plane] = planes(shape);
    let (x_plane, y_plane) = if d.transposed { (out_plane, in_plane) } else { (in_plane, out_plane) };
    let (weights, load) = (double(&d.weights), d.x.load(o.affine, o.activation));
    let x = swapped(&loaded(&load, d.x.channels), d.x.channels, x_plane);
    let dy_last = formed(&d.dy.grad(o.norm), d.dy.channels);
    let dy = swapped(&dy_last, d.dy.channels, y_plane);
    let mut out = vec![0.0; dy.len()];
    let mut dx = vec![0.0; x.len()];
    let mut dw = vec![0.0; weights.len()];
    if d.transposed {
        conv2d_backward_data(shape, &x, &weights, &mut out);
        conv2d_forward(shape, &dy, &weights, None, &mut dx);
        conv2d_backward_weights(shape, &dy, &x, &mut dw);
    } else {
        conv2d_forward(shape, &x, &weights, None, &mut out);
        conv2d_backward_data(shape, &dy, &weights, &mut dx);
        conv2d_backward_weights(shape, &x, &dy, &mut dw);
    }
    let mut out = swapped(&out, y_plane, d.dy.channels);
    for (i, out) in out.iter_mut().enumerate() {
        let bias = if o.bias { f64::from(d.bias[i % d.dy.channels]) } else { 0.0 };
        let residual = if o.residual { f64::from(d.residual[i]) } else { 0.0 };
        *out = f64::from(o.after.apply((*out + bias + residual) as f32));
    }
    let sums = pair_sums(&out, &out, d.dy.channels);
    let mut dx = swapped(&dx, x_plane, d.x.channels);
    if o.accumulate {
        dx.iter_mut().zip(&d.x.other).for_each(|(dx, before)| *dx += f64::from(*before));
    }
    let mut below_sums = vec![7.0; 2 * d.x.channels];
    if o.below {
        let at = pre_activation(&load, d.x.channels);
        dx.iter_mut().zip(at).for_each(|(dx, at)| *dx *= f64::from(o.activation.slope(at as f32)));
        below_sums = pair_sums(&dx, &double(if o.branch { &d.x.other } else { &d.x.raw }), d.x.channels);
    }
    let db = pair_sums(&dy_last, &dy_last, d.dy.channels)[..d.dy.channels].to_vec();
    (out, sums, dx, below_sums, dw, db)
}

fn assert_matches(d: &Data) {
    let want = reference(d);
    for level in Level::available() {
        let what = |part: &str| format!("{part} at {level:?}: {:?}, {:?}", d.shape, d.options);
        let got = kernels(d, level);
        assert_close(&double(&got.0), &want.0, 2e-4, &what("output"));
        assert_close(&got.1, &want.1, 2e-4, &what("sums"));
        assert_close(&double(&got.2), &want.2, 2e-4, &what("dx"));
        assert_close(&got.3, &want.3, 2e-4, &what("sums below"));
        assert_close(&double(&got.4), &want.4, 2e-4, &what("dw"));
        assert_close(&double(&got.5), &want.5, 2e-4, &what("db"));
    }
}

fn network_shapes() -> Vec<ConvShape> {
    let window = |kernel: usize, stride: usize, padding: usize| Window {
        stride: [stride; 2],
        padding: [padding; 2],
        ..Window::new([kernel; 2])
    };
    let shapes = [
        ConvShape::new([3, 16, 32, 32], 16, window(3, 1, 1), 1),
        ConvShape::new([2, 3, 32, 32], 16, window(3, 1, 1), 1),
        ConvShape::new([17, 16, 16, 16], 32, window(3, 2, 1), 1),
        ConvShape::new([9, 64, 8, 8], 48, window(3, 1, 1), 1),
        ConvShape::new([5, 64, 8, 8], 64, window(3, 1, 1), 1),
        ConvShape::new([5, 16, 16, 16], 32, window(1, 2, 0), 1),
        ConvShape::new([5, 24, 17, 15], 32, window(1, 1, 0), 1),
        ConvShape::new([33, 40, 4, 4], 24, window(1, 1, 0), 2),
        ConvShape::new([33, 40, 4, 4], 40, window(3, 1, 1), 1),
        ConvShape::new([13, 144, 4, 4], 160, window(3, 1, 1), 1),
        ConvShape::new([3, 160, 9, 7], 130, window(3, 2, 1), 1),
        ConvShape::new([12, 180, 16, 16], 170, window(3, 1, 1), 1),
        ConvShape::new([5, 200, 9, 10], 340, window(3, 2, 1), 2),
        ConvShape::new([11, 128, 7, 7], 128, window(1, 1, 0), 1),
        ConvShape::new([40, 32, 2, 2], 32, window(3, 1, 1), 1),
        ConvShape::new([4, 32, 14, 14], 32, window(5, 1, 2), 32),
        ConvShape::new([4, 16, 15, 13], 32, window(3, 2, 1), 16),
        ConvShape::new([2, 3, 65, 63], 8, window(7, 2, 3), 1),
        ConvShape::new([1, 20, 90, 120], 20, window(3, 1, 1), 1),
        ConvShape::new([1, 8, 151, 130], 9, window(3, 2, 1), 1),
        ConvShape::new([1, 16, 111, 101], 16, window(3, 2, 1), 16),
        ConvShape::new([2, 9, 40, 37], 21, window(5, 1, 0), 3),
    ];
    shapes.into_iter().map(|shape| shape.expect("a shape")).collect()
}

#[test]
fn nhwc_conv_random_shapes_match_the_other_layout() {
    let mut cases = Cases::new(21);
    for _ in 0..400 {
        let shape = random_shape(&mut cases, false);
        assert_matches(&data(&mut cases, shape, false));
    }
}

#[test]
fn nhwc_conv_depthwise_matches_the_other_layout() {
    let mut cases = Cases::new(22);
    for case in 0..150 {
        let shape = depthwise_shape(&mut cases);
        assert_matches(&data(&mut cases, shape, case % 5 == 0));
    }
}

#[test]
fn nhwc_conv_transposed_matches_the_other_layout() {
    let mut cases = Cases::new(23);
    for _ in 0..200 {
        let shape = random_shape(&mut cases, true);
        assert_matches(&data(&mut cases, shape, true));
    }
}

#[test]
fn nhwc_conv_shapes_of_networks_match_the_other_layout() {
    let mut cases = Cases::new(24);
    for shape in network_shapes() {
        assert_matches(&data(&mut cases, shape, false));
    }
}

#[test]
fn nhwc_conv_winograd_matches_the_other_layout() {
    let mut cases = Cases::new(28);
    for case in 0..60 {
        let (side, channels) = if case % 3 < 2 { (3, [[16, 60], [64, 100]][case % 3]) } else { (5, [16, 150]) };
        let [ins, outs] = [0, 1].map(|_| cases.whole(channels[0], channels[1]));
        let window = Window { padding: cases.pair(0, side - 1), ..Window::new([side; 2]) };
        let large = if case == 0 { 60 } else { 11 };
        let least = side + 3;
        let input = [cases.whole(1, 5), ins, cases.whole(least, large), cases.whole(least, large)];
        let shape = ConvShape::new(input, outs, window, 1).expect("a shape");
        let mut d = data(&mut cases, shape, case % 4 == 3);
        d.winograd = true;
        // Smaller sums than those of plain windows: errors are some times those of plain sums.
        let scale = if side == 5 { 0.15 } else { 0.4 };
        d.weights.iter_mut().for_each(|weight| *weight *= scale);
        assert_matches(&d);
        let level = Level::detected();
        assert!(with_threads(1, || kernels(&d, level)) == with_threads(3, || kernels(&d, level)), "threads");
    }
}

/// Errors of Winograd's method against exact sums, by norm, beside those of plain sums in `f32`.
#[test]
fn nhwc_conv_winograd_errors_are_a_few_times_those_of_plain_sums() {
    let mut cases = Cases::new(31);
    let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let error = |got: &[f32], want: &[f64]| {
        let difference: Vec<_> = got.iter().zip(want).map(|(got, want)| f64::from(*got) - want).collect();
        norm(&difference) / norm(want)
    };
    for (side, channels, size) in [(3, 16, 32), (3, 64, 6), (3, 64, 16), (3, 256, 8), (5, 64, 8)] {
        let window = Window { padding: [side / 2; 2], ..Window::new([side; 2]) };
        let shape = ConvShape::new([2, channels, size, size], channels, window, 1).expect("a shape");
        let mut d = data(&mut cases, shape, false);
        d.options = Options { activation: Activation::Relu, ..Options::default() };
        let (out, _, dx, _, dw, _) = reference(&d);
        let all = [false, true].map(|winograd| {
            d.winograd = winograd;
            let got = kernels(&d, Level::detected());
            [error(&got.0, &out), error(&got.2, &dx), error(&got.4, &dw)]
        });
        let [plain, winograd] = all.map(|errors| errors.map(|error| format!("{error:.1e}")).join(" "));
        println!("{side}x{side}, {channels} channels, {size}x{size}: plain {plain}, Winograd {winograd}");
        assert!(all[1].iter().all(|error| *error < 3e-6), "{shape:?}: {all:?}");
    }
}

/// Inputs and weights of 8 bits: relative errors of 2^-9 each, averaged over the sum.
#[test]
fn nhwc_conv_bf16_stays_within_its_rounding() {
    let mut cases = Cases::new(29);
    for shape in network_shapes() {
        let d = data(&mut cases, shape, false);
        let (mut exact, mut rounded) = (Packed::default(), Packed::default());
        pack_forward(&shape, &d.weights, &mut exact);
        pack_bf16(&shape, &d.weights, &mut rounded);
        let x = d.x.load(true, Activation::Relu);
        let [want, got] = [exact, rounded].map(|packed| {
            let mut out = vec![7.0; shape.output_len()];
            forward(&shape, x, &packed, Epilogue::default(), &mut out, None);
            double(&out)
        });
        let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let error: Vec<_> = got.iter().zip(&want).map(|(got, want)| got - want).collect();
        let relative = norm(&error) / norm(&want);
        println!("bf16: {relative:.1e} of the output at {shape:?}");
        assert!(relative < 4e-3, "{shape:?}: {relative}");
    }
}

/// Values that a window reads as they lie are rounded from where they lie, others from their copy.
#[test]
fn nhwc_conv_bf16_of_plain_values_is_that_of_copied_ones() {
    let mut cases = Cases::new(31);
    for (input, outs, kernel) in [([3, 6, 5, 7], 10, 1), ([2, 6, 9, 8], 40, 3), ([2, 64, 81, 80], 32, 1)] {
        let shape = ConvShape::new(input, outs, Window::new([kernel; 2]), 1).expect("a shape");
        let (x, weights) = (single(&cases.reals(shape.input_len())), single(&cases.reals(shape.weights_len())));
        let mut packed = Packed::default();
        pack_bf16(&shape, &weights, &mut packed);
        let [one, zero] = [1.0, 0.0].map(|value| vec![value; shape.in_channels]);
        let copied = Load { affine: Some([&one, &zero]), ..Load::plain(&x) };
        let [plain, copied] = [Load::plain(&x), copied].map(|x| {
            let mut out = vec![7.0; shape.output_len()];
            forward(&shape, x, &packed, Epilogue::default(), &mut out, None);
            out
        });
        assert!(plain == copied, "{shape:?}");
    }
}

/// Images go together by the number of threads there, unless sums of channels are wanted.
#[test]
fn nhwc_conv_with_weights_beyond_any_cache_gives_the_same_bits() {
    let mut cases = Cases::new(32);
    let window = Window { padding: [1, 1], ..Window::new([3, 3]) };
    let shape = ConvShape::new([19, 512, 4, 4], 512, window, 1).expect("a shape");
    let (x, weights) = (single(&cases.reals(shape.input_len())), single(&cases.reals(shape.weights_len())));
    let mut packed = Packed::default();
    pack_winograd(&shape, &weights, &mut packed);
    let run = |threads: usize, sums: Option<&mut [f64]>| {
        let mut out = vec![7.0; shape.output_len()];
        with_threads(threads, || forward(&shape, Load::plain(&x), &packed, Epilogue::default(), &mut out, sums));
        out
    };
    let mut sums = vec![0.0; 2 * shape.out_channels];
    let with_sums = run(2, Some(&mut sums));
    for threads in [1, 2, 3, 8] {
        assert!(run(threads, None) == with_sums, "{threads} threads");
    }
}

/// Both gradients are made of a few images in turn: here of one, where a chunk has one or two.
#[test]
fn nhwc_conv_winograd_gradients_of_a_batch_in_turns_match() {
    let mut cases = Cases::new(31);
    let window = Window { padding: [1, 1], ..Window::new([3, 3]) };
    let shape = ConvShape::new([20, 16, 64, 64], 16, window, 1).expect("a shape");
    for below in [false, true] {
        let mut d = data(&mut cases, shape, false);
        d.winograd = true;
        d.options = Options { affine: true, activation: Activation::Relu, below, ..d.options };
        assert_matches(&d);
        let one = with_threads(1, || kernels(&d, Level::detected()));
        assert!(one == with_threads(3, || kernels(&d, Level::detected())));
    }
}

#[test]
fn nhwc_conv_empty_batch_gives_zero_gradients_of_weights() {
    let mut cases = Cases::new(30);
    let window = Window { padding: [1, 1], ..Window::new([3, 3]) };
    for channels in [3, 200] {
        let shape = ConvShape::new([0, channels, 6, 5], channels, window, 1).expect("a shape");
        let d = data(&mut cases, shape, false);
        let (out, sums, dx, _, dw, db) = kernels(&d, Level::detected());
        assert!(out.is_empty() && dx.is_empty());
        assert!(sums.iter().all(|sum| *sum == 0.0) && dw.iter().chain(&db).all(|value| *value == 0.0));
    }
}

#[test]
fn nhwc_conv_every_activation_matches() {
    let mut cases = Cases::new(25);
    let window = Window { padding: [1, 1], ..Window::new([3, 3]) };
    let shape = ConvShape::new([2, 19, 6, 5], 23, window, 1).expect("a shape");
    for activation in ACTIVATIONS {
        let mut d = data(&mut cases, shape, false);
        d.options = Options { affine: true, activation, after: activation, below: true, ..d.options };
        assert_matches(&d);
        d.options = Options { affine: false, ..d.options };
        assert_matches(&d);
    }
}

#[test]
fn nhwc_conv_one_two_and_three_threads_give_the_same_bits() {
    let mut cases = Cases::new(26);
    for shape in network_shapes() {
        let d = data(&mut cases, shape, false);
        for level in Level::available() {
            let one = with_threads(1, || kernels(&d, level));
            for threads in [2, 3] {
                assert!(one == with_threads(threads, || kernels(&d, level)), "{shape:?} at {level:?}");
            }
        }
    }
}

#[test]
fn nhwc_conv_packing_serves_another_batch() {
    let mut cases = Cases::new(27);
    let window = Window { padding: [1, 1], ..Window::new([3, 3]) };
    let [large, small] = [8, 3].map(|batch| ConvShape::new([batch, 24, 4, 4], 24, window, 1).expect("a shape"));
    let (x, weights) = (single(&cases.reals(large.input_len())), single(&cases.reals(large.weights_len())));
    let mut packed = Packed::default();
    pack_forward(&large, &weights, &mut packed);
    let [mut all, mut some] = [large, small].map(|shape| vec![0.0; shape.output_len()]);
    forward(&large, Load::plain(&x), &packed, Epilogue::default(), &mut all, None);
    forward(&small, Load::plain(&x[..small.input_len()]), &packed, Epilogue::default(), &mut some, None);
    assert_close(&double(&some), &double(&all[..some.len()]), 1e-5, "first images");
}
