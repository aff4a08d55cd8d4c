//! Channels-last pooling, resizing, layouts and passes against the kernels for `[N, C, H, W]`.

mod common;

use common::{Cases, assert_close, double, single, with_threads};
use stillhouse_kernels::conv::Window;
use stillhouse_kernels::nhwc::activation::{
    activation_backward, activation_forward, gate_backward, gate_forward, multiply, scaled,
};
use stillhouse_kernels::nhwc::layout::{load_to_nchw, nchw_to_nhwc, nhwc_to_nchw};
use stillhouse_kernels::nhwc::pool::{
    average_pool_backward, average_pool_forward, global_average_backward, global_average_forward, max_pool_backward,
    max_pool_forward,
};
use stillhouse_kernels::nhwc::resize::{resize_backward, resize_forward};
use stillhouse_kernels::nhwc::{Activation, Level, Load};
use stillhouse_kernels::pool::{Average, PoolShape, max_pool2d_backward, max_pool2d_forward};
use stillhouse_kernels::resize::Resize;

fn at_levels<R: PartialEq + std::fmt::Debug>(task: impl Fn() -> R) -> R {
    let mut results = Level::available().map(|level| level.with(&task));
    let first = results.next().expect("a level");
    results.for_each(|other| assert_eq!(first, other, "levels differ"));
    first
}

/// `[N, C, pixels]` to `[N, pixels, C]`, element by element.
fn last<T: Copy + Default>(x: &[T], channels: usize, pixels: usize) -> Vec<T> {
    let mut out = vec![T::default(); x.len()];
    for (at, x) in x.iter().enumerate() {
        let (image, c, pixel) = (at / (channels * pixels), at / pixels % channels, at % pixels);
        out[(image * pixels + pixel) * channels + c] = *x;
    }
    out
}

fn random_pool(cases: &mut Cases, channels: usize) -> (PoolShape, usize) {
    loop {
        let (kernel, batch) = (cases.pair(1, 4), cases.whole(1, 3));
        let padding = [cases.whole(0, kernel[0] / 2), cases.whole(0, kernel[1] / 2)];
        let (mut dilation, input) = (cases.pair(1, 2), cases.pair(1, 11));
        if cases.whole(0, 3) > 0 || input.contains(&1) {
            dilation = [1, 1];
        }
        let window = Window { kernel, stride: cases.pair(1, 4), padding, dilation };
        if let Ok(shape) = PoolShape::new(batch * channels, input, window) {
            return (shape, batch);
        }
    }
}

fn channels(round: usize) -> usize {
    [1, 3, 16, 17, 40][round % 5]
}

#[test]
fn layouts_random_shapes_turn_and_turn_back() {
    let mut cases = Cases::new(41);
    for round in 0..120 {
        let batch = cases.whole(1, 3);
        let (c, pixels) = (cases.whole(1, [5, 40, 200][round % 3]), cases.whole(1, [6, 100, 1500][round / 3 % 3]));
        let x = single(&cases.reals(batch * c * pixels));
        let want = last(&x, c, pixels);
        let (turned, back) = at_levels(|| {
            let (mut turned, mut back) = (vec![1.0; x.len()], vec![1.0; x.len()]);
            nchw_to_nhwc(&x, [batch, c, pixels], &mut turned, false);
            nhwc_to_nchw(&turned, [batch, c, pixels], &mut back, true);
            (turned, back)
        });
        assert_eq!(turned, want);
        assert!(back.iter().zip(&x).all(|(back, x)| *back == x + 1.0));
    }
}

#[test]
fn max_pool_random_shapes_match_the_reference() {
    let mut cases = Cases::new(42);
    for round in 0..150 {
        let c = channels(round);
        let (shape, _) = random_pool(&mut cases, c);
        let [plane, made] = [shape.input, shape.output].map(|[height, width]| height * width);
        // Few distinct values: ties are common.
        let mut x: Vec<f32> = (0..shape.planes * plane).map(|_| cases.whole(0, 3) as f32).collect();
        if round % 10 == 9 {
            x[plane / 2] = f32::NAN;
        }
        let grad = single(&cases.reals(shape.planes * made));
        let (mut want, mut want_grad) = (vec![0.0; grad.len()], vec![0.0; x.len()]);
        max_pool2d_forward(&shape, &x, &mut want);
        max_pool2d_backward(&shape, &x, &grad, &mut want_grad);
        let (x, grad) = (last(&x, c, plane), last(&grad, c, made));
        let (out, taps, dx) = at_levels(|| {
            let (mut out, mut taps, mut dx) = (vec![7.0; grad.len()], vec![9; grad.len()], vec![7.0; x.len()]);
            let mut alone = out.clone();
            max_pool_forward(&shape, Load::plain(&x), c, &mut out, Some(&mut taps));
            max_pool_forward(&shape, Load::plain(&x), c, &mut alone, None);
            assert!(out.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()));
            max_pool_backward(&shape, &grad, &taps, c, &mut dx, false);
            (out.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), taps, dx)
        });
        let bits: Vec<u32> = last(&want, c, made).iter().map(|x| x.to_bits()).collect();
        assert_eq!(out, bits, "{shape:?} {taps:?}");
        assert_close(&double(&dx), &double(&last(&want_grad, c, plane)), 1e-6, "gradient");
    }
}

