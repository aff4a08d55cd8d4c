//! What terms add to a step: our side alone, the steps interleaved.

use super::Outcome;
use super::side::{Side, median};

/// What is added, the work with it, the works without it (their times are added up), and the multiplications that it adds a picture, in
/// millions, forward and backward.
const ROWS: [(&str, &str, &[&str], f64); 4] = [
    ("kd, beside the two networks", "resnet56 resnet20 64", &["resnet56 - 64", "- resnet20 64"], 0.0),
    ("rkd on avgpool", "resnet56 resnet20 64 rkd", &["resnet56 resnet20 64"], 0.0),
    // A 1x1 convolution from 64 to 64 channels over 8x8, and both of its gradients.
    ("mse behind a regressor, layer3", "resnet56 resnet20 64 layer3", &["resnet56 resnet20 64"], 0.79),
    (
        "mse behind regressors, three layers",
        "resnet56 resnet20 64 layer1,layer2,layer3",
        &["resnet56 resnet20 64"],
        2.36,
    ),
];

/// Millions of multiplications of the step without a term, a picture: ResNet-56 forward, ResNet-20 forward and backward.
pub const STEP: f64 = 125.5 + 3.0 * 40.6;

pub fn table(threads: &str, rounds: usize) -> Outcome<()> {
    println!("{:<36} {:>8} {:>10} {:>10} {:>8} {:>14}", "term", "threads", "without", "with", "ratio", "arithmetic");
    for threads in threads.split(',') {
        for (what, with, without, added) in ROWS {
            let works = [&[with], without].concat();
            let begin = |work: &&str| Side::own(&["serve", work, "5"], threads);
            let mut sides = works.iter().map(begin).collect::<Outcome<Vec<_>>>()?;
            let mut times = vec![vec![]; sides.len()];
            for _ in 0..rounds {
                for (side, times) in sides.iter_mut().zip(&mut times) {
                    times.push(side.round()?);
                }
            }
            let sum = |round: usize| times[1..].iter().map(|times| times[round]).sum::<f64>();
            let ratios = (0..rounds).map(|round| times[0][round] / sum(round)).collect();
            let (with, without) = (median(times[0].clone()), median((0..rounds).map(sum).collect()));
            println!(
                "{what:<36} {threads:>8} {without:>10.1} {with:>10.1} {:>8.3} {:>14.3}",
                median(ratios),
                1.0 + added / STEP
            );
        }
    }
    Ok(())
}
