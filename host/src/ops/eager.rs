//! Operations on candle tensors: the meaning that the vocabulary gives them, on candle's tape.

use super::native::{self, Pool2d, Reduction};
use super::pointwise::pointwise;
use candle_core::{DType as CandleType, Device, Result, Tensor};
use stillhouse_plugin::op::{DType, Meta, Op};

/// candle's name of an element type.
pub fn to_candle_dtype(dtype: DType) -> CandleType {
    match dtype {
        DType::F32 => CandleType::F32,
        DType::F64 => CandleType::F64,
        DType::I64 => CandleType::I64,
        DType::U8 => CandleType::U8,
    }
}

/// The vocabulary's name of candle's element type; types that no operation makes count as bytes.
pub fn from_meta_dtype(dtype: CandleType) -> DType {
    match dtype {
        CandleType::F64 => DType::F64,
        CandleType::F32 | CandleType::F16 | CandleType::BF16 => DType::F32,
        CandleType::I64 | CandleType::U32 => DType::I64,
        _ => DType::U8,
    }
}

/// Shape and type of a tensor.
pub fn meta_of(tensor: &Tensor) -> Meta {
    Meta::new(tensor.dims(), from_meta_dtype(tensor.dtype()))
}

/// Row-major bytes of a tensor's values.
pub(super) fn to_bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        CandleType::F64 => flat.to_vec1::<f64>()?.into_iter().flat_map(f64::to_ne_bytes).collect(),
        CandleType::I64 | CandleType::U32 => {
            flat.to_dtype(CandleType::I64)?.to_vec1::<i64>()?.into_iter().flat_map(i64::to_ne_bytes).collect()
        }
        CandleType::U8 => flat.to_vec1::<u8>()?,
        _ => flat.to_dtype(CandleType::F32)?.to_vec1::<f32>()?.into_iter().flat_map(f32::to_ne_bytes).collect(),
    })
}

/// Runs an operation. Operations without input make their result on `device`.
///
/// # Errors
/// Inputs that do not fit.
pub fn run(op: &Op, inputs: &[&Tensor], device: &Device) -> Result<Vec<Tensor>> {
    if let Op::BatchNormTrain { eps } = op {
        let [x, weight, bias] = arity(op, inputs)?;
        let norm = native::batch_norm_train(x, Some(weight), Some(bias), *eps)?;
        return Ok(vec![norm.y, norm.mean, norm.var_unbiased]);
    }
    if let Some(result) = whole_numbers(op, inputs)? {
        return Ok(vec![result]);
    }
    if let Some(function) = pointwise(op) {
        return Ok(vec![function.apply(inputs)?]);
    }
    let one = match inputs {
        [] => make(op, device)?,
        [x] => unary(op, x)?,
        [a, b] => binary(op, a, b)?,
        _ => several(op, inputs)?,
    };
    Ok(vec![one])
}

/// Operations that the vocabulary allows on whole numbers, too, where the values are some: in `f64`, without gradient.
fn whole_numbers(op: &Op, inputs: &[&Tensor]) -> Result<Option<Tensor>> {
    let values = match op {
        Op::Add | Op::Sub | Op::Mul | Op::Maximum | Op::Minimum => inputs,
        Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => inputs,
        Op::Where => inputs.get(1..).unwrap_or_default(),
        Op::Gather { .. } | Op::IndexSelect { .. } | Op::ArgMax { .. } => inputs.get(..1).unwrap_or_default(),
        _ => return Ok(None),
    };
    let Some(dtype) = values.first().map(|value| value.dtype()) else { return Ok(None) };
    if dtype.is_float() || values.iter().any(|value| value.dtype() != dtype) {
        return Ok(None);
    }
    let wide = |value: &&Tensor| value.detach().to_dtype(CandleType::F64);
    let wide = match (op, inputs) {
        (Op::Gather { .. } | Op::IndexSelect { .. }, [x, index]) => vec![wide(x)?, (*index).clone()],
        _ => inputs.iter().map(wide).collect::<Result<Vec<_>>>()?,
    };
    let results = run(op, &wide.iter().collect::<Vec<_>>(), wide[0].device())?;
    let dtype = if matches!(op, Op::ArgMax { .. }) { CandleType::I64 } else { dtype };
    results.first().map(|result| result.to_dtype(dtype)).transpose()
}

