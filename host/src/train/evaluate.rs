//! Metrics of a model on a part of the data.

use super::batch::{fields, view_field};
use super::error::TrainError;
use super::models::Model;
use crate::data::{Loader, LoaderSpec, Samples, ViewSpec};
use crate::exec::PassSpec;
use crate::graph::Source;
use crate::ops::{Moment, run_op};
use candle_core::{DType, Device};
use serde::Serialize;
use stillhouse_plugin::op::Op;

/// What a model reaches on a part of the data. Without labels, or without one score a class, only `samples` is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// Samples seen.
    pub samples: usize,
    /// Share of samples whose highest score is that of their label, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean negative logarithm of the label's probability, nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nll: Option<f64>,
}

impl Metrics {
    /// A metric by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        match name {
            "accuracy" => self.accuracy,
            "nll" => self.nll,
            _ => None,
        }
    }

    /// Names that [`Metrics::get`] knows.
    pub const NAMES: [&'static str; 2] = ["accuracy", "nll"];
}

/// Runs the model over all samples, in evaluation mode.
///
/// # Errors
/// Data or network fail.
pub fn evaluate(
    model: &Model,
    samples: &Samples,
    batch: usize,
    float: DType,
    device: &Device,
) -> Result<Metrics, TrainError> {
    let view = ViewSpec { augment: false, ..model.view.clone() };
    let field = view_field(&view.name);
    let spec = LoaderSpec { views: vec![view], ..LoaderSpec::new(batch) };
    let output = Source::Layer(model.network.graph.output);
    let pass = PassSpec { want: vec![output.clone()], ..PassSpec::default() };
    let classes = matches!(model.network.shape(&output).as_deref(), Some([_]));
    let (mut right, mut nll, mut seen, mut labelled) = (0.0, 0.0, 0, 0);
    for served in Loader::new(samples, spec)? {
        let tensors = fields(served?, float, device)?;
        let Some(input) = tensors.get(&field) else { continue };
        let mut forward = model.network.forward(input, &pass, &Moment::default())?;
        let Some(logits) = forward.taps.remove(&output).and_then(|mut frames| frames.pop()) else { continue };
        let count = logits.dim(0)?;
        seen += count;
        let (Some(labels), true) = (tensors.get(crate::data::LABEL), classes) else { continue };
        labelled += count;
        let best = run_op(&Op::ArgMax { dim: 1, keep: false }, &[&logits], device)?.swap_remove(0);
        let hits = best.eq(labels)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        let loss = run_op(&Op::CrossEntropy { smoothing: 0.0 }, &[&logits, labels], device)?.swap_remove(0);
        right += hits;
        nll += loss.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
    }
    let mean = |sum: f64| (labelled > 0).then(|| sum / labelled as f64);
    Ok(Metrics { samples: seen, accuracy: mean(right), nll: mean(nll) })
}
