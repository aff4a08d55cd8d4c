//! What the tape has kernels for.

use super::forward::activation_of;
use crate::graph::LayerKind;

/// Whether the tape runs a layer itself, on an input of this rank (the batch counted); otherwise it runs on candle.
pub(crate) fn has_kernel(kind: &LayerKind, rank: usize) -> bool {
    let (is_map, has_channels) = (rank == 4, matches!(rank, 2 | 4));
    match kind {
        LayerKind::Conv { .. } | LayerKind::ConvTranspose { .. } | LayerKind::Pad { .. } | LayerKind::Tokens => is_map,
        LayerKind::MaxPool { .. } | LayerKind::AvgPool { .. } | LayerKind::AdaptiveAvgPool { .. } => is_map,
        LayerKind::GlobalAvgPool | LayerKind::Resize { .. } => is_map,
        LayerKind::ConvLstm { .. } | LayerKind::SpaceToDepth { .. } | LayerKind::DepthToSpace { .. } => is_map,
        LayerKind::Lstm { .. } | LayerKind::Gru { .. } => rank == 2,
        LayerKind::BatchNorm { .. } | LayerKind::Concat | LayerKind::Softmax => has_channels,
        LayerKind::LayerNorm { .. } | LayerKind::Linear { .. } => matches!(rank, 2 | 3),
        LayerKind::SelfAttention { .. } => rank == 3,
        LayerKind::Module => true,
        LayerKind::Flatten | LayerKind::Reshape { .. } | LayerKind::Add | LayerKind::Mul => true,
        LayerKind::Slice { .. } | LayerKind::ChannelShuffle { .. } => true,
        LayerKind::ClassToken | LayerKind::PositionEmbedding => true,
        LayerKind::Dropout { .. } | LayerKind::Identity | LayerKind::NextFrame { .. } => true,
        activation => activation_of(activation).is_some(),
    }
}
