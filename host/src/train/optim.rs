//! Optimizers: SGD with momentum, Adam and AdamW, as PyTorch defines them.
//!
//! ```text
//! SGD     v = mu v + (g + wd p)  (first step: v = g + wd p);  p -= lr v   (nesterov: p -= lr (g + wd p + mu v))
//! Adam    m = b1 m + (1 - b1) g;  u = b2 u + (1 - b2) g^2, with g + wd p for g;  p -= lr m' / (sqrt(u') + eps)
//!         m' = m / (1 - b1^t), u' = u / (1 - b2^t)
//! AdamW   p -= lr wd p first, then Adam without decay
//! ```

use super::groups::Member;
use super::smooth::Smooth;
use crate::manifest::{GradientEma, Optimizer as Rule};
use crate::ops::slices::{change, is_slice, read};
use candle_core::{Result, Tensor};
use std::collections::{BTreeMap, HashMap};
use stillhouse_kernels::optim::{Adam, AdamSlot, Sgd, SgdSlot};

/// Gradients by a parameter's full name, in a fixed order: a norm over them sums up the same way every time.
pub type Gradients = BTreeMap<String, Tensor>;

/// Slot of a gradient's average in a saved state.
const MEAN: &str = "mean";

/// The state of one group.
pub struct Optimizer {
    rule: Rule,
    members: Vec<Member>,
    /// One list a member: momentum, or both moments.
    state: Vec<Vec<Tensor>>,
    steps: u64,
    smooth: Smooth,
}

impl Optimizer {
    /// An optimizer that has not moved yet.
    pub fn new(rule: Rule, members: Vec<Member>) -> Optimizer {
        let state = members.iter().map(|_| vec![]).collect();
        Optimizer { rule, members, state, steps: 0, smooth: Smooth::default() }
    }

    /// Its parameters.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Takes the gradients of its parameters into their averages, and puts in their place what the parameters move by.
    ///
    /// # Errors
    /// candle fails.
    pub fn smooth(&mut self, rule: &GradientEma, gradients: &mut Gradients) -> Result<()> {
        self.members.iter().try_for_each(|member| self.smooth.apply(rule, &member.full, gradients))
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
            if let Some(gradient) = gradients.get(&member.full)
                && in_place(&self.rule, self.steps, member, gradient, state, factor)?
            {
                continue;
            }
            let gradient = match gradients.get(&member.full) {
                Some(gradient) => gradient.clone(),
                None => value.zeros_like()?,
            };
            let moved = update(&self.rule, self.steps, &value, gradient, state, factor, decays(&self.rule, &value))?;
            member.set.touch();
            entry.var.set(&moved)?;
        }
        Ok(())
    }

    /// State for a checkpoint: by parameter and slot.
    pub fn save(&self) -> (u64, HashMap<String, Tensor>) {
        let tensors = self.members.iter().zip(&self.state).flat_map(|(member, state)| {
            state.iter().enumerate().map(|(slot, tensor)| (format!("{}#{slot}", member.full), tensor.clone()))
        });
        let means = self.smooth.tensors().map(|(name, mean)| (format!("{name}#{MEAN}"), mean.clone()));
        (self.steps, tensors.chain(means).collect())
    }

    /// Takes a saved state over. Parameters that it does not know start anew.
    pub fn restore(&mut self, steps: u64, tensors: &HashMap<String, Tensor>) {
        self.steps = steps;
        for (member, state) in self.members.iter().zip(&mut self.state) {
            let slots = (0..).map_while(|slot| tensors.get(&format!("{}#{slot}", member.full)).cloned());
            *state = slots.collect();
            if let Some(mean) = tensors.get(&format!("{}#{MEAN}", member.full)) {
                self.smooth.restore(&member.full, mean.clone());
            }
        }
    }
}

