//! The end of `stillhouse run RUN/receipt.toml`: whether the numbers are those of the receipt.

use super::{FAILED, show};
use crate::receipt::{self, Receipt, agreement};
use crate::report::Table;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// The receipt in this file, where it is one; it was understood when the run began.
pub(super) fn given(path: &Path) -> Option<Receipt> {
    receipt::given(path).ok().flatten().map(|given| given.receipt)
}

/// Tells whether a repetition agrees; its exit code says so, too.
pub(super) fn tell(then: &Receipt, now: &Receipt, table: &Table, as_json: bool) -> ExitCode {
    let agreement = agreement(then, now);
    let told = show(&match as_json {
        true => format!("{:#}\n", json!({ "table": table, "agreement": agreement })),
        false => format!("\n{table}\n{agreement}"),
    });
    if agreement.agrees { told } else { ExitCode::from(FAILED) }
}
