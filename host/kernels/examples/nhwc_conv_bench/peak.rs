//! What a core can do at best.

use std::hint::black_box;
use std::time::Instant;
use stillhouse_kernels::nhwc::Level;

/// GFLOP/s of products and sums of registers alone.
pub fn peak(level: Level) -> f64 {
    const ROUNDS: usize = 200_000;
    let lanes = match level {
        Level::Portable => 4,
        Level::Avx2 => 8,
        Level::Avx512 => 16,
    };
    let start = Instant::now();
    chains(level, ROUNDS);
    2.0 * (ROUNDS * lanes * 16) as f64 / start.elapsed().as_secs_f64() / 1e9
}

#[cfg(target_arch = "x86_64")]
fn chains(level: Level, rounds: usize) {
    use std::arch::x86_64::*;
    macro_rules! chains {
        ($name:ident, $features:literal, $splat:ident, $fma:expr) => {
            #[target_feature(enable = $features)]
            fn $name(rounds: usize) {
                let (a, b) = ($splat(black_box(0.999)), $splat(black_box(0.001)));
                let mut chains = [$splat(1.0); 12];
                for _ in 0..rounds * 4 / 3 {
                    chains.iter_mut().for_each(|chain| *chain = $fma(*chain, a, b));
                }
                black_box(chains);
            }
        };
    }
    chains!(wide, "avx512f", _mm512_set1_ps, |c, a, b| _mm512_fmadd_ps(c, a, b));
    chains!(middle, "avx2,fma", _mm256_set1_ps, |c, a, b| _mm256_fmadd_ps(c, a, b));
    chains!(narrow, "sse2", _mm_set1_ps, |c, a, b| _mm_add_ps(_mm_mul_ps(c, a), b));
    match level {
        // SAFETY: the processor has the level.
        Level::Portable => unsafe { narrow(rounds) },
        // SAFETY: as above.
        Level::Avx2 => unsafe { middle(rounds) },
        // SAFETY: as above.
        Level::Avx512 => unsafe { wide(rounds) },
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn chains(_: Level, rounds: usize) {
    let mut chains = [[1f32; 4]; 16];
    let (a, b) = (black_box(0.999), black_box(0.001));
    for _ in 0..rounds {
        chains.iter_mut().flatten().for_each(|chain| *chain = *chain * a + b);
    }
    black_box(chains);
}
