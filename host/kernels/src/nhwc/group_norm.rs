//! Group norm: layer norm over the channels of a group and all pixels of an image (instance norm with one channel a group).
//!
//! Wu & He 2018 (arXiv:1803.08494), Eq. 7. An image's sums over pixels make the statistics of its groups; the rest is an
//! affine map by channel of the image, forward and backward.

use super::norm::{apply, channel_sums, form, product_sums};
use super::{Activation, Grad, Level, Load};
use crate::Float;
use crate::parallel::{pieces, pieces2};

/// Sizes of group norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupNorm {
    /// Images.
    pub batch: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
    /// Groups, a divisor of the channels.
    pub groups: usize,
}

impl GroupNorm {
    /// `out = (x - mean) rstd weight + bias`. `x`, `out` `[N, pixels, C]`; `weight`, `bias` `[C]`, 1 and 0 when None;
    /// `statistics` `[N, groups]` gets `[mean, rstd]`.
    pub fn forward(
        &self,
        x: &[f32],
        parameters: [Option<&[f32]>; 2],
        eps: f64,
        statistics: &mut [[f32; 2]],
        out: &mut [f32],
    ) {
        self.check([x.len(), out.len()], parameters, statistics);
        let (image, level) = (self.pixels * self.channels, Level::current());
        pieces2((out, image), (statistics, self.groups), x.len(), |index, out, statistics| {
            let x = &x[index * image..][..image];
            level.with(|| {
                self.moments(x, eps, statistics);
                f32::scratch(2 * self.channels, |affine| {
                    let affine = Some(self.affine(statistics, parameters, affine));
                    let load = Load { values: x, affine, activation: Activation::None };
                    apply(load, None, Activation::None, self.channels, out);
                });
            });
        });
    }

    /// Statistics of one image.
    fn moments(&self, x: &[f32], eps: f64, statistics: &mut [[f32; 2]]) {
        let (channels, each) = (self.channels, self.channels / self.groups);
        let count = (self.pixels * each) as f64;
        f64::scratch(2 * channels, |sums| {
            channel_sums(x, channels, sums);
            let (sums, squares) = sums.split_at(channels);
            let groups = sums.chunks_exact(each).zip(squares.chunks_exact(each));
            for (statistics, (sums, squares)) in statistics.iter_mut().zip(groups) {
                let mean = sums.iter().sum::<f64>() / count;
                let variance = (squares.iter().sum::<f64>() / count - mean * mean).max(0.0);
                *statistics = [mean as f32, (1.0 / (variance + eps).sqrt()) as f32];
            }
        });
    }

    /// Scale and shift of one image, in `affine` `[2 C]`.
    fn affine<'a>(
        &self,
        statistics: &[[f32; 2]],
        parameters: [Option<&[f32]>; 2],
        affine: &'a mut [f32],
    ) -> [&'a [f32]; 2] {
        let (scale, shift) = affine.split_at_mut(self.channels);
        for c in 0..self.channels {
            let [mean, rstd] = statistics[c / (self.channels / self.groups)];
            scale[c] = rstd * parameters[0].map_or(1.0, |weight| weight[c]);
            shift[c] = parameters[1].map_or(0.0, |bias| bias[c]) - mean * scale[c];
        }
        [scale, shift]
    }

    /// Gradients of [`GroupNorm::forward`]. `x`, `grad`, `grad_x` `[N, pixels, C]`; the gradient of the input is added with its
    /// flag, `parameters` (`[C]` each: weight, bias) are overwritten.
    pub fn backward(
        &self,
        [x, grad]: [&[f32]; 2],
        statistics: &[[f32; 2]],
        weight: Option<&[f32]>,
        grad_x: Option<(&mut [f32], bool)>,
        parameters: Option<[&mut [f32]; 2]>,
    ) {
        self.check([x.len(), grad.len()], [weight, None], statistics);
        let (image, size, level) = (self.pixels * self.channels, 2 * self.channels, Level::current());
        f64::scratch(self.batch * size, |sums| {
            pieces(sums, size, x.len(), |index, sums| {
                let at = index * image;
                level.with(|| product_sums(&grad[at..][..image], &x[at..][..image], self.channels, sums));
            });
            if let Some((grad_x, accumulate)) = grad_x {
                assert_eq!(grad_x.len(), x.len(), "group norm: length of the gradient");
                pieces(grad_x, image, x.len(), |index, out| {
                    let (at, statistics) = (index * image, &statistics[index * self.groups..]);
                    f32::scratch(3 * self.channels, |k| {
                        let k = self.coefficients(&sums[index * size..][..size], statistics, weight, k);
                        let grad = Grad { dz: &grad[at..][..image], norm: Some((&x[at..][..image], k)) };
                        level.with(|| form(grad, self.channels, out, accumulate));
                    });
                });
            }
            if let Some(parameters) = parameters {
                self.parameter_gradients(sums, statistics, parameters);
            }
        });
    }

    /// `dx = k0 dz + k1 x + k2` of one image from its sums `[2 C]`.
    fn coefficients<'k>(
        &self,
        sums: &[f64],
        statistics: &[[f32; 2]],
        weight: Option<&[f32]>,
        k: &'k mut [f32],
    ) -> [&'k [f32]; 3] {
        let (channels, each) = (self.channels, self.channels / self.groups);
        let count = (self.pixels * each) as f64;
        let weight = |c: usize| weight.map_or(1.0, |weight| f64::from(weight[c]));
        let (k0, rest) = k.split_at_mut(channels);
        let (k1, k2) = rest.split_at_mut(channels);
        for (group, statistics) in statistics.iter().enumerate().take(self.groups) {
            let [mean, rstd] = statistics.map(f64::from);
            let range = group * each..(group + 1) * each;
            let total: f64 = range.clone().map(|c| weight(c) * sums[c]).sum();
            let product: f64 = range.clone().map(|c| weight(c) * sums[channels + c]).sum();
            let along = -rstd * rstd * (product - mean * total) * rstd / count;
            for c in range {
                k0[c] = (rstd * weight(c)) as f32;
                k1[c] = along as f32;
                k2[c] = (-rstd * total / count - mean * along) as f32;
            }
        }
        [k0, k1, k2]
    }

    fn parameter_gradients(&self, sums: &[f64], statistics: &[[f32; 2]], [weight, bias]: [&mut [f32]; 2]) {
        let (channels, each) = (self.channels, self.channels / self.groups);
        assert!(weight.len() == channels && bias.len() == channels, "group norm: lengths of the gradients");
        for c in 0..channels {
            let (mut by_weight, mut by_bias) = (0.0, 0.0);
            for (sums, statistics) in sums.chunks_exact(2 * channels).zip(statistics.chunks_exact(self.groups)) {
                let [mean, rstd] = statistics[c / each].map(f64::from);
                by_weight += (sums[channels + c] - mean * sums[c]) * rstd;
                by_bias += sums[c];
            }
            weight[c] = by_weight as f32;
            bias[c] = by_bias as f32;
        }
    }

    fn check(&self, lengths: [usize; 2], parameters: [Option<&[f32]>; 2], statistics: &[[f32; 2]]) {
        let Self { batch, pixels, channels, groups } = *self;
        assert!(groups > 0 && channels.is_multiple_of(groups), "group norm: {channels} channels, {groups} groups");
        assert_eq!(lengths, [batch * pixels * channels; 2], "group norm: lengths");
        assert_eq!(statistics.len(), batch * groups, "group norm: length of the statistics");
        assert!(parameters.iter().flatten().all(|p| p.len() == channels), "group norm: lengths of the parameters");
    }
}
