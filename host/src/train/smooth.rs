//! An average of the gradients over the updates (`gradient_ema`).
//!
//! ```text
//! m = d m + (1 - d) g      first update: m = g
//! g' = m, or g + gain m    (Grokfast, Lee et al. 2024, arXiv:2405.20233, algorithm 2)
//! ```
//! As in the published code (github.com/ironjr/grokfast, `grokfast.py`) it begins as the first gradient, and the optimizer with its momentum,
//! moments and decay comes behind it. A parameter without gradient has one of zero.

use super::optim::{Gradients, blended};
use crate::manifest::GradientEma;
use candle_core::{Result, Tensor};
use std::collections::HashMap;

/// Averages by a parameter's full name.
#[derive(Default)]
pub(super) struct Smooth(HashMap<String, Tensor>);

impl Smooth {
    /// Takes in the gradient of a parameter, and puts in its place what the parameter moves by.
    ///
    /// # Errors
    /// candle fails.
    pub(super) fn apply(&mut self, rule: &GradientEma, name: &str, gradients: &mut Gradients) -> Result<()> {
        let gradient = gradients.remove(name);
        let mean = match (self.0.get(name), &gradient) {
            (Some(mean), Some(gradient)) => blended(mean, gradient, rule.decay)?,
            (Some(mean), None) => mean.affine(rule.decay, 0.0)?,
            (None, Some(gradient)) => gradient.clone(),
            (None, None) => return Ok(()),
        };
        let moved = match (rule.gain, gradient) {
            (Some(gain), Some(gradient)) => (gradient + mean.affine(gain, 0.0)?)?,
            (Some(gain), None) => mean.affine(gain, 0.0)?,
            (None, _) => mean.clone(),
        };
        self.0.insert(name.to_owned(), mean);
        gradients.insert(name.to_owned(), moved);
        Ok(())
    }

    /// All averages.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, mean)| (name.as_str(), mean))
    }

    /// Takes a saved average over.
    pub(super) fn restore(&mut self, name: &str, mean: Tensor) {
        self.0.insert(name.to_owned(), mean);
    }
}

#[cfg(test)]
mod tests {
    use super::{GradientEma, Gradients, Smooth};
    use crate::ops::tests::flat;
    use candle_core::{Device, Tensor};

    /// What a parameter moves by at each update.
    fn moves(gain: Option<f64>, of: &[Option<f64>]) -> Vec<Option<f64>> {
        let (rule, mut smooth) = (GradientEma { decay: 0.75, gain }, Smooth::default());
        let mut step = |gradient: &Option<f64>| {
            let tensor = |value: f64| ("w".to_owned(), Tensor::new(&[value], &Device::Cpu).unwrap());
            let mut gradients: Gradients = gradient.map(tensor).into_iter().collect();
            smooth.apply(&rule, "w", &mut gradients).unwrap();
            gradients.get("w").map(|moved| flat(moved)[0])
        };
        of.iter().map(&mut step).collect()
    }

    #[test]
    fn average_stands_in_the_gradients_place_or_is_added_to_it() {
        // By hand: 4; 0.75 * 4 + 0.25 * 8 = 5; 0.75 * 5 = 3.75 without a gradient; 0.75 * 3.75 - 0.25 * 4 = 1.8125.
        let given = [None, Some(4.0), Some(8.0), None, Some(-4.0)];
        assert_eq!(moves(None, &given), [None, Some(4.0), Some(5.0), Some(3.75), Some(1.8125)]);
        assert_eq!(moves(Some(2.0), &given), [None, Some(12.0), Some(18.0), Some(7.5), Some(-0.375)]);
    }
}