#[test]
fn max_pool_taps_are_places_in_the_window() {
    let window = Window { padding: [1, 1], ..Window::new([3, 3]) };
    let shape = PoolShape::new(1, [2, 2], window).expect("a shape");
    let (mut out, mut taps) = ([7.0; 4], [9; 4]);
    max_pool_forward(&shape, Load::plain(&[1.0, 5.0, 2.0, 3.0]), 1, &mut out, Some(&mut taps));
    assert_eq!((out, taps), ([5.0; 4], [5, 4, 2, 1]));
}

#[test]
fn average_pool_random_shapes_match_the_reference() {
    let mut cases = Cases::new(43);
    for round in 0..150 {
        let c = channels(round);
        let (shape, batch) = random_pool(&mut cases, c);
        let average = match round % 3 {
            2 => Average::adaptive(shape.planes, shape.input, cases.pair(1, 12)).expect("sizes"),
            kind if shape.window.dilation == [1, 1] => Average::fixed(&shape, kind == 0),
            _ => Average::adaptive(shape.planes, shape.input, [1, 1]).expect("sizes"),
        };
        let [plane, made] = [shape.input, average.output()].map(|[height, width]| height * width);
        let (x, grad) = (single(&cases.reals(shape.planes * plane)), single(&cases.reals(shape.planes * made)));
        let (mut want, mut want_grad) = (vec![0.0; grad.len()], vec![0.0; x.len()]);
        average.forward(&x, &mut want);
        average.backward(&grad, &mut want_grad);
        let (x, grad) = (last(&x, c, plane), last(&grad, c, made));
        let (out, dx) = at_levels(|| {
            let (mut out, mut dx) = (vec![7.0; grad.len()], vec![1.0; x.len()]);
            average_pool_forward(&average, Load::plain(&x), c, &mut out);
            average_pool_backward(&average, &grad, c, &mut dx, true);
            (out, dx)
        });
        let want_grad: Vec<f32> = want_grad.iter().map(|x| x + 1.0).collect();
        assert_close(&double(&out), &double(&last(&want, c, made)), 1e-6, "average");
        assert_close(&double(&dx), &double(&last(&want_grad, c, plane)), 1e-6, "gradient");
        if average == Average::adaptive(shape.planes, shape.input, [1, 1]).expect("sizes") {
            let (mut whole, mut spread) = (vec![7.0; grad.len()], vec![7.0; x.len()]);
            global_average_forward(Load::plain(&x), [batch, plane, c], &mut whole);
            global_average_backward(&grad, [batch, plane, c], &mut spread, false);
            assert_close(&double(&whole), &double(&out), 1e-6, "global average");
        }
    }
}

#[test]
fn pooling_lazy_values_equals_pooling_stored_ones() {
    let mut cases = Cases::new(44);
    let (shape, batch) = random_pool(&mut cases, 5);
    let len = batch * shape.input[0] * shape.input[1] * 5;
    let (x, affine) = (single(&cases.reals(len)), [single(&cases.reals(5)), single(&cases.reals(5))]);
    let lazy = Load { values: &x, affine: Some([&affine[0], &affine[1]]), activation: Activation::Relu };
    let value = |(at, x): (usize, &f32)| Activation::Relu.apply(*x * affine[0][at % 5] + affine[1][at % 5]);
    let stored: Vec<f32> = x.iter().enumerate().map(value).collect();
    let pool = |x: Load<'_>| {
        let mut out = vec![7.0; batch * shape.output[0] * shape.output[1] * 5];
        max_pool_forward(&shape, x, 5, &mut out, None);
        let mut mean = vec![7.0; batch * 5];
        global_average_forward(x, [batch, shape.input[0] * shape.input[1], 5], &mut mean);
        (out, mean)
    };
    assert_eq!(pool(lazy), pool(Load::plain(&stored)));
    let turn = |x: Load<'_>| {
        let mut out = vec![7.0; len];
        load_to_nchw(x, [batch, 5, shape.input[0] * shape.input[1]], &mut out, false);
        out
    };
    assert_eq!(turn(lazy), turn(Load::plain(&stored)));
}

