//! Shapes and element types of results, from those of the inputs: the same rules for tracing and for error messages.

use super::{DType, Meta, Op};

type Inferred = Result<Meta, String>;

impl Op {
    /// What the operation gives for inputs of these shapes and types.
    ///
    /// # Errors
    /// A sentence that says what does not fit, without the operation's name.
    pub fn infer(&self, inputs: &[&Meta]) -> Result<Vec<Meta>, String> {
        self.check_count(inputs.len())?;
        let first = match self {
            Op::Add | Op::Sub | Op::Mul | Op::Maximum | Op::Minimum => pointwise(inputs[0], inputs[1])?,
            Op::Div | Op::SmoothL1 { .. } => pointwise(float(inputs[0])?, inputs[1])?,
            Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => pointwise(inputs[0], inputs[1])?,
            Op::Where => where_(inputs)?,
            Op::Reshape { .. }
            | Op::Permute { .. }
            | Op::BroadcastTo { .. }
            | Op::Narrow { .. }
            | Op::Concat { .. } => self.infer_view(inputs)?,
            Op::Cast { dtype } => Meta::new(inputs[0].shape.clone(), *dtype),
            Op::Sum { keep, dims } | Op::Mean { keep, dims } => reduce(float(inputs[0])?, dims, *keep)?,
            Op::Max { dim, keep } | Op::Min { dim, keep } => extreme(float(inputs[0])?, *dim, *keep)?,
            Op::ArgMax { dim, keep } => Meta { dtype: DType::I64, ..extreme(inputs[0], *dim, *keep)? },
            Op::Matmul => matmul(inputs[0], inputs[1])?,
            Op::Gather { .. } | Op::IndexSelect { .. } | Op::OneHot { .. } => self.infer_index(inputs)?,
            Op::Full { shape, dtype, .. } => Meta::new(shape.clone(), *dtype),
            Op::Eye { n, dtype } => Meta::new([*n, *n], *dtype),
            Op::Arange { n, dtype } => Meta::new([*n], *dtype),
            Op::Detach => inputs[0].clone(),
            Op::Softmax { dim } | Op::LogSoftmax { dim } => {
                in_rank(*dim, inputs[0])?;
                float(inputs[0])?.clone()
            }
            Op::Normalize { dims, .. } => {
                distinct_dims(inputs[0], dims)?;
                float(inputs[0])?.clone()
            }
            Op::CrossEntropy { .. } => cross_entropy(inputs)?,
            Op::BatchNormTrain { .. } => return batch_norm_train(inputs),
            Op::BatchNormEval { .. } | Op::LayerNorm { .. } => self.infer_norm(inputs)?,
            Op::Conv2d { .. } | Op::ConvTranspose2d { .. } => self.infer_conv(inputs)?,
            Op::MaxPool2d { .. } | Op::AvgPool2d { .. } | Op::AdaptiveAvgPool2d { .. } => {
                self.infer_window(inputs[0])?
            }
            Op::ResizeBilinear { .. } | Op::ResizeNearest { .. } => self.infer_window(inputs[0])?,
            _ => float(inputs[0])?.clone(),
        };
        Ok(vec![first])
    }

    fn check_count(&self, got: usize) -> Result<(), String> {
        let (low, high) = match self {
            Op::Full { .. } | Op::Eye { .. } | Op::Arange { .. } => (0, 0),
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Maximum | Op::Minimum | Op::SmoothL1 { .. } => (2, 2),
            Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::Matmul => (2, 2),
            Op::Gather { .. } | Op::IndexSelect { .. } | Op::CrossEntropy { .. } => (2, 2),
            Op::Where | Op::BatchNormTrain { .. } => (3, 3),
            Op::Conv2d { .. } | Op::ConvTranspose2d { .. } => (2, 3),
            Op::BatchNormEval { .. } => (5, 5),
            Op::LayerNorm { .. } => (1, 3),
            Op::Concat { .. } => (1, usize::MAX),
            _ => (1, 1),
        };
        if (low..=high).contains(&got) { Ok(()) } else { Err(format!("takes {low} inputs, got {got}")) }
    }

