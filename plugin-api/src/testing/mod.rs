//! Parts in process, in `f64`: for doc examples and authors' unit tests.
//!
//! A [`Bench`] makes a component as a host does (from its configuration in JSON, through the one object that crosses), binds
//! it to symbols, traces it, and runs it on given values over a reference implementation of every operation: plain loops,
//! reverse-mode gradients, no other library. What holds here holds in the host, which is tested against the same rules.
//!
//! [`Run`] has the results: terms, outputs, gradients, written buffers, emitted values. [`Bench::check_gradients`] compares
//! every gradient with finite differences; [`golden::Case`] reads vectors of a reference implementation.
//!
//! ```
//! # use stillhouse_plugin::prelude::*;
//! # use stillhouse_plugin::testing::Bench;
//! # #[derive(Deserialize, JsonSchema)]
//! # struct Nothing {}
//! struct Bias;
//! impl Component for Bias {
//!     type Config = Nothing;
//!     const NAME: &'static str = "bias";
//!     fn new(_: Nothing) -> Result<Self> { Ok(Bias) }
//! }
//! impl Connector for Bias {
//!     fn bind(&mut self, cx: &BindCx, _from: &Tensor, to: &Tensor) -> Result<()> {
//!         cx.add_param("shift", &to.dims()?[1..], &Init::Zeros);
//!         Ok(())
//!     }
//!     fn forward(&self, cx: &Cx, x: &Tensor) -> Result<Tensor> { Ok(x + cx.param("shift")) }
//! }
//! # fn main() -> Result<()> {
//! let mut bench = Bench::connector::<Bias>("{}")?
//!     .input("from", &[2, 1], &[1.0, 2.0])
//!     .input("to", &[2, 1], &[0.0, 0.0])
//!     .param("shift", &[10.0]);
//! let run = bench.run()?;
//! assert_eq!(run.output().values, [11.0, 12.0]);
//! assert_eq!(run.grad_param("shift"), [2.0]);
//! bench.check_gradients(1e-6)?;
//! # Ok(())
//! # }
//! ```

mod array;
mod bench;
mod builder;
pub mod golden;
mod gradients;
mod helpers;
mod host;
mod kernels;
mod ports;
mod run;
mod session;
mod store;
mod tape;
#[cfg(test)]
mod tests;

pub use array::Array;
pub use bench::Bench;
pub use helpers::{numbers, refused};
pub use run::Run;
