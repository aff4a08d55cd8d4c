//! Metrics of a model on a part of the data.

use super::batch::{fields, view_field};
use super::error::TrainError;
use super::maps::{area_judd, correlation, scanpath, similarity};
use super::models::Model;
use crate::data::{FIXATIONS, Loader, LoaderSpec, MAP, Samples, ViewSpec};
use crate::exec::PassSpec;
use crate::graph::Source;
use crate::ops::{Moment, run_op};
use candle_core::{DType, Device, Tensor};
use serde::Serialize;
use stillhouse_plugin::op::Op;

/// What a model reaches on a part of the data. `accuracy` and `nll` are there with labels and one score a class, the others with
/// maps and as many channels of output; without either only `samples` is there.
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
    /// Mean squared error of maps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mse: Option<f64>,
    /// Pearson's correlation of maps, -1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cc: Option<f64>,
    /// Similarity of maps as distributions, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sim: Option<f64>,
    /// Normalised scanpath saliency of maps: the prediction's standard scores at the fixated places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nss: Option<f64>,
    /// Area under Judd's curve of maps, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
}

impl Metrics {
    /// A metric by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        match name {
            "accuracy" => self.accuracy,
            "nll" => self.nll,
            "mse" => self.mse,
            "cc" => self.cc,
            "sim" => self.sim,
            "nss" => self.nss,
            "auc" => self.auc,
            _ => None,
        }
    }

    /// The metric that the best weights are chosen by; of maps `cc` stands in for `accuracy`, both of which are better when larger.
    pub fn chosen(&self, name: &str) -> Option<f64> {
        self.get(name).or_else(|| if name == Self::MAIN[0] { self.get(Self::MAIN[1]) } else { None })
    }

    /// Names that [`Metrics::get`] knows.
    pub const NAMES: [&'static str; 7] = ["accuracy", "nll", "mse", "cc", "sim", "nss", "auc"];
    /// Those of maps.
    pub const OF_MAPS: [&'static str; 5] = ["mse", "cc", "sim", "nss", "auc"];
    /// What tells one model from another when nothing is said: of classes, and of maps.
    pub const MAIN: [&'static str; 2] = ["accuracy", "cc"];

    /// Those that were measured, by name.
    pub fn measured(&self) -> impl Iterator<Item = (&'static str, f64)> {
        Self::NAMES.into_iter().filter_map(|name| Some((name, self.get(name)?)))
    }
}

/// Sums over the maps for which a metric is defined, in the order of [`Metrics::OF_MAPS`].
#[derive(Default)]
struct MapSums([(f64, u64); 5]);

impl MapSums {
    /// Adds a batch. Where sizes differ the prediction is resized (bilinear); without fixations a map's places above one half are.
    fn add(&mut self, predicted: &Tensor, map: &Tensor, fixations: Option<&Tensor>) -> Result<(), TrainError> {
        let dims = map.dims();
        let size = [dims[2], dims[3]];
        let resized = match predicted.dims()[2..] == size {
            true => predicted.clone(),
            false => run_op(&Op::ResizeBilinear { size }, &[predicted], predicted.device())?.swap_remove(0),
        };
        let plane = size[0] * size[1];
        let flat = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let (predicted, map, fixations) = (flat(&resized)?, flat(map)?, fixations.map(flat).transpose()?);
        for (at, (ours, theirs)) in predicted.chunks(plane).zip(map.chunks(plane)).enumerate() {
            let (places, above) = match &fixations {
                Some(places) => (&places[at * plane..(at + 1) * plane], 0.0),
                None => (theirs, 0.5),
            };
            let fixated: Vec<bool> = places.iter().map(|value| *value > above).collect();
            let squares: f64 = ours.iter().zip(theirs).map(|(a, b)| (a - b) * (a - b)).sum();
            let found = [
                Some(squares / plane as f64),
                correlation(ours, theirs),
                similarity(ours, theirs),
                scanpath(ours, &fixated),
                area_judd(ours, &fixated),
            ];
            for (sum, value) in self.0.iter_mut().zip(found) {
                *sum = (sum.0 + value.unwrap_or_default(), sum.1 + u64::from(value.is_some()));
            }
        }
        Ok(())
    }

    fn means(&self) -> [Option<f64>; 5] {
        self.0.map(|(sum, count)| (count > 0).then(|| sum / count as f64))
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
    let (mut right, mut nll, mut seen, mut labelled, mut maps) = (0.0, 0.0, 0, 0, MapSums::default());
    for served in Loader::new(samples, spec)? {
        let tensors = fields(served?, float, device)?;
        let Some(input) = tensors.get(&field) else { continue };
        let mut forward = model.network.forward(input, &pass, &Moment::default())?;
        let Some(logits) = forward.taps.remove(&output).and_then(|mut frames| frames.pop()) else { continue };
        let count = logits.dim(0)?;
        seen += count;
        if let Some(map) = tensors.get(MAP).filter(|map| channels == map.dims().get(1).copied()) {
            maps.add(&logits, map, tensors.get(FIXATIONS))?;
        }
        let (Some(labels), true) = (tensors.get(crate::data::LABEL), classes) else { continue };
        labelled += count;
        let best = run_op(&Op::ArgMax { dim: 1, keep: false }, &[&logits], device)?.swap_remove(0);
        let hits = best.eq(labels)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        let loss = run_op(&Op::CrossEntropy { smoothing: 0.0 }, &[&logits, labels], device)?.swap_remove(0);
        right += hits;
        nll += loss.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
    }
    let mean = |sum: f64| (labelled > 0).then(|| sum / labelled as f64);
    let [mse, cc, sim, nss, auc] = maps.means();
    Ok(Metrics { samples: seen, accuracy: mean(right), nll: mean(nll), mse, cc, sim, nss, auc })
}
