//! Convolutions against a loop over their definition.

mod common;

use common::{Cases, assert_close, assert_gradient, dot, double, single, with_threads};
use stillhouse_kernels::ShapeError;
use stillhouse_kernels::conv::{
    ConvShape, Window, channel_sums, conv2d_backward_data, conv2d_backward_weights, conv2d_forward,
};

/// Calls `task(input element, weight, output element)` for each product of the convolution.
fn products(shape: &ConvShape, mut task: impl FnMut(usize, usize, usize)) {
    let w = &shape.window;
    let (ins, outs) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    for n in 0..shape.batch {
        for o in 0..shape.out_channels {
            for c in 0..ins {
                for_each_tap(shape, |[oy, ox], [ky, kx], [iy, ix]| {
                    let channel = o / outs * ins + c;
                    let x = ((n * shape.in_channels + channel) * shape.input[0] + iy) * shape.input[1] + ix;
                    let weight = ((o * ins + c) * w.kernel[0] + ky) * w.kernel[1] + kx;
                    let out = ((n * shape.out_channels + o) * shape.output[0] + oy) * shape.output[1] + ox;
                    task(x, weight, out);
                });
            }
        }
    }
}

fn for_each_tap(shape: &ConvShape, mut task: impl FnMut([usize; 2], [usize; 2], [usize; 2])) {
    let w = &shape.window;
    let at = |axis: usize, out: usize, tap: usize| {
        let at = (out * w.stride[axis] + tap * w.dilation[axis]) as isize - w.padding[axis] as isize;
        usize::try_from(at).ok().filter(|at| *at < shape.input[axis])
    };
    for oy in 0..shape.output[0] {
        for ox in 0..shape.output[1] {
            for ky in 0..w.kernel[0] {
                for kx in 0..w.kernel[1] {
                    if let (Some(iy), Some(ix)) = (at(0, oy, ky), at(1, ox, kx)) {
                        task([oy, ox], [ky, kx], [iy, ix]);
                    }
                }
            }
        }
    }
}

struct Data {
    shape: ConvShape,
    x: Vec<f64>,
    weights: Vec<f64>,
    grad: Vec<f64>,
}

fn data(cases: &mut Cases, shape: ConvShape) -> Data {
    let (x, weights) = (cases.reals(shape.input_len()), cases.reals(shape.weights_len()));
    Data { shape, x, weights, grad: cases.reals(shape.output_len()) }
}

fn random_shape(cases: &mut Cases) -> ConvShape {
    loop {
        let groups = cases.whole(1, 4);
        let (ins, outs) = (groups * cases.whole(1, 3), groups * cases.whole(1, 3));
        let window = Window {
            kernel: cases.pair(1, 4),
            stride: cases.pair(1, 3),
            padding: cases.pair(0, 3),
            dilation: cases.pair(1, 2),
        };
        let input = [cases.whole(1, 5), ins, cases.whole(1, 11), cases.whole(1, 11)];
        if let Ok(shape) = ConvShape::new(input, outs, window, groups) {
            return shape;
        }
    }
}

/// Naive forward, gradient for the input, gradient for the weights.
fn naive(d: &Data) -> [Vec<f64>; 3] {
    let mut out = vec![0.0; d.grad.len()];
    let mut grad_x = vec![0.0; d.x.len()];
    let mut grad_weights = vec![0.0; d.weights.len()];
    products(&d.shape, |x, weight, y| {
        out[y] += d.x[x] * d.weights[weight];
        grad_x[x] += d.grad[y] * d.weights[weight];
        grad_weights[weight] += d.grad[y] * d.x[x];
    });
    [out, grad_x, grad_weights]
}

fn kernels(d: &Data) -> [Vec<f64>; 3] {
    // Outputs start as garbage: kernels must overwrite them.
    let mut out = vec![7.0; d.grad.len()];
    let mut grad_x = vec![7.0; d.x.len()];
    let mut grad_weights = vec![7.0; d.weights.len()];
    conv2d_forward(&d.shape, &d.x, &d.weights, None, &mut out);
    conv2d_backward_data(&d.shape, &d.grad, &d.weights, &mut grad_x);
    conv2d_backward_weights(&d.shape, &d.x, &d.grad, &mut grad_weights);
    [out, grad_x, grad_weights]
}

