//! What is kept of a sample, and its bytes.

use crate::exec::Forward;
use crate::graph::Source;
use crate::manifest::{Keep, Numbers};
use candle_core::{DType, Device, Tensor};
use half::f16;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The bytes of one sample: tap after tap, frame after frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Layout {
    /// Numbers have 16 bits; 32 else.
    pub(super) half: bool,
    /// What is kept, in the order of the wanted points.
    pub(super) taps: Vec<Kept>,
}

/// Most values of a sample and frame, and most frames of all taps, that a header is believed.
const MOST_VALUES: usize = 1 << 28;
const MOST_FRAMES: usize = 1 << 16;

/// What is kept of one tap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) frames: usize,
    /// Of one sample and frame.
    pub(super) shape: Vec<usize>,
    /// A map lies in memory as `[H, W, C]`.
    pub(super) channels_last: bool,
    /// So many of the largest values, and a mean of the others.
    pub(super) top: Option<usize>,
}

/// Why values cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("a value of {0:e} does not fit half precision: write `numbers = \"f32\"`")]
    Overflow(f32),
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Kept {
    /// Values of one sample and frame; none where that is no number that a file could have.
    fn values(&self) -> Option<usize> {
        let product = self.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        product.filter(|values| *values <= MOST_VALUES)
    }

    /// Bytes of one sample.
    fn bytes(&self, number: usize) -> Option<usize> {
        let values = self.values()?;
        let frame = match self.top {
            // Values, their places, and the mean of the others.
            Some(top) => top.checked_mul(number + 4)?.checked_add(4)?,
            None => values * number,
        };
        frame.checked_mul(self.frames)
    }
}

impl Layout {
    /// The layout of what a forward gave.
    ///
    /// # Errors
    /// candle fails.
    pub(super) fn of(
        found: &Forward,
        want: &[Source],
        keep: Keep,
        output: &Source,
    ) -> candle_core::Result<Option<Layout>> {
        let half = keep.numbers == Some(Numbers::F16);
        let mut taps = vec![];
        for point in want {
            let frames = found.taps.get(point).map(Vec::as_slice).unwrap_or_default();
            let Some(first) = frames.first().filter(|first| first.rank() > 0) else { return Ok(None) };
            let channels_last = is_channels_last(first)?;
            let mut shape = first.dims()[1..].to_vec();
            if channels_last {
                shape.rotate_left(1);
            }
            let top = keep.top.filter(|top| point == output && shape.len() == 1 && *top < shape[0]);
            taps.push(Kept { frames: frames.len(), shape, channels_last, top });
        }
        Ok(Some(Layout { half, taps }))
    }

    fn number(&self) -> usize {
        if self.half { 2 } else { 4 }
    }

    /// Bytes of one sample; none where that is no number that a file could have.
    pub(super) fn bytes(&self) -> Option<usize> {
        let bytes = |kept: &Kept| kept.bytes(self.number());
        let frames = self.taps.iter().fold(0usize, |sum, kept| sum.saturating_add(kept.frames));
        if frames > MOST_FRAMES {
            return None;
        }
        self.taps.iter().try_fold(0usize, |sum, kept| sum.checked_add(bytes(kept)?))
    }

    /// The bytes of every sample of a forward that has this layout.
    ///
    /// # Errors
    /// A value does not fit the numbers, or candle fails.
    pub(super) fn encode(&self, want: &[Source], found: &Forward) -> Result<Vec<Vec<u8>>, KeepError> {
        let mut rows: Vec<Vec<u8>> = vec![];
        for (kept, point) in self.taps.iter().zip(want) {
            for frame in found.taps.get(point).into_iter().flatten() {
                let frame = if kept.channels_last { frame.permute((0, 2, 3, 1))? } else { frame.clone() };
                let size = frame.elem_count() / frame.dim(0)?.max(1);
                let values = frame.contiguous()?.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
                rows.resize_with(frame.dim(0)?, Vec::new);
                for (row, values) in rows.iter_mut().zip(values.chunks_exact(size.max(1))) {
                    match kept.top {
                        Some(top) => self.push_top(top, values, row)?,
                        None => self.push(values, row)?,
                    }
                }
            }
        }
        Ok(rows)
    }

    fn push(&self, values: &[f32], row: &mut Vec<u8>) -> Result<(), KeepError> {
        let begin = row.len();
        row.resize(begin + values.len() * self.number(), 0);
        if !self.half {
            let places = row[begin..].as_chunks_mut::<4>().0;
            places.iter_mut().zip(values).for_each(|(place, value)| *place = value.to_le_bytes());
            return Ok(());
        }
        for (place, value) in row[begin..].as_chunks_mut::<2>().0.iter_mut().zip(values) {
            let rounded = f16::from_f32(*value);
            if rounded.is_infinite() && value.is_finite() {
                return Err(KeepError::Overflow(*value));
            }
            *place = rounded.to_le_bytes();
        }
        Ok(())
    }

    fn push_top(&self, top: usize, values: &[f32], row: &mut Vec<u8>) -> Result<(), KeepError> {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
        let (largest, others) = order.split_at(top.min(order.len()));
        self.push(&largest.iter().map(|at| values[*at]).collect::<Vec<f32>>(), row)?;
        largest.iter().for_each(|at| row.extend((*at as u32).to_le_bytes()));
        row.extend(log_mean_exp(others.iter().map(|at| values[*at])).to_le_bytes());
        Ok(())
    }

