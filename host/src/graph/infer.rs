//! What a layer gives: its operation and the shape of its result.

use super::kind::{LayerKind, Resize};
use stillhouse_plugin::op::{Meta, Op};

impl LayerKind {
    /// The one operation that the layer is, where it is one without parameters; `rank` counts the batch.
    pub fn pure_op(&self, rank: usize) -> Option<Op> {
        Some(match self {
            LayerKind::Relu => Op::Relu,
            LayerKind::Relu6 => Op::Relu6,
            LayerKind::LeakyRelu { slope } => Op::LeakyRelu { slope: *slope },
            LayerKind::Sigmoid => Op::Sigmoid,
            LayerKind::Tanh => Op::Tanh,
            LayerKind::Silu => Op::Silu,
            LayerKind::Gelu => Op::Gelu,
            LayerKind::Softmax => Op::Softmax { dim: 1 },
            LayerKind::MaxPool { kernel, stride, padding } => {
                Op::MaxPool2d { kernel: kernel.0, stride: stride.unwrap_or(*kernel).0, padding: padding.0 }
            }
            LayerKind::AvgPool { kernel, stride, padding } => Op::AvgPool2d {
                kernel: kernel.0,
                stride: stride.unwrap_or(*kernel).0,
                padding: padding.0,
                count_padding: true,
            },
            LayerKind::AdaptiveAvgPool { size } => Op::AdaptiveAvgPool2d { size: size.0 },
            LayerKind::GlobalAvgPool => Op::Mean { keep: false, dims: (2..rank).collect() },
            LayerKind::Slice { start, len } => Op::Narrow { dim: 1, start: *start, len: *len },
            LayerKind::Resize { size, filter: Resize::Bilinear } => Op::ResizeBilinear { size: size.0 },
            LayerKind::Resize { size, filter: Resize::Nearest } => Op::ResizeNearest { size: size.0 },
            _ => return None,
        })
    }

    /// The operation with parameters that the layer is (without the mode of a batch normalisation); `rank` counts the batch.
    pub fn parametric_op(&self, rank: usize) -> Option<Op> {
        Some(match self {
            LayerKind::Conv { stride, padding, dilation, groups, .. } => {
                Op::Conv2d { stride: stride.0, padding: padding.0, dilation: dilation.0, groups: *groups }
            }
            LayerKind::ConvTranspose { stride, padding, output_padding, groups, .. } => Op::ConvTranspose2d {
                stride: stride.0,
                padding: padding.0,
                output_padding: output_padding.0,
                dilation: [1; 2],
                groups: *groups,
            },
            LayerKind::LayerNorm { dims, eps } => Op::LayerNorm { dims: dims.unwrap_or(rank.max(2) - 1), eps: *eps },
            LayerKind::BatchNorm { eps, .. } => Op::BatchNormEval { eps: *eps },
            _ => return None,
        })
    }

