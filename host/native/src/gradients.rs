//! Gradients by tensor.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};
use std::collections::HashMap;

/// Gradients of variables, from any tape.
#[derive(Debug, Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// The gradient of a tensor, if it has one.
    pub fn get(&self, tensor: &Tensor) -> Option<&Tensor> {
        self.0.get(&tensor.id())
    }

    /// Adds to the gradient of a tensor.
    ///
    /// # Errors
    /// Another shape than what it has.
    pub fn add(&mut self, tensor: &Tensor, gradient: Tensor) -> Result<()> {
        self.add_id(tensor.id(), gradient)
    }

    /// Adds what a walk along candle's tape found.
    ///
    /// # Errors
    /// Other shapes than what tensors have.
    pub fn add_store(&mut self, store: &GradStore) -> Result<()> {
        for id in store.get_ids() {
            if let Some(gradient) = store.get_id(*id) {
                self.add_id(*id, gradient.clone())?;
            }
        }
        Ok(())
    }

    fn add_id(&mut self, id: TensorId, gradient: Tensor) -> Result<()> {
        let sum = match self.0.remove(&id) {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        };
        self.0.insert(id, sum.detach());
        Ok(())
    }
}

impl From<GradStore> for Gradients {
    fn from(store: GradStore) -> Gradients {
        let of = |id: &TensorId| Some((*id, store.get_id(*id)?.detach()));
        Gradients(store.get_ids().filter_map(of).collect())
    }
}
