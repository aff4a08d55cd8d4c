//! Channels-last convolutions: GFLOP/s and the share of the processor's peak, medians (or other quantiles) of interleaved
//! rounds.
//!
//! `cargo run --release -p stillhouse-kernels --example nhwc_conv_bench [filter] [rounds] [level] [quantile] [batch]
//! [winograd | bf16]`; one thread unless
//! `RAYON_NUM_THREADS` says otherwise. A level is `portable`, `avx2` or `avx512`.

mod peak;

use peak::peak;
use std::time::Instant;
use stillhouse_kernels::nhwc::conv::{
    Below, ConvShape, DataGrad, Epilogue, Packed, Wanted, Window, backward, forward, pack_backward, pack_bf16,
    pack_forward, pack_winograd, pack_winograd_backward,
};
use stillhouse_kernels::nhwc::{Activation, Grad, Level, Load};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Kernel, stride, groups; input `[N, C, H, W]`; output channels.
const CASES: [(usize, usize, usize, [usize; 4], usize); 23] = [
    (3, 1, 1, [64, 3, 32, 32], 16),
    (3, 1, 1, [64, 16, 32, 32], 16),
    (3, 1, 1, [64, 32, 16, 16], 32),
    (3, 1, 1, [64, 64, 8, 8], 64),
    (3, 1, 1, [64, 64, 32, 32], 64),
    (3, 1, 1, [64, 128, 16, 16], 128),
    (3, 1, 1, [64, 256, 8, 8], 256),
    (3, 1, 1, [64, 512, 4, 4], 512),
    (3, 1, 1, [64, 256, 2, 2], 256),
    (3, 2, 1, [64, 16, 32, 32], 32),
    (3, 1, 1, [64, 32, 32, 32], 64),
    (3, 2, 1, [64, 64, 16, 16], 128),
    (3, 2, 1, [64, 64, 32, 32], 128),
    (3, 2, 1, [64, 128, 16, 16], 256),
    (1, 1, 1, [64, 64, 16, 16], 64),
    (1, 1, 1, [64, 256, 8, 8], 64),
    (1, 2, 1, [64, 16, 32, 32], 32),
    (1, 2, 1, [64, 128, 16, 16], 256),
    (7, 2, 1, [8, 3, 112, 112], 64),
    (3, 1, 96, [64, 96, 16, 16], 96),
    (5, 2, 64, [64, 64, 16, 16], 64),
    (3, 1, 1, [8, 64, 16, 16], 256),
    (5, 1, 1, [8, 64, 16, 16], 256),
];

struct Case {
    name: String,
    shape: ConvShape,
    x: Vec<f32>,
    y: Vec<f32>,
    dy: Vec<f32>,
    weights: Vec<f32>,
    vectors: [Vec<f32>; 3],
    out: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    packed: [Packed; 2],
    method: String,
    times: [Vec<f64>; 6],
}

