//! Random numbers by position: any element of a stream is computed from its position alone, in any order, on any thread.
//!
//! Philox4x32-10 of Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3", Sec. 4.3). The key is the seed; the
//! counter is the block's index and a hash of the purpose, so that streams of one seed never meet.

use crate::leveled::leveled;
use crate::nhwc::Level;
use crate::parallel::pieces;

/// Words that are made together: 16 blocks.
const GROUP: usize = 64;
/// Elements of a task.
const TASK: usize = 1 << 13;
const TWO_POW_MINUS_24: f32 = 5.960_464_5e-8;

/// One block of four words.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let ([mut a, mut b, mut c, mut d], [mut k0, mut k1]) = (counter, key);
    for _ in 0..10 {
        (a, b, c, d) = round(a, b, c, d, k0, k1);
        (k0, k1) = (k0.wrapping_add(0x9e37_79b9), k1.wrapping_add(0xbb67_ae85));
    }
    [a, b, c, d]
}

#[inline(always)]
fn round(a: u32, b: u32, c: u32, d: u32, k0: u32, k1: u32) -> (u32, u32, u32, u32) {
    let (x, y) = (u64::from(a) * 0xd251_1f53, u64::from(c) * 0xcd9e_8d57);
    ((y >> 32) as u32 ^ b ^ k0, y as u32, (x >> 32) as u32 ^ d ^ k1, x as u32)
}

/// The random numbers of one purpose under one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    purpose: [u32; 2],
}

impl Stream {
    /// The stream of `purpose`, any name ("dropout of layer 3"), under `seed`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a, 64 bits.
        let hash = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self { key: halves(seed), purpose: halves(hash) }
    }

    /// Word `position`: word `position % 4` of block `position / 4`.
    pub fn word(&self, position: u64) -> u32 {
        let [low, high] = halves(position / 4);
        philox([low, high, self.purpose[0], self.purpose[1]], self.key)[(position % 4) as usize]
    }

    /// Words `2 position` and `2 position + 1` as one.
    pub fn wide_word(&self, position: u64) -> u64 {
        u64::from(self.word(2 * position)) | u64::from(self.word(2 * position + 1)) << 32
    }

    /// A whole number in `0..bound` from words `2 position` and `2 position + 1`; the bias is below `bound / 2^64`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&self, position: u64, bound: u64) -> u64 {
        assert!(bound > 0, "random number below 0");
        ((u128::from(self.wide_word(position)) * u128::from(bound)) >> 64) as u64
    }

    /// Puts `values` in a random order, which the stream alone decides (Fisher & Yates); reads `values.len()` numbers from
    /// `start` on, as [`Stream::below`] counts.
    pub fn shuffle<T>(&self, start: u64, values: &mut [T]) {
        for at in (1..values.len()).rev() {
            values.swap(at, self.below(start + at as u64, at as u64 + 1) as usize);
        }
    }

    /// Elements `start..` uniform in `[0, 1)`: 24 bits of a word each.
    pub fn fill_uniform(&self, start: u64, out: &mut [f32]) {
        self.fill(start, out, uniform_group);
    }

    /// Elements `start..` uniform in `[0, 1)`: 53 bits of words `2 position` and `2 position + 1` each.
    pub fn fill_uniform_f64(&self, start: u64, out: &mut [f64]) {
        let work = 8 * out.len();
        pieces(out, TASK, work, |index, out| {
            for (offset, out) in out.iter_mut().enumerate() {
                let wide = self.wide_word(start + (index * TASK + offset) as u64);
                *out = (wide >> 11) as f64 / (1u64 << 53) as f64;
            }
        });
    }

    /// Elements `start..` of the standard normal distribution, by pairs (Box & Muller 1958):
    /// `sqrt(-2 ln u) (cos, sin)(2 pi v)`, `u` and `v` from the words of an even position and the next.
    pub fn fill_normal(&self, start: u64, out: &mut [f32]) {
        self.fill(start, out, normal_group);
    }

    /// Elements `start..` of a mask: `1 / keep` with probability `keep`, else 0.
    pub fn fill_mask(&self, start: u64, keep: f32, out: &mut [f32]) {
        self.fill_uniform(start, out);
        let level = Level::current();
        let len = out.len();
        pieces(out, TASK, len, |_, out| mask(level, keep, out));
    }

    /// Runs `make` on the groups of words that elements `start..` need; whole groups go straight to `out`.
    fn fill(&self, start: u64, out: &mut [f32], make: fn(Level, &Stream, u64, &mut [f32; GROUP])) {
        let (level, work) = (Level::current(), 8 * out.len());
        pieces(out, TASK, work, |index, out| {
            let mut position = start + (index * TASK) as u64;
            let mut rest = out;
            while !rest.is_empty() {
                let (group, skip) = (position / GROUP as u64, (position % GROUP as u64) as usize);
                let len = rest.len().min(GROUP - skip);
                let (now, later) = rest.split_at_mut(len);
                match <&mut [f32; GROUP]>::try_from(&mut *now) {
                    Ok(whole) => make(level, self, group, whole),
                    Err(_) => {
                        let mut whole = [0.0; GROUP];
                        make(level, self, group, &mut whole);
                        now.copy_from_slice(&whole[skip..][..len]);
                    }
                }
                position += len as u64;
                rest = later;
            }
        });
    }
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// The words of 16 blocks: word `w` of block `b` at `4 b + w`.
#[inline(always)]
fn words(stream: &Stream, group: u64) -> [u32; GROUP] {
    let (mut a, mut b) = ([0u32; 16], [0u32; 16]);
    let (mut c, mut d) = ([stream.purpose[0]; 16], [stream.purpose[1]; 16]);
    for lane in 0..16 {
        let block = group.wrapping_mul(16).wrapping_add(lane as u64);
        (a[lane], b[lane]) = (block as u32, (block >> 32) as u32);
    }
    let [mut k0, mut k1] = stream.key;
    for _ in 0..10 {
        for lane in 0..16 {
            (a[lane], b[lane], c[lane], d[lane]) = round(a[lane], b[lane], c[lane], d[lane], k0, k1);
        }
        (k0, k1) = (k0.wrapping_add(0x9e37_79b9), k1.wrapping_add(0xbb67_ae85));
    }
    let mut words = [0; GROUP];
    for lane in 0..16 {
        words[4 * lane] = a[lane];
        words[4 * lane + 1] = b[lane];
        words[4 * lane + 2] = c[lane];
        words[4 * lane + 3] = d[lane];
    }
    words
}

