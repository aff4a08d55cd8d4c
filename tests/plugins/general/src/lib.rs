//! Small components, one for each thing that a method may ask of the host. See the README for a list.

mod alternating;
mod conv_lstm_cell;
mod every_frame;
mod fused_four;
mod gated_cell;
mod misplanned;
mod parameter_pull;
mod reads_value;
mod row_bank;
mod two_stages;

pub use alternating::{Alternating, AlternatingConfig};
pub use conv_lstm_cell::{ConvLstmCell, ConvLstmCellConfig};
pub use every_frame::{EveryFrame, EveryFrameConfig};
pub use fused_four::FusedFour;
pub use gated_cell::GatedCell;
pub use misplanned::{Fault, Misplanned, MisplannedConfig};
pub use parameter_pull::{ParameterPull, ParameterPullConfig};
pub use reads_value::{ReadsValue, ReadsValueConfig, ReadsWithoutSaying};
pub use row_bank::{RowBank, RowBankConfig};
pub use two_stages::{TwoStages, TwoStagesConfig};

use stillhouse_plugin::prelude::*;

/// No settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// The tensor, unless it is empty: a mean over nothing is no number.
pub(crate) fn filled(name: &str, tensor: Tensor) -> Result<Tensor> {
    let dims = tensor.dims()?;
    ensure!(!dims.contains(&0), "`{name}` wants values, got {dims:?}");
    Ok(tensor)
}

stillhouse_plugin::export_plugin!();
