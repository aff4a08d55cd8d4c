//! Whether the parts of a plugin keep the rules: what a host may do to a part is done to it, on generated inputs.
//!
//! | check | what must hold |
//! |---|---|
//! | `schema` | tables are closed, defaults fit their own schema, are taken, and mean what no settings mean |
//! | `settings` | unknown keys, wrong types and values out of range are refused in words, those of inner tables too |
//! | `shapes` | inputs of any rank, batch and pairing are taken or refused in words; some are taken |
//! | `values` | results are finite, of the right shape, and alike in `f32` and `f64`, as are gradients; on large inputs, too |
//! | `extremes` | zeros, equal rows, a match of both sides, logits of 60 and features of 1e4 give finite results or words, not always words |
//! | `gradients` | each equals the difference quotient of the result, in `f64`; what passes no gradient is held |
//! | `reach` | every tap of every student's port (but for frames of the data) and every parameter gets a gradient; the teacher gets none |
//! | `samples` | a batch gives what its halves give, unless the part says that it compares the samples of a batch |
//! | `repeat` | a second run, a second part and other numbers of threads give the same bits |
//! | `state` | parameters and buffers hold all that there is to keep: after a save and a load the next step is the same |
//! | `variants` | other values of settings, one by one, keep `values`, `extremes`, `gradients` and `reach` |
//! | `unfused` | own operations equal their composite form in both types, on large inputs, too; time and memory beside it |
//!
//! [`check_part`] does this to one component by the way of training ([`BoundPart`](crate::ops::BoundPart)); a module runs in evaluation, too, and two
//! frames more with the state that it gave. A part may end the process; the command runs each in a process of its own.

mod close;
mod extremes;
mod gradients;
mod kit;
mod reach;
mod repeat;
mod report;
mod samples;
mod scene;
mod schema;
mod settings;
mod shapes;
mod state;
mod subject;
mod unfused;
mod values;
mod variants;

pub use kit::{CHECKS, check_part};
pub use report::{Checked, PartReport, Verdict};