leveled! {
    fn uniform_group(stream: &Stream, group: u64, out: &mut [f32; GROUP]) {
        let words = words(stream, group);
        for (out, word) in out.iter_mut().zip(&words) {
            *out = (*word >> 8) as f32 * TWO_POW_MINUS_24;
        }
    }
}

leveled! {
    fn normal_group(stream: &Stream, group: u64, out: &mut [f32; GROUP]) {
        let words = words(stream, group);
        let (mut even, mut odd) = ([0f32; GROUP / 2], [0f32; GROUP / 2]);
        for at in 0..GROUP / 2 {
            // Above 0, so that the logarithm is finite.
            let u = ((words[2 * at] >> 8) + 1) as f32 * TWO_POW_MINUS_24;
            let v = (words[2 * at + 1] >> 8) as f32 * TWO_POW_MINUS_24;
            let radius = (-2.0 * ln(u)).sqrt();
            let (sin, cos) = sin_cos_turns(v);
            even[at] = radius * cos;
            odd[at] = radius * sin;
        }
        for at in 0..GROUP / 2 {
            out[2 * at] = even[at];
            out[2 * at + 1] = odd[at];
        }
    }
}

leveled! {
    fn mask(keep: f32, out: &mut [f32]) {
        let scale = 1.0 / keep;
        for out in out.iter_mut() {
            *out = if *out < keep { scale } else { 0.0 };
        }
    }
}

/// Natural logarithm of a normal number above 0: `x = 2^e m`, `m` between `sqrt(1/2)` and `sqrt(2)`, a polynomial in `m - 1`.
#[inline(always)]
fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let bits = x.to_bits().wrapping_sub(SQRT_HALF);
    let exponent = (bits as i32 >> 23) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff) + SQRT_HALF) - 1.0;
    let square = m * m;
    let mut p = 7.037_683_6e-2;
    for c in [
        -0.115_146_1,
        0.116_769_99,
        -0.124_201_41,
        0.142_493_23,
        -0.166_680_58,
        0.200_007_15,
        -0.249_999_94,
        0.333_333_3,
    ] {
        p = p * m + c;
    }
    let tail = p * m * square + exponent * -2.121_944_4e-4 - 0.5 * square;
    m + tail + exponent * 0.693_359_4
}

/// Sine and cosine of `turns` whole turns, in `[0, 1)`: quarters, and polynomials up to an eighth.
#[inline(always)]
fn sin_cos_turns(turns: f32) -> (f32, f32) {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
    let quarters = turns * 4.0;
    let shifted = quarters + ROUND;
    let x = (quarters - (shifted - ROUND)) * std::f32::consts::FRAC_PI_2;
    let z = x * x;
    let sin = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 0.166_666_55) * z * x + x;
    let cos = ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    let quarter = shifted.to_bits();
    let (s, c) = if quarter & 1 == 0 { (sin, cos) } else { (cos, sin) };
    let s = if quarter & 2 == 0 { s } else { -s };
    let c = if quarter.wrapping_add(1) & 2 == 0 { c } else { -c };
    (s, c)
}

#[cfg(test)]
mod tests {
    use super::{ln, philox, sin_cos_turns};

    /// Random123 1.14, `kat_vectors`, philox4x32 with 10 rounds.
    #[test]
    fn philox_known_answers() {
        let digits = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (digits, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ];
        for (counter, key, want) in cases {
            assert_eq!(philox(counter, key), want);
        }
    }

    #[test]
    fn logarithm_and_circle_are_accurate() {
        for i in 1..=1u32 << 16 {
            let u = (i << 8) as f32 / (1 << 24) as f32;
            let want = f64::from(u).ln();
            assert!((f64::from(ln(u)) - want).abs() < 2e-7 * (1.0 + want.abs()), "{u}");
            let v = u - 1.0 / (1 << 16) as f32;
            let ((sin, cos), angle) = (sin_cos_turns(v), f64::from(v) * std::f64::consts::TAU);
            assert!((f64::from(sin) - angle.sin()).abs() < 2e-7, "{v}");
            assert!((f64::from(cos) - angle.cos()).abs() < 2e-7, "{v}");
        }
    }
}
