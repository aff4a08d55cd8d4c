//! Pooling and resizing against loops over their definition.

mod common;

use common::{Cases, assert_close, assert_gradient, dot, double, single, with_threads};
use stillhouse_kernels::conv::Window;
use stillhouse_kernels::pool::{Average, PoolShape, max_pool2d_backward, max_pool2d_forward};
use stillhouse_kernels::resize::Resize;

fn random_pool(cases: &mut Cases) -> PoolShape {
    loop {
        let kernel = cases.pair(1, 4);
        let padding = [cases.whole(0, kernel[0] / 2), cases.whole(0, kernel[1] / 2)];
        let window = Window { kernel, stride: cases.pair(1, 4), padding, dilation: [1, 1] };
        if let Ok(shape) = PoolShape::new(cases.whole(1, 6), cases.pair(1, 9), window) {
            return shape;
        }
    }
}

/// Elements of the plane under each window of one plane, in scan order.
fn windows(shape: &PoolShape) -> Vec<Vec<usize>> {
    let w = &shape.window;
    let mut windows = Vec::new();
    for oy in 0..shape.output[0] {
        for ox in 0..shape.output[1] {
            let mut window = Vec::new();
            for ky in 0..w.kernel[0] {
                for kx in 0..w.kernel[1] {
                    let y = (oy * w.stride[0] + ky) as isize - w.padding[0] as isize;
                    let x = (ox * w.stride[1] + kx) as isize - w.padding[1] as isize;
                    let inside = |at: isize, size: usize| (0..size as isize).contains(&at);
                    if inside(y, shape.input[0]) && inside(x, shape.input[1]) {
                        window.push(y as usize * shape.input[1] + x as usize);
                    }
                }
            }
            windows.push(window);
        }
    }
    windows
}

#[test]
fn max_pool2d_random_shapes_match_the_definition() {
    let mut cases = Cases::new(11);
    for _ in 0..200 {
        let shape = random_pool(&mut cases);
        let [plane, made] = [shape.input, shape.output].map(|[height, width]| height * width);
        // Few distinct values: ties are common.
        let x: Vec<f64> = (0..shape.planes * plane).map(|_| cases.whole(0, 3) as f64).collect();
        let grad = cases.reals(shape.planes * made);
        let (mut want, mut want_grad) = (Vec::new(), vec![0.0; x.len()]);
        for p in 0..shape.planes {
            for (index, window) in windows(&shape).iter().enumerate() {
                let mut best = window[0];
                for at in window {
                    if x[p * plane + at] > x[p * plane + best] {
                        best = *at;
                    }
                }
                want.push(x[p * plane + best]);
                want_grad[p * plane + best] += grad[p * made + index];
            }
        }
        let (mut out, mut grad_x) = (vec![7.0; want.len()], vec![7.0; x.len()]);
        max_pool2d_forward(&shape, &x, &mut out);
        max_pool2d_backward(&shape, &x, &grad, &mut grad_x);
        assert_eq!(out, want, "{shape:?}");
        assert_close(&grad_x, &want_grad, 1e-13, "gradient");
    }
}