#[test]
fn resize_random_shapes_match_the_reference() {
    let mut cases = Cases::new(45);
    for round in 0..150 {
        let (c, batch, input, output) = (channels(round), cases.whole(1, 3), cases.pair(1, 8), cases.pair(1, 13));
        let made = if round % 2 == 0 { Resize::bilinear(input, output) } else { Resize::nearest(input, output) };
        let resize = made.expect("sizes");
        let [plane, made] = [input, output].map(|[height, width]| height * width);
        let (x, grad) = (single(&cases.reals(batch * c * plane)), single(&cases.reals(batch * c * made)));
        let (mut want, mut want_grad) = (vec![0.0; grad.len()], vec![0.0; x.len()]);
        resize.forward(&x, &mut want);
        resize.backward(&grad, &mut want_grad);
        let (x, grad) = (last(&x, c, plane), last(&grad, c, made));
        let (out, dx) = at_levels(|| {
            let (mut out, mut dx) = (vec![7.0; grad.len()], vec![7.0; x.len()]);
            resize_forward(&resize, &x, c, &mut out);
            resize_backward(&resize, &grad, c, &mut dx, false);
            (out, dx)
        });
        assert_close(&double(&out), &double(&last(&want, c, made)), 1e-6, "resize");
        assert_close(&double(&dx), &double(&last(&want_grad, c, plane)), 1e-5, "gradient");
    }
}

#[test]
fn passes_over_values_match_the_definition() {
    let mut cases = Cases::new(46);
    for activation in [Activation::Relu, Activation::Gelu, Activation::Silu, Activation::HardSwish] {
        let len = cases.whole(1, 3000);
        let (x, grad) = (single(&cases.reals(len)), single(&cases.reals(len)));
        let (out, dx) = at_levels(|| {
            let (mut out, mut dx) = (vec![7.0; len], vec![1.0; len]);
            activation_forward(activation, &x, &mut out);
            activation_backward(activation, &x, &grad, &mut dx, true);
            multiply(&x, &grad, &mut dx, true);
            scaled(&x, 2.0, &mut dx, true);
            (out, dx)
        });
        for at in 0..len {
            assert!((out[at] - activation.apply(x[at])).abs() < 1e-6);
            let want = 1.0 + grad[at] * activation.slope(x[at]) + x[at] * grad[at] + 2.0 * x[at];
            assert!((dx[at] - want).abs() < 1e-5);
        }
    }
}

#[test]
fn gates_random_shapes_match_the_definition() {
    let mut cases = Cases::new(47);
    for round in 0..40 {
        let dims = [cases.whole(1, 4), cases.whole(1, 50), channels(round)];
        let [batch, pixels, c] = dims;
        let len = batch * pixels * c;
        let (x, grad, gate) = (single(&cases.reals(len)), single(&cases.reals(len)), single(&cases.reals(batch * c)));
        let (out, dx, dgate) = at_levels(|| {
            let (mut out, mut dx, mut dgate) = (vec![7.0; len], vec![1.0; len], vec![7.0; batch * c]);
            gate_forward(&x, &gate, dims, &mut out);
            gate_backward([&x, &grad], &gate, dims, Some((&mut dx, true)), Some(&mut dgate));
            (out, dx, dgate)
        });
        let mut want = vec![0.0; batch * c];
        for at in 0..len {
            let of = at / (pixels * c) * c + at % c;
            assert_eq!(out[at], x[at] * gate[of]);
            assert_eq!(dx[at], 1.0 + grad[at] * gate[of]);
            want[of] += f64::from(x[at]) * f64::from(grad[at]);
        }
        assert_close(&double(&dgate), &want, 1e-5, "gradient of the gate");
    }
}

#[test]
fn pooling_any_thread_count_gives_the_same_bits() {
    let mut cases = Cases::new(48);
    let window = Window { padding: [1, 1], stride: [2, 2], ..Window::new([3, 3]) };
    let shape = PoolShape::new(8 * 24, [33, 31], window).expect("a shape");
    let x = single(&cases.reals(8 * 24 * 33 * 31));
    let resize = Resize::bilinear([33, 31], [20, 40]).expect("sizes");
    let run = || {
        let made = 8 * shape.output[0] * shape.output[1] * 24;
        let (mut out, mut taps, mut dx) = (vec![0.0; made], vec![0; made], vec![0.0; x.len()]);
        max_pool_forward(&shape, Load::plain(&x), 24, &mut out, Some(&mut taps));
        max_pool_backward(&shape, &out, &taps, 24, &mut dx, false);
        let mut resized = vec![0.0; 8 * 20 * 40 * 24];
        resize_forward(&resize, &x, 24, &mut resized);
        resize_backward(&resize, &resized, 24, &mut dx, true);
        let mut turned = vec![0.0; x.len()];
        nhwc_to_nchw(&dx, [8, 24, 33 * 31], &mut turned, false);
        (out, taps, turned)
    };
    let one = with_threads(1, run);
    assert_eq!(one, with_threads(2, run));
    assert_eq!(one, with_threads(3, run));
}
