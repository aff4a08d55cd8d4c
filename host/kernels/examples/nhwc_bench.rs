//! Memory traffic of the channels-last passes against a copy of the same size, medians and best in GB/s.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p stillhouse-kernels --example nhwc_bench [rounds] [filter] [level]`

use std::hint::black_box;
use std::time::Instant;
use stillhouse_kernels::conv::Window;
use stillhouse_kernels::nhwc::activation::{
    activation_backward, activation_forward, gate_backward, gate_forward, scaled,
};
use stillhouse_kernels::nhwc::group_norm::GroupNorm;
use stillhouse_kernels::nhwc::layer_norm::{layer_norm_backward, layer_norm_forward};
use stillhouse_kernels::nhwc::layout::{nchw_to_nhwc, nhwc_to_nchw};
use stillhouse_kernels::nhwc::norm::{apply, channel_sums, form, mask_and_sums, mask_by_output};
use stillhouse_kernels::nhwc::pool::{
    average_pool_backward, average_pool_forward, global_average_backward, global_average_forward, max_pool_backward,
    max_pool_forward,
};
use stillhouse_kernels::nhwc::resize::{resize_backward, resize_forward};
use stillhouse_kernels::nhwc::softmax::{softmax_backward, softmax_forward};
use stillhouse_kernels::nhwc::{Activation, Grad, Level, Load, linear::Linear};
use stillhouse_kernels::optim::{Adam, AdamSlot, Sgd, SgdSlot, gradient_norm};
use stillhouse_kernels::pool::{Average, PoolShape};
use stillhouse_kernels::recurrent::{LstmKept, lstm_backward, lstm_forward};
use stillhouse_kernels::resize::Resize;
use stillhouse_kernels::rng::Stream;

struct Bench {
    rounds: usize,
    filter: String,
    len: usize,
    copy_from: Vec<f32>,
    copy_to: Vec<f32>,
}

impl Bench {
    /// Runs `task`, which moves `bytes`, in turns with a copy; prints both medians.
    fn run(&mut self, name: &str, bytes: usize, mut task: impl FnMut()) {
        if !name.contains(&self.filter) {
            return;
        }
        let repeat = ((4 << 20) / self.len).max(1);
        let (mut own, mut copies) = (Vec::new(), Vec::new());
        task();
        for _ in 0..self.rounds {
            let start = Instant::now();
            (0..repeat).for_each(|_| scaled(black_box(&self.copy_from), 1.0, black_box(&mut self.copy_to), false));
            copies.push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            (0..repeat).for_each(|_| task());
            own.push(start.elapsed().as_secs_f64());
        }
        let rate = |times: &mut Vec<f64>, bytes: usize| {
            times.sort_by(f64::total_cmp);
            let rate = |time: f64| (bytes * repeat) as f64 / time / 1e9;
            [rate(times[times.len() / 2]), rate(times[0])]
        };
        let ([median, best], [copy, best_copy]) = (rate(&mut own, bytes), rate(&mut copies, 8 * self.copy_from.len()));
        let (share, best_share) = (100.0 * median / copy, 100.0 * best / best_copy);
        println!("{name:30} {median:6.1} GB/s {share:4.0} % of a copy   best {best:6.1} GB/s {best_share:4.0} %");
    }
}

fn values(len: usize, purpose: &str) -> Vec<f32> {
    let mut out = vec![0.0; len];
    Stream::new(1, purpose).fill_normal(0, &mut out);
    out
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok()).unwrap_or(21);
    let filter = arguments.next().unwrap_or_default();
    let level = match arguments.next().as_deref() {
        Some("portable") => Level::Portable,
        Some("avx2") => Level::Avx2,
        _ => Level::detected(),
    };
    println!("{} threads, {level:?}", rayon::current_num_threads());
    level.with(|| all(rounds, &filter));
}

