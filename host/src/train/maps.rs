//! Metrics of a predicted map beside the true one, as of saliency maps: Bylinskii, Judd, Oliva, Torralba & Durand 2019
//! (arXiv:1604.03605), Sec. 4, and the code of the MIT Saliency Benchmark (cvzoya/saliency: code_forMetrics).
//!
//! A metric is `None` where the true map leaves it open, and does not count then. A prediction that is the same everywhere is
//! given what chance has: no correlation, a uniform distribution, an area of one half.

use super::error::TrainError;
use crate::ops::run_op;
use candle_core::{DType, Tensor};
use serde::Serialize;
use stillhouse_plugin::op::Op;

/// Means over maps, each channel a map of its own. A metric is there when it is defined for one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct MapScores {
    /// Squared error, mean over places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mse: Option<f64>,
    /// Pearson's correlation, -1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cc: Option<f64>,
    /// Similarity as distributions, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sim: Option<f64>,
    /// Normalised scanpath saliency: the prediction's standard scores at the fixated places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nss: Option<f64>,
    /// Area under Judd's curve, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
}

impl MapScores {
    /// A metric by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        match name {
            "mse" => self.mse,
            "cc" => self.cc,
            "sim" => self.sim,
            "nss" => self.nss,
            "auc" => self.auc,
            _ => None,
        }
    }
}

/// Of a predictor of maps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct MapMetrics {
    /// Of its predictions.
    #[serde(flatten)]
    pub predicted: MapScores,
    /// Of the map at the newest frame, in place of every prediction, where the data know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<MapScores>,
}

/// Sums over the maps for which a metric is defined.
#[derive(Default)]
pub(super) struct MapSums([(f64, u64); 5]);

