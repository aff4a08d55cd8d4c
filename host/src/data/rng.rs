//! Counter-based random numbers: a number depends on where it is drawn, never on what was drawn
//! before elsewhere.
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy
//! as 1, 2, 3", SC11): ten rounds turn a 128-bit counter and a 64-bit key into 128 random bits.
//! ```text
//! key     = mix(mix(seed) ^ fnv1a64(purpose))        mix: the SplitMix64 step
//! counter = (block: low 64 bits, position: high 64 bits)
//! ```
//! One position therefore holds 2^64 blocks of two `u64`; positions and purposes never overlap.
//! This mapping is part of what makes a run repeatable: it does not change between versions.

use std::f64::consts::TAU;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// What a stream of random numbers is for: a seed and a purpose, hashed once.
///
/// # Example
/// ```
/// # use stillhouse::data::{Rng, RngKey};
/// let key = RngKey::new(7, "augment");
/// assert_eq!(key.at(3).next_u64(), Rng::new(7, "augment", 3).next_u64());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RngKey([u32; 2]);

impl RngKey {
    /// Hashes `seed` and `purpose`; different purposes give unrelated streams.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let key = mix(mix(seed) ^ fnv1a64(purpose.as_bytes()));
        Self([low(key), high(key)])
    }

    /// The generator at `position` (a step, an epoch, a sample's index).
    pub fn at(self, position: u64) -> Rng {
        Rng { key: self.0, position, block: 0, words: [0; 2], left: 0, spare: None }
    }
}

/// A random number generator keyed by (seed, purpose, position).
///
/// Cheap to make (no state is warmed up), so make one for every place that draws.
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 2],
    position: u64,
    block: u64,
    words: [u64; 2],
    left: usize,
    spare: Option<f64>,
}

impl Rng {
    /// The generator for `purpose` at `position`; use [`RngKey`] to hash the purpose once for many
    /// positions.
    pub fn new(seed: u64, purpose: &str, position: u64) -> Self {
        RngKey::new(seed, purpose).at(position)
    }

    /// Next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        if self.left == 0 {
            let counter = [low(self.block), high(self.block), low(self.position), high(self.position)];
            let [a, b, c, d] = philox(counter, self.key);
            self.words = [join(a, b), join(c, d)];
            self.block = self.block.wrapping_add(1);
            self.left = 2;
        }
        self.left -= 1;
        self.words[1 - self.left]
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-53.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-24.
    pub fn uniform_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Standard normal (mean 0, deviation 1), by Box and Muller; every second call uses the pair's
    /// other half.
    ///
    /// Goes through the platform's logarithm, sine and cosine, so the last bit may differ between
    /// platforms.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform_f64()).ln()).sqrt();
        let (sin, cos) = (TAU * self.uniform_f64()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// Uniform in `0..n`, without bias (Lemire 2019); 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let bound = n as u64;
        let rejected = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            if wide as u64 >= rejected {
                return (wide >> 64) as usize;
            }
        }
    }

    /// `true` with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform_f64() < p
    }

    /// Puts `items` in random order (Fisher and Yates), every order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let first = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let second = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [high(second) ^ counter[1] ^ key[0], low(second), high(first) ^ counter[3] ^ key[1], low(first)];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(low) | (u64::from(high) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The vectors are those of Random123 (`kat_vectors`, philox4x32, 10 rounds).
    #[test]
    fn philox_known_counters_match_random123() {
        let zero = philox([0; 4], [0; 2]);
        assert_eq!(zero, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = philox([u32::MAX; 4], [u32::MAX; 2]);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    // SplitMix64 from seed 0 and the FNV-1a test suite.
    #[test]
    fn hashes_known_inputs_match_published_values() {
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(fnv1a64(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_F739_67E8);
    }

    #[test]
    fn rng_words_follow_the_counter() {
        let key = RngKey::new(5, "weights");
        let mut rng = key.at(0x1_0000_0002);
        let words = [rng.next_u64(), rng.next_u64(), rng.next_u64()];
        let first = philox([0, 0, 2, 1], key.0);
        let second = philox([1, 0, 2, 1], key.0);
        assert_eq!(words, [join(first[0], first[1]), join(first[2], first[3]), join(second[0], second[1])]);
    }

    #[test]
    fn rng_other_seed_purpose_or_position_gives_another_stream() {
        let draws = [
            Rng::new(1, "a", 0).next_u64(),
            Rng::new(2, "a", 0).next_u64(),
            Rng::new(1, "b", 0).next_u64(),
            Rng::new(1, "a", 1).next_u64(),
        ];
        for (i, a) in draws.iter().enumerate() {
            assert!(draws[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn below_stays_in_range_and_is_even() {
        let mut rng = Rng::new(3, "below", 0);
        let mut counts = [0usize; 7];
        (0..70_000).for_each(|_| counts[rng.below(7)] += 1);
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 400), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let mut rng = Rng::new(11, "moments", 0);
        let n = 100_000;
        let uniform: Vec<f64> = (0..n).map(|_| rng.uniform_f64()).collect();
        let single: Vec<f64> = (0..n).map(|_| f64::from(rng.uniform_f32())).collect();
        let normal: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        for (values, mean, variance) in [(&uniform, 0.5, 1.0 / 12.0), (&single, 0.5, 1.0 / 12.0), (&normal, 0.0, 1.0)] {
            let got = values.iter().sum::<f64>() / n as f64;
            let spread = values.iter().map(|v| (v - got).powi(2)).sum::<f64>() / n as f64;
            assert!((got - mean).abs() < 0.01 && (spread - variance).abs() < 0.02, "{got} {spread}");
        }
        assert!(uniform.iter().chain(&single).all(|v| (0.0..1.0).contains(v)));
    }

    #[test]
    fn shuffle_keeps_every_item_and_repeats() {
        let mut items: Vec<usize> = (0..100).collect();
        Rng::new(9, "shuffle", 4).shuffle(&mut items);
        let mut again: Vec<usize> = (0..100).collect();
        Rng::new(9, "shuffle", 4).shuffle(&mut again);
        assert_eq!(items, again);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
