//! In-place optimizers over slices, as PyTorch defines them, and the norm of a gradient.
//!
//! A slot is one parameter with its gradient and state. A step runs over all slots at once: long slices are cut, short ones
//! share threads. Each element is updated by itself, so that the cut does not show in the numbers.

use crate::leveled::leveled;
use crate::nhwc::Level;
use crate::parallel::{CHUNK, THRESHOLD, pieces, pieces2, pieces3};
use rayon::prelude::*;

/// Stochastic gradient descent: Sutskever et al. 2013, in PyTorch's form, dampening 0.
///
/// ```text
/// d = factor gradient + weight_decay parameter
/// buffer = momentum buffer + d                        the first step: buffer = d
/// parameter -= rate (d + momentum buffer)             with nesterov; else rate buffer
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub rate: f32,
    /// Share of the buffer that is kept; 0 uses no buffer.
    pub momentum: f32,
    /// L2 penalty.
    pub weight_decay: f32,
    /// Whether the step looks ahead along the buffer.
    pub nesterov: bool,
}

/// A parameter of [`Sgd`]. All slices have one length, but `buffer` may be empty without momentum.
#[derive(Debug)]
pub struct SgdSlot<'a> {
    /// Updated.
    pub parameter: &'a mut [f32],
    /// Read.
    pub gradient: &'a [f32],
    /// Momentum, updated.
    pub buffer: &'a mut [f32],
    /// Whether this is the parameter's first step: the buffer is set, not read.
    pub first: bool,
}

impl Sgd {
    /// One step of all slots; `factor` scales the gradients as they are read (1, or that of [`clip_factor`]).
    pub fn step(&self, slots: &mut [SgdSlot<'_>], factor: f32) {
        for slot in slots.iter() {
            let len = slot.parameter.len();
            assert!(slot.gradient.len() == len, "sgd: length of a gradient");
            assert!(slot.buffer.len() == len || self.momentum == 0.0, "sgd: length of a buffer");
        }
        let (level, work) = (Level::current(), slots.iter().map(|slot| slot.parameter.len()).sum());
        each(slots, work, |slot| self.step_slot(level, slot, factor));
    }

    fn step_slot(&self, level: Level, slot: &mut SgdSlot<'_>, factor: f32) {
        let (gradient, first, len) = (slot.gradient, slot.first, slot.parameter.len());
        if self.momentum == 0.0 {
            return pieces(slot.parameter, CHUNK, len, |index, parameter| {
                plain(level, self, factor, &gradient[index * CHUNK..][..parameter.len()], parameter);
            });
        }
        pieces2((slot.parameter, CHUNK), (slot.buffer, CHUNK), len, |index, parameter, buffer| {
            let gradient = &gradient[index * CHUNK..][..parameter.len()];
            if first {
                start(level, self, factor, gradient, parameter, buffer);
            } else {
                follow(level, self, factor, gradient, parameter, buffer);
            }
        });
    }
}

/// Runs `task` on each slot, in parallel when `work` is worth it.
fn each<S: Send>(slots: &mut [S], work: usize, task: impl Fn(&mut S) + Sync) {
    if work < THRESHOLD {
        slots.iter_mut().for_each(&task);
    } else {
        slots.par_iter_mut().for_each(&task);
    }
}

leveled! {
    fn plain(sgd: &Sgd, factor: f32, gradient: &[f32], parameter: &mut [f32]) {
        for (parameter, gradient) in parameter.iter_mut().zip(gradient) {
            *parameter -= sgd.rate * (factor * *gradient + sgd.weight_decay * *parameter);
        }
    }
}

leveled! {
    fn start(sgd: &Sgd, factor: f32, gradient: &[f32], parameter: &mut [f32], buffer: &mut [f32]) {
        let ahead = if sgd.nesterov { sgd.momentum } else { 0.0 };
        for ((parameter, buffer), gradient) in parameter.iter_mut().zip(buffer.iter_mut()).zip(gradient) {
            let d = factor * *gradient + sgd.weight_decay * *parameter;
            *buffer = d;
            *parameter -= sgd.rate * (d + ahead * d);
        }
    }
}

leveled! {
    fn follow(sgd: &Sgd, factor: f32, gradient: &[f32], parameter: &mut [f32], buffer: &mut [f32]) {
        let [now, ahead] = if sgd.nesterov { [1.0, sgd.momentum] } else { [0.0, 1.0] };
        for ((parameter, buffer), gradient) in parameter.iter_mut().zip(buffer.iter_mut()).zip(gradient) {
            let d = factor * *gradient + sgd.weight_decay * *parameter;
            *buffer = sgd.momentum * *buffer + d;
            *parameter -= sgd.rate * (now * d + ahead * *buffer);
        }
    }
}

/// Adam (Kingma & Ba 2015, arXiv:1412.6980, Alg. 1) and AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, Alg. 2).
///
/// ```text
/// g = factor gradient (+ weight_decay parameter)         Adam
/// parameter *= 1 - rate weight_decay                     AdamW
/// m = beta1 m + (1 - beta1) g     v = beta2 v + (1 - beta2) g^2
/// parameter -= rate / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// Added to the root.
    pub eps: f64,
    /// L2 penalty, or decay when `decoupled`.
    pub weight_decay: f64,
    /// AdamW: the decay acts on the parameter, not on the gradient.
    pub decoupled: bool,
}

