//! First values of parameters, by the run's seed and the parameter's name.

use crate::data::Rng;
use stillhouse_plugin::Init;

/// Values of a tensor of this shape. The same seed and name give the same values, whatever else is made before.
pub fn initialise(init: &Init, shape: &[usize], seed: u64, name: &str) -> Vec<f64> {
    let count = shape.iter().product();
    let mut rng = Rng::new(seed, &format!("init:{name}"), 0);
    let (fan_in, fan_out) = fans(shape);
    let mut uniform = |low: f64, high: f64| (0..count).map(|_| low + (high - low) * rng.uniform_f64()).collect();
    match *init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Constant { value } => vec![value; count],
        Init::Uniform { low, high } => uniform(low, high),
        Init::KaimingUniform { gain } => {
            let bound = gain * (3.0 / fan_in).sqrt();
            uniform(-bound, bound)
        }
        Init::BiasUniform { fan_in } => {
            let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
            uniform(-bound, bound)
        }
        Init::Normal { mean, std } => (0..count).map(|_| mean + std * rng.normal()).collect(),
        Init::KaimingNormal { gain, fan_out: out } => {
            let std = gain / if out { fan_out } else { fan_in }.sqrt();
            (0..count).map(|_| std * rng.normal()).collect()
        }
        Init::XavierNormal { gain } => {
            let std = gain * (2.0 / (fan_in + fan_out)).sqrt();
            (0..count).map(|_| std * rng.normal()).collect()
        }
    }
}

/// Inputs and outputs that one element of a weight `[out, in, ...]` connects, at least 1 each.
fn fans(shape: &[usize]) -> (f64, f64) {
    let at = |d: usize| shape.get(d).copied().unwrap_or(1).max(1);
    let kernel: usize = shape.iter().skip(2).product();
    ((at(1) * kernel).max(1) as f64, (at(0) * kernel).max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deviation(values: &[f64]) -> f64 {
        (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn initialise_kaiming_normal_has_the_deviation_of_its_fan() {
        let init = Init::KaimingNormal { gain: 2f64.sqrt(), fan_out: true };
        let values = initialise(&init, &[64, 16, 3, 3], 1, "conv");
        assert!((deviation(&values) - (2.0 / (64.0 * 9.0f64)).sqrt()).abs() < 2e-3);
    }

    #[test]
    fn initialise_layer_default_stays_in_pytorchs_bound() {
        let values = initialise(&Init::layer_default(), &[10, 25], 1, "fc");
        let largest = values.iter().fold(0f64, |a, v| a.max(v.abs()));
        assert!(largest <= 0.2 && largest > 0.19, "{largest}");
    }

    #[test]
    fn initialise_depends_on_seed_and_name_only() {
        let init = Init::Normal { mean: 0.0, std: 1.0 };
        let of = |seed, name| initialise(&init, &[4], seed, name);
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(2, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
    }
}
