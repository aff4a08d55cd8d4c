//! Optimizers: SGD with momentum, Adam and AdamW, as PyTorch defines them.
//!
//! ```text
//! SGD     v = mu v + (g + wd p)  (first step: v = g + wd p);  p -= lr v   (nesterov: p -= lr (g + wd p + mu v))
//! Adam    m = b1 m + (1 - b1) g;  u = b2 u + (1 - b2) g^2, with g + wd p for g;  p -= lr m' / (sqrt(u') + eps)
//!         m' = m / (1 - b1^t), u' = u / (1 - b2^t)
//! AdamW   p -= lr wd p first, then Adam without decay
//! ```

use super::groups::Member;
use crate::manifest::Optimizer as Rule;
use candle_core::{Result, Tensor};
use std::collections::{BTreeMap, HashMap};

/// Gradients by a parameter's full name, in a fixed order: a norm over them sums up the same way every time.
pub type Gradients = BTreeMap<String, Tensor>;

/// The state of one group.
pub struct Optimizer {
    rule: Rule,
    members: Vec<Member>,
    /// One list a member: momentum, or both moments.
    state: Vec<Vec<Tensor>>,
    steps: u64,
}

impl Optimizer {
    /// An optimizer that has not moved yet.
    pub fn new(rule: Rule, members: Vec<Member>) -> Optimizer {
        let state = members.iter().map(|_| vec![]).collect();
        Optimizer { rule, members, state, steps: 0 }
    }

    /// Its parameters.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Moves every parameter. `factor` scales the learning rate; a parameter without gradient has a gradient of zero.
    ///
    /// # Errors
    /// candle fails.
    pub fn step(&mut self, gradients: &Gradients, factor: f64) -> Result<()> {
        self.steps += 1;
        for (member, state) in self.members.iter().zip(&mut self.state) {
            let Some(entry) = member.set.get(&member.name) else { continue };
            let value = entry.var.as_detached_tensor();
            let gradient = match gradients.get(&member.full) {
                Some(gradient) => gradient.clone(),
                None => value.zeros_like()?,
            };
            let moved = update(&self.rule, self.steps, &value, gradient, state, factor, decays(&self.rule, &value))?;
            entry.var.set(&moved)?;
        }
        Ok(())
    }

    /// State for a checkpoint: by parameter and slot.
    pub fn save(&self) -> (u64, HashMap<String, Tensor>) {
        let tensors = self.members.iter().zip(&self.state).flat_map(|(member, state)| {
            state.iter().enumerate().map(|(slot, tensor)| (format!("{}#{slot}", member.full), tensor.clone()))
        });
        (self.steps, tensors.collect())
    }

    /// Takes a saved state over. Parameters that it does not know start anew.
    pub fn restore(&mut self, steps: u64, tensors: &HashMap<String, Tensor>) {
        self.steps = steps;
        for (member, state) in self.members.iter().zip(&mut self.state) {
            let slots = (0..).map_while(|slot| tensors.get(&format!("{}#{slot}", member.full)).cloned());
            *state = slots.collect();
        }
    }
}

/// Norm scales and biases have one dimension.
fn decays(rule: &Rule, value: &Tensor) -> bool {
    let all = match rule {
        Rule::Sgd { decay_norm_and_bias, .. } | Rule::Adam { decay_norm_and_bias, .. } | Rule::AdamW { decay_norm_and_bias, .. } => *decay_norm_and_bias,
    };
    all || value.rank() > 1
}

fn update(rule: &Rule, steps: u64, value: &Tensor, gradient: Tensor, state: &mut Vec<Tensor>, factor: f64, decay: bool) -> Result<Tensor> {
    match *rule {
        Rule::Sgd { lr, momentum, weight_decay, nesterov, .. } => {
            let gradient = decayed(gradient, value, if decay { weight_decay } else { 0.0 })?;
            let direction = if momentum == 0.0 {
                gradient
            } else {
                let velocity = match state.first() {
                    Some(old) => (old.affine(momentum, 0.0)? + &gradient)?,
                    None => gradient.clone(),
                };
                let direction = if nesterov { (gradient + velocity.affine(momentum, 0.0)?)? } else { velocity.clone() };
                *state = vec![velocity];
                direction
            };
            value - direction.affine(lr * factor, 0.0)?
        }
        Rule::Adam { lr, betas, eps, weight_decay, .. } => {
            let gradient = decayed(gradient, value, if decay { weight_decay } else { 0.0 })?;
            adam(value, &gradient, state, betas, eps, lr * factor, steps)
        }
        Rule::AdamW { lr, betas, eps, weight_decay, .. } => {
            let shrunk = if decay { value.affine(1.0 - lr * factor * weight_decay, 0.0)? } else { value.clone() };
            adam(&shrunk, &gradient, state, betas, eps, lr * factor, steps)
        }
    }
}

fn decayed(gradient: Tensor, value: &Tensor, weight_decay: f64) -> Result<Tensor> {
    if weight_decay == 0.0 { Ok(gradient) } else { gradient + value.affine(weight_decay, 0.0)? }
}

fn adam(value: &Tensor, gradient: &Tensor, state: &mut Vec<Tensor>, [b1, b2]: [f64; 2], eps: f64, lr: f64, steps: u64) -> Result<Tensor> {
    let blend = |old: Option<&Tensor>, new: &Tensor, beta: f64| match old {
        Some(old) => old.affine(beta, 0.0)? + new.affine(1.0 - beta, 0.0)?,
        None => new.affine(1.0 - beta, 0.0),
    };
    let first = blend(state.first(), gradient, b1)?;
    let second = blend(state.get(1), &gradient.sqr()?, b2)?;
    let count = i32::try_from(steps).unwrap_or(i32::MAX);
    let (c1, c2) = (1.0 - b1.powi(count), 1.0 - b2.powi(count));
    let root = second.affine(1.0 / c2, 0.0)?.sqrt()?.affine(1.0, eps)?;
    let moved = (value - (&first / root)?.affine(lr / c1, 0.0)?)?;
    *state = vec![first, second];
    Ok(moved)
}

/// Scales all gradients so that their common norm is at most `limit`; gives the norm before.
///
/// # Errors
/// candle fails.
pub fn clip(gradients: &mut Gradients, limit: f64) -> Result<f64> {
    let norm = norm(gradients.values())?;
    if norm > limit {
        for gradient in gradients.values_mut() {
            *gradient = gradient.affine(limit / (norm + 1e-6), 0.0)?;
        }
    }
    Ok(norm)
}

/// Euclidean norm over all tensors together.
///
/// # Errors
/// candle fails.
pub fn norm<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Result<f64> {
    let mut total = 0.0;
    for tensor in tensors {
        total += tensor.sqr()?.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
    }
    Ok(total.sqrt())
}
