//! Parameters and buffers of a part between its calls, and random numbers.

use super::array::Array;
use crate::op::{DType, Meta};
use crate::sdk::{Init, Rng};

/// One parameter or buffer.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) array: Array,
    /// True for parameters.
    pub(super) trained: bool,
}

/// Everything that `bind` made.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) entries: Vec<Stored>,
}

impl Store {
    pub(super) fn get(&self, name: &str) -> Result<&Stored, String> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        format!("the part has no parameter or buffer `{name}`; it has: {}", known.join(", "))
    }

    /// Adds one, initialised.
    pub(super) fn add(&mut self, name: &str, meta: Meta, init: &str, trained: bool) -> Result<(), String> {
        if self.get(name).is_ok() {
            return Err(format!("`{name}` was made before"));
        }
        let init: Init = serde_json::from_str(init).map_err(|error| format!("initialisation of `{name}`: {error}"))?;
        let array = Array::new(meta.clone(), initial(&init, &meta.shape, &mut rng(&["init", name])));
        self.entries.push(Stored { name: name.into(), array, trained });
        Ok(())
    }

    /// Overwrites the values of one.
    pub(super) fn overwrite(&mut self, name: &str, values: &[f64]) -> Result<(), String> {
        let unknown = self.unknown(name);
        let entry = self.entries.iter_mut().find(|entry| entry.name == name).ok_or(unknown)?;
        if entry.array.values.len() != values.len() {
            return Err(format!("`{name}` is {}, got {} values", entry.array.meta, values.len()));
        }
        entry.array = Array::new(entry.array.meta.clone(), values.to_vec());
        Ok(())
    }
}

/// A generator by text.
pub(super) fn rng(words: &[&str]) -> Rng {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    for byte in words.iter().flat_map(|word| word.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    Rng::from_seed(hash)
}

/// A standard normal number (Box and Muller).
pub(super) fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.uniform()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.uniform()).cos()
}

fn initial(init: &Init, shape: &[usize], rng: &mut Rng) -> Vec<f64> {
    let count = shape.iter().product();
    let kernel: usize = shape.iter().skip(2).product();
    let of = |at: usize| (shape.get(at).copied().unwrap_or(1) * kernel).max(1) as f64;
    let (outputs, inputs) = (of(0), of(usize::from(shape.len() > 1)));
    let mut each = |draw: &dyn Fn(&mut Rng) -> f64| (0..count).map(|_| draw(rng)).collect();
    let between = |low: f64, high: f64| move |rng: &mut Rng| low + (high - low) * rng.uniform();
    let around = |mean: f64, std: f64| move |rng: &mut Rng| mean + std * normal(rng);
    match *init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Constant { value } => vec![value; count],
        Init::Uniform { low, high } => each(&between(low, high)),
        Init::Normal { mean, std } => each(&around(mean, std)),
        Init::KaimingNormal { gain, fan_out } => {
            each(&around(0.0, gain / (if fan_out { outputs } else { inputs }).sqrt()))
        }
        Init::KaimingUniform { gain } => {
            let bound = gain * (3.0 / inputs).sqrt();
            each(&between(-bound, bound))
        }
        Init::XavierNormal { gain } => each(&around(0.0, gain * (2.0 / (inputs + outputs)).sqrt())),
        Init::BiasUniform { fan_in } => {
            let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
            each(&between(-bound, bound))
        }
    }
}

/// The element type that a part's state has here: every float is the training type.
pub(super) fn training_type(code: u32) -> Result<DType, String> {
    match DType::from_code(code) {
        Some(DType::F32 | DType::F64) => Ok(DType::F64),
        Some(other) => Ok(other),
        None => Err(format!("unknown element type {code}")),
    }
}