    fn infer_view(&self, inputs: &[&Meta]) -> Inferred {
        let x = inputs[0];
        let shape = match self {
            Op::Reshape { shape } => {
                let same = shape.iter().product::<usize>() == x.count();
                if !same {
                    return Err(format!(
                        "cannot see {x} as {shape:?}: {} elements are not {}",
                        x.count(),
                        shape.iter().product::<usize>()
                    ));
                }
                shape.clone()
            }
            Op::Permute { dims } => permute(x, dims)?,
            Op::BroadcastTo { shape } => {
                if broadcast(&x.shape, shape).as_deref() != Some(shape) {
                    return Err(format!("cannot broadcast {x} to {shape:?}"));
                }
                shape.clone()
            }
            Op::Narrow { dim, start, len } => {
                in_rank(*dim, x)?;
                if start.saturating_add(*len) > x.shape[*dim] {
                    return Err(format!("range {start}..{} leaves dimension {dim} of {x}", start.saturating_add(*len)));
                }
                replaced(&x.shape, *dim, *len)
            }
            Op::Concat { dim } => concat(inputs, *dim)?,
            _ => x.shape.clone(),
        };
        Ok(Meta::new(shape, x.dtype))
    }

    fn infer_index(&self, inputs: &[&Meta]) -> Inferred {
        let x = inputs[0];
        match self {
            Op::Gather { dim } => {
                let index = integer(inputs[1])?;
                in_rank(*dim, x)?;
                let fits = index.shape.len() == x.shape.len()
                    && (0..x.shape.len()).all(|d| d == *dim || index.shape[d] <= x.shape[d]);
                if !fits {
                    return Err(format!("index {index} does not fit {x} at dimension {dim}"));
                }
                Ok(Meta::new(index.shape.clone(), x.dtype))
            }
            Op::IndexSelect { dim } => {
                let index = integer(inputs[1])?;
                in_rank(*dim, x)?;
                if index.shape.len() != 1 {
                    return Err(format!("the index must have one dimension, got {index}"));
                }
                Ok(Meta::new(replaced(&x.shape, *dim, index.shape[0]), x.dtype))
            }
            Op::OneHot { classes, dtype } => {
                let mut shape = integer(x)?.shape.clone();
                shape.push(*classes);
                Ok(Meta::new(shape, *dtype))
            }
            _ => Ok(x.clone()),
        }
    }

    fn infer_norm(&self, inputs: &[&Meta]) -> Inferred {
        let x = float(inputs[0])?;
        let wanted = match self {
            Op::LayerNorm { dims, .. } => {
                if *dims == 0 || *dims > x.shape.len() {
                    return Err(format!("cannot normalise the last {dims} dimensions of {x}"));
                }
                x.shape[x.shape.len() - dims..].to_vec()
            }
            _ => vec![channels(x)?],
        };
        affine_shapes(x, &inputs[1..], &wanted)?;
        Ok(x.clone())
    }

    fn infer_conv(&self, inputs: &[&Meta]) -> Inferred {
        let (x, weight) = (map(inputs[0])?, map(inputs[1])?);
        same_type(x, weight)?;
        let kernel = [weight.shape[2], weight.shape[3]];
        let (out_channels, size) = match self {
            Op::Conv2d { stride, padding, dilation, groups } => {
                if *groups == 0 || x.shape[1] != weight.shape[1] * groups || weight.shape[0] % groups != 0 {
                    return Err(format!("input {x} and weight {weight} do not fit in channels (groups = {groups})"));
                }
                (weight.shape[0], both(|d| window(x.shape[2 + d], kernel[d], stride[d], padding[d], dilation[d]))?)
            }
            Op::ConvTranspose2d { stride, padding, output_padding, dilation, groups } => {
                if *groups == 0 || x.shape[1] != weight.shape[0] || weight.shape[0] % groups != 0 {
                    return Err(format!("input {x} and weight {weight} do not fit in channels (groups = {groups})"));
                }
                let size = both(|d| {
                    let full = (x.shape[2 + d].max(1) - 1) * stride[d]
                        + dilation[d] * (kernel[d].max(1) - 1)
                        + output_padding[d]
                        + 1;
                    full.checked_sub(2 * padding[d])
                        .filter(|size| *size > 0 && stride[d] > 0)
                        .ok_or_else(|| format!("padding {} leaves nothing of {x}", padding[d]))
                })?;
                (weight.shape[1] * groups, size)
            }
            _ => (weight.shape[0], [x.shape[2], x.shape[3]]),
        };
        affine_shapes(x, &inputs[2..], &[out_channels])?;
        Ok(Meta::new([x.shape[0], out_channels, size[0], size[1]], x.dtype))
    }

