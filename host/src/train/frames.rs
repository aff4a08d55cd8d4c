//! How near predicted frames are to true ones.

use serde::Serialize;

/// Means over predicted frames: those behind the given ones, values clipped to 0..1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Nearness {
    /// Squared error of a frame, summed over its values; mean over frames.
    pub mse: f64,
    /// Structural similarity, at most 1; mean over frames.
    pub ssim: f64,
    /// Peak signal-to-noise ratio of a frame, dB, at most [`MOST_PSNR`]; mean over frames.
    pub psnr: f64,
}

/// Of a predictor of frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct FrameMetrics {
    /// Of its predictions.
    #[serde(flatten)]
    pub predicted: Nearness,
    /// Of the last given frame, in place of every prediction.
    pub persistence: Nearness,
}

/// The ratio of a frame without an error, dB.
pub const MOST_PSNR: f64 = 100.0;
/// Side and deviation of SSIM's window.
const WINDOW: usize = 11;
const DEVIATION: f64 = 1.5;
/// Constants of SSIM for values of 0..1.
const STABLE: [f64; 2] = [0.01 * 0.01, 0.03 * 0.03];

/// Sums over frames.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NearnessSum {
    sums: Nearness,
    frames: usize,
}

impl NearnessSum {
    /// Adds a frame `[C, H, W]` (or `[F]`, as F maps of one value), clipped to 0..1.
    pub(super) fn add(&mut self, predicted: &[f32], wanted: &[f32], plane: [usize; 2]) {
        let clipped = |values: &[f32]| values.iter().map(|v| f64::from(v.clamp(0.0, 1.0))).collect::<Vec<f64>>();
        let (predicted, wanted) = (clipped(predicted), clipped(wanted));
        let squares: f64 = predicted.iter().zip(&wanted).map(|(a, b)| (a - b) * (a - b)).sum();
        let mean = squares / predicted.len().max(1) as f64;
        self.sums.mse += squares;
        self.sums.psnr += if mean > 0.0 { (-10.0 * mean.log10()).min(MOST_PSNR) } else { MOST_PSNR };
        let pixels = (plane[0] * plane[1]).max(1);
        let maps = predicted.chunks(pixels).zip(wanted.chunks(pixels));
        let count = predicted.len().div_ceil(pixels).max(1) as f64;
        self.sums.ssim += maps.map(|(a, b)| ssim(a, b, plane)).sum::<f64>() / count;
        self.frames += 1;
    }

    pub(super) fn mean(&self) -> Nearness {
        let of = |sum: f64| sum / self.frames.max(1) as f64;
        Nearness { mse: of(self.sums.mse), ssim: of(self.sums.ssim), psnr: of(self.sums.psnr) }
    }
}

/// Structural similarity of two maps of values of 0..1.
///
/// Wang, Bovik, Sheikh & Simoncelli 2004 (IEEE Transactions on Image Processing 13), Eq. 13 and Sec. III-C: a Gaussian window of
/// 11 x 11 and deviation 1.5 at every place where it lies inside; of smaller maps the largest odd window.
/// ```text
/// SSIM = mean (2 ma mb + c1) (2 vab + c2) / ((ma^2 + mb^2 + c1) (va + vb + c2))        c1 = 0.01^2, c2 = 0.03^2
/// ```
fn ssim(a: &[f64], b: &[f64], plane: [usize; 2]) -> f64 {
    let side = WINDOW.min(plane[0]).min(plane[1]);
    let window = gaussian(if side.is_multiple_of(2) { side.saturating_sub(1).max(1) } else { side });
    let of = |f: &dyn Fn(f64, f64) -> f64| {
        let values: Vec<f64> = a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect();
        smoothed(&values, plane, &window)
    };
    let (ma, mb) = (of(&|a, _| a), of(&|_, b| b));
    let (aa, bb, ab) = (of(&|a, _| a * a), of(&|_, b| b * b), of(&|a, b| a * b));
    let mut sum = 0.0;
    for at in 0..ma.len() {
        let (x, y) = (ma[at], mb[at]);
        let (vx, vy, vxy) = (aa[at] - x * x, bb[at] - y * y, ab[at] - x * y);
        let above = (2.0 * x * y + STABLE[0]) * (2.0 * vxy + STABLE[1]);
        sum += above / ((x * x + y * y + STABLE[0]) * (vx + vy + STABLE[1]));
    }
    sum / ma.len().max(1) as f64
}

