//! What a step reports.

use crate::ops::Emitted;
use crate::train::error::TrainError;
use serde::Serialize;
use std::rc::Rc;

/// What a step reports of one term.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TermValue {
    /// Name in logs.
    pub name: String,
    /// As the part gave it.
    pub raw: f64,
    /// Factor at this update.
    pub weight: f64,
    /// Norm of its gradient over the updated parameters, weight included, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
}

/// What a step reports.
#[derive(Debug, Default)]
pub struct StepReport {
    /// Every term, in order.
    pub terms: Vec<TermValue>,
    /// Sum of weighted terms.
    pub total: f64,
    /// Tensors that parts handed out, with the term's name.
    pub emitted: Vec<(String, Emitted)>,
    /// Lines for the log: level, term, text.
    pub log: Vec<(u32, String, String)>,
    /// True when the parameters moved; false for a batch whose gradients wait for more.
    pub updated: bool,
    /// True for every batch of an update that is left out from there on.
    pub left_out: bool,
    /// Why the update was left out, on the batch that ends it.
    pub skipped: Option<Rc<TrainError>>,
}