    /// The values of samples whose bytes these are, point by point, as a forward gives them.
    ///
    /// # Errors
    /// candle fails.
    pub(super) fn decode(
        &self,
        want: &[Source],
        rows: &[Vec<u8>],
        device: &Device,
    ) -> candle_core::Result<HashMap<Source, Vec<Tensor>>> {
        let mut taps = HashMap::new();
        let mut at = 0;
        for (kept, point) in self.taps.iter().zip(want) {
            let bytes = kept.bytes(self.number()).unwrap_or(0) / kept.frames.max(1);
            let size = kept.values().unwrap_or(0);
            let mut frames = vec![];
            for _ in 0..kept.frames {
                let mut values = Vec::with_capacity(size * rows.len());
                for row in rows {
                    let raw = row.get(at..at + bytes).unwrap_or_default();
                    match kept.top {
                        Some(top) => self.pull_top(raw, top, size, &mut values),
                        None => self.pull(raw, &mut values),
                    }
                }
                at += bytes;
                let shape = [vec![rows.len()], kept.shape.clone()].concat();
                let frame = Tensor::from_vec(values, shape, device)?;
                frames.push(if kept.channels_last { frame.permute((0, 3, 1, 2))? } else { frame });
            }
            taps.insert(point.clone(), frames);
        }
        Ok(taps)
    }

    fn pull(&self, raw: &[u8], values: &mut Vec<f32>) {
        match self.half {
            true => values.extend(raw.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32())),
            false => values.extend(raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
        }
    }

    fn pull_top(&self, raw: &[u8], top: usize, size: usize, values: &mut Vec<f32>) {
        let begin = values.len();
        let (largest, rest) = raw.split_at(top * self.number());
        let (places, others) = rest.split_at(top * 4);
        let mut kept = vec![];
        self.pull(largest, &mut kept);
        let others = others.first_chunk::<4>().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
        values.resize(begin + size, others);
        for (place, value) in places.as_chunks::<4>().0.iter().zip(kept) {
            if let Some(at) = values.get_mut(begin + u32::from_le_bytes(*place) as usize) {
                *at = value;
            }
        }
    }
}

/// True for a map whose memory is `[N, H, W, C]`.
fn is_channels_last(tensor: &Tensor) -> candle_core::Result<bool> {
    Ok(tensor.rank() == 4 && !tensor.is_contiguous() && tensor.permute((0, 2, 3, 1))?.is_contiguous())
}

/// `ln(mean(exp(x)))`: each of the values put there keeps the sum of the exponentials, so that a softmax gives the others what it
/// gave them.
fn log_mean_exp(values: impl Iterator<Item = f32> + Clone) -> f32 {
    let largest = values.clone().fold(f32::NEG_INFINITY, f32::max);
    if !largest.is_finite() {
        return largest;
    }
    let (sum, count) = values
        .fold((0.0f64, 0u32), |(sum, count), value| (sum + (f64::from(value) - f64::from(largest)).exp(), count + 1));
    (f64::from(largest) + (sum / f64::from(count)).ln()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: Source = Source::Layer(3);
    const MAP: Source = Source::Layer(1);

    fn forward() -> Forward {
        let logits = Tensor::new(&[[1f32, 4.0, -2.0, 3.0], [0.1, 0.3, 0.2, 70000.0]], &Device::Cpu).expect("small");
        let map = Tensor::arange(0f32, 24.0, &Device::Cpu).and_then(|map| map.reshape((2, 2, 2, 3))).expect("small");
        let map = map.permute((0, 3, 1, 2)).expect("four dimensions");
        Forward { taps: [(LOGITS, vec![logits]), (MAP, vec![map])].into(), ..Forward::default() }
    }

    fn through(keep: Keep, found: &Forward) -> Result<HashMap<Source, Vec<Tensor>>, KeepError> {
        let want = [MAP, LOGITS];
        let layout = Layout::of(found, &want, keep, &LOGITS)?.expect("both are there");
        let rows = layout.encode(&want, found)?;
        assert!(rows.iter().all(|row| Some(row.len()) == layout.bytes()));
        Ok(layout.decode(&want, &rows, &Device::Cpu)?)
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("values")
    }

    #[test]
    fn kept_values_come_back_with_their_order_in_memory() {
        let found = forward();
        let back = through(Keep { numbers: Some(Numbers::F32), top: None }, &found).expect("is kept");
        for (point, frames) in &found.taps {
            assert_eq!(values(&back[point][0]), values(&frames[0]));
            assert_eq!(back[point][0].stride(), frames[0].stride());
        }
    }

    #[test]
    fn half_precision_rounds_and_says_what_does_not_fit() {
        let mut found = forward();
        let keep = Keep { numbers: Some(Numbers::F16), top: None };
        assert!(matches!(through(keep, &found), Err(KeepError::Overflow(value)) if value == 70000.0));
        found
            .taps
            .insert(LOGITS, vec![Tensor::new(&[[1.0001f32, 2.0], [f32::INFINITY, 0.0]], &Device::Cpu).expect("x")]);
        let back = through(keep, &found).expect("is kept");
        assert_eq!(values(&back[&LOGITS][0]), [1.0, 2.0, f32::INFINITY, 0.0]);
    }

    /// The others keep their share of a softmax: e + e^-2 is split evenly.
    #[test]
    fn top_values_keep_the_softmax_of_the_others() {
        let back = through(Keep { numbers: Some(Numbers::F32), top: Some(2) }, &forward()).expect("is kept");
        let others = ((1f64.exp() + (-2f64).exp()) / 2.0).ln() as f32;
        assert_eq!(values(&back[&LOGITS][0])[..4], [others, 4.0, others, 3.0]);
        assert_eq!(values(&back[&MAP][0]), values(&forward().taps[&MAP][0]), "maps are whole");
        // As many as there are: nothing to save.
        let whole = through(Keep { numbers: Some(Numbers::F32), top: Some(4) }, &forward()).expect("is kept");
        assert_eq!(values(&whole[&LOGITS][0]), values(&forward().taps[&LOGITS][0]));
    }
}
