//! Convolution kernels beside candle's stock convolution: milliseconds, best of interleaved rounds.
//!
//! `RAYON_NUM_THREADS=2 cargo run --release -p stillhouse-kernels --example conv_bench [rounds]`

use candle_core::{Device, Var};
use std::time::Instant;
use stillhouse_kernels::conv::{ConvShape, Window, conv2d_backward_data, conv2d_backward_weights, conv2d_forward};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// `[N, C, H, W]` and the number of output channels; all 3x3 with padding 1.
const CASES: [([usize; 4], usize); 4] =
    [([64, 16, 32, 32], 16), ([64, 32, 16, 16], 32), ([64, 64, 8, 8], 64), ([64, 256, 8, 8], 256)];

fn milliseconds<R>(task: impl FnOnce() -> R) -> (f64, R) {
    let start = Instant::now();
    let result = task();
    (start.elapsed().as_secs_f64() * 1e3, result)
}

/// Ours forward, data, weights; candle's forward, backward of both at once.
fn case(input: [usize; 4], filters: usize, rounds: usize) -> Outcome<[f64; 5]> {
    let window = Window { padding: [1, 1], ..Window::new([3, 3]) };
    let shape = ConvShape::new(input, filters, window, 1)?;
    let x = Var::randn(0f32, 1f32, &input, &Device::Cpu)?;
    let weights = Var::randn(0f32, 1f32, (filters, input[1], 3, 3), &Device::Cpu)?;
    let x_data: Vec<f32> = x.flatten_all()?.to_vec1()?;
    let weights_data: Vec<f32> = weights.flatten_all()?.to_vec1()?;
    let mut best = [f64::INFINITY; 5];
    for _ in 0..rounds {
        let mut out = vec![0f32; shape.output_len()];
        let mut grad_x = vec![0f32; x_data.len()];
        let mut grad_weights = vec![0f32; weights_data.len()];
        let (forward, ()) = milliseconds(|| conv2d_forward(&shape, &x_data, &weights_data, None, &mut out));
        let (data, ()) = milliseconds(|| conv2d_backward_data(&shape, &out, &weights_data, &mut grad_x));
        let (weights_time, ()) = milliseconds(|| conv2d_backward_weights(&shape, &x_data, &out, &mut grad_weights));
        let (stock_forward, stock) = milliseconds(|| x.conv2d(&weights, 1, 1, 1, 1));
        let stock = stock?;
        let (stock_backward, grads) = milliseconds(|| stock.backward());
        grads?;
        let times = [forward, data, weights_time, stock_forward, stock_backward];
        best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
    }
    Ok(best)
}

fn main() -> Outcome<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(10), |rounds| rounds.parse())?;
    println!(
        "input, 3x3            forward    data  weights  GFLOP/s | candle forward  backward | ratio forward  backward"
    );
    for (input, filters) in CASES {
        let [forward, data, weights, stock_forward, stock_backward] = case(input, filters, rounds)?;
        let flops = 2.0 * (input.iter().product::<usize>() * filters * 9) as f64 / 1e6;
        let speed = [forward, data, weights].map(|time| format!("{:.0}", flops / time)).join("/");
        println!(
            "{:<20} {forward:8.2} {data:7.2} {weights:8.2}  {speed:>11} | {stock_forward:14.2} {stock_backward:9.2} | {:13.1} {:9.1}",
            format!("{input:?}"),
            stock_forward / forward,
            stock_backward / (data + weights),
        );
    }
    Ok(())
}
