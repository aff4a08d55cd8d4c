//! Batch norm over values that are read, not stored: `scale` and `shift` from sums over pixels, gradients from sums again.
//!
//! ```text
//! forward    xhat = (x - mean) inv_std        z = xhat weight + bias = x scale + shift
//! backward   dx = weight inv_std (dz - mean(dz) - xhat mean(dz xhat)) = k0 dz + k1 x + k2
//! ```
//! Ioffe & Szegedy 2015 (arXiv:1502.03167), Alg. 1. Sums are `f32` over at most 512 rows of a pass, `f64` above that, and
//! are taken in an order that depends on the shape alone.

pub use super::apply::{apply, form};
pub use super::mask::{mask_and_sums, mask_by_output, mask_by_sum};
pub use super::sums::{channel_sums, product_sums};

use super::Grad;

/// What batch norm is in one step: statistics of the channels, and the affine map that they make. All `[C]`.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    /// Mean over pixels.
    pub mean: Vec<f32>,
    /// Biased variance over pixels, never negative.
    pub variance: Vec<f32>,
    /// `1 / sqrt(variance + eps)`.
    pub inv_std: Vec<f32>,
    /// `weight inv_std`.
    pub scale: Vec<f32>,
    /// `bias - mean scale`.
    pub shift: Vec<f32>,
}

impl Statistics {
    /// Statistics of `channels`, all 0 until [`Statistics::finish`].
    pub fn new(channels: usize) -> Self {
        let zeros = || vec![0.0; channels];
        Self { mean: zeros(), variance: zeros(), inv_std: zeros(), scale: zeros(), shift: zeros() }
    }

    /// From the sums of [`channel_sums`] over `pixels`; `weight` (1 when None) and `bias` (0 when None) `[C]`.
    pub fn finish(&mut self, sums: &[f64], pixels: usize, weight: Option<&[f32]>, bias: Option<&[f32]>, eps: f64) {
        let channels = self.mean.len();
        assert!(sums.len() == 2 * channels && pixels > 0, "batch norm: length of the sums");
        check_parameters(channels, [weight, bias]);
        let count = pixels as f64;
        for c in 0..channels {
            let mean = sums[c] / count;
            let variance = (sums[channels + c] / count - mean * mean).max(0.0);
            self.set(c, [mean, variance], [weight, bias], eps);
        }
    }

    /// From given statistics, as in evaluation: `mean` and `variance` `[C]`.
    pub fn fixed(&mut self, [mean, variance]: [&[f32]; 2], weight: Option<&[f32]>, bias: Option<&[f32]>, eps: f64) {
        let channels = self.mean.len();
        assert!(mean.len() == channels && variance.len() == channels, "batch norm: lengths of the statistics");
        check_parameters(channels, [weight, bias]);
        for c in 0..channels {
            self.set(c, [f64::from(mean[c]), f64::from(variance[c])], [weight, bias], eps);
        }
    }

    fn set(&mut self, c: usize, [mean, variance]: [f64; 2], [weight, bias]: [Option<&[f32]>; 2], eps: f64) {
        let inv_std = 1.0 / (variance + eps).sqrt();
        let scale = weight.map_or(1.0, |weight| f64::from(weight[c])) * inv_std;
        self.mean[c] = mean as f32;
        self.variance[c] = variance as f32;
        self.inv_std[c] = inv_std as f32;
        self.scale[c] = scale as f32;
        self.shift[c] = (bias.map_or(0.0, |bias| f64::from(bias[c])) - mean * scale) as f32;
    }

    /// Moves running averages `[C]` towards these statistics, the variance without bias: `r += momentum (new - r)`.
    pub fn update_running(&self, pixels: usize, momentum: f64, mean: &mut [f32], variance: &mut [f32]) {
        let channels = self.mean.len();
        assert!(mean.len() == channels && variance.len() == channels, "batch norm: lengths of the running averages");
        let unbiased = pixels as f64 / (pixels.max(2) - 1) as f64;
        let step = |kept: &mut f32, new: f64| *kept = ((1.0 - momentum) * f64::from(*kept) + momentum * new) as f32;
        mean.iter_mut().zip(&self.mean).for_each(|(kept, new)| step(kept, f64::from(*new)));
        variance.iter_mut().zip(&self.variance).for_each(|(kept, new)| step(kept, f64::from(*new) * unbiased));
    }

    /// Scale and shift.
    pub fn affine(&self) -> [&[f32]; 2] {
        [&self.scale, &self.shift]
    }
}

fn check_parameters(channels: usize, parameters: [Option<&[f32]>; 2]) {
    assert!(parameters.iter().flatten().all(|p| p.len() == channels), "batch norm: lengths of weight and bias");
}

/// Gradients of batch norm: those of its parameters, and the three vectors that make the one of its input. All `[C]`.
#[derive(Debug, Clone, Default)]
pub struct Coefficients {
    /// `sum dz xhat`: gradient for the weight.
    pub weight: Vec<f32>,
    /// `sum dz`: gradient for the bias.
    pub bias: Vec<f32>,
    /// `dx = k[0] dz + k[1] x + k[2]`.
    pub k: [Vec<f32>; 3],
}

impl Coefficients {
    /// Coefficients of `channels`, all 0.
    pub fn new(channels: usize) -> Self {
        let zeros = || vec![0.0; channels];
        Self { weight: zeros(), bias: zeros(), k: [zeros(), zeros(), zeros()] }
    }

    /// From `sum dz` and `sum dz x` over `pixels` and the statistics of the forward pass over the same pixels.
    pub fn finish(&mut self, sums: &[f64], pixels: usize, statistics: &Statistics) {
        self.parameters(sums, statistics);
        let count = pixels as f64;
        for c in 0..self.bias.len() {
            let (mean, inv_std) = (f64::from(statistics.mean[c]), f64::from(statistics.inv_std[c]));
            let (scale, total) = (f64::from(statistics.scale[c]), sums[c]);
            let along = (sums[self.bias.len() + c] - mean * total) * inv_std;
            let k1 = -scale * inv_std * along / count;
            self.k[0][c] = scale as f32;
            self.k[1][c] = k1 as f32;
            self.k[2][c] = (-scale * total / count - mean * k1) as f32;
        }
    }

    /// As [`Coefficients::finish`] for statistics that do not depend on the input ([`Statistics::fixed`]): `k = scale, 0, 0`.
    pub fn finish_fixed(&mut self, sums: &[f64], statistics: &Statistics) {
        self.parameters(sums, statistics);
        self.k[0].copy_from_slice(&statistics.scale);
        self.k[1..].iter_mut().for_each(|k| k.fill(0.0));
    }

    fn parameters(&mut self, sums: &[f64], statistics: &Statistics) {
        let channels = self.bias.len();
        assert!(sums.len() == 2 * channels && statistics.mean.len() == channels, "batch norm: lengths of the sums");
        for c in 0..channels {
            let (mean, inv_std) = (f64::from(statistics.mean[c]), f64::from(statistics.inv_std[c]));
            self.bias[c] = sums[c] as f32;
            self.weight[c] = ((sums[channels + c] - mean * sums[c]) * inv_std) as f32;
        }
    }

    /// The gradient of the raw value `y`, formed when it is read.
    pub fn grad<'a>(&'a self, dz: &'a [f32], y: &'a [f32]) -> Grad<'a> {
        Grad { dz, norm: Some((y, [&self.k[0], &self.k[1], &self.k[2]])) }
    }
}
