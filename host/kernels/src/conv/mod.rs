//! Convolution over `[N, C, H, W]`, with every gradient.
//!
//! Weights are `[C_out, C_in / groups, kH, kW]`. Dense convolutions unfold pieces of an image that stay in cache and
//! multiply them by the weights; a group with one input channel, and stride 1 in `f32` on a processor with AVX-512, is computed
//! directly. The gradient for the input of a
//! convolution with stride 1 is a convolution of the output's gradient with the flipped weights; with strides the columns
//! of `W^T grad` are folded back. A transposed convolution is the gradient of the convolution whose input is its output
//! ([`ConvShape::transposed`]).

#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod depthwise;
mod direct;
mod forward;
mod unfold;

pub use backward::{channel_sums, conv2d_backward_data, conv2d_backward_weights};
pub use forward::conv2d_forward;

use crate::error::ShapeError;
use crate::float::Float;

/// How windows move: pairs are `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Zeros put around the input, on each side.
    pub padding: [usize; 2],
    /// Step between the elements of a window.
    pub dilation: [usize; 2],
}

impl Window {
    /// A window with stride 1, no padding, no dilation.
    pub fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
    }

    pub(crate) fn output(&self, input: [usize; 2]) -> Result<[usize; 2], ShapeError> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let sizes = [(self.kernel, "kernel"), (self.stride, "stride"), (self.dilation, "dilation")];
            for (size, name) in sizes {
                if size[axis] == 0 {
                    return Err(ShapeError::Zero(name));
                }
            }
            let span = self.span(axis);
            let padded = input[axis] + 2 * self.padding[axis];
            if input[axis] == 0 {
                return Err(ShapeError::Zero("size"));
            }
            if span > padded {
                return Err(ShapeError::Window { span, padded });
            }
            output[axis] = (padded - span) / self.stride[axis] + 1;
        }
        Ok(output)
    }

    /// Rows or columns from the first to the last element of the window.
    pub(crate) fn span(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Output positions `from..to` whose element `tap` of the window lies inside an input of `size`.
    pub(crate) fn inside(&self, axis: usize, tap: usize, size: usize, output: usize) -> (usize, usize) {
        let (stride, at) = (self.stride[axis], tap * self.dilation[axis]);
        let padding = self.padding[axis];
        let from = padding.saturating_sub(at).div_ceil(stride);
        let to = (size + padding).saturating_sub(at).div_ceil(stride);
        let to = to.min(output);
        (from.min(to), to)
    }
}

/// Geometry of one convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// The moving window.
    pub window: Window,
    /// Independent groups of channels.
    pub groups: usize,
}

impl ConvShape {
    /// A convolution of an input `[N, C, H, W]` to `out_channels`.
    ///
    /// # Errors
    /// Zero sizes, channels that do not split into the groups, a window larger than the padded input.
    pub fn new(input: [usize; 4], out_channels: usize, window: Window, groups: usize) -> Result<Self, ShapeError> {
        let [batch, in_channels, height, width] = input;
        let input = [height, width];
        let output = window.output(input)?;
        Self { batch, in_channels, out_channels, input, output, window, groups }.grouped()
    }

    /// The convolution whose gradient for its input is the transposed convolution of `input` `[N, C, H, W]` to
    /// `out_channels`: its output has the size of `input`, its input the size that the transposed convolution makes,
    /// `(H - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1`.
    ///
    /// # Errors
    /// As [`ConvShape::new`], and an output padding that reaches a whole step.
    pub fn transposed(
        input: [usize; 4],
        out_channels: usize,
        window: Window,
        output_padding: [usize; 2],
        groups: usize,
    ) -> Result<Self, ShapeError> {
        let [batch, in_channels, height, width] = input;
        window.output([usize::MAX / 4; 2])?;
        let mut made = [0; 2];
        for (axis, size) in [height, width].into_iter().enumerate() {
            let bound = window.stride[axis].max(window.dilation[axis]);
            let full = size.saturating_sub(1) * window.stride[axis] + window.span(axis) + output_padding[axis];
            made[axis] = full.saturating_sub(2 * window.padding[axis]);
            if output_padding[axis] >= bound || made[axis] == 0 || size == 0 {
                return Err(ShapeError::OutputPadding { output_padding: output_padding[axis], bound });
            }
        }
        let output = [height, width];
        let (in_channels, out_channels) = (out_channels, in_channels);
        Self { batch, in_channels, out_channels, input: made, output, window, groups }.grouped()
    }

    fn grouped(self) -> Result<Self, ShapeError> {
        let groups = self.groups;
        if groups == 0 {
            return Err(ShapeError::Zero("groups"));
        }
        for (side, channels) in [("input", self.in_channels), ("output", self.out_channels)] {
            if channels == 0 {
                return Err(ShapeError::Zero("channels"));
            }
            if channels % groups != 0 {
                return Err(ShapeError::Groups { side, channels, groups });
            }
        }
        Ok(self)
    }

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_channels * self.in_plane()
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_channels * self.out_plane()
    }

    /// Elements of the weights.
    pub fn weights_len(&self) -> usize {
        self.out_channels * self.depth()
    }

    pub(crate) fn in_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    pub(crate) fn out_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    pub(crate) fn in_group(&self) -> usize {
        self.in_channels / self.groups
    }

    pub(crate) fn out_group(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Products that make one output element.
    pub(crate) fn depth(&self) -> usize {
        self.in_group() * self.window.kernel[0] * self.window.kernel[1]
    }

    pub(crate) fn work(&self) -> usize {
        self.output_len() * self.depth()
    }

    /// One input channel a group: a direct loop beats a matrix product.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.in_group() == 1 && self.groups > 1
    }

    /// The unfolded image is the image.
    pub(crate) fn is_pointwise(&self) -> bool {
        let w = &self.window;
        w.kernel == [1, 1] && w.stride == [1, 1] && w.padding == [0, 0] && self.input == self.output
    }

    /// Output rows whose unfolded columns stay in cache together.
    pub(crate) fn tile_rows(&self) -> usize {
        const TILE: usize = 96 * 1024;
        (TILE / (self.depth() * self.output[1]).max(1)).clamp(1, self.output[0].max(1))
    }

    /// Images whose small outputs are multiplied together.
    pub(crate) fn images_together(&self) -> usize {
        const POSITIONS: usize = 256;
        const COLUMNS: usize = 512 * 1024;
        let plane = self.out_plane().max(1);
        let by_cache = COLUMNS / (plane * self.depth()).max(1);
        (POSITIONS / plane).min(by_cache).clamp(1, self.batch.max(1))
    }

    pub(crate) fn check<T: Float>(&self, x: &[T], weights: &[T], out: &[T]) {
        let lengths = [x.len(), weights.len(), out.len()];
        let expected = [self.input_len(), self.weights_len(), self.output_len()];
        assert_eq!(lengths, expected, "convolution: lengths of input, weights, output");
    }
}
