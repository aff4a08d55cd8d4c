//! Sums and extremes of a row in 16 lanes, the same order on each instruction set.

const LANES: usize = 16;

/// `init` in each lane, `step(lane, element)` on the elements in turn, lanes returned. Always inlined, and so is `step`
/// where it is a function that is.
macro_rules! lanes {
    ($init:expr, $values:expr, |$lane:ident, $value:ident| $step:expr) => {{
        let mut lanes = [$init; 16];
        let (blocks, rest) = $values.as_chunks::<16>();
        for block in blocks {
            for ($lane, $value) in lanes.iter_mut().zip(block) {
                $step;
            }
        }
        for ($lane, $value) in lanes.iter_mut().zip(rest) {
            $step;
        }
        lanes
    }};
}
pub(crate) use lanes;

/// Halves added to halves: a fixed tree.
#[inline(always)]
pub(crate) fn fold(mut lanes: [f64; LANES]) -> f64 {
    let mut size = LANES;
    while size > 1 {
        size /= 2;
        for at in 0..size {
            lanes[at] += lanes[at + size];
        }
    }
    lanes[0]
}

/// Sum in `f64`.
#[inline(always)]
pub(crate) fn total(values: &[f32]) -> f64 {
    fold(lanes!(0f64, values, |lane, value| *lane += f64::from(*value)))
}

/// Largest element; negative infinity of none. NaN is passed over.
#[inline(always)]
pub(crate) fn maximum(values: &[f32]) -> f32 {
    let lanes = lanes!(f32::NEG_INFINITY, values, |lane, value| *lane = if *value > *lane { *value } else { *lane });
    let mut top = lanes[0];
    for lane in lanes {
        top = if lane > top { lane } else { top };
    }
    top
}

/// `sum a b` in `f64`.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0f64; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f64::from(*a) * f64::from(*b);
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += f64::from(*a) * f64::from(*b);
    }
    fold(lanes)
}
