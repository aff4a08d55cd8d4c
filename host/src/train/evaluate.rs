//! Metrics of a model on a part of the data.

use super::batch::{fields, view_field};
use super::error::TrainError;
use super::frames::{FrameMetrics, NearnessSum};
use super::maps::{MapMetrics, MapSums};
use super::models::Model;
use crate::data::{Batch, DataError, FIXATIONS, Loader, LoaderSpec, MAP, STILL, Samples, ViewSpec};
use crate::exec::PassSpec;
use crate::graph::Source;
use crate::ops::{Moment, run_op};
use candle_core::{DType, Device, Tensor};
use serde::Serialize;
use stillhouse_plugin::op::Op;

/// What a model reaches on a part of the data. `accuracy` and `nll` are there with labels and one score a class, `maps` with maps
/// and as many channels of output; without either only `samples` is there.
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
    /// Of a predictor of frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<FrameMetrics>,
    /// Of a predictor of maps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maps: Option<MapMetrics>,
}

impl Metrics {
    /// A metric by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        match name {
            "accuracy" => self.accuracy,
            "nll" => self.nll,
            "mse" if self.frames.is_none() => self.maps?.predicted.mse,
            "mse" => Some(self.frames?.predicted.mse),
            "ssim" => Some(self.frames?.predicted.ssim),
            "psnr" => Some(self.frames?.predicted.psnr),
            name => self.maps?.predicted.get(name),
        }
    }

    /// Names that [`Metrics::get`] knows.
    pub const NAMES: [&'static str; 9] = ["accuracy", "nll", "mse", "ssim", "psnr", "cc", "sim", "nss", "auc"];
    /// Those of maps.
    pub const OF_MAPS: [&'static str; 5] = ["mse", "cc", "sim", "nss", "auc"];
    /// What tells one model from another when nothing is said: of classes, and of maps.
    pub const MAIN: [&'static str; 2] = ["accuracy", "cc"];

    /// Whether a metric is of a predictor of frames.
    pub fn is_of_frames(name: &str) -> bool {
        matches!(name, "mse" | "ssim" | "psnr")
    }
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
    if let Some(given) = model.network.graph.given() {
        return predicted(model, given, samples, batch, (float, device));
    }
    let view = ViewSpec { augment: false, ..model.view.clone() };
    let field = view_field(&view.name);
    let spec = LoaderSpec { views: vec![view], ..LoaderSpec::new(batch) };
    let output = Source::Layer(model.network.graph.output);
    let pass = PassSpec { want: vec![output.clone()], ..PassSpec::default() };
    let classes = matches!(model.network.shape(&output).as_deref(), Some([_]));
    let channels = match model.network.shape(&output).as_deref() {
        Some([channels, _, _]) => Some(*channels),
        _ => None,
    };
    let (mut right, mut nll, mut seen, mut labelled) = (0.0, 0.0, 0, 0);
    let (mut maps, mut still) = (MapSums::default(), MapSums::default());
    for batch in readable(samples, spec)? {
        let tensors = fields(batch?, float, device)?;
        let Some(input) = tensors.get(&field) else { continue };
        let mut forward = model.network.forward(input, &pass, &Moment::default())?;
        let Some(logits) = forward.taps.remove(&output).and_then(|mut frames| frames.pop()) else { continue };
        let count = logits.dim(0)?;
        seen += count;
        if let Some(map) = tensors.get(MAP).filter(|map| channels == map.dims().get(1).copied()) {
            let places = tensors.get(FIXATIONS);
            maps.add(&logits, map, places)?;
            tensors.get(STILL).map_or(Ok(()), |last| still.add(last, map, places))?;
        }
        let (Some(labels), true) = (tensors.get(crate::data::LABEL), classes) else { continue };
        labelled += count;
        let best = run_op(&Op::ArgMax { dim: 1, keep: false }, &[&logits], device)?.swap_remove(0);
        let hits = best.eq(labels)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        let loss = run_op(&Op::CrossEntropy { smoothing: 0.0 }, &[&logits, labels], device)?.swap_remove(0);
        right += hits;
        nll += loss.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
    }
    check_seen(seen, samples)?;
    let mean = |sum: f64| (labelled > 0).then(|| sum / labelled as f64);
    Ok(Metrics { samples: seen, accuracy: mean(right), nll: mean(nll), frames: None, maps: maps.metrics(&still) })
}

/// Runs a predictor over all clips. Behind the given frames it reads its own predictions.
fn predicted(
    model: &Model,
    given: usize,
    samples: &Samples,
    batch: usize,
    (float, device): (DType, &Device),
) -> Result<Metrics, TrainError> {
    let view = ViewSpec { augment: false, ..model.view.clone() };
    let field = view_field(&view.name);
    let spec = LoaderSpec { views: vec![view], ..LoaderSpec::new(batch) };
    let output = Source::Layer(model.network.graph.output);
    let pass = PassSpec { want: vec![output.clone()], ..PassSpec::default() };
    let plane = match model.network.graph.input[..] {
        [_, height, width] => [height, width],
        _ => [1, 1],
    };
    let (mut own, mut still, mut seen) = (NearnessSum::default(), NearnessSum::default(), 0);
    for batch in readable(samples, spec)? {
        let tensors = fields(batch?, float, device)?;
        let Some(input) = tensors.get(&field) else { continue };
        let forward = model.network.forward(input, &pass, &Moment::default())?;
        let predictions = forward.taps.get(&output).map(Vec::as_slice).unwrap_or_default();
        let rows = |frame: &Tensor| -> Result<Vec<Vec<f32>>, TrainError> {
            let mut rows = frame.to_dtype(DType::F32)?.flatten_from(1)?.to_vec2::<f32>()?;
            rows.iter_mut().for_each(|row| as_data(row, &model.view, plane));
            Ok(rows)
        };
        let frame = |at: usize| rows(&input.narrow(1, at, 1)?.squeeze(1)?.contiguous()?);
        let last = frame(given - 1)?;
        seen += last.len();
        for (position, prediction) in predictions.iter().enumerate().skip(given - 1) {
            let wanted = frame(position + 1)?;
            for ((got, wanted), last) in rows(&prediction.contiguous()?)?.iter().zip(&wanted).zip(&last) {
                own.add(got, wanted, plane);
                still.add(last, wanted, plane);
            }
        }
    }
    check_seen(seen, samples)?;
    let frames = FrameMetrics { predicted: own.mean(), persistence: still.mean() };
    Ok(Metrics { samples: seen, frames: Some(frames), ..Metrics::default() })
}

/// Batches that have a sample.
fn readable(samples: &Samples, spec: LoaderSpec) -> Result<impl Iterator<Item = Result<Batch, DataError>>, DataError> {
    Ok(Loader::new(samples, spec)?.filter(|served| served.as_ref().map_or(true, |batch| !batch.is_empty())))
}

fn check_seen(seen: usize, samples: &Samples) -> Result<(), DataError> {
    match samples.len() {
        count if seen == 0 && count > 0 => Err(DataError::NothingLeft { samples: count }),
        _ => Ok(()),
    }
}

/// Takes a view's normalisation back.
fn as_data(frame: &mut [f32], view: &ViewSpec, plane: [usize; 2]) {
    let of = |list: &[f32], channel: usize, default| list.get(channel).or(list.first()).copied().unwrap_or(default);
    for (channel, map) in frame.chunks_mut((plane[0] * plane[1]).max(1)).enumerate() {
        let (mean, std) = (of(&view.mean, channel, 0.0), of(&view.std, channel, 1.0));
        map.iter_mut().for_each(|value| *value = *value * std + mean);
    }
}
