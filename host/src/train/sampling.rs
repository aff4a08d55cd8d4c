//! Scheduled sampling: which frames a predictor reads as they are.

use crate::data::RngKey;
use crate::manifest::Sampling;
use candle_core::{DType, Device, Result, Tensor};

/// Field of a batch that holds the share of the true frame, `[N, T - 1]` in the order in which frames are read.
pub const SAMPLING: &str = "sampling";

/// The mask of some samples of an update, from its sample `first` on: for each sample and position the true frame (1) or the
/// prediction (0), drawn anew from the seed and the update, however many pieces it is cut into. The forward and the reversed pass of
/// every model read the same.
///
/// # Errors
/// candle fails.
pub fn mask(
    plan: &Sampling,
    (seed, step): (u64, u64),
    first: usize,
    [samples, positions]: [usize; 2],
    (float, device): (DType, &Device),
) -> Result<Tensor> {
    let (mut rng, probability) = (RngKey::new(seed, SAMPLING).at(step), plan.probability(step));
    let mut draw = || f32::from(rng.chance(probability));
    (0..first * positions).for_each(|_| _ = draw());
    let shares: Vec<f32> = (0..samples * positions).map(|_| draw()).collect();
    Tensor::from_vec(shares, (samples, positions), device)?.to_dtype(float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(plan: &Sampling, seed: u64, step: u64) -> Vec<f32> {
        part(plan, (seed, step), 0, 64)
    }

    fn part(plan: &Sampling, at: (u64, u64), first: usize, samples: usize) -> Vec<f32> {
        let mask = mask(plan, at, first, [samples, 10], (DType::F32, &Device::Cpu)).unwrap();
        mask.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn mask_follows_the_probability_of_its_update() {
        let plan = Sampling { start: 1.0, step: 0.01, until: 80 };
        let mean = |step| share(&plan, 1, step).iter().sum::<f32>() / 640.0;
        assert_eq!([mean(0), mean(80), mean(1000)], [1.0, 0.0, 0.0]);
        assert!((mean(50) - 0.5).abs() < 0.08 && (mean(79) - 0.21).abs() < 0.08);
        assert_eq!(plan.probability(30), 0.7);
        assert_eq!(Sampling { start: 0.2, step: 0.1, until: 9 }.probability(5), 0.0);
    }

    #[test]
    fn mask_is_of_seed_and_update_alone() {
        let plan = Sampling { start: 0.5, step: 0.0, until: 9 };
        assert_eq!(share(&plan, 1, 3), share(&plan, 1, 3));
        assert_ne!(share(&plan, 1, 3), share(&plan, 2, 3));
        assert_ne!(share(&plan, 1, 3), share(&plan, 1, 4));
    }

    #[test]
    fn pieces_of_an_update_have_the_mask_of_the_whole() {
        let plan = Sampling { start: 0.5, step: 0.0, until: 9 };
        let pieces: Vec<f32> = (0..4).flat_map(|piece| part(&plan, (1, 3), 16 * piece, 16)).collect();
        assert_eq!(pieces, share(&plan, 1, 3));
    }
}
