//! What most tests of losses begin and end with. All panic, with a text that says why: they are for tests.

use super::{Array, Bench, Run, golden::Case};
use crate::sdk::Loss;

/// `n` numbers between -1 and 1 that look random and depend on `seed`.
pub fn numbers(seed: f64, n: usize) -> Vec<f64> {
    (0..n).map(|i| (seed + 1.7 * i as f64 + (0.61 * i as f64).cos()).sin()).collect()
}

/// What a loss says of settings that it refuses.
#[track_caller]
pub fn refused<T: Loss>(config: &str) -> String {
    match Bench::loss::<T>(config) {
        Ok(_) => panic!("`{}` takes {config}", T::NAME),
        Err(error) => error.to_string(),
    }
}

impl Bench {
    /// A run that must work.
    #[track_caller]
    pub fn ran(mut self) -> Run {
        self.run().unwrap_or_else(|error| panic!("`{}` must run: {error}", self.desc().name))
    }

    /// A run that must work, with finite gradients.
    #[track_caller]
    pub fn finite(self) -> Run {
        let run = self.ran();
        assert!(run.all_grads().all(|grad| grad.is_finite()), "a gradient is not finite: {run:?}");
        run
    }

    /// What the component says of inputs that it refuses.
    #[track_caller]
    pub fn refusal(mut self) -> String {
        match self.run() {
            Ok(_) => panic!("`{}` takes these inputs", self.desc().name),
            Err(error) => error.to_string(),
        }
    }
}

impl Case {
    /// The bench with the case's values in the ports `student` and `teacher`.
    pub fn given(&self, bench: Bench) -> Bench {
        let values = |side: &str| {
            let prefix = format!("input.{side}.");
            self.names().filter(|name| name.starts_with(&prefix)).map(|name| self.array(name)).collect::<Vec<_>>()
        };
        let (students, teachers) = (values("student"), values("teacher"));
        bench.input_list("student", &shaped(&students)).input_list("teacher", &shaped(&teachers))
    }

    /// Runs a bench that has its inputs; loss and gradients of the student's values must be the case's.
    #[track_caller]
    pub fn check(&self, bench: Bench) -> Run {
        let run = bench.ran();
        self.assert_values("out.loss", &[run.loss()]);
        let gradients = self.names().filter(|name| name.starts_with("grad.input.student."));
        for (at, name) in gradients.enumerate() {
            self.assert_gradient(name, run.grad_at("student", at));
        }
        run
    }
}

fn shaped<'a>(arrays: &[&'a Array]) -> Vec<(&'a [usize], &'a [f64])> {
    arrays.iter().map(|array| (array.shape(), &array.values[..])).collect()
}