fn all(rounds: usize, filter: &str) {
    for bytes in [1 << 20, 16 << 20] {
        let len = bytes / 4;
        println!("\nbuffers of {} MB", bytes >> 20);
        let mut bench =
            Bench { rounds, filter: filter.to_owned(), len, copy_from: values(len, "from"), copy_to: vec![0.0; len] };
        for channels in [16, 64, 256] {
            norms(&mut bench, channels);
        }
        norms(&mut bench, 20);
        passes(&mut bench);
        windows(&mut bench);
        rows(&mut bench);
        optimizers(&mut bench);
        cells(&mut bench);
    }
    linear(rounds, filter);
}

fn norms(bench: &mut Bench, c: usize) {
    let len = bench.len / c * c;
    let (x, r, mut dz) = (values(len, "x"), values(len, "r"), values(len, "dz"));
    let (scale, shift, mut sums) = (values(c, "scale"), values(c, "shift"), vec![0.0; 2 * c]);
    let mut out = vec![0.0; len];
    let relu = Activation::Relu;
    let raw = Load { values: &x, affine: Some([&scale, &shift]), activation: Activation::None };
    bench.run(&format!("channel_sums {c}"), 4 * len, || channel_sums(&x, c, &mut sums));
    bench.run(&format!("apply relu {c}"), 8 * len, || apply(raw, None, relu, c, &mut out));
    bench.run(&format!("apply residual relu {c}"), 12 * len, || {
        apply(raw, Some(Load::plain(&r)), relu, c, &mut out);
    });
    bench.run(&format!("apply silu {c}"), 8 * len, || apply(raw, None, Activation::Silu, c, &mut out));
    let lazy = Load { activation: relu, ..raw };
    bench.run(&format!("apply lazy residual relu {c}"), 12 * len, || apply(raw, Some(lazy), relu, c, &mut out));
    bench.run(&format!("mask_and_sums relu {c}"), 12 * len, || mask_and_sums(&mut dz, lazy, c, &mut sums));
    let silu = Load { activation: Activation::Silu, ..raw };
    // With the copy: masking again and again would end in denormal numbers.
    bench.run(&format!("copy, mask_and_sums silu {c}"), 20 * len, || {
        dz.copy_from_slice(&r);
        mask_and_sums(&mut dz, silu, c, &mut sums);
    });
    dz.copy_from_slice(&r);
    bench.run(&format!("mask_by_output {c}"), 16 * len, || {
        mask_by_output(&mut dz, &out, relu, c, Some((&x, &mut sums)));
    });
    let grad = Grad { dz: &r, norm: Some((&x, [&scale, &shift, &scale])) };
    bench.run(&format!("form {c}"), 12 * len, || form(grad, c, &mut out, false));
    bench.run(&format!("form add {c}"), 16 * len, || form(grad, c, &mut out, true));
    let group = GroupNorm { batch: 8, pixels: len / 8 / c, channels: c, groups: 4 };
    let used = 8 * group.pixels * c;
    let mut statistics = vec![[0.0; 2]; 32];
    bench.run(&format!("group_norm {c}"), 12 * used, || {
        group.forward(&x[..used], [Some(&scale), Some(&shift)], 1e-5, &mut statistics, &mut out[..used]);
    });
    bench.run(&format!("group_norm backward {c}"), 20 * used, || {
        let grads = Some((&mut out[..used], false));
        group.backward([&x[..used], &r[..used]], &statistics, Some(&scale), grads, None);
    });
}

