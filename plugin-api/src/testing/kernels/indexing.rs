//! Places of elements in row-major order.

/// Distance between neighbours of each dimension.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

/// For every element of `shape`, the place of the element that broadcasting reads from `source`.
pub(super) fn broadcast_places(source: &[usize], shape: &[usize]) -> Vec<usize> {
    let lead = shape.len() - source.len();
    let steps: Vec<usize> =
        strides(source).into_iter().zip(source).map(|(step, len)| if *len == 1 { 0 } else { step }).collect();
    places(shape, |d| if d < lead { 0 } else { steps[d - lead] })
}

/// For every element of `shape`, `sum_d coordinate_d * step(d)`.
pub(super) fn places(shape: &[usize], step: impl Fn(usize) -> usize) -> Vec<usize> {
    let mut places = vec![0];
    for (d, len) in shape.iter().enumerate() {
        let step = step(d);
        places = places.into_iter().flat_map(|place| (0..*len).map(move |k| place + k * step)).collect();
    }
    places
}

/// The shape after a reduction over `dims` (all when empty) that keeps them with length 1.
pub(super) fn kept(shape: &[usize], dims: &[usize]) -> Vec<usize> {
    let reduced = |d: usize| dims.is_empty() || dims.contains(&d);
    shape.iter().enumerate().map(|(d, len)| if reduced(d) { 1 } else { *len }).collect()
}

/// Elements before, along and after a dimension: `place = (outer * along + k) * inner + rest`.
pub(super) fn split(shape: &[usize], dim: usize) -> (usize, usize, usize) {
    (shape[..dim].iter().product(), shape[dim], shape[dim + 1..].iter().product())
}

/// Calls `each` with the places of the elements of every line along `dim`.
pub(super) fn each_line(shape: &[usize], dim: usize, mut each: impl FnMut(&[usize])) {
    let (outer, along, inner) = split(shape, dim);
    for o in 0..outer {
        for i in 0..inner {
            let line: Vec<usize> = (0..along).map(|k| (o * along + k) * inner + i).collect();
            each(&line);
        }
    }
}

/// The places of the elements of each group that a reduction over `dims` (all when empty) takes together.
pub(super) fn groups(shape: &[usize], dims: &[usize]) -> Vec<Vec<usize>> {
    let kept = kept(shape, dims);
    let mut groups = vec![vec![]; kept.iter().product()];
    for (place, group) in broadcast_places(&kept, shape).into_iter().enumerate() {
        groups[group].push(place);
    }
    groups
}
