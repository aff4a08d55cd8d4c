//! Golden cases that a test makes itself.

use super::naive::Map;
use super::{folder, plugins};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use stillhouse::eval::{Float, GoldenMap, run_case};

/// Plugins that the map of golden cases needs.
pub const PLUGINS: &[&str] = &[
    "activation",
    "afd",
    "basics",
    "connectors",
    "crd",
    "crkd",
    "dense",
    "fitnet",
    "ft",
    "kd",
    "logits",
    "maps",
    "rkd",
    "similarity",
    "skd",
    "tmu",
];

/// Values that look random, of about this size; those of neighbouring seeds are far from each other.
pub fn noise(count: usize, seed: usize, size: f64) -> Vec<f64> {
    (0..count).map(|at| size * (at as f64 * 72.61 + seed as f64 * 2.4 + (at as f64 * 0.61).cos()).sin()).collect()
}

/// A map of such values.
pub fn map(dims: [usize; 4], seed: usize) -> Map {
    Map { dims, values: noise(dims.iter().product(), seed, 1.3) }
}

/// A case that a test makes.
pub struct Made {
    algorithm: &'static str,
    variant: &'static str,
    hyperparameters: Value,
    /// `"train"`, `"eval"` or null.
    pub mode: Value,
    tensors: HashMap<String, Tensor>,
}

impl Made {
    /// Of this algorithm and variant, without tensors.
    pub fn new(algorithm: &'static str, variant: &'static str, hyperparameters: Value) -> Made {
        Made { algorithm, variant, hyperparameters, mode: Value::Null, tensors: HashMap::new() }
    }

    /// With real values.
    pub fn with(mut self, name: &str, dims: &[usize], values: &[f64]) -> Made {
        self.tensors.insert(name.into(), Tensor::from_vec(values.to_vec(), dims, &Device::Cpu).expect("fits"));
        self
    }

    /// With a map.
    pub fn map(self, name: &str, map: &Map) -> Made {
        self.with(name, &map.dims, &map.values)
    }

    /// With whole numbers.
    pub fn whole(mut self, name: &str, values: &[i64]) -> Made {
        self.tensors.insert(name.into(), Tensor::from_vec(values.to_vec(), values.len(), &Device::Cpu).expect("fits"));
        self
    }

    /// With what is expected of the loss.
    pub fn loss(self, value: f64) -> Made {
        self.with("out.loss", &[], &[value])
    }

    /// Runs it in both precisions; it must come out as expected.
    #[track_caller]
    pub fn check(self) {
        let (registry, folder) = (plugins(PLUGINS), folder());
        let path = folder.path().join("made.json");
        let description = json!({
            "case": "made", "algorithm": self.algorithm, "variant": self.variant,
            "hyperparameters": self.hyperparameters, "mode": self.mode,
        });
        std::fs::write(&path, description.to_string()).expect("is written");
        candle_core::safetensors::save(&self.tensors, path.with_extension("safetensors")).expect("is written");
        let golden =
            GoldenMap::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/map.toml")).expect("is read");
        for float in [Float::F64, Float::F32] {
            let report = run_case(&registry, &golden, &path, None, float)
                .unwrap_or_else(|error| panic!("{}", error.with_hint()));
            assert!(report.passed(), "{report}");
        }
    }
}