    fn infer_window(&self, x: &Meta) -> Inferred {
        let x = map(x)?;
        let [height, width] = match self {
            Op::MaxPool2d { kernel, stride, padding } | Op::AvgPool2d { kernel, stride, padding, .. } => {
                if (0..2).any(|d| 2 * padding[d] > kernel[d]) {
                    return Err(format!("padding {padding:?} is more than half of the window {kernel:?}"));
                }
                both(|d| window(x.shape[2 + d], kernel[d], stride[d], padding[d], 1))?
            }
            Op::AdaptiveAvgPool2d { size } | Op::ResizeBilinear { size } | Op::ResizeNearest { size } => {
                if size.contains(&0) || x.shape[2..].contains(&0) {
                    return Err(format!("cannot bring {x} to the size {size:?}"));
                }
                *size
            }
            _ => [x.shape[2], x.shape[3]],
        };
        Ok(Meta::new([x.shape[0], x.shape[1], height, width], x.dtype))
    }
}

/// The common shape of two that broadcast; `None` when they do not.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], d: usize| (d + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    (0..rank)
        .map(|d| match (at(a, d), at(b, d)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

fn pointwise(a: &Meta, b: &Meta) -> Inferred {
    same_type(a, b)?;
    match broadcast(&a.shape, &b.shape) {
        Some(shape) => Ok(Meta::new(shape, a.dtype)),
        None => Err(format!("shapes {:?} and {:?} do not broadcast", a.shape, b.shape)),
    }
}

fn where_(inputs: &[&Meta]) -> Inferred {
    let value = pointwise(inputs[1], inputs[2])?;
    match broadcast(&inputs[0].shape, &value.shape) {
        Some(shape) => Ok(Meta::new(shape, value.dtype)),
        None => Err(format!("mask {:?} and values {:?} do not broadcast", inputs[0].shape, value.shape)),
    }
}

fn reduce(x: &Meta, dims: &[usize], keep: bool) -> Inferred {
    distinct_dims(x, dims)?;
    let reduced = |d: usize| dims.is_empty() || dims.contains(&d);
    let shape: Vec<usize> =
        (0..x.shape.len()).filter(|d| keep || !reduced(*d)).map(|d| if reduced(d) { 1 } else { x.shape[d] }).collect();
    Ok(Meta::new(shape, x.dtype))
}

fn distinct_dims(x: &Meta, dims: &[usize]) -> Result<(), String> {
    dims.iter().try_for_each(|dim| in_rank(*dim, x))?;
    match (1..dims.len()).find(|i| dims[..*i].contains(&dims[*i])) {
        Some(i) => Err(format!("dimension {} of {x} is named twice", dims[i])),
        None => Ok(()),
    }
}

fn extreme(x: &Meta, dim: usize, keep: bool) -> Inferred {
    if x.shape.get(dim) == Some(&0) {
        return Err(format!("{x} has nothing along dimension {dim}"));
    }
    reduce(x, &[dim], keep)
}

fn permute(x: &Meta, dims: &[usize]) -> Result<Vec<usize>, String> {
    let mut sorted = dims.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.shape.len()) {
        return Err(format!("{dims:?} is no order of the {} dimensions of {x}", x.shape.len()));
    }
    Ok(dims.iter().map(|dim| x.shape[*dim]).collect())
}

fn concat(inputs: &[&Meta], dim: usize) -> Result<Vec<usize>, String> {
    let first = inputs[0];
    in_rank(dim, first)?;
    let mut total = 0;
    for next in inputs {
        same_type(first, next)?;
        if next.shape.len() != first.shape.len() || replaced(&next.shape, dim, 0) != replaced(&first.shape, dim, 0) {
            return Err(format!("cannot join {first} and {next} along dimension {dim}"));
        }
        total += next.shape[dim];
    }
    Ok(replaced(&first.shape, dim, total))
}

fn matmul(a: &Meta, b: &Meta) -> Inferred {
    same_type(float(a)?, b)?;
    let (ra, rb) = (a.shape.len(), b.shape.len());
    if ra < 2 || rb < 2 || a.shape[ra - 1] != b.shape[rb - 2] {
        return Err(format!("cannot multiply {:?} by {:?}: inner dimensions must agree", a.shape, b.shape));
    }
    let mut shape = broadcast(&a.shape[..ra - 2], &b.shape[..rb - 2])
        .ok_or_else(|| format!("leading dimensions of {:?} and {:?} do not broadcast", a.shape, b.shape))?;
    shape.extend([a.shape[ra - 2], b.shape[rb - 1]]);
    Ok(Meta::new(shape, a.dtype))
}

fn cross_entropy(inputs: &[&Meta]) -> Inferred {
    let (logits, labels) = (float(inputs[0])?, integer(inputs[1])?);
    if logits.shape.len() != 2 || labels.shape != logits.shape[..1] {
        return Err(format!("wants logits [N, C] and labels [N], got {logits} and {labels}"));
    }
    Ok(Meta::new([logits.shape[0]], logits.dtype))
}

fn batch_norm_train(inputs: &[&Meta]) -> Result<Vec<Meta>, String> {
    let x = float(inputs[0])?;
    let channels = channels(x)?;
    affine_shapes(x, &inputs[1..], &[channels])?;
    if x.count() <= channels {
        return Err(format!("one value a channel has no variance, got {x}"));
    }
    let statistic = Meta::new([channels], x.dtype);
    Ok(vec![x.clone(), statistic.clone(), statistic])
}

fn affine_shapes(x: &Meta, inputs: &[&Meta], wanted: &[usize]) -> Result<(), String> {
    inputs.iter().try_for_each(|input| same_type(x, input))?;
    match inputs.iter().find(|input| input.shape != wanted) {
        Some(wrong) => Err(format!("wants a parameter of shape {wanted:?}, got {wrong}")),
        None => Ok(()),
    }
}

fn window(len: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> Result<usize, String> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return Err("kernel, stride and dilation must be 1 or more".into());
    }
    (len + 2 * padding).checked_sub(dilation * (kernel - 1) + 1).map(|room| room / stride + 1).ok_or_else(|| {
        format!("a window of {} does not fit into {len} (padding {padding})", dilation * (kernel - 1) + 1)
    })
}

