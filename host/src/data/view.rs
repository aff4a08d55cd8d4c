//! Views: what one model sees of a sample: its size, its channels, its normalisation.

use super::error::DataError;
use super::layout::Layout;
use super::resize::{Filter, Resize};

/// Weights of red, green and blue in luma (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// Most values of one sample of a view.
const LARGEST_SAMPLE: usize = 1 << 28;

/// What one model sees of every sample. All views of a batch are made from the same augmented
/// samples.
///
/// # Example
/// A low-resolution view, normalised:
/// ```
/// # use stillhouse::data::ViewSpec;
/// let view = ViewSpec { size: Some([14, 14]), mean: vec![0.286], std: vec![0.353], ..ViewSpec::new("student") };
/// assert_eq!(view.shape("image", &[1, 28, 28])?, [1, 14, 14]);
/// # Ok::<(), stillhouse::data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSpec {
    /// The batch's field is `view.<name>`.
    pub name: String,
    /// The field it is made of; `image`, or else `frames`, when not given. Another field only
    /// follows flips and crops.
    pub field: Option<String>,
    /// `[H, W]` in pixels; the sample's own when not given.
    pub size: Option<[usize; 2]>,
    /// How the size is changed.
    pub filter: Filter,
    /// Channels: 1 to n repeats, 3 to 1 is luma; the sample's own when not given.
    pub channels: Option<usize>,
    /// Subtracted: one for every channel of the view, or one for all, or none. Pictures of bytes
    /// are in 0..=1.
    pub mean: Vec<f32>,
    /// Divided by, > 0: one for every channel of the view, or one for all, or none.
    pub std: Vec<f32>,
    /// Whether it sees the augmented sample (`true`) or the sample as it is.
    pub augment: bool,
}

impl ViewSpec {
    /// The samples as they are, augmented where the loader augments, not normalised.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            field: None,
            size: None,
            filter: Filter::default(),
            channels: None,
            mean: Vec::new(),
            std: Vec::new(),
            augment: true,
        }
    }

    /// Shape of one sample of the view, for samples of `field` of shape `sample`.
    ///
    /// # Errors
    /// `SampleShape` (a size or channels that the samples cannot be brought to), `InvalidOption`
    /// (mean, std, size).
    pub fn shape(&self, field: &str, sample: &[usize]) -> Result<Vec<usize>, DataError> {
        Ok(View::new(self, Layout::of(field, sample)?)?.shape())
    }
}

/// A view worked out for samples of one layout.
#[derive(Clone, Debug)]
pub(crate) struct View {
    from: Layout,
    to: Layout,
    resize: Option<Resize>,
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl View {
    pub(crate) fn new(spec: &ViewSpec, from: Layout) -> Result<Self, DataError> {
        let subject = format!("view.{}", spec.name);
        let to = target(&subject, spec, &from)?;
        let [old, new] = [&from, &to].map(|layout| [layout.height, layout.width]);
        let resize = match old == new {
            true => None,
            false => Some(Resize::new(&subject, old, new, spec.filter)?),
        };
        let valid_std = |value: f32| value.is_finite() && value > 0.0;
        let mean = per_channel(&subject, "mean", &spec.mean, 0.0, to.channels, f32::is_finite)?;
        let std = per_channel(&subject, "std", &spec.std, 1.0, to.channels, valid_std)?;
        Ok(Self { from, to, resize, mean, std })
    }

    /// Shape of one sample.
    pub(crate) fn shape(&self) -> Vec<usize> {
        self.to.shape()
    }

    /// Appends the view of one sample.
    pub(crate) fn render(&self, sample: &[f32], out: &mut Vec<f32>) {
        for frame in sample.chunks_exact(self.from.frame()) {
            if self.from.channels == self.to.channels {
                for (channel, plane) in frame.chunks_exact(self.from.plane()).enumerate() {
                    self.finish(plane, channel..channel + 1, out);
                }
            } else if self.to.channels == 1 {
                self.finish(&luma(frame, self.from.plane()), 0..1, out);
            } else {
                self.finish(frame, 0..self.to.channels, out);
            }
        }
    }

    /// Resizes a plane and appends it once for every channel, normalised.
    fn finish(&self, plane: &[f32], channels: std::ops::Range<usize>, out: &mut Vec<f32>) {
        let resized = self.resize.as_ref().map(|resize| resize.plane(plane));
        let plane = resized.as_deref().unwrap_or(plane);
        for channel in channels {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            out.extend(plane.iter().map(|value| (value - mean) / std));
        }
    }
}

/// The layout that the view brings samples to.
fn target(subject: &str, spec: &ViewSpec, from: &Layout) -> Result<Layout, DataError> {
    let unsuitable = |wanted: &str, hint| DataError::SampleShape {
        subject: subject.to_owned(),
        got: from.shape(),
        wanted: wanted.to_owned(),
        hint,
    };
    let mut to = from.clone();
    to.channels = spec.channels.unwrap_or(from.channels);
    let known = from.spatial && matches!((from.channels, to.channels), (1, 1..) | (3, 1));
    if to.channels != from.channels && !known {
        let hint = "only 1 to n and 3 to 1 channels are known";
        return Err(unsuitable(&format!("1 or {} channels", to.channels), hint));
    }
    if let Some([height, width]) = spec.size {
        if !from.spatial {
            return Err(unsuitable("[.., C, H, W]", "vectors have no size: remove `size`"));
        }
        (to.height, to.width) = (height, width);
    }
    let values = to.shape().iter().try_fold(1usize, |size, &dim| size.checked_mul(dim));
    if values.is_none_or(|values| values > LARGEST_SAMPLE) {
        let hint = "ask for a smaller size or fewer channels";
        return Err(unsuitable("a view of at most 2^28 values", hint));
    }
    Ok(to)
}

fn luma(frame: &[f32], plane: usize) -> Vec<f32> {
    let (red, rest) = frame.split_at(plane);
    let (green, blue) = rest.split_at(plane);
    let colours = red.iter().zip(green).zip(blue);
    colours.map(|((red, green), blue)| LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).collect()
}

fn per_channel(
    subject: &str,
    what: &str,
    given: &[f32],
    default: f32,
    channels: usize,
    valid: fn(f32) -> bool,
) -> Result<Vec<f32>, DataError> {
    let invalid = |wanted: &str| DataError::InvalidOption {
        option: format!("{subject}: {what}"),
        got: format!("{given:?}"),
        wanted: wanted.to_owned(),
    };
    if !given.iter().all(|&value| valid(value)) {
        return Err(invalid("finite numbers, and above 0 for `std`"));
    }
    match given {
        [] => Ok(vec![default; channels]),
        [one] => Ok(vec![*one; channels]),
        all if all.len() == channels => Ok(all.to_vec()),
        _ => Err(invalid(&format!("1 number or {channels}, one for every channel of the view"))),
    }
}
