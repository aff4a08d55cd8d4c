//! An average of the weights over the updates of a stage.
//!
//! ```text
//! a = d a + (1 - d) w      d = min(decay, (1 + n) / (10 + n)) at update n = 0, 1, ...
//! ```
//! It begins as the weights with which the stage begins; the shorter memory at first forgets these soon. Running statistics of
//! batch norms are averaged likewise, so that they are those of the averaged weights' time; what is no float is taken as it is.

use super::models::Model;
use super::store::Tensors;
use crate::ops::ParamSet;
use crate::ops::slices::{change, is_slice, read};
use candle_core::{Result, Tensor};
use std::rc::Rc;

/// The averages of the trained models.
pub(super) struct Average {
    decay: f64,
    updates: u64,
    held: Vec<Held>,
}

struct Held {
    full: String,
    set: Rc<ParamSet>,
    name: String,
    value: Tensor,
}

impl Average {
    /// Begins with the weights as they are.
    ///
    /// # Errors
    /// candle fails.
    pub(super) fn new<'m>(decay: f64, models: impl Iterator<Item = &'m Rc<Model>>) -> Result<Average> {
        let mut held = vec![];
        for model in models {
            for (prefix, set) in model.network.sets() {
                for (name, entry) in set.entries() {
                    let value = entry.var.as_detached_tensor().copy()?;
                    held.push(Held { full: format!("{}/{prefix}{name}", model.name), set: set.clone(), name, value });
                }
            }
        }
        Ok(Average { decay, updates: 0, held })
    }

    /// Takes saved averages over; those that are missing begin with the weights as they are.
    ///
    /// # Errors
    /// candle fails.
    pub(super) fn restore(&mut self, updates: u64, tensors: &Tensors) -> Result<()> {
        self.updates = updates;
        for held in &mut self.held {
            if let Some(saved) = tensors.get(&held.full).filter(|saved| saved.dims() == held.value.dims()) {
                held.value = saved.to_dtype(held.value.dtype())?;
            }
        }
        Ok(())
    }

    /// Updates that it has seen.
    pub(super) fn updates(&self) -> u64 {
        self.updates
    }

    /// All averages by name.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.held.iter().map(|held| (held.full.as_str(), &held.value))
    }

    /// Takes the weights in after an update.
    ///
    /// # Errors
    /// candle fails.
    pub(super) fn update(&mut self) -> Result<()> {
        let n = self.updates as f64;
        let keep = self.decay.min((1.0 + n) / (10.0 + n));
        self.updates += 1;
        for held in &mut self.held {
            let Some(entry) = held.set.get(&held.name) else { continue };
            let now = entry.var.as_detached_tensor();
            if is_slice(&now) && is_slice(&held.value) {
                let share = (1.0 - keep) as f32;
                read(&now, |now| {
                    change(&held.value, |values| {
                        values.iter_mut().zip(now).for_each(|(value, now)| *value += share * (now - *value));
                    })
                })??;
            } else if now.dtype().is_float() {
                held.value = (held.value.affine(keep, 0.0)? + now.affine(1.0 - keep, 0.0)?)?;
            } else {
                held.value = now.copy()?;
            }
        }
        Ok(())
    }

    /// Puts the averages in place of the weights, and keeps these.
    ///
    /// # Errors
    /// candle fails.
    pub(super) fn swap(&mut self) -> Result<()> {
        for held in &mut self.held {
            let Some(entry) = held.set.get(&held.name) else { continue };
            let now = entry.var.as_detached_tensor().copy()?;
            held.set.assign(&held.name, &held.value)?;
            held.value = now;
        }
        Ok(())
    }
}