fn both(size: impl Fn(usize) -> Result<usize, String>) -> Result<[usize; 2], String> {
    Ok([size(0)?, size(1)?])
}

fn replaced(shape: &[usize], dim: usize, len: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(slot) = shape.get_mut(dim) {
        *slot = len;
    }
    shape
}

fn channels(x: &Meta) -> Result<usize, String> {
    x.shape.get(1).copied().ok_or_else(|| format!("wants [N, C, ...], got {x}"))
}

fn in_rank(dim: usize, x: &Meta) -> Result<(), String> {
    if dim < x.shape.len() { Ok(()) } else { Err(format!("{x} has no dimension {dim}")) }
}

fn float(x: &Meta) -> Result<&Meta, String> {
    if x.dtype.is_float() { Ok(x) } else { Err(format!("wants a float tensor, got {x}")) }
}

fn integer(x: &Meta) -> Result<&Meta, String> {
    if x.dtype == DType::I64 { Ok(x) } else { Err(format!("wants an i64 tensor, got {x}")) }
}

fn map(x: &Meta) -> Result<&Meta, String> {
    if x.shape.len() == 4 { float(x) } else { Err(format!("wants four dimensions, got {x}")) }
}

fn same_type(a: &Meta, b: &Meta) -> Result<(), String> {
    if a.dtype == b.dtype {
        Ok(())
    } else {
        Err(format!("element types differ: {} and {}", a.dtype.name(), b.dtype.name()))
    }
}