fn gaussian(side: usize) -> Vec<f64> {
    let weight = |at: usize| {
        let far = at as f64 - (side / 2) as f64;
        (-far * far / (2.0 * DEVIATION * DEVIATION)).exp()
    };
    let total: f64 = (0..side).map(weight).sum();
    (0..side).map(|at| weight(at) / total).collect()
}

/// Means under the window, where it lies inside: along rows, then along columns.
fn smoothed(values: &[f64], [height, width]: [usize; 2], window: &[f64]) -> Vec<f64> {
    let (rows, columns) = (height + 1 - window.len(), width + 1 - window.len());
    let mut along = vec![0.0; height * columns];
    for (line, out) in values.chunks_exact(width).zip(along.chunks_exact_mut(columns)) {
        for (shift, weight) in window.iter().enumerate() {
            out.iter_mut().zip(&line[shift..]).for_each(|(out, value)| *out += weight * value);
        }
    }
    let mut out = vec![0.0; rows * columns];
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        for (shift, weight) in window.iter().enumerate() {
            let line = &along[(row + shift) * columns..][..columns];
            out.iter_mut().zip(line).for_each(|(out, value)| *out += weight * value);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearness(a: &[f32], b: &[f32], plane: [usize; 2]) -> Nearness {
        let mut sum = NearnessSum::default();
        sum.add(a, b, plane);
        sum.mean()
    }

    #[test]
    fn equal_frames_are_as_near_as_can_be() {
        let frame: Vec<f32> = (0..2 * 15 * 13).map(|at| (at as f32 * 0.37).sin().abs()).collect();
        let near = nearness(&frame, &frame, [15, 13]);
        assert_eq!((near.mse, near.psnr), (0.0, MOST_PSNR));
        assert!((near.ssim - 1.0).abs() < 1e-12);
    }

    #[test]
    fn frames_of_constants_have_closed_forms() {
        let near = nearness(&[0.5; 144], &[0.25; 144], [12, 12]);
        assert!((near.mse - 9.0).abs() < 1e-12 && (near.psnr - 12.041_199_826_559_248).abs() < 1e-9);
        let luminance = (2.0 * 0.125 + 1e-4) / (0.25 + 0.0625 + 1e-4);
        assert!((near.ssim - luminance).abs() < 1e-9);
        // What is beyond 0..1 is clipped.
        assert_eq!(nearness(&[7.0; 4], &[1.0; 4], [2, 2]).mse, 0.0);
    }

    /// Against the formula in plain loops.
    #[test]
    fn ssim_is_its_definition() {
        let value = |at: usize, shift: f64| ((at as f64 * 0.7 + shift).sin() * 0.5 + 0.5) as f32;
        let [a, b] = [0.0, 0.4].map(|shift| (0..13 * 12).map(|at| value(at, shift)).collect::<Vec<f32>>());
        let weights = gaussian(11);
        let mut sum = 0.0;
        for (top, left) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
            let (mut m, mut v) = ([0.0; 2], [0.0; 3]);
            for y in 0..11 {
                for x in 0..11 {
                    let at = (top + y) * 12 + left + x;
                    let (w, p, q) = (weights[y] * weights[x], f64::from(a[at]), f64::from(b[at]));
                    m = [m[0] + w * p, m[1] + w * q];
                    v = [v[0] + w * p * p, v[1] + w * q * q, v[2] + w * p * q];
                }
            }
            let [vp, vq, vpq] = [v[0] - m[0] * m[0], v[1] - m[1] * m[1], v[2] - m[0] * m[1]];
            let above = (2.0 * m[0] * m[1] + 1e-4) * (2.0 * vpq + 9e-4);
            sum += above / ((m[0] * m[0] + m[1] * m[1] + 1e-4) * (vp + vq + 9e-4));
        }
        let got = nearness(&a, &b, [13, 12]).ssim;
        assert!((got - sum / 6.0).abs() < 1e-12 && got < 0.99, "{got}");
        assert!(nearness(&a[..6], &b[..6], [2, 3]).ssim.is_finite());
    }
}