    /// Shape and type of the result for inputs with a batch in front.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub fn infer(&self, inputs: &[&Meta]) -> Result<Meta, String> {
        let Some(first) = inputs.first() else { return Err("reads nothing".into()) };
        let rank = first.shape.len();
        if inputs.len() > 1 && !matches!(self, LayerKind::Add | LayerKind::Mul | LayerKind::Concat) {
            return Err(format!("takes one input, got {}", inputs.len()));
        }
        self.check_rank(first)?;
        if let Some(op) = self.pure_op(rank) {
            return first_of(op.infer(&inputs[..1])?);
        }
        if let Some(op) = self.parametric_op(rank) {
            let params: Vec<Meta> =
                self.params(first)?.into_iter().map(|spec| Meta::new(spec.shape, first.dtype)).collect();
            return first_of(op.infer(&std::iter::once(*first).chain(&params).collect::<Vec<_>>())?);
        }
        match self {
            LayerKind::Linear { out, .. } => {
                self.params(first)?;
                let mut shape = first.shape.clone();
                shape.truncate(rank - 1);
                shape.push(*out);
                Ok(Meta::new(shape, first.dtype))
            }
            LayerKind::Flatten => Ok(Meta::new([first.shape[0], first.shape[1..].iter().product()], first.dtype)),
            LayerKind::Reshape { shape } => {
                let whole: Vec<usize> = std::iter::once(first.shape[0]).chain(shape.iter().copied()).collect();
                first_of(Op::Reshape { shape: whole }.infer(&[first])?)
            }
            LayerKind::Add | LayerKind::Mul => inputs[1..].iter().try_fold((*first).clone(), |sum, next| {
                if sum.shape == next.shape { Ok(sum) } else { Err(format!("cannot combine {sum} and {next}")) }
            }),
            LayerKind::Concat => first_of(Op::Concat { dim: 1 }.infer(inputs)?),
            LayerKind::ChannelShuffle { groups } if *groups == 0 || !first.shape[1].is_multiple_of(*groups) => {
                Err(format!("{} channels do not divide into {groups} groups", first.shape[1]))
            }
            LayerKind::Pad { top, bottom, left, right } => {
                let [n, c, h, w] = [0, 1, 2, 3].map(|dim| first.shape[dim]);
                Ok(Meta::new([n, c, h + top + bottom, w + left + right], first.dtype))
            }
            LayerKind::Tokens => {
                Ok(Meta::new([first.shape[0], first.shape[2] * first.shape[3], first.shape[1]], first.dtype))
            }
            LayerKind::ClassToken => Ok(Meta::new([first.shape[0], first.shape[1] + 1, first.shape[2]], first.dtype)),
            LayerKind::SelfAttention { .. } => self.params(first).map(|_| (*first).clone()),
            LayerKind::Lstm { hidden } | LayerKind::Gru { hidden } | LayerKind::ConvLstm { hidden, .. } => {
                self.params(first)?;
                let mut shape = first.shape.clone();
                shape[1] = *hidden;
                Ok(Meta::new(shape, first.dtype))
            }
            LayerKind::SpaceToDepth { block } | LayerKind::DepthToSpace { block } => {
                let to_depth = matches!(self, LayerKind::SpaceToDepth { .. });
                Ok(Meta::new(super::blocks::shape(&first.shape, *block, to_depth)?, first.dtype))
            }
            LayerKind::NextFrame { given: 0 } => Err("is given no frame".into()),
            LayerKind::Dropout { p } if !(0.0..1.0).contains(p) => Err(format!("`p` must be in [0, 1), got {p}")),
            _ => Ok((*first).clone()),
        }
    }

    /// Kinds that are about channels, maps or tokens want them.
    fn check_rank(&self, input: &Meta) -> Result<(), String> {
        let (fits, wanted) = match self {
            LayerKind::GlobalAvgPool => (input.shape.len() > 2, "[C, H, W]"),
            LayerKind::Pad { .. }
            | LayerKind::Tokens
            | LayerKind::SpaceToDepth { .. }
            | LayerKind::DepthToSpace { .. } => (input.shape.len() == 4, "[C, H, W]"),
            LayerKind::ClassToken | LayerKind::PositionEmbedding | LayerKind::SelfAttention { .. } => {
                (input.shape.len() == 3, "[T, D]")
            }
            LayerKind::Slice { len: 0, .. } => return Err("`len` must be 1 or more, got 0".into()),
            LayerKind::Slice { .. } | LayerKind::ChannelShuffle { .. } => (input.shape.len() > 1, "channels"),
            _ => return Ok(()),
        };
        if fits { Ok(()) } else { Err(format!("wants {wanted}, got {:?}", &input.shape[1..])) }
    }
}

fn first_of(metas: Vec<Meta>) -> Result<Meta, String> {
    metas.into_iter().next().ok_or_else(|| "gives nothing".into())
}
