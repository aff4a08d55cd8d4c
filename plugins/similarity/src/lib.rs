//! How alike the samples of a batch are: [`Sp`] (rows of a similarity matrix), [`Pkt`] (similarities as probabilities) and
//! [`Cc`] (correlation of neighbours' differences).
//!
//! Each loss is one file, with its settings; the [README](https://github.com/stillhouse/stillhouse/tree/main/plugins/similarity)
//! has manifest fragments.

mod cc;
mod pkt;
mod rows;
mod sp;

pub use cc::{Cc, CcConfig};
pub use pkt::{Pkt, PktConfig};
pub use sp::{Sp, SpConfig};

stillhouse_plugin::export_plugin!();