fn passes(bench: &mut Bench) {
    let len = bench.len;
    let (x, grad, mut out) = (values(len, "x"), values(len, "grad"), vec![0.0; len]);
    for activation in [Activation::Relu, Activation::Silu, Activation::Gelu, Activation::Sigmoid, Activation::Tanh] {
        bench.run(&format!("{activation:?}"), 8 * len, || activation_forward(activation, &x, &mut out));
        bench.run(&format!("{activation:?} backward"), 12 * len, || {
            activation_backward(activation, &x, &grad, &mut out, false);
        });
    }
    for c in [3, 64, 256] {
        let dims = [8, c, len / 8 / c];
        let used = dims.iter().product();
        bench.run(&format!("nchw_to_nhwc {c}"), 8 * used, || nchw_to_nhwc(&x[..used], dims, &mut out[..used], false));
        bench.run(&format!("nhwc_to_nchw {c}"), 8 * used, || nhwc_to_nchw(&x[..used], dims, &mut out[..used], false));
    }
    let gate = values(8 * 64, "gate");
    let mut dgate = gate.clone();
    bench.run("gate 64", 8 * len, || gate_forward(&x, &gate, [8, len / 512, 64], &mut out));
    bench.run("gate backward 64", 20 * len, || {
        gate_backward([&x, &grad], &gate, [8, len / 512, 64], Some((&mut out, false)), Some(&mut dgate));
    });
    let stream = Stream::new(3, "numbers");
    bench.run("random uniform", 4 * len, || stream.fill_uniform(0, &mut out));
    bench.run("random normal", 4 * len, || stream.fill_normal(0, &mut out));
}

fn windows(bench: &mut Bench) {
    let c = 64;
    let side = ((bench.len / 8 / c) as f64).sqrt() as usize;
    let len = 8 * c * side * side;
    let (x, mut grad_x) = (values(len, "x"), vec![0.0; len]);
    let window = Window { padding: [1, 1], stride: [2, 2], ..Window::new([3, 3]) };
    let shape = PoolShape::new(8 * c, [side, side], window).expect("a shape");
    let made = 8 * c * shape.output[0] * shape.output[1];
    let (mut out, mut taps) = (vec![0.0; made], vec![0; made]);
    let moved = 4 * (len + made) + 2 * made;
    bench.run("max_pool 3x3 s2", moved, || max_pool_forward(&shape, Load::plain(&x), c, &mut out, Some(&mut taps)));
    bench.run("max_pool 3x3 s2 backward", moved, || max_pool_backward(&shape, &out, &taps, c, &mut grad_x, false));
    let small = PoolShape::new(8 * c, [side, side], Window { stride: [2, 2], ..Window::new([2, 2]) }).expect("a shape");
    let average = Average::fixed(&small, true);
    let made = 8 * c * small.output[0] * small.output[1];
    let moved = 4 * (len + made);
    bench.run("average 2x2", moved, || average_pool_forward(&average, Load::plain(&x), c, &mut out[..made]));
    bench.run("average 2x2 backward", moved, || average_pool_backward(&average, &out[..made], c, &mut grad_x, false));
    let mut mean = vec![0.0; 8 * c];
    bench.run("global average", 4 * len, || global_average_forward(Load::plain(&x), [8, side * side, c], &mut mean));
    bench.run("global average backward", 4 * len, || {
        global_average_backward(&mean, [8, side * side, c], &mut grad_x, false);
    });
    let resize = Resize::bilinear([side / 2, side / 2], [side, side]).expect("sizes");
    let small = 8 * c * (side / 2) * (side / 2);
    let (from, mut to) = (values(small, "small"), vec![0.0; len]);
    bench.run("bilinear x2", 4 * (small + len), || resize_forward(&resize, &from, c, &mut to));
    bench.run("bilinear x2 backward", 4 * (small + len), || {
        resize_backward(&resize, &x, c, &mut grad_x[..small], false);
    });
}

