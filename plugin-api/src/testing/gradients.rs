//! Gradients against finite differences.

use super::bench::Bench;
use crate::sdk::{Error, Result};

/// Step of the central difference, relative to values above 1.
const STEP: f64 = 1e-5;
/// Gradients below this count as this large when errors are compared with them.
const FLOOR: f64 = 1e-3;

impl Bench {
    /// Compares the gradient of every element of every input that carries one, and of every parameter, with the central
    /// difference of the objective. `tolerance` is relative to the largest gradient; `1e-6` suits smooth losses.
    ///
    /// # Errors
    /// The first element that differs, with both numbers; or what [`run`](Bench::run) gives.
    pub fn check_gradients(&mut self, tolerance: f64) -> Result<()> {
        let run = self.run()?;
        let mut pairs = vec![];
        for port in 0..self.inputs.len() {
            let name = self.inputs[port].port.clone();
            if !self.is_tracked(&name) {
                continue;
            }
            for value in 0..self.inputs[port].arrays.len() {
                for at in 0..self.inputs[port].arrays[value].values.len() {
                    let numeric = self.difference(|bench| &mut bench.inputs[port].arrays[value].values[at])?;
                    pairs.push((format!("{name}[{value}][{at}]"), run.grad_at(&name, value)[at], numeric));
                }
            }
        }
        for entry in
            (0..self.store.entries.len()).filter(|entry| self.store.entries[*entry].trained).collect::<Vec<_>>()
        {
            let name = self.store.entries[entry].name.clone();
            for at in 0..self.store.entries[entry].array.values.len() {
                let numeric = self.difference(|bench| &mut bench.store.entries[entry].array.values[at])?;
                pairs.push((format!("{name}[{at}]"), run.grad_param(&name)[at], numeric));
            }
        }
        compare(&pairs, tolerance)
    }

    /// The central difference by one number.
    fn difference(&mut self, place: impl Fn(&mut Bench) -> &mut f64) -> Result<f64> {
        let before = *place(self);
        let step = STEP * before.abs().max(1.0);
        let mut at = |value: f64| {
            *place(self) = value;
            let found = self.evaluate().and_then(|outcome| outcome.objective(&self.cotangents));
            *place(self) = before;
            found
        };
        Ok((at(before + step)? - at(before - step)?) / (2.0 * step))
    }
}

fn compare(pairs: &[(String, f64, f64)], tolerance: f64) -> Result<()> {
    let largest = pairs.iter().map(|(_, exact, _)| exact.abs()).fold(FLOOR, f64::max);
    let differs =
        |exact: f64, numeric: f64| exact.is_nan() || numeric.is_nan() || (exact - numeric).abs() > tolerance * largest;
    match pairs.iter().find(|(_, exact, numeric)| differs(*exact, *numeric)) {
        None => Ok(()),
        Some((name, exact, numeric)) => {
            Err(Error::new(format!("gradient of {name} is {exact:e}, by differences {numeric:e}")))
        }
    }
}
