//! Parts on given tensors: one part ([`run_part`]), or the parts that make up a golden case ([`run_case`]).
//!
//! Both go the way of training: a part is found and made, sees its inputs ([`BoundPart::bind`](crate::ops::BoundPart::bind)),
//! gets the values of its parameters, runs ([`BoundPart::run`](crate::ops::BoundPart::run)) on candle's tape, and candle takes
//! the gradients. Tensors come from safetensors files by name:
//!
//! | in | meaning | out | meaning |
//! |---|---|---|---|
//! | `input.<port>`, `input.<port>.<i>` | values of a port | `out.loss` | the scalar |
//! | `param.<name>` | a parameter | `out.<term>`, `out.<name>` | terms, outputs, emitted values |
//! | `frozen.<name>` | a parameter whose gradient is not wanted | `grad.<leaf>` | gradient of a student's input or parameter |
//! | `buffer.<name>` | a buffer | `buffer_after.<name>` | the buffer after the step |
//! | `cotangent.<name>` | weights of `out.<name>` in the scalar | | |
//!
//! A run that keeps the inputs of failing calls writes them as cases that name a part ([`FailedCall`]), which is called again.
//!
//! A golden case names an algorithm, not parts. A [`GoldenMap`] says which parts those are, and [`compare`] holds what came out
//! against what the case expects.

mod case;
mod compare;
mod engine;
mod error;
mod map;
mod network;
mod node;
mod part;
mod pattern;
mod replay;
mod report;
mod rule;
mod setting;
mod tensors;

pub use case::{Case, Float32};
pub use compare::{Check, Comparison, Verdict, compare};
pub use error::EvalError;
pub use map::GoldenMap;
pub use part::{PartEval, run_part};
pub use replay::FailedCall;
pub use report::{CaseReport, EvalReport, Outcome, print};
pub use rule::run_case;
pub use tensors::{Float, Tensors};