fn arity<'a, const N: usize>(op: &Op, inputs: &[&'a Tensor]) -> Result<[&'a Tensor; N]> {
    <[&Tensor; N]>::try_from(inputs).map_err(|_| wrong_count(op, inputs.len()))
}

fn wrong_count(op: &Op, count: usize) -> candle_core::Error {
    candle_core::Error::Msg(format!("`{}` does not take {count} inputs", op.name()))
}

fn make(op: &Op, device: &Device) -> Result<Tensor> {
    match op {
        Op::Full { value, dtype, shape } => {
            Tensor::full(*value, shape.as_slice(), device)?.to_dtype(to_candle_dtype(*dtype))
        }
        Op::Eye { n, dtype } => Tensor::eye(*n, to_candle_dtype(*dtype), device),
        Op::Arange { n, dtype } => {
            let values: Vec<f64> = (0..*n).map(|i| i as f64).collect();
            Tensor::from_vec(values, *n, device)?.to_dtype(to_candle_dtype(*dtype))
        }
        _ => Err(wrong_count(op, 0)),
    }
}

fn unary(op: &Op, x: &Tensor) -> Result<Tensor> {
    match op {
        Op::Detach => Ok(native::detach(x)),
        Op::ScaleGrad { factor } => native::scale_grad(x, *factor),
        Op::LayerNorm { dims, eps } => native::layer_norm(x, *dims, None, None, *eps),
        _ => shaping(op, x),
    }
}

fn shaping(op: &Op, x: &Tensor) -> Result<Tensor> {
    match op {
        Op::Reshape { shape } => native::reshape(x, shape),
        Op::Permute { dims } => native::permute(x, dims),
        Op::BroadcastTo { shape } => native::broadcast_to(x, shape),
        Op::Narrow { dim, start, len } => native::narrow(x, *dim, *start, *len),
        Op::Concat { .. } => Ok(x.clone()),
        Op::Cast { dtype } => native::cast(x, to_candle_dtype(*dtype)),
        Op::Sum { keep, dims } => native::sum(x, &all_when_empty(dims, x), *keep),
        Op::Mean { keep, dims } => native::mean(x, &all_when_empty(dims, x), *keep),
        Op::Max { dim, keep } => native::max(x, *dim, *keep),
        Op::Min { dim, keep } => native::min(x, *dim, *keep),
        Op::ArgMax { dim, keep } => native::argmax(x, *dim, *keep)?.to_dtype(CandleType::I64),
        Op::OneHot { classes, dtype } => one_hot(x, *classes, *dtype),
        Op::Softmax { dim } => native::softmax(x, *dim),
        Op::LogSoftmax { dim } => native::log_softmax(x, *dim),
        Op::Normalize { eps, dims } => normalize(x, &all_when_empty(dims, x), *eps),
        Op::MaxPool2d { kernel, stride, padding } => {
            native::max_pool2d(x, &Pool2d { kernel: *kernel, stride: *stride, padding: *padding })
        }
        Op::AvgPool2d { kernel, stride, padding, count_padding } => {
            native::avg_pool2d(x, &Pool2d { kernel: *kernel, stride: *stride, padding: *padding }, *count_padding)
        }
        Op::AdaptiveAvgPool2d { size } => native::adaptive_avg_pool2d(x, *size),
        Op::ResizeBilinear { size } => native::resize_bilinear(x, *size),
        Op::ResizeNearest { size } => native::resize_nearest(x, *size),
        _ => Err(wrong_count(op, 1)),
    }
}

