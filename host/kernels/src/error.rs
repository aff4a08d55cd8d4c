//! Geometry that no kernel can run.

use std::fmt;

/// Why a convolution or pooling geometry is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShapeError {
    /// A size that must be at least one is zero.
    Zero(&'static str),
    /// Channels do not split into the groups.
    Groups {
        /// Which channels: `input` or `output`.
        side: &'static str,
        /// Their number.
        channels: usize,
        /// The number of groups.
        groups: usize,
    },
    /// The window, dilated, is larger than the padded input.
    Window {
        /// Rows or columns that the window spans.
        span: usize,
        /// Rows or columns of the padded input.
        padded: usize,
    },
    /// Pooling pads by more than half its window, so that a window could hold padding only.
    Padding {
        /// Padding of one side.
        padding: usize,
        /// Size of the window.
        kernel: usize,
    },
    /// A transposed convolution pads its output by as much as a step, or cuts away all of it.
    OutputPadding {
        /// Additional size of one side.
        output_padding: usize,
        /// The larger of stride and dilation: the bound that it must stay below.
        bound: usize,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(what) => write!(f, "{what} is 0, expected at least 1"),
            Self::Groups { side, channels, groups } => {
                write!(f, "{channels} {side} channels do not split into {groups} groups")
            }
            Self::Window { span, padded } => {
                write!(f, "a window of {span} does not fit the padded input of {padded}")
            }
            Self::Padding { padding, kernel } => {
                write!(f, "padding {padding} is more than half the window of {kernel}")
            }
            Self::OutputPadding { output_padding, bound } => {
                write!(f, "output padding {output_padding} must be smaller than {bound}, and the output not empty")
            }
        }
    }
}

impl std::error::Error for ShapeError {}
