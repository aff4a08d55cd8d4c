//! How one sample's values lie in memory.

use super::error::DataError;
use super::samples::FRAMES;

/// A sample as frames of channels of rows: `[C, H, W]` is one frame, `[F]` a frame of F channels of
/// one pixel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    /// Dimensions before the channels.
    pub(crate) lead: Vec<usize>,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Whether there are rows and columns.
    pub(crate) spatial: bool,
}

impl Layout {
    /// The layout of field `name` with samples of `shape`.
    pub(crate) fn of(name: &str, shape: &[usize]) -> Result<Self, DataError> {
        let layout = |lead: &[usize], channels, height, width, spatial| {
            Ok(Self { lead: lead.to_vec(), channels, height, width, spatial })
        };
        match *shape {
            [] => layout(&[], 1, 1, 1, false),
            [features] => layout(&[], features, 1, 1, false),
            [time, features] if name == FRAMES => layout(&[time], features, 1, 1, false),
            [ref lead @ .., channels, height, width] => layout(lead, channels, height, width, true),
            _ => Err(DataError::SampleShape {
                subject: name.to_owned(),
                got: shape.to_vec(),
                wanted: "[F], [C, H, W] or [T, C, H, W]".into(),
                hint: "give pictures without channels a first dimension of 1",
            }),
        }
    }

    /// Values of one channel of one frame.
    pub(crate) fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Values of one frame.
    pub(crate) fn frame(&self) -> usize {
        self.channels * self.plane()
    }

    /// Shape of one sample; a scalar is `[1]`.
    pub(crate) fn shape(&self) -> Vec<usize> {
        let mut shape = self.lead.clone();
        shape.push(self.channels);
        if self.spatial {
            shape.extend([self.height, self.width]);
        }
        shape
    }
}
