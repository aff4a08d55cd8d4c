//! Operations whose results are elements of an input: each has a place in it, and the gradient goes back there.

use super::indexing::{broadcast_places, each_line, places, split, strides};
use super::mix::each_window;
use crate::op::Op;
use crate::testing::array::Array;

pub(super) fn forward(op: &Op, inputs: &[&Array], shape: &[usize]) -> Result<Vec<f64>, String> {
    let sources = sources(op, inputs, shape)?;
    Ok(sources.into_iter().map(|(input, place)| inputs[input].values[place]).collect())
}

pub(super) fn backward(
    op: &Op,
    inputs: &[&Array],
    shape: &[usize],
    grad: &[f64],
) -> Result<Vec<Option<Vec<f64>>>, String> {
    let mut grads: Vec<Vec<f64>> = inputs.iter().map(|input| vec![0.0; input.values.len()]).collect();
    for ((input, place), g) in sources(op, inputs, shape)?.into_iter().zip(grad) {
        grads[input][place] += g;
    }
    let constant = |at: usize| match op {
        Op::Where => at == 0,
        Op::Gather { .. } | Op::IndexSelect { .. } => at == 1,
        _ => false,
    };
    Ok(grads.into_iter().enumerate().map(|(at, values)| (!constant(at)).then_some(values)).collect())
}

/// Input and place of every element of the result.
fn sources(op: &Op, inputs: &[&Array], shape: &[usize]) -> Result<Vec<(usize, usize)>, String> {
    let x = inputs[0];
    let first = |places: Vec<usize>| places.into_iter().map(|place| (0, place)).collect();
    Ok(match op {
        Op::Where => choice(inputs, shape),
        Op::Concat { dim } => joined(inputs, *dim),
        Op::Permute { dims } => {
            let steps = strides(x.shape());
            first(places(shape, |d| steps[dims[d]]))
        }
        Op::BroadcastTo { .. } => first(broadcast_places(x.shape(), shape)),
        Op::Narrow { dim, start, .. } => {
            let steps = strides(x.shape());
            let offset = start * steps[*dim];
            first(places(shape, |d| steps[d]).into_iter().map(|place| place + offset).collect())
        }
        Op::Max { dim, .. } => first(extremes(x, *dim, |new, best| new > best)),
        Op::Min { dim, .. } => first(extremes(x, *dim, |new, best| new < best)),
        Op::Gather { dim } => first(gathered(inputs, *dim)?),
        Op::IndexSelect { dim } => first(rows(inputs, *dim)?),
        Op::ResizeNearest { size } => first(nearest(x.shape(), *size)),
        Op::MaxPool2d { .. } => first(largest_of_windows(op, x, shape)),
        // Reshape, cast, detach, scale_grad: the same elements in the same order.
        _ => first((0..x.values.len()).collect()),
    })
}

fn choice(inputs: &[&Array], shape: &[usize]) -> Vec<(usize, usize)> {
    let [mask, yes, no] = [0, 1, 2].map(|at| broadcast_places(inputs[at].shape(), shape));
    let chosen = |i: usize| if inputs[0].values[mask[i]] != 0.0 { (1, yes[i]) } else { (2, no[i]) };
    (0..mask.len()).map(chosen).collect()
}

fn joined(inputs: &[&Array], dim: usize) -> Vec<(usize, usize)> {
    let (outer, _, _) = split(inputs[0].shape(), dim);
    let mut sources = vec![];
    for o in 0..outer {
        for (input, array) in inputs.iter().enumerate() {
            let (_, along, inner) = split(array.shape(), dim);
            sources.extend((0..along * inner).map(|k| (input, o * along * inner + k)));
        }
    }
    sources
}

/// Place of the first extreme of every line.
fn extremes(x: &Array, dim: usize, better: impl Fn(f64, f64) -> bool) -> Vec<usize> {
    let mut places = vec![];
    each_line(x.shape(), dim, |line| {
        places.extend(
            line.iter().copied().reduce(|best, next| if better(x.values[next], x.values[best]) { next } else { best }),
        );
    });
    places
}

/// Index along `dim` of the first largest of every line.
pub(super) fn positions(x: &Array, dim: usize) -> Vec<f64> {
    let (_, along, inner) = split(x.shape(), dim);
    extremes(x, dim, |new, best| new > best).into_iter().map(|place| (place / inner % along) as f64).collect()
}

fn gathered(inputs: &[&Array], dim: usize) -> Result<Vec<usize>, String> {
    let (x, index) = (inputs[0], inputs[1]);
    let steps = strides(x.shape());
    let lines = places(index.shape(), |d| if d == dim { 0 } else { steps[d] });
    let place = |(at, line): (usize, usize)| Ok(line + index.index(at, x.shape()[dim])? * steps[dim]);
    lines.into_iter().enumerate().map(place).collect()
}

fn rows(inputs: &[&Array], dim: usize) -> Result<Vec<usize>, String> {
    let (outer, along, inner) = split(inputs[0].shape(), dim);
    let mut places = vec![];
    for o in 0..outer {
        for k in 0..inputs[1].values.len() {
            let row = inputs[1].index(k, along)?;
            places.extend((0..inner).map(|i| (o * along + row) * inner + i));
        }
    }
    Ok(places)
}

fn nearest(shape: &[usize], size: [usize; 2]) -> Vec<usize> {
    let (height, width) = (shape[2], shape[3]);
    let mut places = vec![];
    for plane in 0..shape[0] * shape[1] {
        for row in 0..size[0] {
            for column in 0..size[1] {
                places.push((plane * height + row * height / size[0]) * width + column * width / size[1]);
            }
        }
    }
    places
}

fn largest_of_windows(op: &Op, x: &Array, shape: &[usize]) -> Vec<usize> {
    let mut best: Vec<Option<usize>> = vec![None; shape.iter().product()];
    each_window(op, x.shape(), shape, &mut |out, place, _| {
        if best[out].is_none_or(|known| x.values[place] > x.values[known]) {
            best[out] = Some(place);
        }
    });
    best.into_iter().map(|place| place.unwrap_or(0)).collect()
}
