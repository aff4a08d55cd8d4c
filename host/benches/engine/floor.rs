//! A step beside what its products alone would take at the processor's peak: rounds of both in turn.

use super::Outcome;
use super::peak::peak;
use super::side::{Side, median};
use super::terms::STEP;
use stillhouse_kernels::nhwc::Level;

const BATCH: f64 = 64.0;

pub fn table(threads: &str, rounds: usize) -> Outcome<()> {
    let flops = 2e6 * STEP * BATCH;
    println!("ResNet-56 to ResNet-20, logit KD, batch 64: {:.1} billion operations of its convolutions", flops / 1e9);
    println!("{:>8} {:>14} {:>10} {:>10} {:>14}", "threads", "peak GFLOP/s", "floor ms", "step ms", "floor / step");
    for threads in threads.split(',') {
        let mut side = Side::own(&["serve", "resnet56 resnet20 64", "4"], threads)?;
        let (mut peaks, mut steps, mut shares) = (vec![], vec![], vec![]);
        for _ in 0..rounds {
            let (peak, step) = (of_threads(threads.parse()?), side.round()?);
            peaks.push(peak);
            steps.push(step);
            shares.push(flops / peak / 1e6 / step);
        }
        let (peak, step, share) = (median(peaks), median(steps), median(shares));
        println!("{threads:>8} {peak:>14.0} {:>10.1} {step:>10.1} {:>12.0} %", flops / peak / 1e6, 100.0 * share);
    }
    Ok(())
}

/// GFLOP/s of so many cores that all work: the best of a few turns each.
fn of_threads(count: usize) -> f64 {
    let best = || (0..8).map(|_| peak(Level::detected())).fold(0.0, f64::max);
    std::thread::scope(|scope| {
        let cores: Vec<_> = (0..count).map(|_| scope.spawn(best)).collect();
        cores.into_iter().filter_map(|core| core.join().ok()).sum()
    })
}