/// One update on the kernels of the CPU, for `f32`; `false` where they do not serve.
fn in_place(
    rule: &Rule,
    steps: u64,
    member: &Member,
    gradient: &Tensor,
    state: &mut Vec<Tensor>,
    factor: f64,
) -> Result<bool> {
    let Some(entry) = member.set.get(&member.name) else { return Ok(false) };
    let value = entry.var.as_tensor();
    let gradient = gradient.contiguous()?;
    if !is_slice(value) || !is_slice(&gradient) || !state.iter().all(is_slice) {
        return Ok(false);
    }
    let first = state.is_empty();
    while state.len() < slots(rule) {
        state.push(value.zeros_like()?);
    }
    let decay = if decays(rule, value) { 1.0 } else { 0.0 };
    let set = |task: &mut dyn FnMut(&mut [f32])| member.set.change(&member.name, |parameter| task(parameter)).map(drop);
    read(&gradient, |gradient| match *rule {
        Rule::Sgd { lr, momentum, weight_decay, nesterov, .. } => {
            let (rate, weight_decay) = ((lr * factor) as f32, (decay * weight_decay) as f32);
            let sgd = Sgd { rate, momentum: momentum as f32, weight_decay, nesterov };
            let step = |parameter: &mut [f32], buffer: &mut [f32]| {
                sgd.step(&mut [SgdSlot { parameter, gradient, buffer, first }], 1.0);
            };
            match state.first() {
                Some(buffer) => nested(buffer, |buffer| set(&mut |parameter| step(parameter, buffer))),
                None => set(&mut |parameter| step(parameter, &mut [])),
            }
        }
        Rule::Adam { lr, betas, eps, weight_decay, .. } | Rule::AdamW { lr, betas, eps, weight_decay, .. } => {
            let decoupled = matches!(rule, Rule::AdamW { .. });
            let adam = Adam { rate: lr * factor, betas, eps, weight_decay: decay * weight_decay, decoupled };
            nested(&state[0], |first| {
                nested(&state[1], |second| {
                    set(&mut |parameter| {
                        adam.step(&mut [AdamSlot { parameter, gradient, first, second, step: steps }], 1.0);
                    })
                })
            })
        }
    })??;
    Ok(true)
}

/// Changes a state tensor with a task that may fail.
fn nested(state: &Tensor, task: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    let mut outcome = Ok(());
    change(state, |values| outcome = task(values))?;
    outcome
}

/// State tensors of one parameter.
pub(super) fn slots(rule: &Rule) -> usize {
    match rule {
        Rule::Sgd { momentum, .. } => usize::from(*momentum != 0.0),
        Rule::Adam { .. } | Rule::AdamW { .. } => 2,
    }
}

/// Norm scales and biases have one dimension.
fn decays(rule: &Rule, value: &Tensor) -> bool {
    let all = match rule {
        Rule::Sgd { decay_norm_and_bias, .. }
        | Rule::Adam { decay_norm_and_bias, .. }
        | Rule::AdamW { decay_norm_and_bias, .. } => *decay_norm_and_bias,
    };
    all || value.rank() > 1
}

