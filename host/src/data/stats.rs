//! Mean and deviation of a part, channel by channel: what its views are normalised by when nothing
//! else is said.

use rayon::prelude::*;

use super::error::DataError;
use super::field::Values;
use super::layout::Layout;
use super::samples::{Samples, unit};

/// Samples that are made at once.
const CHUNK: usize = 64;

/// Mean and (population) standard deviation of every channel of `image` or `frames`, over samples,
/// time and pixels.
///
/// Bytes count as value / 255, as views see them. For vectors every feature is a channel. A channel
/// that never changes has deviation 1, so that dividing by it is harmless. Use the training part.
///
/// # Shapes and units
/// - returns `([C], [C])`, in the units of the samples
///
/// # Errors
/// `UnknownField` (neither field), `EmptyPart`.
pub fn channel_stats(samples: &Samples) -> Result<(Vec<f32>, Vec<f32>), DataError> {
    if let Some(known) = samples.statistics.get() {
        return Ok(known.clone());
    }
    let found = measured(samples)?;
    Ok(samples.statistics.get_or_init(|| found).clone())
}

fn measured(samples: &Samples) -> Result<(Vec<f32>, Vec<f32>), DataError> {
    let Some((name, field)) = samples.main_field() else {
        return samples.require("channel_stats", "image").map(|_| Default::default());
    };
    if samples.is_empty() {
        let hint = "statistics need samples";
        return Err(DataError::EmptyPart { name: name.to_owned(), part: "train", hint });
    }
    let layout = Layout::of(name, field.shape())?;
    let mut sums = vec![Sums::default(); layout.channels];
    // What is made or read is so in parallel, some of it at a time, and added up in order.
    let made = |&row: &usize| {
        let mut values = Vec::with_capacity(field.size());
        field.push_f32(row, 1.0, &mut values).map(|()| values)
    };
    for rows in samples.indices().chunks(CHUNK).filter(|_| matches!(field.values(), Values::Made(_))) {
        let all: Vec<_> = rows.par_iter().map(made).collect();
        for values in all {
            match values {
                Ok(values) => add(&mut sums, &values, &layout),
                Err(DataError::LeftOut { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    for &row in samples.indices() {
        let range = row * field.size()..(row + 1) * field.size();
        match field.values() {
            Values::U8(values) => add(&mut sums, &values[range], &layout),
            Values::F32(values) => add(&mut sums, &values[range], &layout),
            Values::Made(_) | Values::I64(_) => {}
        }
    }
    let scale = if field.are_bytes() { f64::from(unit(name)) } else { 1.0 };
    Ok(sums.iter().map(|sums| sums.finish(scale)).unzip())
}

/// Running sums about the first value, so that a large mean does not swallow the deviation.
#[derive(Clone, Default)]
struct Sums {
    count: f64,
    origin: f64,
    first: f64,
    second: f64,
}

impl Sums {
    fn finish(&self, scale: f64) -> (f32, f32) {
        let shift = self.first / self.count;
        let variance = (self.second / self.count - shift * shift).max(0.0);
        let deviation = (variance.sqrt() / scale) as f32;
        (((self.origin + shift) / scale) as f32, if deviation > 0.0 { deviation } else { 1.0 })
    }
}

fn add<T: Copy + Into<f64>>(sums: &mut [Sums], sample: &[T], layout: &Layout) {
    for frame in sample.chunks_exact(layout.frame()) {
        for (sums, plane) in sums.iter_mut().zip(frame.chunks_exact(layout.plane())) {
            if sums.count == 0.0 {
                sums.origin = plane.first().map_or(0.0, |&value| value.into());
            }
            sums.count += plane.len() as f64;
            let (mut first, mut second) = (0.0, 0.0);
            for &value in plane {
                let value = value.into() - sums.origin;
                first += value;
                second += value * value;
            }
            sums.first += first;
            sums.second += second;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::Field;
    use super::*;

    fn samples(name: &str, shape: Vec<usize>, values: Values) -> Samples {
        Samples::new([(name.to_owned(), Field::new(shape, values).unwrap())].into_iter().collect()).unwrap()
    }

    #[test]
    fn stats_bytes_are_scaled_by_channel() {
        // Channel 0: 0, 255, 255, 0 (mean 1/2, deviation 1/2); channel 1: constant 51 = 0.2.
        let part = samples("image", vec![2, 1, 2], Values::U8(vec![0, 255, 51, 51, 255, 0, 51, 51]));
        let (mean, std) = channel_stats(&part).unwrap();
        assert_eq!((mean, std), (vec![0.5, 0.2], vec![0.5, 1.0]));
    }

    #[test]
    fn stats_clips_and_vectors_count_over_time() {
        let clips = samples("frames", vec![2, 1, 1, 2], Values::F32(vec![1.0, 3.0, 1.0, 3.0]));
        assert_eq!(channel_stats(&clips).unwrap(), (vec![2.0], vec![1.0]));
        let series = samples("frames", vec![2, 2], Values::F32(vec![1.0, 5.0, 3.0, 9.0]));
        assert_eq!(channel_stats(&series).unwrap(), (vec![2.0, 7.0], vec![1.0, 2.0]));
    }

    #[test]
    fn stats_large_mean_keeps_small_deviation() {
        let values: Vec<f32> = (0..10_000).map(|i| 1e6 + (i % 2) as f32).collect();
        let (_, std) = channel_stats(&samples("image", vec![1], Values::F32(values))).unwrap();
        assert_eq!(std, [0.5]);
    }

    #[test]
    fn stats_part_alone_counts() {
        let all = samples("image", vec![1], Values::F32(vec![1.0, 3.0, 100.0]));
        assert_eq!(channel_stats(&all.select(&[0, 1])).unwrap(), (vec![2.0], vec![1.0]));
        assert!(matches!(channel_stats(&all.select(&[])), Err(DataError::EmptyPart { .. })));
        let none = samples("label", vec![], Values::I64(vec![0]));
        assert!(matches!(channel_stats(&none), Err(DataError::UnknownField { .. })));
    }
}