fn rows(bench: &mut Bench) {
    for width in [100, 1024] {
        let rows = bench.len / width;
        let len = rows * width;
        let (x, y, mut out) = (values(len, "x"), values(len, "y"), vec![0.0; len]);
        let (weight, bias) = (values(width, "weight"), values(width, "bias"));
        let mut statistics = vec![[0.0; 2]; rows];
        bench.run(&format!("layer_norm {width}"), 8 * len, || {
            layer_norm_forward(&x, width, [Some(&weight), Some(&bias)], 1e-5, &mut statistics, &mut out);
        });
        let (mut by_weight, mut by_bias) = (weight.clone(), bias.clone());
        bench.run(&format!("layer_norm backward {width}"), 20 * len, || {
            let parameters = Some([&mut by_weight[..], &mut by_bias[..]]);
            layer_norm_backward([&x, &y], width, &statistics, Some(&weight), Some((&mut out, false)), parameters);
        });
        bench.run(&format!("softmax {width}"), 8 * len, || softmax_forward(&x, width, &mut out));
        bench
            .run(&format!("softmax backward {width}"), 12 * len, || softmax_backward([&x, &y], width, &mut out, false));
    }
}

fn optimizers(bench: &mut Bench) {
    let len = bench.len;
    let (mut parameter, gradient) = (values(len, "parameter"), values(len, "gradient"));
    let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
    let sgd = Sgd { rate: 1e-6, momentum: 0.9, weight_decay: 1e-4, nesterov: false };
    bench.run("sgd momentum", 20 * len, || {
        let slot = SgdSlot { parameter: &mut parameter, gradient: &gradient, buffer: &mut first, first: false };
        sgd.step(&mut [slot], 1.0);
    });
    first.fill(0.0);
    let adam = Adam { rate: 1e-6, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1e-4, decoupled: true };
    bench.run("adamw", 28 * len, || {
        let (parameter, first, second) = (&mut parameter[..], &mut first[..], &mut second[..]);
        adam.step(&mut [AdamSlot { parameter, gradient: &gradient, first, second, step: 9 }], 1.0);
    });
    bench.run("gradient_norm", 4 * len, || {
        black_box(gradient_norm(&[&gradient]));
    });
}

fn cells(bench: &mut Bench) {
    let hidden = 64;
    let rows = bench.len / hidden / 4;
    let len = rows * hidden;
    let (start, before) = (values(4 * len, "gates"), values(len, "before"));
    let (mut gates, mut cell, mut state) = (start.clone(), vec![0.0; len], vec![0.0; len]);
    bench.run("lstm", 4 * 11 * len, || lstm_forward(&mut gates, &before, hidden, &mut cell, &mut state));
    let (mut grad_cell, mut grad_gates) = (before.clone(), vec![0.0; 4 * len]);
    bench.run("lstm backward", 4 * 13 * len, || {
        let kept = LstmKept { gates: &gates, cell_before: &before, cell: &cell };
        lstm_backward(kept, &before, hidden, &mut grad_cell, &mut grad_gates);
    });
}

fn linear(rounds: usize, filter: &str) {
    println!();
    for (rows, inputs, outputs) in [(64, 64, 100), (64, 512, 1000), (256, 1024, 1024)] {
        let linear = Linear { rows, inputs, outputs };
        let (x, w) = (values(rows * inputs, "x"), values(outputs * inputs, "w"));
        let (mut out, mut dx, mut dw) = (values(rows * outputs, "g"), x.clone(), w.clone());
        let grad = out.clone();
        let time = |name: &str, task: &mut dyn FnMut()| {
            let name = format!("linear {name} {rows} {inputs} {outputs}");
            if !name.contains(filter) {
                return;
            }
            let mut times: Vec<f64> = (0..rounds * 5)
                .map(|_| {
                    let start = Instant::now();
                    task();
                    start.elapsed().as_secs_f64()
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let rate = |time: f64| 2.0 * (rows * inputs * outputs) as f64 / time / 1e9;
            let [median, best] = [times[times.len() / 2], times[0]].map(rate);
            println!("{name:40} {median:8.1} GFLOP/s   best {best:8.1}");
        };
        time("forward", &mut || linear.forward(&x, &w, None, &mut out));
        time("data", &mut || linear.backward_data(&grad, &w, &mut dx, false));
        time("weights", &mut || linear.backward_weights(&x, &grad, Some(&mut dw), None, false));
    }
}