fn binary(op: &Op, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match op {
        Op::Matmul => native::matmul(a, b),
        Op::Gather { dim } => native::gather(a, b, *dim),
        Op::IndexSelect { dim } => native::index_select(a, b, *dim),
        Op::CrossEntropy { smoothing } => native::cross_entropy(a, b, *smoothing, Reduction::None),
        Op::Conv2d { .. } | Op::ConvTranspose2d { .. } => convolution(op, a, b, None),
        Op::LayerNorm { dims, eps } => native::layer_norm(a, *dims, Some(b), None, *eps),
        Op::Concat { dim } => native::concat(&[a, b], *dim),
        _ => Err(wrong_count(op, 2)),
    }
}

fn several(op: &Op, inputs: &[&Tensor]) -> Result<Tensor> {
    match (op, inputs) {
        (Op::Concat { dim }, _) => native::concat(inputs, *dim),
        (Op::Where, [mask, a, b]) if mask.dtype() == a.dtype() => native::where_cond(mask, a, b),
        (Op::Where, [mask, a, b]) => native::where_cond(&mask.detach().ne(0.0)?, a, b),
        (Op::Conv2d { .. } | Op::ConvTranspose2d { .. }, [x, weight, bias]) => convolution(op, x, weight, Some(bias)),
        (Op::LayerNorm { dims, eps }, [x, weight, bias]) => {
            native::layer_norm(x, *dims, Some(weight), Some(bias), *eps)
        }
        (Op::BatchNormEval { eps }, [x, weight, bias, mean, variance]) => {
            native::batch_norm_eval(x, mean, variance, Some(weight), Some(bias), *eps)
        }
        _ => Err(wrong_count(op, inputs.len())),
    }
}

fn convolution(op: &Op, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match *op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            native::conv2d(x, weight, bias, &native::Conv2d { stride, padding, dilation, groups })
        }
        Op::ConvTranspose2d { stride, padding, output_padding, dilation, groups } => {
            let options = native::ConvTranspose2d { stride, padding, output_padding, dilation, groups };
            native::conv_transpose2d(x, weight, bias, &options)
        }
        _ => Err(wrong_count(op, 2)),
    }
}

fn all_when_empty(dims: &[usize], x: &Tensor) -> Vec<usize> {
    if dims.is_empty() { (0..x.rank()).collect() } else { dims.to_vec() }
}

/// Several dimensions are brought to the end and seen as one.
fn normalize(x: &Tensor, dims: &[usize], eps: f64) -> Result<Tensor> {
    if let [dim] = dims {
        return native::l2_normalize(x, *dim, eps);
    }
    let kept: Vec<usize> = (0..x.rank()).filter(|dim| !dims.contains(dim)).collect();
    let order: Vec<usize> = kept.iter().chain(dims).copied().collect();
    let moved = native::permute(x, &order)?;
    let shape = moved.dims().to_vec();
    let rows: Vec<usize> =
        kept.iter().map(|dim| x.dims()[*dim]).chain([dims.iter().map(|dim| x.dims()[*dim]).product()]).collect();
    let flat = native::l2_normalize(&native::reshape(&moved, &rows)?, kept.len(), eps)?;
    let back: Vec<usize> =
        (0..x.rank()).map(|dim| order.iter().position(|moved| *moved == dim).unwrap_or(dim)).collect();
    native::permute(&native::reshape(&flat, &shape)?, &back)
}

fn one_hot(x: &Tensor, classes: usize, dtype: DType) -> Result<Tensor> {
    let labels = x.flatten_all()?.to_vec1::<i64>()?;
    let mut values = vec![0f64; labels.len() * classes];
    for (row, label) in labels.iter().enumerate() {
        match usize::try_from(*label) {
            Ok(label) if label < classes => values[row * classes + label] = 1.0,
            _ => candle_core::bail!("label {label} is none of {classes} classes"),
        }
    }
    let shape: Vec<usize> = x.dims().iter().copied().chain([classes]).collect();
    Tensor::from_vec(values, shape, x.device())?.to_dtype(to_candle_dtype(dtype))
}