fn reals(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

fn case(
    (kernel, stride, groups, input, outs): (usize, usize, usize, [usize; 4], usize),
    batch: Option<usize>,
    method: &str,
) -> Outcome<Case> {
    let input = [batch.unwrap_or(input[0]), input[1], input[2], input[3]];
    let window = Window { stride: [stride; 2], padding: [kernel / 2; 2], ..Window::new([kernel; 2]) };
    let shape = ConvShape::new(input, outs, window, groups)?;
    let channels = input[1].max(outs);
    Ok(Case {
        name: format!("{kernel}x{kernel}/{stride} {input:?} -> {outs}, groups {groups}"),
        shape,
        x: reals(shape.input_len(), 1),
        y: reals(shape.output_len(), 2),
        dy: reals(shape.output_len(), 3),
        weights: reals(shape.weights_len(), 4),
        vectors: [5, 6, 7].map(|seed| reals(channels, seed)),
        out: vec![0.0; shape.output_len()],
        dx: vec![0.0; shape.input_len()],
        dw: vec![0.0; shape.weights_len()],
        packed: Default::default(),
        method: method.to_owned(),
        times: Default::default(),
    })
}

fn seconds(task: impl FnOnce()) -> f64 {
    let start = Instant::now();
    task();
    start.elapsed().as_secs_f64()
}

impl Case {
    /// Forward plain, forward in training, weights, data, both with everything that training adds, packing.
    fn round(&mut self) {
        let (ins, outs) = (self.shape.in_channels, self.shape.out_channels);
        let shape = &self.shape;
        let [a, b, c] = &self.vectors;
        let plain = Load::plain(&self.x);
        let lazy = Load { values: &self.x, affine: Some([&a[..ins], &b[..ins]]), activation: Activation::Relu };
        let grad = Grad { dz: &self.dy, norm: Some((&self.y, [&a[..outs], &b[..outs], &c[..outs]])) };
        let mut times = [0.0; 6];
        let [there, back] = &mut self.packed;
        times[5] = seconds(|| {
            if self.method == "bf16" {
                pack_bf16(shape, &self.weights, there);
                pack_backward(shape, &self.weights, back);
            } else if self.method == "winograd" {
                pack_winograd(shape, &self.weights, there);
                pack_winograd_backward(shape, &self.weights, back);
            } else {
                pack_forward(shape, &self.weights, there);
                pack_backward(shape, &self.weights, back);
            }
        });
        times[0] = seconds(|| forward(shape, plain, there, Epilogue::default(), &mut self.out, None));
        let mut sums = vec![0.0; 2 * outs];
        times[1] = seconds(|| forward(shape, lazy, there, Epilogue::default(), &mut self.out, Some(&mut sums)));
        let weights = Wanted { weights: Some(&mut self.dw), ..Wanted::default() };
        times[2] = seconds(|| backward(shape, plain, Grad::plain(&self.dy), weights));
        let data = Some(DataGrad { packed: back, dx: &mut self.dx, accumulate: false, below: None });
        times[3] = seconds(|| backward(shape, plain, Grad::plain(&self.dy), Wanted { data, ..Wanted::default() }));
        let mut sums = vec![0.0; 2 * ins];
        let below = Some(Below { load: lazy, branch: None, sums: &mut sums });
        let data = Some(DataGrad { packed: back, dx: &mut self.dx, accumulate: false, below });
        times[4] = seconds(|| backward(shape, lazy, grad, Wanted { data, weights: Some(&mut self.dw), bias: None }));
        self.times.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
    }

    fn print(&mut self, peak: f64, quantile: f64) {
        let flops = 2.0 * (self.shape.output_len() * self.shape.weights_len() / self.shape.out_channels) as f64;
        let medians = self.times.each_mut().map(|times| {
            times.sort_by(f64::total_cmp);
            times[((times.len() - 1) as f64 * quantile) as usize]
        });
        let shares = [1.0, 1.0, 1.0, 1.0, 2.0].iter().zip(medians).map(|(count, time)| count * flops / time / 1e9);
        let shares: Vec<_> = shares.map(|speed| format!("{speed:6.1} {:3.0}%", 100.0 * speed / peak)).collect();
        println!("{:<42} {}  {:8.1}", self.name, shares.join("  "), medians[5] * 1e6);
    }
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.next().unwrap_or_default();
    let rounds: usize = arguments.next().map_or(Ok(9), |rounds| rounds.parse())?;
    let level = match arguments.next().as_deref() {
        Some("portable") => Level::Portable,
        Some("avx2") => Level::Avx2,
        _ => Level::detected(),
    };
    let quantile = arguments.next().map_or(Ok(0.5), |quantile| quantile.parse())?;
    let batch = arguments.next().map(|batch| batch.parse()).transpose()?;
    let method = arguments.next().unwrap_or_default();
    let threads = std::env::var("RAYON_NUM_THREADS").map_or(Ok(1), |threads| threads.parse())?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let cases = CASES.into_iter().map(|of| case(of, batch, &method)).collect::<Outcome<Vec<_>>>()?;
    let mut cases: Vec<_> = cases.into_iter().filter(|case| case.name.contains(&filter)).collect();
    let mut peaks = Vec::new();
    let mut round = || {
        peaks.extend([(); 4].map(|()| peak(level)));
        cases.iter_mut().for_each(Case::round);
    };
    pool.install(|| level.with(|| (0..rounds).for_each(|_| round())));
    peaks.sort_by(|a, b| f64::total_cmp(b, a));
    let peak = peaks[((peaks.len() - 1) as f64 * quantile) as usize];
    println!("{level:?}, {threads} threads, peak of one core {peak:.0} GFLOP/s");
    println!("{:<42} forward      train        weights      data         both, train  packing us", "");
    cases.iter_mut().for_each(|case| case.print(peak * threads as f64, quantile));
    Ok(())
}
