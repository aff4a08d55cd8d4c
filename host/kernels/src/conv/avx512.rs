//! The two tiles of the direct convolution: what the registers hold.

use super::direct::{FILTERS, LANES, ROWS, TAPS, VECTORS};
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_cvtss_f32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_permute_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps,
};

/// `out[f][..48] = sum_t weights[t][f] * input[offsets[t]..][..48]`, output rows `line` apart.
///
/// # Safety
/// The processor has AVX-512 F and VL; `input` holds 48 elements from each offset, `weights` 8 for each, `out` 48 a row.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) unsafe fn tile(input: *const f32, offsets: &[usize], mut weights: *const f32, out: *mut f32, line: usize) {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; FILTERS];
    for offset in offsets {
        // SAFETY: the caller's contract.
        unsafe {
            let input = input.add(*offset);
            let x: [_; VECTORS] = std::array::from_fn(|v| _mm512_loadu_ps(input.add(v * LANES)));
            for (filter, sums) in sums.iter_mut().enumerate() {
                let weight = _mm512_set1_ps(*weights.add(filter));
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = _mm512_fmadd_ps(weight, x, *sum);
                }
            }
            weights = weights.add(FILTERS);
        }
    }
    for (filter, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's contract.
            unsafe { _mm512_storeu_ps(out.add(filter * line + v * LANES), sum) };
        }
    }
}

/// Sum of the lanes, by halves.
#[target_feature(enable = "avx512f,avx512vl")]
fn total(wide: __m512) -> f32 {
    let wide = _mm512_add_ps(wide, _mm512_shuffle_f32x4::<0x4e>(wide, wide));
    let wide = _mm512_add_ps(wide, _mm512_shuffle_f32x4::<0xb1>(wide, wide));
    let wide = _mm512_add_ps(wide, _mm512_permute_ps::<0x4e>(wide));
    _mm512_cvtss_f32(_mm512_add_ps(wide, _mm512_permute_ps::<0xb1>(wide)))
}

/// `sums[r][t] = sum over images and positions of lines[rows[r] + p] * planes[taps[t] + p]`.
///
/// # Safety
/// The processor has AVX-512 F and VL; `line`, a multiple of 16, elements are readable from each row and tap of each image.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) unsafe fn dots<'a>(
    images: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    line: usize,
    rows: [usize; ROWS],
    taps: [usize; TAPS],
    sums: &mut [[f32; TAPS]; ROWS],
) {
    let mut wide = [[_mm512_setzero_ps(); TAPS]; ROWS];
    for (planes, lines) in images {
        // SAFETY: the caller's contract.
        let (planes, lines) =
            unsafe { (taps.map(|tap| planes.as_ptr().add(tap)), rows.map(|row| lines.as_ptr().add(row))) };
        for at in (0..line).step_by(LANES) {
            // SAFETY: the caller's contract.
            unsafe {
                let grads: [_; ROWS] = std::array::from_fn(|row| _mm512_loadu_ps(lines[row].add(at)));
                for (tap, plane) in planes.iter().enumerate() {
                    let x = _mm512_loadu_ps(plane.add(at));
                    for (wide, grad) in wide.iter_mut().zip(grads) {
                        wide[tap] = _mm512_fmadd_ps(grad, x, wide[tap]);
                    }
                }
            }
        }
    }
    for (sums, wide) in sums.iter_mut().zip(wide) {
        sums.iter_mut().zip(wide).for_each(|(sum, wide)| *sum = total(wide));
    }
}
