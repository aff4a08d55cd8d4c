//! Transposes of whole blocks of 16 by 16, in registers.

use super::Level;
use super::apply::Put;

/// Side of a block.
pub(super) const BLOCK: usize = 16;

/// `out[row][column] = x[column][row]` for `row` and `column` below `size`, which are whole blocks. Rows of `x` are
/// `x.1` apart, those of `out` `out.1`.
pub(super) fn turn_blocks<P: Put>(
    level: Level,
    put: P,
    x: (&[f32], usize),
    out: (&mut [f32], usize),
    size: [usize; 2],
) {
    match level {
        // SAFETY: a level is never above what the processor has.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { vectors::blocks_avx512(put, x, out, size) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { vectors::blocks_avx2(put, x, out, size) },
        _ => blocks(put, x, out, size),
    }
}

fn blocks<P: Put>(
    put: P,
    (x, x_step): (&[f32], usize),
    (out, out_step): (&mut [f32], usize),
    [rows, columns]: [usize; 2],
) {
    for row in (0..rows).step_by(BLOCK) {
        for column in (0..columns).step_by(BLOCK) {
            for at in row..row + BLOCK {
                let line = &mut out[at * out_step + column..][..BLOCK];
                for (offset, value) in line.iter_mut().enumerate() {
                    *value = put.put(*value, x[(column + offset) * x_step + at]);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use super::{BLOCK, Put};
    use std::arch::x86_64::*;

    /// `blocks` with registers of 16.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn blocks_avx512<P: Put>(
        put: P,
        (x, x_step): (&[f32], usize),
        (out, out_step): (&mut [f32], usize),
        [rows, columns]: [usize; 2],
    ) {
        for row in (0..rows).step_by(BLOCK) {
            for column in (0..columns).step_by(BLOCK) {
                let mut lines = [_mm512_setzero_ps(); BLOCK];
                for (at, line) in lines.iter_mut().enumerate() {
                    let from = &x[(column + at) * x_step + row..][..BLOCK];
                    // SAFETY: the slice has 16 elements.
                    *line = unsafe { _mm512_loadu_ps(from.as_ptr()) };
                }
                for (at, line) in turn_avx512(lines).into_iter().enumerate() {
                    let to = &mut out[(row + at) * out_step + column..][..BLOCK];
                    let mut values = [0f32; BLOCK];
                    // SAFETY: the array has 16 elements.
                    unsafe { _mm512_storeu_ps(values.as_mut_ptr(), line) };
                    for lane in 0..BLOCK {
                        to[lane] = put.put(to[lane], values[lane]);
                    }
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn turn_avx512(r: [__m512; 16]) -> [__m512; 16] {
        let (mut t, mut s) = (r, r);
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        let low = |a, b| _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
        let high = |a, b| _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
        // `s[4 i + j]`: in quarter `q` column `4 q + j` of rows `4 i..4 i + 4`.
        for i in (0..16).step_by(4) {
            s[i] = low(t[i], t[i + 2]);
            s[i + 1] = high(t[i], t[i + 2]);
            s[i + 2] = low(t[i + 1], t[i + 3]);
            s[i + 3] = high(t[i + 1], t[i + 3]);
        }
        for j in 0..4 {
            let even =
                [_mm512_shuffle_f32x4::<0x88>(s[j], s[4 + j]), _mm512_shuffle_f32x4::<0x88>(s[8 + j], s[12 + j])];
            let odd = [_mm512_shuffle_f32x4::<0xdd>(s[j], s[4 + j]), _mm512_shuffle_f32x4::<0xdd>(s[8 + j], s[12 + j])];
            t[j] = _mm512_shuffle_f32x4::<0x88>(even[0], even[1]);
            t[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]);
            t[8 + j] = _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]);
            t[12 + j] = _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]);
        }
        t
    }

    /// `blocks` with registers of 8: four quarters of a block.
    #[target_feature(enable = "avx2")]
    pub(super) fn blocks_avx2<P: Put>(
        put: P,
        (x, x_step): (&[f32], usize),
        (out, out_step): (&mut [f32], usize),
        [rows, columns]: [usize; 2],
    ) {
        for row in (0..rows).step_by(8) {
            for column in (0..columns).step_by(8) {
                let mut lines = [_mm256_setzero_ps(); 8];
                for (at, line) in lines.iter_mut().enumerate() {
                    let from = &x[(column + at) * x_step + row..][..8];
                    // SAFETY: the slice has 8 elements.
                    *line = unsafe { _mm256_loadu_ps(from.as_ptr()) };
                }
                for (at, line) in turn_avx2(lines).into_iter().enumerate() {
                    let to = &mut out[(row + at) * out_step + column..][..8];
                    let mut values = [0f32; 8];
                    // SAFETY: the array has 8 elements.
                    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), line) };
                    for lane in 0..8 {
                        to[lane] = put.put(to[lane], values[lane]);
                    }
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn turn_avx2(r: [__m256; 8]) -> [__m256; 8] {
        let (mut t, mut s) = (r, r);
        for i in 0..4 {
            t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        let low = |a, b| _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
        let high = |a, b| _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
        // `s[4 i + j]`: in half `q` column `4 q + j` of rows `4 i..4 i + 4`.
        for i in [0, 4] {
            s[i] = low(t[i], t[i + 2]);
            s[i + 1] = high(t[i], t[i + 2]);
            s[i + 2] = low(t[i + 1], t[i + 3]);
            s[i + 3] = high(t[i + 1], t[i + 3]);
        }
        for j in 0..4 {
            t[j] = _mm256_permute2f128_ps::<0x20>(s[j], s[4 + j]);
            t[4 + j] = _mm256_permute2f128_ps::<0x31>(s[j], s[4 + j]);
        }
        t
    }
}
