//! Weights of terms, constant or changing over training time.

use super::duration::Duration;
use schemars::JsonSchema;
use serde::Deserialize;

/// Factor of a term: a number, a ramp, or points joined by lines.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Weight {
    /// The same all the time.
    Constant(f64),
    /// From one value to another.
    Ramp {
        /// Value until the ramp starts.
        from: f64,
        /// Value after it.
        to: f64,
        /// Length of the ramp.
        over: Duration,
        /// When it starts; at once unless written.
        after: Option<Duration>,
    },
    /// Lines between points, flat before the first and after the last.
    Points {
        /// Pairs of a time and the value then: `[["0 epochs", 0.0], ["20 epochs", 1.0]]`.
        #[schemars(length(min = 1))]
        points: Vec<(Duration, f64)>,
    },
}

impl Weight {
    /// The value at an update, counted from 0.
    ///
    /// ```text
    /// ramp:   from + (to - from) * clamp((step - after) / over, 0, 1)
    /// points: the same between neighbours
    /// ```
    pub fn at(&self, step: u64, steps_per_epoch: u64) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Ramp { from, to, over, after } => {
                let start = after.map_or(0.0, |after| after.steps(steps_per_epoch));
                let end = start + over.steps(steps_per_epoch);
                between(step as f64, (start, *from), (end, *to))
            }
            Self::Points { points } => {
                let points: Vec<_> = points.iter().map(|(time, value)| (time.steps(steps_per_epoch), *value)).collect();
                along(step as f64, &points)
            }
        }
    }

    /// Whether the term never counts, so that it is only logged.
    pub fn is_always_zero(&self) -> bool {
        match self {
            Self::Constant(value) => *value == 0.0,
            Self::Ramp { from, to, .. } => *from == 0.0 && *to == 0.0,
            Self::Points { points } => points.iter().all(|(_, value)| *value == 0.0),
        }
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::Constant(1.0)
    }
}

/// The value on the line between two points, flat outside of them.
fn between(time: f64, (start, from): (f64, f64), (end, to): (f64, f64)) -> f64 {
    if time >= end {
        to
    } else if time <= start {
        from
    } else {
        from + (to - from) * (time - start) / (end - start)
    }
}

/// The value on the lines through `points`.
fn along(time: f64, points: &[(f64, f64)]) -> f64 {
    let next = points.iter().position(|(at, _)| *at > time);
    match (next, points) {
        (Some(0), [first, ..]) => first.1,
        (Some(next), _) => between(time, points[next - 1], points[next]),
        (None, [.., last]) => last.1,
        (None, []) => 0.0,
    }
}