fn kernels_f32(d: &Data) -> [Vec<f32>; 3] {
    let (x, weights, grad) = (single(&d.x), single(&d.weights), single(&d.grad));
    let mut out = vec![7.0; grad.len()];
    let mut grad_x = vec![7.0; x.len()];
    let mut grad_weights = vec![7.0; weights.len()];
    conv2d_forward(&d.shape, &x, &weights, None, &mut out);
    conv2d_backward_data(&d.shape, &grad, &weights, &mut grad_x);
    conv2d_backward_weights(&d.shape, &x, &grad, &mut grad_weights);
    [out, grad_x, grad_weights]
}

fn assert_matches(d: &Data) {
    let what = format!("{:?}", d.shape);
    let want = naive(d);
    for (got, want) in kernels(d).iter().zip(&want) {
        assert_close(got, want, 1e-12, &what);
    }
    for (got, want) in kernels_f32(d).iter().zip(&want) {
        assert_close(&double(got), want, 5e-5, &what);
    }
}

#[test]
fn conv2d_random_shapes_match_the_definition() {
    let mut cases = Cases::new(1);
    for _ in 0..400 {
        let shape = random_shape(&mut cases);
        assert_matches(&data(&mut cases, shape));
    }
}

#[test]
fn conv2d_shapes_of_networks_match_the_definition() {
    let mut cases = Cases::new(2);
    let window = |kernel: usize, stride: usize, padding: usize| Window {
        stride: [stride; 2],
        padding: [padding; 2],
        ..Window::new([kernel; 2])
    };
    let shapes = [
        ConvShape::new([3, 16, 32, 32], 16, window(3, 1, 1), 1),
        ConvShape::new([17, 16, 16, 16], 32, window(3, 2, 1), 1),
        ConvShape::new([9, 64, 8, 8], 48, window(3, 1, 1), 1),
        ConvShape::new([5, 16, 16, 16], 32, window(1, 2, 0), 1),
        ConvShape::new([5, 24, 17, 15], 32, window(1, 1, 0), 1),
        ConvShape::new([33, 40, 4, 4], 24, window(1, 1, 0), 2),
        ConvShape::new([4, 32, 14, 14], 32, window(5, 1, 2), 32),
        ConvShape::new([4, 16, 15, 13], 32, window(3, 2, 1), 16),
        ConvShape::new([2, 3, 65, 63], 8, window(7, 2, 3), 1),
        ConvShape::new([17, 130, 9, 9], 20, window(3, 1, 1), 1),
        ConvShape::new([2, 9, 40, 37], 21, window(5, 1, 0), 3),
    ];
    for shape in shapes {
        assert_matches(&data(&mut cases, shape.expect("a shape")));
    }
}

#[test]
fn conv2d_gradients_are_adjoint() {
    let mut cases = Cases::new(3);
    for _ in 0..100 {
        let shape = random_shape(&mut cases);
        let d = data(&mut cases, shape);
        let [out, grad_x, grad_weights] = kernels(&d);
        let along = dot(&out, &d.grad);
        assert_close(&[dot(&d.x, &grad_x), dot(&d.weights, &grad_weights)], &[along, along], 1e-11, "adjoint");
    }
}

#[test]
fn conv2d_gradients_match_finite_differences() {
    let mut cases = Cases::new(4);
    for _ in 0..20 {
        let shape = random_shape(&mut cases);
        let d = data(&mut cases, shape);
        let [_, grad_x, grad_weights] = kernels(&d);
        let value = |x: &[f64], weights: &[f64]| {
            let mut out = vec![0.0; d.grad.len()];
            conv2d_forward(&d.shape, x, weights, None, &mut out);
            dot(&out, &d.grad)
        };
        assert_gradient(&d.x, &grad_x, 1e-6, |x| value(x, &d.weights));
        assert_gradient(&d.weights, &grad_weights, 1e-6, |weights| value(&d.x, weights));
    }
}

