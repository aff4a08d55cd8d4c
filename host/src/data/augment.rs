//! Augmentation: what is drawn for a sample, and what the draw does to its values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::layout::Layout;
use super::rng::{Rng, RngKey};

/// A random change of a sample, made before any view is taken, in the order listed. In a manifest:
/// `["flip", { crop = 4 }]`.
///
/// Every frame of a clip gets the same change. Values are those before normalisation: 0 is black,
/// 255 of a byte is 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Augment {
    /// Left becomes right, for half of the samples.
    Flip,
    /// Shifts by up to this many pixels along each axis, all shifts equally likely; zeros come in.
    Crop(usize),
    /// A square of this many pixels a side becomes 0; its centre is any pixel, and what lies
    /// outside is cut off.
    Cutout(usize),
    /// Adds normal noise of this deviation to every value of the main field.
    Noise(f32),
}

impl Augment {
    /// Whether it moves pixels, and must then be done to masks and other pictures of the sample
    /// too.
    fn moves(self) -> bool {
        matches!(self, Self::Flip | Self::Crop(_))
    }

    /// Checks the setting, and that it can be done to samples of `layout`.
    pub(crate) fn check(self, layout: &Layout) -> Result<(), DataError> {
        let invalid = |option: &str, got: String, wanted: String| {
            Err(DataError::InvalidOption { option: format!("augment.{option}"), got, wanted })
        };
        let side = layout.height.max(layout.width);
        match self {
            Self::Noise(deviation) if !(deviation.is_finite() && deviation >= 0.0) => {
                invalid("noise", deviation.to_string(), "a finite deviation from 0".into())
            }
            Self::Noise(_) => Ok(()),
            _ if !layout.spatial => Err(DataError::SampleShape {
                subject: format!("augment {self:?}"),
                got: layout.shape(),
                wanted: "[.., C, H, W]".into(),
                hint: "vectors can only be given noise",
            }),
            Self::Crop(pad) if pad > side => invalid("crop", pad.to_string(), format!("0 to {side} pixels")),
            Self::Cutout(hole) if hole > 2 * side => {
                invalid("cutout", hole.to_string(), format!("0 to {} pixels", 2 * side))
            }
            _ => Ok(()),
        }
    }
}

/// What was drawn for one sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Drawn {
    Flip,
    /// New pixel (y, x) is the old one at (y + down, x + right).
    Shift {
        down: isize,
        right: isize,
    },
    /// Rows and columns that become 0.
    Hole {
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
    },
    Noise {
        seed: u64,
        deviation: f32,
    },
}

/// Draws for one sample, entry by entry; `layout` is that of the main field.
pub(crate) fn draw(augments: &[Augment], rng: &mut Rng, layout: &Layout) -> Vec<Drawn> {
    augments.iter().filter_map(|augment| draw_one(*augment, rng, layout)).collect()
}

fn draw_one(augment: Augment, rng: &mut Rng, layout: &Layout) -> Option<Drawn> {
    match augment {
        Augment::Flip => rng.chance(0.5).then_some(Drawn::Flip),
        Augment::Crop(pad) => {
            let mut shift = || rng.below(2 * pad + 1) as isize - pad as isize;
            Some(Drawn::Shift { down: shift(), right: shift() })
        }
        Augment::Cutout(side) => {
            let mut span = |length: usize| {
                let begin = rng.below(length) as isize - (side / 2) as isize;
                let end = (begin + side as isize).clamp(0, length as isize);
                begin.max(0) as usize..end as usize
            };
            Some(Drawn::Hole { rows: span(layout.height), columns: span(layout.width) })
        }
        Augment::Noise(deviation) => Some(Drawn::Noise { seed: rng.next_u64(), deviation }),
    }
}

/// Which augmentations a field takes part in: all for the main field, those that move pixels for
/// the others.
pub(crate) fn for_field(augments: &[Augment], main: bool) -> Vec<Augment> {
    augments.iter().copied().filter(|augment| main || augment.moves()).collect()
}

/// Applies the draws to one sample, in place; a field that is not the main one is only moved.
pub(crate) fn apply(drawn: &[Drawn], main: bool, sample: &mut [f32], layout: &Layout) {
    for change in drawn {
        match change {
            Drawn::Flip => sample.chunks_exact_mut(layout.width).for_each(<[f32]>::reverse),
            Drawn::Shift { down, right } => {
                sample.chunks_exact_mut(layout.plane()).for_each(|plane| shift(plane, layout, *down, *right));
            }
            Drawn::Hole { rows, columns } if main => {
                for plane in sample.chunks_exact_mut(layout.plane()) {
                    let lines = plane.chunks_exact_mut(layout.width).skip(rows.start).take(rows.len());
                    lines.for_each(|line| line[columns.clone()].fill(0.0));
                }
            }
            Drawn::Noise { seed, deviation } if main => noise(sample, layout.frame(), *seed, *deviation),
            Drawn::Hole { .. } | Drawn::Noise { .. } => {}
        }
    }
}

fn shift(plane: &mut [f32], layout: &Layout, down: isize, right: isize) {
    let source = plane.to_vec();
    let width = layout.width;
    for (y, line) in plane.chunks_exact_mut(width).enumerate() {
        line.fill(0.0);
        let Some(from) = y.checked_add_signed(down).filter(|&from| from < layout.height) else {
            continue;
        };
        let from = &source[from * width..(from + 1) * width];
        let distance = right.unsigned_abs().min(width);
        if right >= 0 {
            line[..width - distance].copy_from_slice(&from[distance..]);
        } else {
            line[distance..].copy_from_slice(&from[..width - distance]);
        }
    }
}

/// The same noise in every frame.
fn noise(sample: &mut [f32], frame: usize, seed: u64, deviation: f32) {
    let mut rng = RngKey::new(seed, "noise").at(0);
    let noise: Vec<f32> = (0..frame).map(|_| rng.normal() as f32 * deviation).collect();
    for frame in sample.chunks_exact_mut(frame) {
        frame.iter_mut().zip(&noise).for_each(|(value, noise)| *value += noise);
    }
}
