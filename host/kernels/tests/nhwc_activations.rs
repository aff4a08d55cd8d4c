//! Activations against their formulas, at their corners, and of what is not a number.

mod common;

use common::{assert_close, double};
use stillhouse_kernels::Float;
use stillhouse_kernels::nhwc::activation::{activation_backward, activation_forward};
use stillhouse_kernels::nhwc::conv::{
    Below, ConvShape, DataGrad, Epilogue, Packed, Wanted, Window, backward, forward, pack_backward, pack_bf16,
    pack_forward, pack_winograd,
};
use stillhouse_kernels::nhwc::norm::mask_by_output;
use stillhouse_kernels::nhwc::{Activation, Grad, Level, Load};

type Formula = fn(f64) -> f64;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

const FORMULAS: [(Activation, Formula); 9] = [
    (Activation::None, |x| x),
    (Activation::Relu, |x| x.max(0.0)),
    (Activation::Relu6, |x| x.clamp(0.0, 6.0)),
    (Activation::LeakyRelu(0.25), |x| if x > 0.0 { x } else { 0.25 * x }),
    (Activation::Silu, |x| x * sigmoid(x)),
    (Activation::HardSwish, |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
    (Activation::Gelu, |x| 0.5 * x * (1.0 + Float::erf(x * std::f64::consts::FRAC_1_SQRT_2))),
    (Activation::Sigmoid, sigmoid),
    (Activation::Tanh, f64::tanh),
];

#[test]
fn activations_match_their_formulas_and_finite_differences() {
    // Between the corners.
    let points: Vec<f64> = (-128..128).map(|i| f64::from(i) / 16.0 + 1.0 / 32.0).collect();
    let x: Vec<f32> = points.iter().map(|x| *x as f32).collect();
    for (activation, formula) in FORMULAS {
        let values: Vec<f64> = points.iter().map(|x| formula(*x)).collect();
        let slopes: Vec<f64> = points.iter().map(|x| (formula(x + 1e-5) - formula(x - 1e-5)) / 2e-5).collect();
        let alone: Vec<f32> = x.iter().map(|x| activation.apply(*x)).collect();
        let alone_slopes: Vec<f32> = x.iter().map(|x| activation.slope(*x)).collect();
        assert_close(&double(&alone), &values, 1e-6, &format!("{activation:?}"));
        assert_close(&double(&alone_slopes), &slopes, 2e-6, &format!("{activation:?}: slope"));
        for level in Level::available() {
            let (mut out, mut dx) = (vec![7.0; x.len()], vec![7.0; x.len()]);
            level.with(|| activation_forward(activation, &x, &mut out));
            level.with(|| activation_backward(activation, &x, &vec![1.0; x.len()], &mut dx, false));
            assert_eq!((&out, &dx), (&alone, &alone_slopes), "{activation:?} at {level:?}");
        }
    }
}

#[test]
fn activations_at_corners_have_the_documented_slopes() {
    let corners = [
        (Activation::Relu, 0.0, 0.0),
        (Activation::Relu6, 0.0, 0.0),
        (Activation::Relu6, 6.0, 0.0),
        (Activation::LeakyRelu(0.25), 0.0, 0.25),
        (Activation::HardSwish, -3.0, 0.0),
        (Activation::HardSwish, 3.0, 1.0),
    ];
    for (activation, x, slope) in corners {
        assert_eq!(activation.slope(x), slope, "{activation:?} at {x}");
        for level in Level::available() {
            let dx = level.with(|| gradient_below(activation, x));
            assert!(dx.iter().all(|dx| *dx == slope), "{activation:?} at {x}, {level:?}: {dx:?}");
        }
    }
}

/// The gradient of `activation(x)` behind a convolution that changes nothing; whole and part vectors of channels.
fn gradient_below(activation: Activation, x: f32) -> Vec<f32> {
    let channels = 21;
    let shape = ConvShape::new([1, channels, 1, 1], channels, Window::new([1, 1]), 1).expect("a shape");
    let weights: Vec<f32> = (0..channels * channels).map(|at| f32::from(at % (channels + 1) == 0)).collect();
    let (values, mut dx, mut sums) = (vec![x; channels], vec![7.0; channels], vec![0.0; 2 * channels]);
    let mut packed = Packed::default();
    pack_backward(&shape, &weights, &mut packed);
    let load = Load { values: &values, affine: None, activation };
    let below = Some(Below { load, branch: None, sums: &mut sums });
    let data = Some(DataGrad { packed: &packed, dx: &mut dx, accumulate: false, below });
    backward(&shape, load, Grad::plain(&vec![1.0; channels]), Wanted { data, ..Wanted::default() });
    dx
}

type Pack = fn(&ConvShape, &[f32], &mut Packed);

#[test]
fn convolutions_keep_what_is_not_a_number() {
    let window = Window { padding: [1, 1], ..Window::new([3, 3]) };
    let shape = |channels: usize, groups: usize| ConvShape::new([1, channels, 4, 4], channels, window, groups);
    let ways: [(ConvShape, Pack); 3] = [
        (shape(22, 1).expect("dense"), pack_forward),
        (shape(22, 22).expect("depthwise"), pack_forward),
        (shape(68, 1).expect("by Winograd's method"), pack_winograd),
    ];
    for ((shape, pack), level) in ways.iter().flat_map(|way| Level::available().map(move |level| (way, level))) {
        let run = |x: f32, weight: f32, inner: Activation, outer: Activation, pack: Pack| {
            let (x, weights) = (vec![x; shape.input_len()], vec![weight; shape.weights_len()]);
            let (mut packed, mut out) = (Packed::default(), vec![7.0; shape.output_len()]);
            level.with(|| {
                pack(shape, &weights, &mut packed);
                let epilogue = Epilogue { activation: outer, ..Epilogue::default() };
                forward(shape, Load { activation: inner, ..Load::plain(&x) }, &packed, epilogue, &mut out, None);
            });
            out.iter().all(|out| out.is_nan())
        };
        for activation in [Activation::Relu, Activation::Relu6] {
            assert!(run(f32::NAN, 1.0, activation, Activation::None, *pack), "read: {shape:?} at {level:?}");
            assert!(run(f32::NAN, 1.0, Activation::None, activation, *pack), "made: {shape:?} at {level:?}");
        }
        assert!(run(1.0, f32::NAN, Activation::None, Activation::None, pack_bf16), "weights: {shape:?} at {level:?}");
    }
}

#[test]
#[should_panic(expected = "does not tell its derivative")]
fn mask_by_output_leaky_relu_without_slope_is_refused() {
    mask_by_output(&mut [1.0], &[0.0], Activation::LeakyRelu(0.0), 1, None);
}