/// A parameter of [`Adam`]. All slices have one length; the moments are 0 before the first step.
#[derive(Debug)]
pub struct AdamSlot<'a> {
    /// Updated.
    pub parameter: &'a mut [f32],
    /// Read.
    pub gradient: &'a [f32],
    /// First moment, updated.
    pub first: &'a mut [f32],
    /// Second moment, updated.
    pub second: &'a mut [f32],
    /// Steps of this parameter, this one included: 1 in the first.
    pub step: u64,
}

/// What one step of [`Adam`] multiplies by.
struct Factors {
    gradient: f32,
    penalty: f32,
    kept: f32,
    new: [f32; 2],
    betas: [f32; 2],
    rate: f32,
    root: f32,
    eps: f32,
}

impl Adam {
    /// One step of all slots; `factor` scales the gradients as they are read (1, or that of [`clip_factor`]).
    pub fn step(&self, slots: &mut [AdamSlot<'_>], factor: f32) {
        for slot in slots.iter() {
            let lengths = [slot.gradient.len(), slot.first.len(), slot.second.len()];
            assert_eq!(lengths, [slot.parameter.len(); 3], "adam: lengths of gradient and moments");
            assert!(slot.step > 0, "adam: steps count from 1");
        }
        let (level, work) = (Level::current(), slots.iter().map(|slot| slot.parameter.len()).sum());
        each(slots, work, |slot| {
            let (factors, gradient, len) = (self.factors(slot.step, factor), slot.gradient, slot.parameter.len());
            let (parameter, first, second) = (&mut *slot.parameter, &mut *slot.first, &mut *slot.second);
            pieces3([parameter, first, second], [CHUNK; 3], len, |index, [parameter, first, second]| {
                let gradient = &gradient[index * CHUNK..][..parameter.len()];
                adam(level, &factors, gradient, parameter, first, second);
            });
        });
    }

    fn factors(&self, step: u64, gradient: f32) -> Factors {
        let corrections = self.betas.map(|beta| 1.0 - beta.powf(step as f64));
        let (penalty, kept) = match self.decoupled {
            true => (0.0, 1.0 - self.rate * self.weight_decay),
            false => (self.weight_decay, 1.0),
        };
        Factors {
            gradient,
            penalty: penalty as f32,
            kept: kept as f32,
            new: self.betas.map(|beta| (1.0 - beta) as f32),
            betas: self.betas.map(|beta| beta as f32),
            rate: (self.rate / corrections[0]) as f32,
            root: (1.0 / corrections[1].sqrt()) as f32,
            eps: self.eps as f32,
        }
    }
}

leveled! {
    fn adam(by: &Factors, gradient: &[f32], parameter: &mut [f32], first: &mut [f32], second: &mut [f32]) {
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((parameter, gradient), (first, second)) in parameter.iter_mut().zip(gradient).zip(moments) {
            let g = by.gradient * *gradient + by.penalty * *parameter;
            *first += by.new[0] * (g - *first);
            *second = by.betas[1] * *second + by.new[1] * g * g;
            *parameter = *parameter * by.kept - by.rate * *first / (second.sqrt() * by.root + by.eps);
        }
    }
}

/// L2 norm of all gradients taken together.
pub fn gradient_norm(gradients: &[&[f32]]) -> f64 {
    let level = Level::current();
    let squares = |gradient: &&[f32]| -> f64 {
        let parts = |part: &[f32]| squares(level, part);
        if gradient.len() < THRESHOLD {
            return gradient.chunks(CHUNK).map(parts).sum();
        }
        // Gathered in order, so that threads do not show in the sum.
        let partial: Vec<f64> = gradient.par_chunks(CHUNK).map(parts).collect();
        partial.iter().sum()
    };
    gradients.iter().map(squares).sum::<f64>().sqrt()
}

leveled! {
    fn squares(values: &[f32]) -> f64 {
        let mut lanes = [0f64; 16];
        let (blocks, rest) = values.as_chunks::<16>();
        for block in blocks {
            for (lane, value) in lanes.iter_mut().zip(block) {
                *lane += f64::from(*value) * f64::from(*value);
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(*value) * f64::from(*value);
        }
        lanes.iter().sum()
    }
}

/// What gradients of this norm are multiplied by to stay below `max`: `min(1, max / (norm + 1e-6))`.
pub fn clip_factor(norm: f64, max: f64) -> f32 {
    (max / (norm + 1e-6)).min(1.0) as f32
}

/// Multiplies all gradients by `factor`.
pub fn scale_gradients(gradients: &mut [&mut [f32]], factor: f32) {
    let (level, work) = (Level::current(), gradients.iter().map(|gradient| gradient.len()).sum());
    each(gradients, work, |gradient| {
        let len = gradient.len();
        pieces(gradient, CHUNK, len, |_, gradient| scale(level, factor, gradient));
    });
}

leveled! {
    fn scale(factor: f32, values: &mut [f32]) {
        for value in values.iter_mut() {
            *value *= factor;
        }
    }
}
