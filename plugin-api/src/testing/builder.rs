//! What a [`Bench`] is told before it runs.

use super::array::Array;
use super::bench::Bench;
use super::ports::Given;
use crate::desc::Site;
use crate::sdk::Error;

impl Bench {
    /// Real values for a port.
    pub fn input(self, port: &str, shape: &[usize], values: &[f64]) -> Bench {
        self.array(port, &Array::real(shape, values))
    }

    /// Labels `[N]` for a port.
    pub fn labels(self, port: &str, labels: &[i64]) -> Bench {
        self.array(port, &Array::whole(&[labels.len()], labels))
    }

    /// An array for a port, such as one of a [golden case](super::golden::Case).
    pub fn array(self, port: &str, array: &Array) -> Bench {
        self.give(port, vec![array.clone()], 1)
    }

    /// Several real values, each shape and values, for a port that takes many.
    pub fn input_list(self, port: &str, list: &[(&[usize], &[f64])]) -> Bench {
        let arrays = list.iter().map(|(shape, values)| Array::real(shape, values)).collect();
        self.give(port, arrays, 1)
    }

    /// Frames of one tap, all of one shape, for a port over time. A module works on them one after the other.
    pub fn series(self, port: &str, shape: &[usize], frames: &[&[f64]]) -> Bench {
        let arrays = frames.iter().map(|values| Array::real(shape, values)).collect();
        self.give(port, arrays, frames.len())
    }

    /// State of a module from a frame before the first.
    pub fn state(self, name: &str, shape: &[usize], values: &[f64]) -> Bench {
        self.input(&format!("state.{name}"), shape, values)
    }

    fn give(mut self, port: &str, arrays: Vec<Array>, frames: usize) -> Bench {
        if let Some(wrong) = arrays.iter().find(|array| !array.is_complete()) {
            self.blame(format!("port `{port}` got {} values for {}", wrong.values.len(), wrong.meta));
        }
        self.inputs.retain(|given| given.port != port);
        self.inputs.push(Given { port: port.into(), arrays, frames: frames.max(1) });
        self
    }

    /// Overwrites a parameter after `bind`.
    pub fn param(mut self, name: &str, values: &[f64]) -> Bench {
        self.overwrites.push((name.into(), values.to_vec()));
        self
    }

    /// Overwrites a buffer after `bind`.
    pub fn buffer(self, name: &str, values: &[f64]) -> Bench {
        self.param(name, values)
    }

    /// Weights that turn a result into the scalar that is differentiated: of `output`, of `state.NAME` or of a value by its
    /// name. As many as the last frame has elements, or as all frames have. Without any, the sum of all outputs is taken.
    pub fn cotangent(mut self, result: &str, weights: &[f64]) -> Bench {
        self.cotangents.push((result.into(), weights.to_vec()));
        self
    }

    /// Training (the default) or evaluation.
    pub fn training(mut self, on: bool) -> Bench {
        self.place.info.training = u32::from(on);
        self
    }

    /// Epoch within the stage.
    pub fn epoch(mut self, epoch: u64) -> Bench {
        self.place.info.epoch = epoch;
        self
    }

    /// Updates done in the stage.
    pub fn step(mut self, step: u64) -> Bench {
        self.place.info.step = step;
        self
    }

    /// Updates of an epoch.
    pub fn steps_per_epoch(mut self, steps: u64) -> Bench {
        self.place.info.steps_per_epoch = steps;
        self
    }

    /// Samples of the training set.
    pub fn samples(mut self, samples: u64) -> Bench {
        self.place.info.samples = samples;
        self.site.samples = samples as usize;
        self
    }

    /// Name of the stage.
    pub fn stage(mut self, name: &str) -> Bench {
        self.place.stage = name.into();
        self
    }

    /// Name of the phase.
    pub fn phase(mut self, name: &str) -> Bench {
        self.place.phase = name.into();
        self
    }

    /// What a distiller is told before it plans.
    pub fn site(mut self, site: Site) -> Bench {
        self.site = site;
        self
    }

    /// Keeps the first complaint about what the bench was told; the next run gives it back.
    fn blame(&mut self, message: String) {
        self.fault.get_or_insert(Error::new(message));
    }
}