fn update(
    rule: &Rule,
    steps: u64,
    value: &Tensor,
    gradient: Tensor,
    state: &mut Vec<Tensor>,
    factor: f64,
    decay: bool,
) -> Result<Tensor> {
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

/// `keep old + (1 - keep) new`.
pub(super) fn blended(old: &Tensor, new: &Tensor, keep: f64) -> Result<Tensor> {
    old.affine(keep, 0.0)? + new.affine(1.0 - keep, 0.0)?
}

fn adam(
    value: &Tensor,
    gradient: &Tensor,
    state: &mut Vec<Tensor>,
    [b1, b2]: [f64; 2],
    eps: f64,
    lr: f64,
    steps: u64,
) -> Result<Tensor> {
    let blend = |old: Option<&Tensor>, new: &Tensor, beta: f64| match old {
        Some(old) => blended(old, new, beta),
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

/// The name of the first gradient that has a value which is not finite.
///
/// # Errors
/// candle fails.
pub fn first_not_finite(gradients: &Gradients) -> Result<Option<&str>> {
    for (name, gradient) in gradients {
        let gradient = gradient.contiguous()?;
        let is_wrong = if is_slice(&gradient) {
            // All bits of the exponent are set: without a branch, so that it is as fast as memory.
            let is_wrong = |value: &f32| value.to_bits() & 0x7f80_0000 == 0x7f80_0000;
            read(&gradient, |values| values.iter().fold(false, |wrong, value| wrong | is_wrong(value)))?
        } else {
            !gradient.abs()?.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?.is_finite()
        };
        if is_wrong {
            return Ok(Some(name));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{ParamKind, ParamSet};
    use candle_core::{DType, Device};
    use candle_nn::Optimizer as _;
    use std::rc::Rc;
    use stillhouse_plugin::Init;

    fn member(name: &str, shape: &[usize], set: &Rc<ParamSet>) -> Member {
        let made = set.add(
            name,
            shape,
            stillhouse_plugin::op::DType::F32,
            &Init::Constant { value: 1.0 },
            ParamKind::Parameter,
        );
        made.expect("a parameter");
        Member {
            set: set.clone(),
            name: name.into(),
            full: format!("m.{name}"),
            owner: "m".into(),
            path: Some(name.into()),
        }
    }

    fn set() -> Rc<ParamSet> {
        Rc::new(ParamSet::new("m", 0, DType::F64, &Device::Cpu))
    }

    fn gradients(value: f64, members: &[Member]) -> Gradients {
        let of = |member: &Member| {
            let shape = member.set.meta(&member.name).expect("a parameter").shape;
            (member.full.clone(), Tensor::full(value, shape, &Device::Cpu).expect("a tensor"))
        };
        members.iter().map(of).collect()
    }

    fn value(member: &Member) -> f64 {
        let value = member.set.value(&member.name).expect("a parameter").flatten_all().expect("flat");
        value.get(0).and_then(|value| value.to_scalar()).expect("a value")
    }

    /// Values of a parameter that starts at 1 after steps with these gradients.
    fn path(rule: Rule, shape: &[usize], steps: &[f64]) -> Vec<f64> {
        let set = set();
        let members = vec![member("w", shape, &set)];
        let mut optimizer = Optimizer::new(rule, members.clone());
        let step = |gradient: &f64| {
            optimizer.step(&gradients(*gradient, &members), 1.0).expect("a step");
            value(&members[0])
        };
        steps.iter().map(step).collect()
    }

    fn near(got: &[f64], wanted: &[f64]) {
        assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}, wanted {wanted:?}");
    }

    fn sgd(momentum: f64, weight_decay: f64, nesterov: bool, decay_norm_and_bias: bool) -> Rule {
        Rule::Sgd { lr: 0.1, momentum, weight_decay, nesterov, decay_norm_and_bias }
    }

    #[test]
    fn sgd_follows_hand_worked_steps() {
        // v = 1, then 0.9 + 2 = 2.9.
        near(&path(sgd(0.9, 0.0, false, true), &[1, 1], &[1.0, 2.0]), &[0.9, 0.61]);
        // Ahead: 1 + 0.9 = 1.9, then 2 + 0.9 * 2.9 = 4.61.
        near(&path(sgd(0.9, 0.0, true, true), &[1, 1], &[1.0, 2.0]), &[0.81, 0.349]);
        near(&path(sgd(0.0, 0.5, false, true), &[1, 1], &[1.0]), &[0.85]);
    }

    #[test]
    fn sgd_spares_norms_and_biases_on_request() {
        near(&path(sgd(0.0, 0.5, false, false), &[1], &[1.0]), &[0.9]);
        near(&path(sgd(0.0, 0.5, false, false), &[1, 1], &[1.0]), &[0.85]);
    }

    #[test]
    fn adamw_follows_candle() {
        let rule =
            Rule::AdamW { lr: 0.01, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.1, decay_norm_and_bias: true };
        let var = candle_core::Var::from_tensor(&Tensor::full(1f64, (1, 1), &Device::Cpu).expect("a tensor"))
            .expect("a variable");
        let settings = candle_nn::ParamsAdamW { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };
        let mut theirs = candle_nn::AdamW::new(vec![var.clone()], settings).expect("an optimizer");
        let steps = [1.0, -0.5, 2.0, 0.1];
        let mut wanted = vec![];
        for gradient in steps {
            let loss = var.as_tensor().affine(gradient, 0.0).and_then(|loss| loss.sum_all()).expect("a loss");
            theirs.backward_step(&loss).expect("a step");
            wanted.push(
                var.flatten_all().and_then(|flat| flat.get(0)).and_then(|value| value.to_scalar()).expect("a value"),
            );
        }
        near(&path(rule, &[1, 1], &steps), &wanted);
    }

    #[test]
    fn adam_first_step_is_the_rate_whatever_the_gradient() {
        let rule =
            Rule::Adam { lr: 0.01, betas: [0.9, 0.999], eps: 1e-15, weight_decay: 0.0, decay_norm_and_bias: true };
        near(&path(rule, &[1, 1], &[1e-3]), &[0.99]);
    }

    /// The kernels of the CPU against candle's operations in `f64`, over every rule.
    #[test]
    fn single_precision_in_place_equals_the_definition() {
        let (momentum, plain) = (sgd(0.9, 0.1, true, true), sgd(0.0, 0.1, false, true));
        let [lr, eps, weight_decay, betas] = [0.1, 1e-8, 0.1, 0.9].map(|value: f64| value);
        let betas = [betas, 0.99];
        let adam = Rule::Adam { lr, betas, eps, weight_decay, decay_norm_and_bias: false };
        let adamw = Rule::AdamW { lr, betas, eps, weight_decay, decay_norm_and_bias: true };
        for rule in [momentum, plain, sgd(0.9, 0.1, false, false), adam, adamw] {
            for shape in [&[3, 4][..], &[5]] {
                let [single, double] = [DType::F32, DType::F64].map(|dtype| {
                    let set = Rc::new(ParamSet::new("m", 0, dtype, &Device::Cpu));
                    let members = vec![member("w", shape, &set)];
                    let mut optimizer = Optimizer::new(rule, members.clone());
                    for step in 0..4 {
                        let count: usize = shape.iter().product();
                        let values: Vec<f64> = (0..count).map(|at| ((at * 7 + step * 3) % 5) as f64 - 1.7).collect();
                        let gradient = Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                        let version = set.version();
                        optimizer.step(&[("m.w".to_owned(), gradient)].into(), 0.5).expect("a step");
                        assert_ne!(set.version(), version, "whoever packed the weights sees that they moved");
                    }
                    crate::ops::tests::flat(&set.value("w").expect("a parameter"))
                });
                let near = single.iter().zip(&double).all(|(a, b)| (a - b).abs() < 1e-5);
                assert!(near, "{rule:?}: {single:?}, the definition gives {double:?}");
            }
        }
    }

    #[test]
    fn first_gradient_that_is_not_finite_is_found() {
        let shape = (3, 5);
        for dtype in [DType::F32, DType::F64] {
            for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let of = |value: f64| {
                    let values: Vec<f64> =
                        (0..15).map(|at| if at == 14 { value } else { -1e30 * f64::from(at) }).collect();
                    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
                };
                let mut all: Gradients = [("a".to_owned(), of(3e30)), ("b".to_owned(), of(0.0))].into();
                assert_eq!(first_not_finite(&all).unwrap(), None);
                all.insert("b".into(), of(wrong).t().unwrap());
                assert_eq!(first_not_finite(&all).unwrap(), Some("b"), "{dtype:?} {wrong}");
            }
        }
    }

    #[test]
    fn clip_brings_all_gradients_to_one_norm() {
        let set = set();
        let members = [member("a", &[1, 1], &set), member("b", &[1, 1], &set)];
        let mut both = gradients(3.0, &members[..1]);
        both.extend(gradients(4.0, &members[1..]));
        assert_eq!(clip(&mut both, 1.0).expect("a norm"), 5.0);
        assert!((norm(both.values()).expect("a norm") - 1.0).abs() < 1e-6);
    }
}
