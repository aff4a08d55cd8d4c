//! Channels-last gradients that are stored or added, as their flag says.

mod common;

use common::{Cases, assert_close, double, single};
use stillhouse_kernels::conv::Window;
use stillhouse_kernels::nhwc::activation::{activation_backward, gate_backward, multiply, scaled};
use stillhouse_kernels::nhwc::group_norm::GroupNorm;
use stillhouse_kernels::nhwc::layer_norm::{layer_norm_backward, layer_norm_forward};
use stillhouse_kernels::nhwc::layout::{load_to_nchw, nchw_to_nhwc, nhwc_to_nchw};
use stillhouse_kernels::nhwc::linear::Linear;
use stillhouse_kernels::nhwc::norm::form;
use stillhouse_kernels::nhwc::pool::{
    average_pool_backward, global_average_backward, max_pool_backward, max_pool_forward,
};
use stillhouse_kernels::nhwc::resize::resize_backward;
use stillhouse_kernels::nhwc::softmax::softmax_backward;
use stillhouse_kernels::nhwc::{Activation, Grad, Level, Load};
use stillhouse_kernels::pool::{Average, PoolShape};
use stillhouse_kernels::resize::Resize;

/// `task(gradient, accumulate)` overwrites whatever stands in the gradient, or adds to it; returns what it stores.
#[track_caller]
fn assert_stores_or_adds(what: &str, len: usize, task: impl Fn(&mut [f32], bool)) -> Vec<f32> {
    let mut results = Level::available().map(|level| {
        let (mut stored, mut again, mut added) = (vec![7.0; len], vec![f32::NAN; len], vec![3.0; len]);
        level.with(|| {
            task(&mut stored, false);
            task(&mut again, false);
            task(&mut added, true);
        });
        assert_eq!(stored, again, "{what} at {level:?}: stored");
        let want: Vec<f64> = stored.iter().map(|stored| 3.0 + f64::from(*stored)).collect();
        assert_close(&double(&added), &want, 1e-5, &format!("{what} at {level:?}: added"));
        assert!(stored.iter().any(|stored| *stored != 0.0), "{what} at {level:?}: nothing but zeros");
        stored
    });
    results.next().expect("a level")
}

#[test]
fn passes_store_or_add() {
    let (mut cases, len) = (Cases::new(81), 24 * 35);
    let mut reals = |len: usize| single(&cases.reals(len));
    let (x, y, gate) = (reals(len), reals(len), reals(24));
    assert_stores_or_adds("activation", len, |out, add| activation_backward(Activation::Silu, &x, &y, out, add));
    assert_stores_or_adds("scaled", len, |out, add| scaled(&x, 0.5, out, add));
    assert_stores_or_adds("product", len, |out, add| multiply(&x, &y, out, add));
    assert_stores_or_adds("gate", len, |out, add| {
        gate_backward([&x, &y], &gate, [1, 35, 24], Some((out, add)), None);
    });
    assert_stores_or_adds("formed", len, |out, add| form(Grad::plain(&x), 24, out, add));
    assert_stores_or_adds("softmax", len, |out, add| softmax_backward([&x, &y], 35, out, add));
    for channels in [24, 3] {
        let dims = [1, channels, len / channels];
        let load = Load { activation: Activation::Tanh, ..Load::plain(&x) };
        assert_stores_or_adds("channels last", len, |out, add| nchw_to_nhwc(&x, dims, out, add));
        assert_stores_or_adds("channels first", len, |out, add| nhwc_to_nchw(&x, dims, out, add));
        assert_stores_or_adds("loaded", len, |out, add| load_to_nchw(load, dims, out, add));
    }
}

#[test]
fn norms_store_or_add() {
    let (mut cases, rows, width) = (Cases::new(82), 40, 24);
    let mut reals = |len: usize| single(&cases.reals(len));
    let (x, grad, weight) = (reals(rows * width), reals(rows * width), reals(width));
    let (mut statistics, mut out) = (vec![[0.0; 2]; rows], vec![0.0; x.len()]);
    layer_norm_forward(&x, width, [None, None], 1e-5, &mut statistics, &mut out);
    for weight in [None, Some(&weight[..])] {
        assert_stores_or_adds("layer norm", x.len(), |out, add| {
            layer_norm_backward([&x, &grad], width, &statistics, weight, Some((out, add)), None);
        });
    }
    let norm = GroupNorm { batch: 2, pixels: rows / 2, channels: width, groups: 3 };
    let mut statistics = vec![[0.0; 2]; 6];
    norm.forward(&x, [None, None], 1e-5, &mut statistics, &mut out);
    assert_stores_or_adds("group norm", x.len(), |out, add| {
        norm.backward([&x, &grad], &statistics, Some(&weight), Some((out, add)), None);
    });
}

#[test]
fn pooling_and_resizing_store_or_add() {
    let (mut cases, batch, channels, size) = (Cases::new(83), 2, 17, [6, 5]);
    let mut reals = |len: usize| single(&cases.reals(len));
    let len = batch * channels * 30;
    let x = reals(len);
    let window = Window { stride: [2, 1], padding: [1, 1], ..Window::new([3, 2]) };
    let shape = PoolShape::new(batch * channels, size, window).expect("a shape");
    let made = batch * channels * shape.output[0] * shape.output[1];
    let (grad, mut out, mut taps) = (reals(made), vec![0.0; made], vec![0; made]);
    max_pool_forward(&shape, Load::plain(&x), channels, &mut out, Some(&mut taps));
    assert_stores_or_adds("max", len, |out, add| max_pool_backward(&shape, &grad, &taps, channels, out, add));
    let average = Average::fixed(&shape, true);
    assert_stores_or_adds("average", len, |out, add| average_pool_backward(&average, &grad, channels, out, add));
    for resize in [Resize::bilinear(size, [4, 9]), Resize::nearest(size, [4, 9])] {
        let (resize, grad) = (resize.expect("sizes"), reals(batch * channels * 36));
        assert_stores_or_adds("resize", len, |out, add| resize_backward(&resize, &grad, channels, out, add));
    }
    let grad = reals(batch * channels);
    let stored = assert_stores_or_adds("global average", len, |out, add| {
        global_average_backward(&grad, [batch, 30, channels], out, add);
    });
    let whole = Average::adaptive(batch * channels, size, [1, 1]).expect("sizes");
    let mut want = vec![7.0; len];
    average_pool_backward(&whole, &grad, channels, &mut want, false);
    assert_close(&double(&stored), &double(&want), 1e-6, "global average");
}

#[test]
fn linear_layers_store_or_add() {
    let mut cases = Cases::new(84);
    let mut reals = |len: usize| single(&cases.reals(len));
    for (rows, inputs, outputs) in [(5, 7, 3), (300, 60, 70), (90, 130, 140)] {
        let linear = Linear { rows, inputs, outputs };
        let (x, w, grad) = (reals(rows * inputs), reals(outputs * inputs), reals(rows * outputs));
        assert_stores_or_adds("input", x.len(), |out, add| linear.backward_data(&grad, &w, out, add));
        assert_stores_or_adds("weights", w.len(), |out, add| {
            linear.backward_weights(&x, &grad, Some(out), None, add);
        });
        assert_stores_or_adds("bias", outputs, |out, add| linear.backward_weights(&x, &grad, None, Some(out), add));
        assert_stores_or_adds("output", rows * outputs, |out, add| {
            if add { linear.add(&x, &w, out) } else { linear.forward(&x, &w, None, out) }
        });
    }
}