#[test]
fn max_pool2d_equal_elements_give_all_to_the_first() {
    let shape = PoolShape::new(1, [2, 2], Window { stride: [2, 2], ..Window::new([2, 2]) }).expect("a shape");
    let mut grad_x = [9f32; 4];
    max_pool2d_backward(&shape, &[1.0, 1.0, 1.0, 1.0], &[1.0], &mut grad_x);
    assert_eq!(grad_x, [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn average_random_windows_match_the_definition() {
    let mut cases = Cases::new(12);
    for round in 0..200 {
        let shape = random_pool(&mut cases);
        let include = round % 2 == 0;
        let x = cases.reals(shape.planes * shape.input[0] * shape.input[1]);
        let mut want = Vec::new();
        for plane in x.chunks_exact(shape.input[0] * shape.input[1]) {
            for window in windows(&shape) {
                let area = if include { shape.window.kernel[0] * shape.window.kernel[1] } else { window.len() };
                want.push(window.iter().map(|at| plane[*at]).sum::<f64>() / area as f64);
            }
        }
        let average = Average::fixed(&shape, include);
        assert_average(&mut cases, &average, &x, &want);
    }
}

/// Values, adjointness, `f32`.
fn assert_average(cases: &mut Cases, average: &Average, x: &[f64], want: &[f64]) {
    let mut out = vec![7.0; want.len()];
    average.forward(x, &mut out);
    assert_close(&out, want, 1e-13, "average");
    let mut out_f32 = vec![7f32; want.len()];
    average.forward(&single(x), &mut out_f32);
    assert_close(&double(&out_f32), want, 1e-5, "average in f32");
    let grad = cases.reals(want.len());
    let mut grad_x = vec![7.0; x.len()];
    average.backward(&grad, &mut grad_x);
    assert_close(&[dot(x, &grad_x)], &[dot(&out, &grad)], 1e-12, "adjoint");
}

#[test]
fn adaptive_any_size_matches_the_definition() {
    let mut cases = Cases::new(13);
    for _ in 0..200 {
        let (planes, input, output) = (cases.whole(1, 4), cases.pair(1, 9), cases.pair(1, 12));
        let x = cases.reals(planes * input[0] * input[1]);
        let mut want = Vec::new();
        for plane in x.chunks_exact(input[0] * input[1]) {
            for oy in 0..output[0] {
                for ox in 0..output[1] {
                    let bounds = |k: usize, from: usize, to: usize| (k * from / to, ((k + 1) * from).div_ceil(to));
                    let (top, bottom) = bounds(oy, input[0], output[0]);
                    let (left, right) = bounds(ox, input[1], output[1]);
                    let inside = (top..bottom).flat_map(|y| (left..right).map(move |x| y * input[1] + x));
                    let values: Vec<f64> = inside.map(|at| plane[at]).collect();
                    want.push(values.iter().sum::<f64>() / values.len() as f64);
                }
            }
        }
        let average = Average::adaptive(planes, input, output).expect("sizes");
        assert_average(&mut cases, &average, &x, &want);
    }
}

#[test]
fn bilinear_random_sizes_match_the_definition() {
    let mut cases = Cases::new(14);
    for _ in 0..150 {
        let (planes, input, output) = (cases.whole(1, 4), cases.pair(1, 8), cases.pair(1, 13));
        let x = cases.reals(planes * input[0] * input[1]);
        let source =
            |k: usize, axis: usize| ((k as f64 + 0.5) * input[axis] as f64 / output[axis] as f64 - 0.5).max(0.0);
        let mut want = Vec::new();
        for plane in x.chunks_exact(input[0] * input[1]) {
            for oy in 0..output[0] {
                for ox in 0..output[1] {
                    let (sy, sx) = (source(oy, 0), source(ox, 1));
                    let at = |y: usize, x: usize| plane[y.min(input[0] - 1) * input[1] + x.min(input[1] - 1)];
                    let (y, x) = (sy as usize, sx as usize);
                    let (down, right) = (sy - y as f64, sx - x as f64);
                    let above = (1.0 - right) * at(y, x) + right * at(y, x + 1);
                    let below = (1.0 - right) * at(y + 1, x) + right * at(y + 1, x + 1);
                    want.push((1.0 - down) * above + down * below);
                }
            }
        }
        let resize = Resize::bilinear(input, output).expect("sizes");
        let mut out = vec![7.0; want.len()];
        resize.forward(&x, &mut out);
        assert_close(&out, &want, 1e-13, "bilinear");
        let grad = cases.reals(want.len());
        let mut grad_x = vec![7.0; x.len()];
        resize.backward(&grad, &mut grad_x);
        assert_close(&[dot(&x, &grad_x)], &[dot(&out, &grad)], 1e-12, "adjoint");
    }
}

#[test]
fn nearest_doubling_repeats_and_sums_back() {
    let resize = Resize::nearest([1, 2], [2, 4]).expect("sizes");
    let mut out = [0f32; 8];
    resize.forward(&[1.0, 2.0], &mut out);
    assert_eq!(out, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    let mut grad_x = [9f32; 2];
    resize.backward(&[1.0; 8], &mut grad_x);
    assert_eq!(grad_x, [4.0, 4.0]);
    let third = Resize::nearest([1, 5], [1, 3]).expect("sizes");
    let mut out = [0f32; 3];
    third.forward(&[0.0, 1.0, 2.0, 3.0, 4.0], &mut out);
    assert_eq!(out, [0.0, 1.0, 3.0]);
}

#[test]
fn pooling_gradients_match_finite_differences() {
    let mut cases = Cases::new(15);
    for _ in 0..20 {
        let shape = random_pool(&mut cases);
        let x = cases.reals(shape.planes * shape.input[0] * shape.input[1]);
        let grad = cases.reals(shape.planes * shape.output[0] * shape.output[1]);
        let mut grad_x = vec![7.0; x.len()];
        max_pool2d_backward(&shape, &x, &grad, &mut grad_x);
        assert_gradient(&x, &grad_x, 1e-6, |x| {
            let mut out = vec![0.0; grad.len()];
            max_pool2d_forward(&shape, x, &mut out);
            dot(&out, &grad)
        });
    }
}

#[test]
fn pooling_one_and_two_threads_give_the_same_bits() {
    let mut cases = Cases::new(16);
    let window = Window { padding: [1, 1], stride: [2, 2], ..Window::new([3, 3]) };
    let shape = PoolShape::new(64, [33, 31], window).expect("a shape");
    let x = single(&cases.reals(64 * 33 * 31));
    let run = || {
        let mut out = vec![0f32; 64 * shape.output[0] * shape.output[1]];
        let mut grad_x = vec![0f32; x.len()];
        max_pool2d_forward(&shape, &x, &mut out);
        max_pool2d_backward(&shape, &x, &out, &mut grad_x);
        Average::fixed(&shape, false).backward(&out, &mut grad_x);
        (out, grad_x)
    };
    assert_eq!(with_threads(1, run), with_threads(2, run));
}