impl MapSums {
    /// Adds a batch. Where sizes differ the prediction is resized (bilinear); without fixations a map's places above one half are.
    pub(super) fn add(
        &mut self,
        predicted: &Tensor,
        map: &Tensor,
        fixations: Option<&Tensor>,
    ) -> Result<(), TrainError> {
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

    fn means(&self) -> Option<MapScores> {
        let [mse, cc, sim, nss, auc] = self.0.map(|(sum, count)| (count > 0).then(|| sum / count as f64));
        mse.map(|_| MapScores { mse, cc, sim, nss, auc })
    }

    /// The means, with those of persistence; `None` without a map.
    pub(super) fn metrics(&self, still: &MapSums) -> Option<MapMetrics> {
        Some(MapMetrics { predicted: self.means()?, persistence: still.means() })
    }
}

/// Pearson's correlation of both maps (CC.m), -1 to 1. `None` for a true map that is the same everywhere.
pub fn correlation(predicted: &[f64], map: &[f64]) -> Option<f64> {
    let (ours, theirs) = (centred(predicted), centred(map));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (own, other) = (product(&ours, &ours), product(&theirs, &theirs));
    if other == 0.0 {
        return None;
    }
    Some(if own == 0.0 { 0.0 } else { product(&ours, &theirs) / (own * other).sqrt() })
}

/// What both maps share as distributions (similarity.m): the sum of the smaller values, 0 to 1. Each is brought to 0..1 and then to
/// a sum of 1. `None` for a true map that is the same everywhere.
pub fn similarity(predicted: &[f64], map: &[f64]) -> Option<f64> {
    let theirs = distribution(map)?;
    let uniform = || vec![1.0 / predicted.len() as f64; predicted.len()];
    let ours = distribution(predicted).unwrap_or_else(uniform);
    Some(ours.iter().zip(&theirs).map(|(a, b)| a.min(*b)).sum())
}

/// Normalised scanpath saliency (NSS.m): the mean at the fixated places of the prediction with mean 0 and deviation 1 (of the
/// sample, n - 1). `None` without such a place.
pub fn scanpath(predicted: &[f64], fixated: &[bool]) -> Option<f64> {
    let centred = centred(predicted);
    let squares: f64 = centred.iter().map(|value| value * value).sum();
    let deviation = (squares / (predicted.len() as f64 - 1.0).max(1.0)).sqrt();
    let at: Vec<f64> = centred.iter().zip(fixated).filter(|(_, fixated)| **fixated).map(|(value, _)| *value).collect();
    let mean = at.iter().sum::<f64>() / at.len() as f64;
    (!at.is_empty()).then_some(if deviation == 0.0 { 0.0 } else { mean / deviation })
}

/// Area under the curve of true over false positives, Judd's variant (AUC_Judd.m): the thresholds are the values at the fixated
/// places, with straight lines between them. `None` where no place, or every one, is fixated.
///
/// The source breaks ties by noise; here equal values pass a threshold together. Other places between two thresholds count half, so
/// that it can be above the share of pairs in the right order.
pub fn area_judd(predicted: &[f64], fixated: &[bool]) -> Option<f64> {
    let side = |wanted: bool| {
        let of = predicted.iter().zip(fixated).filter(|(_, fixated)| **fixated == wanted).map(|(value, _)| *value);
        let mut values: Vec<f64> = of.collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values
    };
    let (hits, others) = (side(true), side(false));
    if hits.is_empty() || others.is_empty() {
        return None;
    }
    let share = |values: &[f64], threshold: f64| {
        values.partition_point(|value| *value >= threshold) as f64 / values.len() as f64
    };
    let mut thresholds = hits.clone();
    thresholds.dedup();
    let points = thresholds.iter().map(|threshold| [share(&others, *threshold), share(&hits, *threshold)]);
    let (mut area, mut last) = (0.0, [0.0, 0.0]);
    for [x, y] in points.chain([[1.0, 1.0]]) {
        area += (x - last[0]) * 0.5 * (y + last[1]);
        last = [x, y];
    }
    Some(area)
}

fn centred(values: &[f64]) -> Vec<f64> {
    let first = values.first().copied().unwrap_or_default();
    // Relative to a value, so that equal ones give exactly 0.
    let mean = values.iter().map(|value| value - first).sum::<f64>() / values.len() as f64;
    values.iter().map(|value| value - first - mean).collect()
}

fn distribution(values: &[f64]) -> Option<Vec<f64>> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let sum: f64 = values.iter().map(|value| value - low).sum();
    (sum > 0.0).then(|| values.iter().map(|value| (value - low) / sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, wanted: f64) {
        assert!(found.is_some_and(|found| (found - wanted).abs() < 1e-12), "{found:?}, not {wanted}");
    }

    #[test]
    fn correlation_of_hand_worked_maps() {
        // Deviations (-1, 0, 1) and (-1, 1, 0): 1 / 2.
        near(correlation(&[1.0, 2.0, 3.0], &[0.0, 2.0, 1.0]), 0.5);
        near(correlation(&[5.0, 3.0], &[0.0, 1.0]), -1.0);
        near(correlation(&[0.3; 3], &[0.0, 2.0, 1.0]), 0.0);
        assert_eq!(correlation(&[1.0, 2.0, 3.0], &[0.7; 3]), None);
    }

    #[test]
    fn similarity_of_hand_worked_maps() {
        // From (1, 3, 2): (0, 2, 1) / 3. From (4, 0, 0): all on the first. From (2, 1, 0): (2, 1, 0) / 3.
        near(similarity(&[1.0, 3.0, 2.0], &[4.0, 0.0, 0.0]), 0.0);
        near(similarity(&[1.0, 3.0, 2.0], &[2.0, 1.0, 0.0]), 1.0 / 3.0);
        near(similarity(&[-2.0, 2.0, 0.0], &[0.0, 1.0, 0.5]), 1.0);
        near(similarity(&[0.4; 4], &[0.0, 1.0, 0.0, 0.0]), 0.25);
        assert_eq!(similarity(&[1.0, 2.0], &[0.0, 0.0]), None);
    }

    #[test]
    fn scanpath_of_a_hand_worked_map() {
        // Mean 3, deviation 2 (squares 4 + 0 + 4 over 2); the places with 5 and 3: (1 + 0) / 2.
        near(scanpath(&[1.0, 3.0, 5.0], &[false, true, true]), 0.5);
        near(scanpath(&[2.0; 3], &[true, false, false]), 0.0);
        assert_eq!(scanpath(&[1.0, 2.0], &[false; 2]), None);
    }

    #[test]
    fn area_of_hand_worked_maps() {
        // Thresholds 4 and 2: (0, 1/2), (1/2, 1). Between them 1/2 x 3/4, behind them 1/2.
        near(area_judd(&[4.0, 3.0, 2.0, 1.0], &[true, false, true, false]), 0.875);
        near(area_judd(&[0.9, 0.1, 0.8, 0.2], &[true, false, true, false]), 1.0);
        near(area_judd(&[0.1, 0.9], &[true, false]), 0.5);
        near(area_judd(&[0.7; 5], &[true, false, false, true, false]), 0.5);
        // Ties: threshold 1 takes all but the last, (2/3, 1).
        near(area_judd(&[1.0, 1.0, 1.0, 0.0], &[true, false, false, false]), 1.0 / 3.0 + 1.0 / 3.0);
        assert_eq!(area_judd(&[1.0, 2.0], &[true; 2]), None);
        assert_eq!(area_judd(&[1.0, 2.0], &[false; 2]), None);
    }

    #[test]
    fn prop_metrics_do_not_depend_on_scale_and_shift() {
        let predicted: Vec<f64> = (0..40).map(|at| (f64::from(at) * 1.7).sin()).collect();
        let map: Vec<f64> = (0..40).map(|at| 1.0 + (f64::from(at) * 0.9).cos()).collect();
        let fixated: Vec<bool> = map.iter().map(|value| *value > 1.5).collect();
        let moved: Vec<f64> = predicted.iter().map(|value| 3.0 * value - 7.0).collect();
        for (own, other) in [
            (correlation(&predicted, &map), correlation(&moved, &map)),
            (similarity(&predicted, &map), similarity(&moved, &map)),
            (scanpath(&predicted, &fixated), scanpath(&moved, &fixated)),
            (area_judd(&predicted, &fixated), area_judd(&moved, &fixated)),
        ] {
            near(other, own.expect("is defined"));
        }
    }
}