#[test]
fn conv2d_bias_is_added_and_its_gradient_is_the_sum() {
    let mut cases = Cases::new(5);
    for _ in 0..30 {
        let shape = random_shape(&mut cases);
        let d = data(&mut cases, shape);
        let bias = cases.reals(shape.out_channels);
        let [mut want, ..] = naive(&d);
        let plane = shape.output[0] * shape.output[1];
        let mut sums = vec![0.0; shape.out_channels];
        for (index, want) in want.iter_mut().enumerate() {
            *want += bias[index / plane % shape.out_channels];
            sums[index / plane % shape.out_channels] += d.grad[index];
        }
        let mut out = vec![7.0; d.grad.len()];
        conv2d_forward(&shape, &d.x, &d.weights, Some(&bias), &mut out);
        assert_close(&out, &want, 1e-12, "bias");
        let mut got = vec![7.0; shape.out_channels];
        channel_sums(&d.grad, plane, &mut got);
        assert_close(&got, &sums, 1e-12, "bias gradient");
    }
}

#[test]
fn transposed_random_shapes_are_the_adjoint_of_the_definition() {
    let mut cases = Cases::new(6);
    let mut seen = 0;
    while seen < 150 {
        let groups = cases.whole(1, 3);
        let (ins, outs) = (groups * cases.whole(1, 3), groups * cases.whole(1, 3));
        let (kernel, stride) = (cases.pair(1, 4), cases.pair(1, 3));
        let window = Window { kernel, stride, padding: cases.pair(0, 2), dilation: cases.pair(1, 2) };
        let input = [cases.whole(1, 3), ins, cases.whole(1, 6), cases.whole(1, 6)];
        let extra = cases.pair(0, 2);
        let Ok(shape) = ConvShape::transposed(input, outs, window, extra, groups) else {
            continue;
        };
        seen += 1;
        for axis in 0..2 {
            let made =
                (input[2 + axis] - 1) * stride[axis] + window.dilation[axis] * (kernel[axis] - 1) + extra[axis] + 1;
            assert_eq!(shape.input[axis] + 2 * window.padding[axis], made);
        }
        assert_matches(&data(&mut cases, shape));
    }
}

#[test]
fn conv2d_one_and_two_threads_give_the_same_bits() {
    let mut cases = Cases::new(7);
    let window = Window { padding: [1, 1], ..Window::new([3, 3]) };
    let strided = Window { stride: [2, 2], ..window };
    let shapes = [
        ConvShape::new([37, 16, 32, 32], 16, window, 1),
        ConvShape::new([21, 32, 8, 8], 32, window, 1),
        ConvShape::new([21, 16, 16, 16], 32, strided, 1),
        ConvShape::new([19, 32, 16, 16], 32, window, 32),
    ];
    for shape in shapes {
        let d = data(&mut cases, shape.expect("a shape"));
        let one = with_threads(1, || kernels_f32(&d));
        for threads in [2, 3] {
            assert_eq!(one, with_threads(threads, || kernels_f32(&d)));
        }
    }
}

#[test]
fn conv_shape_impossible_geometry_is_error() {
    let window = Window::new([3, 3]);
    let new = |input, filters, window, groups| ConvShape::new(input, filters, window, groups);
    assert_eq!(new([1, 3, 2, 8], 4, window, 1), Err(ShapeError::Window { span: 3, padded: 2 }));
    assert_eq!(new([1, 3, 8, 8], 4, Window { stride: [0, 1], ..window }, 1), Err(ShapeError::Zero("stride")));
    assert_eq!(new([1, 3, 8, 8], 4, window, 0), Err(ShapeError::Zero("groups")));
    let groups = ShapeError::Groups { side: "input", channels: 3, groups: 2 };
    assert_eq!(new([1, 3, 8, 8], 4, window, 2), Err(groups));
    let extra = ConvShape::transposed([1, 4, 5, 5], 3, Window { stride: [2, 2], ..window }, [2, 0], 1);
    assert_eq!(extra, Err(ShapeError::OutputPadding { output_padding: 2, bound: 2 }));
}
